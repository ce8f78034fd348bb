"""What the tests with a real Docker Engine share: the engine, images made here, and launches that clean up."""

import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from engine.deployment import Deployment, Protocol, Service
from engine.plan import Launch
from engine.runtimes.docker import DockerRuntime
from engine.settings import Settings

TRITON_IMAGE = "tritontui-test/triton:2.51"
SHELL_IMAGE = f"tritontui-test/shell:{secrets.token_hex(4)}"
"""Its own for each run of the tests, so that one run does not remove another's"""
SHELL_PROGRAMS = ("sh", "cat", "df", "echo", "head", "id", "ls", "seq", "sleep", "stat", "tr")


LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""A new network begins without; ports are published on it"""

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], what: str, timeout_s: float = 30.0) -> T:
    """The first true value of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {timeout_s:g} s: {what}")


def read(runtime: DockerRuntime, name: str) -> bytes:
    return b"".join(runtime.logs(name, tail=None, follow=False))


def texts(log: bytes) -> list[bytes]:
    """Lines without their times."""
    return [line[31:] for line in log.splitlines()]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def settings(folder: Path) -> Settings:
    return Settings(config_dir=folder / "config", state_dir=folder / "state", cache_dir=folder / "cache")


@pytest.fixture(scope="session")
def docker_engine() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=30)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker Engine answers (tests/images/start_docker.sh starts one): {error}")
    return client


@pytest.fixture(scope="session")
def shell_image(docker_engine: docker.DockerClient) -> Iterator[str]:
    """A few of this machine's programs and their libraries: all that most tests need, made in a moment."""
    import_shell_image(docker_engine)
    yield SHELL_IMAGE
    docker_engine.images.remove(SHELL_IMAGE, force=True)


def import_shell_image(engine: docker.DockerClient, scripts: Mapping[str, str] | None = None) -> None:
    """`scripts`: more programs, by their paths."""
    files = {program for name in SHELL_PROGRAMS if (program := shutil.which(name))}
    for program in tuple(files):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=10).stdout
        files |= {word for word in listed.split() if word.startswith("/")}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for file in sorted(files):
            tar.add(file)
        for path, script in (scripts or {}).items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(script), 0o755
            tar.addfile(entry, io.BytesIO(script.encode()))
    engine.api.import_image_from_data(archive.getvalue(), *SHELL_IMAGE.split(":"))


@pytest.fixture(scope="session")
def triton_image(docker_engine: docker.DockerClient) -> str:
    try:
        docker_engine.images.get(TRITON_IMAGE)
    except ImageNotFound:
        pytest.skip(f"the image {TRITON_IMAGE} is not here (tests/images/build_triton.sh builds it)")
    return TRITON_IMAGE


@pytest.fixture
def runtime(docker_engine: docker.DockerClient, tmp_path: Path) -> DockerRuntime:
    return DockerRuntime(settings(tmp_path))


@dataclass
class Launches:
    """Makes launches with names of its own, and removes their containers whatever the test did with them."""

    image: str
    prefix: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    made: int = 0

    def __call__(self, script: str = "exec sleep 600", **changes: Any) -> Launch:
        self.made += 1
        port = changes["ports"][0].host_port if changes.get("ports") else 1
        base = f"http://127.0.0.1:{port}"
        given: dict[str, Any] = {
            "name": f"{self.prefix}-{self.made}",
            "stack": "triton",
            "runtime": "docker",
            "command": ("sh", "-c", script),
            "service": Service(protocol=Protocol.TRITON, http=base, health=f"{base}/v2/health/ready"),
            "image": self.image,
            "profile_digest": "digest",
        }
        return Launch(**given | changes)

    def clean(self, engine: docker.DockerClient) -> None:
        for container in engine.containers.list(all=True, filters={"name": self.prefix}):
            container.remove(force=True, v=True)


@pytest.fixture
def launches(docker_engine: docker.DockerClient, shell_image: str) -> Iterator[Launches]:
    made = Launches(shell_image)
    yield made
    made.clean(docker_engine)


def deployment(runtime: DockerRuntime, name: str) -> Deployment:
    found = [one for one in runtime.deployments() if one.name == name]
    assert len(found) == 1, f"{name} is there {len(found)} times"
    return found[0]


class PrivateEngine:
    """A Docker Engine of the test's own that can be stopped and started without disturbing the machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/engine.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, programs: Path | None = None) -> docker.DockerClient:
        """`programs`: a folder that comes first on its PATH."""
        if self._process and self._process.poll() is None:
            return docker.DockerClient(base_url=self.url, timeout=30)
        log = (self.folder / "log").open("ab")
        # In a network of its own its bridge and firewall rules cannot meet those of the machine's engine.
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", sys.executable, "-c", LOOPBACK_UP),
                *("dockerd", "--live-restore", f"--host={self.url}"),
                *(f"--data-root={self.folder}/data", f"--exec-root={self.folder}/run"),
                *(f"--pidfile={self.folder}/pid", "--containerd-namespace=tritontui-test"),
            ],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"} if programs else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        return wait_until(self._client, f"the private engine at {self.url} to answer", timeout_s=60)

    def _client(self) -> docker.DockerClient | None:
        assert self._process
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            return docker.DockerClient(base_url=self.url, timeout=30)
        except DockerException:
            return None

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def discard(self) -> None:
        """Removes its containers and everything it left behind."""
        data = self.folder / "data"
        try:
            if data.exists():
                for container in self.start().containers.list(all=True):
                    container.remove(force=True)
        finally:
            self.stop()
            # The engine mounts its data folder on itself, and with --live-restore leaves it so.
            if f" {data} " in Path("/proc/self/mounts").read_text():
                subprocess.run(["umount", data], check=True, timeout=10)
            shutil.rmtree(self.folder)


@pytest.fixture
def private_engine(docker_engine: docker.DockerClient) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("unshare"):
        pytest.skip("a Docker Engine of the test's own needs root, dockerd and unshare")
    # Not pytest's folder: its path is too long for a socket.
    engine = PrivateEngine(Path(tempfile.mkdtemp(prefix="tritontui-")))
    yield engine
    engine.discard()
