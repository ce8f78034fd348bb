"""The commands against the real Triton server of the demo, as a script runs them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.real.commands import Commands, needs_demo


@pytest.fixture
def tritontui(tmp_path: Path) -> Iterator[Commands]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    commands = Commands(folder)
    yield commands
    commands.clear()


@pytest.mark.triton
@needs_demo
def test_the_demo_from_nothing_to_nothing(tritontui: Commands) -> None:
    assert tritontui.model("demo")["state"] == "absent"
    assert "tritonserver" in tritontui.ok("plan", "demo")

    up = tritontui("up", "demo", "--wait", "--timeout", "2m")
    assert up.returncode == 0, up.stderr
    assert up.stdout == ""
    demo = tritontui.model("demo")
    assert demo["state"] == "ready"
    server = psutil.Process(demo["deployment"]["pid"])
    assert tritontui("up", "demo", "--wait").returncode == 0, "what runs already is no failure"
    assert server.is_running()

    answered = tritontui("ask", "demo", "Where is the log?", "--max-tokens", "16")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip()
    assert "first token" in answered.stderr
    answer = tritontui.json("ask", "demo", "Where is the log?", "--transport", "triton-grpc")
    assert answer["outcome"] == "done"
    assert answer["transport"] == "triton-grpc"
    assert 0 < answer["timing"]["first_token_s"] <= answer["timing"]["total_s"]

    metrics = tritontui.json("metrics", "demo")
    assert metrics["freshness"] == "fresh"
    assert any(series["value"] is not None for series in metrics["series"])
    lines = tritontui.ok("logs", "demo", "--grep", "HTTPService").splitlines()
    assert lines
    assert all("HTTPService" in line for line in lines)
    assert len(tritontui.ok("logs", "demo", "--tail", "3").splitlines()) == 3

    tritontui.ok("down", "demo")
    assert not server.is_running()
    assert tritontui.model("demo")["state"] == "stopped"
    assert tritontui("ask", "demo", "Still there?").returncode == 1
    tritontui.ok("rm", "demo")
    assert tritontui.model("demo")["deployment"] is None


@pytest.mark.triton
@needs_demo
def test_a_followed_log_ends_with_ctrl_c(tritontui: Commands) -> None:
    tritontui.ok("up", "demo", "--wait", "--timeout", "2m")
    with tritontui.begin("logs", "-f", "demo") as follower:
        assert follower.stdout
        assert follower.stderr
        assert follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        rest = follower.stderr.read()
        assert follower.wait(timeout=30) == 130
    assert rest == ""


def test_ctrl_c_ends_the_waiting_and_not_the_server(tritontui: Commands) -> None:
    server = tritontui.folder / "server"
    server.write_text("#!/bin/sh\nexec sleep 120\n", encoding="utf-8")
    server.chmod(0o755)
    # An address of its own: on another one, some other test's server may come to answer at the port.
    profile = "name: slow\nstack: vllm\nruntime: process\nprogram: ../server\nmodel: a/b\nbind: 127.0.0.9\n"
    profile += "expose: {http: auto}\n"
    (tritontui.folder / "profiles").mkdir()
    (tritontui.folder / "profiles" / "slow.yaml").write_text(profile, encoding="utf-8")
    with tritontui.begin("up", "slow", "--wait") as waiting:
        assert waiting.stderr
        tritontui.until(lambda: "nothing listens" in tritontui.ok("status", "slow"))
        waiting.send_signal(signal.SIGINT)
        rest = waiting.stderr.read()
        assert waiting.wait(timeout=30) == 130
    assert "goes on" in rest
    assert "Traceback" not in rest
    slow = tritontui.model("slow")
    assert slow["state"] == "starting"
    assert psutil.pid_exists(slow["deployment"]["pid"])


def test_an_engine_that_does_not_answer_is_exit_code_4(tritontui: Commands) -> None:
    profile = "name: boxed\nstack: vllm\nimage: nowhere/vllm:1\nmodel: a/b\nexpose: {http: auto}\n"
    (tritontui.folder / "profiles").mkdir()
    (tritontui.folder / "profiles" / "boxed.yaml").write_text(profile, encoding="utf-8")
    done = tritontui("up", "boxed")
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("tritontui: ")


def test_names_and_profiles_that_are_wrong_are_exit_code_2(tritontui: Commands) -> None:
    (tritontui.folder / "profiles").mkdir()
    (tritontui.folder / "profiles" / "bad.yaml").write_text("name: bad\nstack: vllm\nmodle: a/b\n", encoding="utf-8")
    assert tritontui("up", "nobody").returncode == 2
    done = tritontui("up", "bad")
    assert done.returncode == 2
    assert "bad.yaml:3" in done.stderr
    assert "`model`" in done.stderr, "the nearest valid key is named"
    listed = tritontui("ls")
    assert listed.returncode == 0, "the other profiles go on working"
    assert "bad.yaml:3" in listed.stderr
