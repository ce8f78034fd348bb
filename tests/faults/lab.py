"""A machine of the table's own: a Docker Engine that may be broken, a GPU, model servers, and the state folders.

It lives in namespaces of its own (processes, mounts, network), entered by `COMMAND`: the engine's data and the state
folders are in memory, and whatever ends the first process of it, be it kill -9, ends and takes away all the rest.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import docker
import httpx
from docker.errors import DockerException, NotFound

from engine.settings import Settings
from tests import fakenvml
from tests.faults.servers import PORTS, write_profiles
from tests.real.docker_support import LOOPBACK_UP, TRITON_IMAGE

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
COMMAND = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *(sys.executable, "-c", LOOPBACK_UP),
    # The first process of all has to bury those whose parents are gone.
    *("sh", "-c", '"$@"; exit $?', "lab"),
)
"""Before the words of what is to run inside; the kernel ends it with whoever started it"""
PREFIX = "tritontui-"
HELD_BYTES = 40 << 30
"""What a model server has of its GPU, by the stand-in for the driver"""
PIECE_BYTES = 16 << 30
"""It is given back late, and in pieces of this size"""
MEMORY_EVERY_S = 0.3
ENGINE_SIZE, STATE_SIZE = "2g", "8m"


def until(condition: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)
    return value


class Lab:
    """To be used inside of `COMMAND` only: it mounts over `folder` and takes ports of the network that it is in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine_data, self.state, self.other_state = folder / "engine", folder / "state", folder / "other"
        self.scratch, self.profiles = folder / "tmp", folder / "profiles"
        self._gpu = folder / "gpu"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self.docker: docker.DockerClient
        self.url = f"unix://{folder}/engine.sock"

    def open(self) -> None:
        mount("tmpfs", self.folder, "16m")
        for made in (self.engine_data, self.state, self.other_state, self.scratch, self.profiles, self._gpu):
            made.mkdir()
        mount("tmpfs", self.engine_data, ENGINE_SIZE)
        mount("tmpfs", self.state, STATE_SIZE)
        (self.folder / "bin").mkdir()
        hook = self.folder / "bin" / "nvidia-container-runtime-hook"
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
        fakenvml.build(self._gpu)
        self.present_memory(0, {})
        self.keep_running(containers_too=True)
        self.start_docker()
        save = subprocess.Popen(["docker", "save", TRITON_IMAGE], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.url, "load", "--quiet"], stdin=save.stdout, check=True, timeout=300)
        if save.wait():
            raise RuntimeError(f"{TRITON_IMAGE} could not be taken from the machine's engine")
        write_profiles(self.profiles, self.folder)
        self.restore_images()
        threading.Thread(target=self._keep_memory, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        if self._daemon:
            for container in self.docker.containers.list(all=True):
                container.remove(force=True)
        self.stop_docker()

    # The engine

    def keep_running(self, *, containers_too: bool) -> None:
        """Whether containers go on when the engine is restarted."""
        configuration = self.folder / "daemon.json"
        configuration.write_text(json.dumps({"live-restore": containers_too}))
        if self._daemon:
            self._daemon.send_signal(signal.SIGHUP)
            until(lambda: self.docker.info()["LiveRestoreEnabled"] is containers_too, "the engine to read its options")

    def start_docker(self) -> None:
        with (self.folder / "engine.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [
                    *("dockerd", f"--host={self.url}", f"--config-file={self.folder}/daemon.json"),
                    *(f"--data-root={self.engine_data}", f"--exec-root={self.folder}/run"),
                    *(f"--pidfile={self.folder}/pid", "--log-level=error"),
                ],
                env={**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.docker = until(self._client, "the private engine to answer")

    def stop_docker(self) -> None:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait(60)
            self._daemon = None

    def _client(self) -> docker.DockerClient | None:
        if self._daemon and self._daemon.poll() is not None:
            raise RuntimeError((self.folder / "engine.log").read_text()[-2000:])
        try:
            return docker.DockerClient(base_url=self.url, timeout=60)
        except DockerException:
            return None

    def containers(self) -> dict[str, bool]:
        """By name, and whether they run."""
        return {one["Names"][0][1:]: one["State"] == "running" for one in self.docker.api.containers(all=True)}

    def volumes(self) -> list[str]:
        return [volume.name for volume in self.docker.volumes.list()]

    def kill(self, name: str) -> None:
        self.docker.api.kill(PREFIX + name)
        until(lambda: not self.containers()[PREFIX + name], f"{name} to be dead")

    def remove(self, container: str) -> None:
        try:
            self.docker.api.remove_container(container, force=True, v=True)
        except NotFound:
            return

    def restore_images(self) -> None:
        """Each profile has a tag of its own, so that one can be taken away."""
        for name in PORTS:
            self.docker.api.tag(TRITON_IMAGE, f"{PREFIX}fault/{name}", "1")

    # Its model servers

    def answers(self, name: str) -> bool:
        """Whether it answers a prompt, as its clients ask it."""
        url = f"http://127.0.0.1:{PORTS[name]}/v2/models/prose/generate"
        asked = {"text_input": "ping", "sampling_parameters": json.dumps({"max_tokens": 2})}
        try:
            answer = httpx.post(url, json=asked, timeout=10)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK and bool(answer.json()["text_output"])

    def serving(self) -> tuple[str, ...]:
        running = self.containers()
        return tuple(name for name in PORTS if running.get(PREFIX + name) and self.answers(name))

    # The GPU

    def present_memory(self, used: int, processes: dict[int, int]) -> None:
        lines = ("count=1", f"0.used={used}", *(f"0.process={pid},{size}" for pid, size in processes.items()))
        fakenvml.present(self._gpu / "control", *lines)

    def _keep_memory(self) -> None:
        """A container that runs has its share at once; what has ended gives it back late, and in pieces."""
        used = 0
        while not self._ended.wait(MEMORY_EVERY_S):
            try:
                named = [name for name, runs in self.containers().items() if runs and name.startswith(PREFIX)]
                pids = [self.docker.api.inspect_container(name)["State"]["Pid"] for name in named]
            except (DockerException, OSError, ValueError):
                continue  # an engine that is broken on purpose tells nothing
            held = {pid: HELD_BYTES for pid in pids if pid}
            used = max(used - PIECE_BYTES, sum(held.values()))
            self.present_memory(used, held)

    # What operations are given

    def settings(self, state: Path | None = None) -> Settings:
        return Settings(
            self.folder / "config",
            state or self.state,
            self.folder / "cache",
            profiles_dirs=(self.profiles,),
            working_dir=self.folder,
        )

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "TRITONTUI_"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DOCKER_HOST": self.url,
            "TMPDIR": str(self.scratch),
            "LD_LIBRARY_PATH": str(self._gpu),
            "FAKENVML": str(self._gpu / "control"),
        }

    def clear_state(self) -> None:
        for folder in (self.state, self.other_state, self.scratch):
            for found in folder.iterdir():
                if found.is_dir():
                    shutil.rmtree(found)
                else:
                    found.unlink()


def mount(kind: str, folder: Path, size: str) -> None:
    subprocess.run(["mount", "-t", kind, "-o", f"size={size}", "faults", folder], check=True, timeout=10)


def remount(folder: Path, mode: str) -> None:
    """`mode`: ro or rw. A folder that is being written at this moment refuses, so it is asked again."""

    def done() -> bool:
        return (
            subprocess.run(["mount", "-o", f"remount,{mode}", folder], capture_output=True, timeout=10).returncode == 0
        )

    until(done, f"{folder} to be {mode}", 10)


def fill(folder: Path) -> Path:
    """A file that leaves no room in it; to remove it is to mend that."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while out.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return file
