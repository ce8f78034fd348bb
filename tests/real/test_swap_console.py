"""A swap by keys, in a real terminal: seen, cancelled, left alone by a console that dies, and settled."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.real.swap_support import Bench
from tests.real.terminal import PROMPT, Terminal, opened_terminal

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def bench(tmp_path: Path, docker_engine: docker.DockerClient, triton_image: str) -> Iterator[Bench]:
    made = Bench(tmp_path, docker_engine, triton_image)
    try:
        made.begin()
        yield made
    finally:
        made.clean()


@pytest.fixture
def terminal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"TRITONTUI_{name}_DIR", bench.run.env[f"TRITONTUI_{name}_DIR"])
    with opened_terminal(bench.folder, docker=True) as terminal:
        yield terminal


def go_to_b(terminal: Terminal, bench: Bench) -> None:
    terminal.press("/")
    terminal.type(bench.b)
    terminal.see(rf"/ {bench.b} +1 of ")
    terminal.press("Enter")
    terminal.see(rf"▌. {bench.b} ")


def swap(terminal: Terminal, bench: Bench) -> None:
    """To b, until it loads. The cursor is on it."""
    terminal.press("s")
    terminal.see(rf"swap to {bench.b}\?(.|\n)*goes +{bench.a}(.|\n)*comes +{bench.b}")
    terminal.press("y")
    terminal.see(rf"◐ swap {bench.a} → {bench.b} +6/8 [a-z]", limit_s=60)


def test_a_swap_is_cancelled_interrupted_and_carried_out(bench: Bench, terminal: Terminal) -> None:
    title = f"swap {bench.a} → {bench.b}"
    terminal.run_console()
    terminal.see(rf"● {bench.a} +ready")
    go_to_b(terminal, bench)
    swap(terminal, bench)
    terminal.see(r"✓ .*start(.|\n)*◐ wait until ready")
    terminal.press("C")
    terminal.see(rf"cancel {title}\?(.|\n)*{bench.a} serves again")
    terminal.press("y")
    terminal.see(rf"↺ {title} rolled back", limit_s=60)
    assert bench.states() == {bench.a: "ready"}

    swap(terminal, bench)
    console = terminal.console()
    console.send_signal(signal.SIGKILL)
    console.wait(timeout=30)
    terminal.type("reset")
    terminal.press("C-j")
    terminal.see(rf"\A\s*{re.escape(PROMPT)}\s*\Z")
    terminal.run_console()
    terminal.see(rf"◐ {title} ")
    bench.kill_worker()
    terminal.see(rf"▲ {title} was interrupted")
    terminal.press("u")
    terminal.see(rf"{title} was interrupted(.|\n)*Roll back \(r\)")
    terminal.press("r")
    # Not by the words of the outcome: the pane still shows those of the swap before.
    terminal.see(rf"✓ roll back {bench.a} → {bench.b}: done", limit_s=60)
    assert bench.states() == {bench.a: "ready"}

    go_to_b(terminal, bench)
    swap(terminal, bench)
    terminal.see(rf"● {bench.b} +ready", limit_s=60)
    terminal.see(rf"✓ {title} done")
    assert bench.states() == {bench.a: "stopped", bench.b: "ready"}
    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
