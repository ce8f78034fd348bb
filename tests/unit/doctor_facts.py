"""A machine that is well, for tests of the doctor to take something away from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.diagnose.doctor import CHECKS
from engine.diagnose.doctor.check import carry_out
from engine.diagnose.doctor.daemon import Daemon, Stock
from engine.diagnose.doctor.devices import Device, Driver
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.host import Host, Limit, Space
from engine.diagnose.doctor.needs import Need, Needs
from engine.errors import RuntimeAbsent
from engine.finding import Finding, Severity
from engine.observe.nvml import DriverError, DriverMissingError, Readout
from engine.settings import Settings

GIB = 1 << 30
IMAGE = "nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3"
BIG = Need("big", image=IMAGE, gpus=2, ranks=2, shm_bytes=8 * GIB, model="a/big", model_bytes=16 * GIB)
SMALL = Need("small", "process", "triton")
DAEMON = Daemon(
    "28.2.2", "1.50", storage="overlay2", runtimes=("runc", "nvidia"), default_runtime="runc", root="/var/lib/docker"
)
PROGRAMS = ("nvidia-container-runtime-hook", "nvidia-ctk", "nvidia-container-cli")


def gpu(index: int, **changes: Any) -> Device:
    readout = Readout(index, f"GPU-{index}", "NVIDIA H100 80GB HBM3", 0.0, GIB, 80 * GIB, 40.0, 90.0, 700.0)
    well = Device(readout, (9, 0), True, 0, slowdown_at=89.0, default_limit=700.0, persistent=True, mig=False)
    return replace(well, **changes)


DRIVER = Driver("590.48.01", (13, 1), (gpu(0), gpu(1)), {(0, 1): "NVLink"})


def machine(root: Path, files: Mapping[str, str] | None = None, **changes: Any) -> Host:
    """With these files below its root."""
    well = {"/proc/meminfo": "MemTotal: 131072000 kB\nMemAvailable: 120000000 kB\nSwapTotal: 0 kB\n"}
    for path, text in {**well, **(files or {})}.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    host = Host(
        root,
        {"LANG": "en_GB.UTF-8", "TERM": "xterm-256color"},
        root / "home",
        space=lambda _: Space(1, 1000 * GIB, 500 * GIB, 0.9),
        which=lambda name: f"/usr/bin/{name}" if name in PROGRAMS else None,
        output=lambda _: "NVIDIA Container Toolkit CLI version 1.18.0\n",
        limit=lambda _: Limit(65_536, 1_048_576),
        is_synchronised=lambda: True,
        is_free=lambda _address, _port: True,
        listener=lambda _: "",
        can_write=lambda _: True,
    )
    return replace(host, **changes)


def facts(host: Host, **changes: Any) -> Facts:
    """Sources are given as what they answer, or raise."""
    root = host.root
    settings = Settings(root / "config", root / "state", root / "cache", working_dir=root)
    answers: dict[str, Any] = {
        "needs": Needs((BIG, SMALL)),
        "daemon": DAEMON,
        "stock": Stock(env={IMAGE: {}}),
        "driver": DRIVER,
        "uses": (),
        "deployments": (),
    }
    return Facts(host, settings, **{name: _source(answer) for name, answer in {**answers, **changes}.items()})


def _source(answer: object) -> Callable[[], Any]:
    def ask() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


NO_DOCKER = RuntimeAbsent("No Docker Engine runs here: /var/run/docker.sock does not exist.", "Start it.")
NO_DRIVER = DriverMissingError("The NVIDIA driver is not loaded.")
BROKEN_DRIVER = DriverError("The NVIDIA driver does not answer (Unknown Error).")


def worst(found: Iterable[Finding]) -> list[tuple[Severity, str]]:
    """What is not in order, by severity and title."""
    return [(one.severity, one.title) for one in found if one.severity is not Severity.OK]


def look(check: str, root: Path, host: Mapping[str, Any] | None = None, **sources: Any) -> tuple[Finding, ...]:
    """What one check finds. `host`: arguments of `machine`; `sources`: as for `facts`."""
    return carry_out([one for one in CHECKS if one.id == check], facts(machine(root, **(host or {})), **sources))


def own_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hugging Face cache that is the test's."""
    monkeypatch.setenv("HF_HOME", str(root / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    (root / "hf/hub").mkdir(parents=True)
