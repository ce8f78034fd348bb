"""`tritontui plan` for a model on GPUs: all that it tells, each once, and when it exits with 3."""

import json
from dataclasses import replace
from typing import Any

import pytest

from engine.fit.result import Fit, FitRow, Verdict
from engine.plan import GeneratedFile, PlacedGpu, Plan
from tests.unit.cli_bench import DOCS, FakeEngine
from tui.cli import main

FIT = Fit(
    Verdict.DOES_NOT_FIT,
    "It does not fit: 90.0 GiB are needed of 80.0 GiB.",
    ("Set `max_model_len` to 4096.",),
    (FitRow("weights", 70 << 30, 70 << 30, "70 billion × 1 B"), FitRow("activations", 1 << 30, 3 << 30)),
    "the profile",
    80 << 30,
    72 << 30,
    kv_tokens=12345,
)
BIG_PLAN: dict[str, Any] = {
    "obstacles": (FIT.summary, "GPU 0 is used by demo: stop it."),
    "placement": (PlacedGpu(0, "GPU-0b1c", "NVIDIA H100 80GB HBM3", 80 << 30, 20 << 30, ("demo",)),),
    "fit": FIT,
    "versions": {"Triton": "25.12", "vLLM": "0.11.1"},
}
BIG_LAUNCH: dict[str, Any] = {
    "gpus": ("GPU-0b1c",),
    "shm_bytes": 1 << 30,
    "ulimits": {"memlock": -1},
    "files_root": "/tritontui",
    "files": (GeneratedFile("models/big/config.pbtxt", 'backend: "vllm"\n'), GeneratedFile("go", "#!/bin/sh", True)),
}


class BigEngine(FakeEngine):
    def plan(self, name: str, runtime: str | None = None) -> Plan:
        plan = super().plan(name, runtime)
        return replace(plan, **BIG_PLAN, launch=replace(plan.launch, **BIG_LAUNCH))


Capture = pytest.CaptureFixture[str]


def test_plan_tells_files_gpus_and_memory_and_refuses_what_does_not_fit(capsys: Capture) -> None:
    assert main(["plan", "big"], BigEngine()) == 3
    out, err = capsys.readouterr()
    for told in (
        "Triton 25.12, vLLM 0.11.1",
        "1 GiB of /dev/shm",
        "memlock unlimited",
        "0    NVIDIA H100 80GB HBM3  GPU-0b1c  20.0 of 80.0  demo",
        "70 billion × 1 B",
        "1.0–3.0",
        "12 345 tokens",
        FIT.summary,
        "Set `max_model_len` to 4096.",
        '── /tritontui/models/big/config.pbtxt\nbackend: "vllm"\n',
        "── /tritontui/go (executable)\n#!/bin/sh\n",
        "tritonserver --http-port=8000",
    ):
        assert out.count(told) == 1, told
    assert err.splitlines()[:3] == [
        "A start would be refused; --force starts it all the same.",
        "refused: it does not fit.",
        "refused: GPU 0 is used by demo: stop it.",
    ]
    assert FIT.summary not in err


def test_a_plan_that_would_be_refused_is_still_json(capsys: Capture) -> None:
    assert main(["plan", "big", "--json"], BigEngine()) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["fit"]["verdict"] == "does not fit"
    assert found["placement"][0]["uuid"] == "GPU-0b1c"
    assert found["launch"]["files"][0]["path"] == "models/big/config.pbtxt"
    section = DOCS.read_text(encoding="utf-8").split("\n## plan")[1].split("\n## ")[0]
    keys = {*found["fit"], *found["fit"]["rows"][0], *found["placement"][0], *found["launch"]["files"][0]}
    assert not {key for key in keys if f"`{key}`" not in section}
