"""The real vLLM on the CPU and a tiny model for it: what tests/images/build_vllm.sh made."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
import psutil
import pytest
from docker.errors import ImageNotFound

VLLM_IMAGE = "tritontui-test/vllm:0.32"
BUILD = Path(__file__).parents[1] / "images/build_vllm.sh"
HOW = "tests/images/build_vllm.sh builds it"


@dataclass(frozen=True, slots=True)
class LocalVllm:
    program: Path
    model: Path
    """Folder of a tiny Llama with random weights: it answers nonsense, in tokens"""


@pytest.fixture(scope="session")
def local_vllm() -> LocalVllm:
    printed = subprocess.run([BUILD, "--print"], capture_output=True, text=True, check=True, timeout=10).stdout
    folder = Path(printed.strip())
    found = LocalVllm(folder / "env/bin/vllm", folder / "model")
    if not (os.access(found.program, os.X_OK) and found.model.is_dir()):
        pytest.skip(f"there is no vLLM in {folder} ({HOW})")
    return found


@pytest.fixture(scope="session")
def vllm_image(docker_engine: docker.DockerClient) -> str:
    try:
        docker_engine.images.get(VLLM_IMAGE)
    except ImageNotFound:
        pytest.skip(f"the image {VLLM_IMAGE} is not here ({HOW})")
    return VLLM_IMAGE


@contextlib.contextmanager
def first_in_line() -> Iterator[None]:
    """Meanwhile the calling thread has a processor whenever it wants one, where that is allowed.

    The processes of a busy vLLM spin. Linux shares processors out by session, and where there are two of them, one that
    waits for its turn in another session was seen to wait until vLLM had nothing left to do.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def engine_of(http: str) -> psutil.Process:
    """The process that makes the tokens of the server at this address."""
    port = urlsplit(http).port
    listening = [
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == "LISTEN" and getattr(one.laddr, "port", None) == port
    ]
    server = psutil.Process(listening[0])
    return next(child for child in server.children(recursive=True) if "EngineCore" in child.name())
