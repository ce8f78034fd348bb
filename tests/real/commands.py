"""tritontui's commands as a user runs them: in processes of their own, from a folder that has nothing to do with it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
needs_demo = pytest.mark.skipif(importlib.util.find_spec("pytriton") is None, reason="the demo extra is not installed")


class Commands:
    def __init__(self, folder: Path, *, docker: bool = False, installed: bool = False) -> None:
        """`installed`: the program that installing tritontui makes, instead of the module."""
        self.folder = folder
        self._program = (
            [str(Path(sys.executable).with_name("tritontui"))] if installed else [sys.executable, "-m", "tui"]
        )
        self.env = {**os.environ, "PYTHONPATH": str(ROOT)}
        if not docker:
            # Whatever runs on the machine's own Docker Engine is none of such a test's business.
            self.env["DOCKER_HOST"] = f"unix://{folder}/docker.sock"

    def command(self, *words: str) -> list[str]:
        return [*self._program, *words]

    def __call__(self, *words: str) -> Done:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {limit_s:g} s"
            time.sleep(0.1)

    @contextmanager
    def begin(self, *words: str) -> "Iterator[subprocess.Popen[str]]":
        """Runs until the end of the block at the latest."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A job in the background of a script ignores Ctrl+C, and so would what it starts.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def model(self, name: str) -> Any:
        """What `status NAME` says of it."""
        return self.json("status", name)["models"][0]

    def clear(self) -> None:
        for found in self.json("ls")["models"]:
            if found["deployment"] and found["runtime"] == "process":
                self.ok("rm", found["name"])
