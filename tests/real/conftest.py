"""Tests against real parts. Where one is absent they skip and say why; TRITONTUI_REQUIRE_REAL=1 makes that fail."""

import os
from collections.abc import Generator

import pytest

from tests.real.docker_support import docker_engine, launches, private_engine, runtime, shell_image, triton_image
from tests.real.vllm_support import local_vllm, vllm_image

__all__ = [
    "docker_engine",
    "launches",
    "local_vllm",
    "private_engine",
    "runtime",
    "shell_image",
    "triton_image",
    "vllm_image",
]

PARTS = ("docker", "triton", "vllm")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = os.environ.get("TRITONTUI_REQUIRE_REAL") == "1" and any(map(item.get_closest_marker, PARTS))
    if required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"TRITONTUI_REQUIRE_REAL is set, so this must not be skipped. {reason}"
    return report
