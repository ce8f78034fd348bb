"""Models to swap on the machine's own Docker Engine, each a real Triton server, and what looks at them."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
from docker.errors import NotFound

from engine.plan import CONTAINER_PREFIX
from engine.runtimes.docker_claims import VOLUME_PREFIX
from tests.faults.servers import MODEL, RAISES, SLOWLY
from tests.real.commands import Commands
from tests.real.docker_support import free_port
from tests.real.triton_support import DEMO_REPOSITORY

LEASE_FREE_S = 240.0
"""How long somebody else on the same Docker Engine may be changing it when this begins"""
PROFILE = """\
name: {name}
stack: triton
image: {image}
repository: ../{repository}
model: prose
expose: {{http: {ports[0]}, grpc: {ports[1]}, metrics: {ports[2]}}}
ready: {{timeout: 60s, prompt: ping}}
"""


class Bench:
    """Profiles `a`, `b` (which takes some seconds to load) and `c` (which never does) on the same ports."""

    def __init__(self, folder: Path, engine: docker.DockerClient, image: str) -> None:
        self.folder = folder
        self.engine = engine
        self.image = image
        self.word = secrets.token_hex(3)
        self.a, self.b, self.c = (f"{name}-{self.word}" for name in "abc")
        self.by_hand = f"hand-{self.word}"
        self.ports = (free_port(), free_port(), free_port())
        self.run = self.operator("state")
        (folder / "profiles").mkdir()
        for name, more in ((self.a, ""), (self.b, SLOWLY), (self.c, MODEL.format(initialize=RAISES, execute="pass"))):
            shutil.copytree(DEMO_REPOSITORY, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            with (folder / name / "prose" / "1" / "model.py").open("a") as model:
                model.write(more)
            profile = PROFILE.format(name=name, image=image, repository=name, ports=self.ports)
            (folder / "profiles" / f"{name}.yaml").write_text(profile)

    def operator(self, state: str) -> Commands:
        """Somebody with a state folder of their own."""
        run = Commands(self.folder, docker=True, installed=True)
        for kind, folder in (("STATE", state), ("CONFIG", "config"), ("CACHE", "cache")):
            run.env[f"TRITONTUI_{kind}_DIR"] = str(self.folder / folder)
        run.env["TRITONTUI_SYSTEM_CONFIG"] = str(self.folder / "none.yaml")
        run.env.pop("TRITONTUI_READ_ONLY", None)
        return run

    def container(self, name: str) -> Any:
        try:
            return self.engine.containers.get(name if name == self.by_hand else CONTAINER_PREFIX + name)
        except NotFound:
            return None

    def answers(self, name: str) -> bool:
        asked = self.run("ask", name, "ping", "--max-tokens", "4", "--json")
        return asked.returncode == 0 and json.loads(asked.stdout)["outcome"] == "done"

    def states(self) -> dict[str, str]:
        """Of our own, those that there are."""
        models = self.run.json("ls")["models"]
        return {one["name"]: one["state"] for one in models if self.word in one["name"] and one["deployment"]}

    def begin(self) -> None:
        """`a` serves, as soon as nobody else changes this machine."""
        deadline = time.monotonic() + LEASE_FREE_S
        while (up := self.run("up", self.a, "--wait")).returncode == 3 and time.monotonic() < deadline:
            time.sleep(2)
        assert up.returncode == 0, up.stderr

    def wait_for_others(self) -> None:
        """Until nobody else changes this machine."""
        self.run.until(lambda: self.run.json("status")["lease"] is None, LEASE_FREE_S)

    def serving(self, name: str) -> None:
        """Of `a` and `b` it serves, however it was before."""
        states = self.states()
        if states.get(name) == "ready":
            return
        others = [other for other, state in states.items() if state == "ready"]
        self.run.ok(*(("swap", name, "--wait") if others else ("up", name, "--wait")))

    @contextmanager
    def swapping(self, name: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """With the operation's id, while `name` loads."""
        with self.run.begin("swap", name, "--wait", "--json") as command:
            assert command.stderr
            told = []
            for line in command.stderr:
                told.append(line)
                if "wait until ready" in line:
                    break
            else:
                pytest.fail("".join(told))
            yield command, told[0].rpartition("(")[2].rstrip(")\n")

    def operation(self, which: str = "") -> Any:
        """The newest, or the one with this id."""
        return next(one for one in self.run.json("status")["operations"] if one["id"].startswith(which))

    def kill_worker(self) -> None:
        """Of the operation under way."""
        status = self.operation()
        assert status["outcome"] == "running", status["message"]
        os.kill(status["pid"], signal.SIGKILL)

    def start_by_hand(self) -> None:
        """What `a` serves, on the same ports, in a container of which tritontui knows nothing."""
        self.engine.containers.run(
            self.image,
            ["tritonserver", "--model-repository=/models"],
            name=self.by_hand,
            detach=True,
            shm_size="1g",
            volumes={str(self.folder / self.a): {"bind": "/models", "mode": "ro"}},
            ports={f"{8000 + number}/tcp": ("127.0.0.1", port) for number, port in enumerate(self.ports)},
        )

    def remove_by_hand(self) -> None:
        if found := self.container(self.by_hand):
            found.remove(force=True, v=True)

    def clean(self) -> None:
        """By other means than what is tested."""
        self._end_operations()
        for container in self.engine.containers.list(all=True, filters={"name": self.word}):
            container.remove(force=True, v=True)
        for volume in self.engine.volumes.list(filters={"name": VOLUME_PREFIX}):
            if self.word in volume.name:
                volume.remove()

    def _end_operations(self) -> None:
        """One that goes on after a test that failed would make anew what is removed."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("TRITONTUI_STATE_DIR", "").startswith(f"{self.folder}/"):
                    process.kill()
                    process.wait(10)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
