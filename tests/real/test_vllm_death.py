"""How a real vLLM that served came to its end, which its exit code does not tell."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from engine.deployment import State
from engine.facade import Engine
from engine.settings import Settings
from tests.real.commands import Commands
from tests.real.test_vllm_real import name, on_process
from tests.real.triton_support import wait_until

__all__ = ["name", "on_process"]  # the fixtures

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


def serving(tritontui: Commands, name: str) -> psutil.Process:
    with tritontui.begin("up", name, "--wait") as up:
        _, err = up.communicate(timeout=300)
        assert up.returncode == 0, err + tritontui("logs", name).stdout[-3000:]
    return psutil.Process(tritontui.model(name)["deployment"]["pid"])


def core(server: psutil.Process) -> psutil.Process:
    """vLLM names its processes by a title."""
    [found] = [one for one in server.children(recursive=True) if "EngineCore" in title(one)]
    return found


def title(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8", errors="replace")


def test_an_engine_that_is_killed_is_a_failure_and_a_signal_by_hand_is_none(
    on_process: Commands, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", on_process.env["DOCKER_HOST"])
    monkeypatch.chdir(on_process.folder)
    server = serving(on_process, name)
    core(server).kill()
    wait_until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "vLLM to end by itself")
    wait_until(lambda: on_process.model(name)["deployment"]["exit_code"] == 0, "its end to be noticed")
    engine = Engine(Settings.load())
    engine.open()

    def causes() -> list[str]:
        model = engine._monitor.latest.model(name)
        return [model.cause.signature] if model and model.cause and model.state is State.FAILED else []

    try:
        assert wait_until(causes, "it to be looked into") == ["engine-process-ended"]
    finally:
        engine.close()

    os.kill(serving(on_process, name).pid, signal.SIGTERM)
    wait_until(lambda: on_process.model(name)["deployment"]["lifecycle"] == "exited", "vLLM to end")
    stopped = on_process.model(name)
    diagnosis = engine.diagnose(name)
    assert (stopped["state"], stopped["deployment"]["exit_code"]) == ("stopped", 0)
    assert (diagnosis.died, diagnosis.causes) == (False, ())
