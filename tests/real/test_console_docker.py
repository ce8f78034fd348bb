"""The same profile under Docker, from start to stop by keys alone, in a real terminal."""

import re
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from engine.plan import CONTAINER_PREFIX
from tests.real.commands import ROOT
from tests.real.terminal import PROMPT, Terminal, opened_terminal
from tui.widgets.playground_pane import LATE_S

pytestmark = pytest.mark.docker

NAME = f"demo-{secrets.token_hex(3)}"


@pytest.fixture
def terminal(tmp_path: Path, docker_engine: docker.DockerClient, triton_image: str) -> Iterator[Terminal]:
    """With the shipped demo under a name of its own, and the image that can be had here."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    text = (tmp_path / "profiles" / "demo.yaml").read_text()
    text = re.sub(r"(?m)^name: .*", f"name: {NAME}", text)
    text = re.sub(r"(?m)^image: .*", f"image: {triton_image}", text)
    (tmp_path / "profiles" / "demo.yaml").write_text(text)
    try:
        with opened_terminal(tmp_path, docker=True) as terminal:
            yield terminal
    finally:
        for container in docker_engine.containers.list(all=True, filters={"name": CONTAINER_PREFIX + NAME}):
            container.remove(force=True)


def test_start_kill_the_console_prompt_stop_and_remove(terminal: Terminal, docker_engine: docker.DockerClient) -> None:
    terminal.run_console()
    terminal.see(f"{NAME} +–")
    terminal.press("/")
    terminal.type(NAME)
    terminal.press("Enter")
    terminal.see(rf"/ {NAME} +1 of \d+")
    terminal.press("Enter")
    terminal.see("triton on process")
    terminal.press("r")
    terminal.see("triton on docker(.|\n)*docker run")
    terminal.press("y")
    terminal.see(f"● {NAME} +ready", limit_s=90)
    container = docker_engine.containers.get(CONTAINER_PREFIX + NAME)
    bindings = container.attrs["HostConfig"]["PortBindings"]
    assert {host["HostIp"] for hosts in bindings.values() for host in hosts} == {"127.0.0.1"}
    assert container.attrs["HostConfig"]["Privileged"] is False

    console = terminal.console()
    console.send_signal(signal.SIGKILL)
    console.wait(timeout=30)
    terminal.type("reset")
    terminal.press("C-j")
    terminal.see(rf"\A\s*{re.escape(PROMPT)}\s*\Z")
    terminal.run_console()
    terminal.see(f"● {NAME} +ready")
    assert docker_engine.containers.get(CONTAINER_PREFIX + NAME).id == container.id

    terminal.press("3")
    terminal.see(r"Type a prompt(.|\n)*ctrl\+r history")
    terminal.type("Does the container work?")
    terminal.see("Does the container work")
    terminal.press("Enter")
    terminal.see(r"● done, \w+ +first ")

    time.sleep(LATE_S)  # until then it is taken for a late cancel
    terminal.press("Escape")
    terminal.see(r"(?m)^ x stop")
    terminal.press("x")
    terminal.see(rf"stop {NAME}\?")
    terminal.press("y")
    terminal.see(f"■ {NAME} +stopped", limit_s=60)
    terminal.press("d")
    terminal.see(rf"remove {NAME}\?")
    terminal.press("y")
    terminal.see(f"{NAME} +–", limit_s=60)
    assert not docker_engine.containers.list(all=True, filters={"name": CONTAINER_PREFIX + NAME})
    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
