"""A bench of the fault table in namespaces of its own, from outside: cells go in, what came of them comes out."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from tests import fakenvml
from tests.faults.lab import COMMAND, ROOT
from tests.faults.table import Cell, Result
from tests.real.docker_support import TRITON_IMAGE

PROGRAMS = ("setpriv", "unshare", "mount", "dockerd", "docker")
END_S = 60.0


def impossible() -> str:
    """Why there can be no bench on this machine; empty when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Docker Engine of one's own, in namespaces of its own, needs Linux and root"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"it needs {', '.join(missing)}"
    if fakenvml.compiler() is None:
        return "it needs gcc to build the stand-in for NVML"
    if importlib.util.find_spec("psutil") is None:
        return "it needs psutil"
    try:
        docker.from_env(timeout=30).images.get(TRITON_IMAGE)
    except ImageNotFound:
        return f"the image {TRITON_IMAGE} is not here (tests/images/build_triton.sh builds it)"
    except DockerException as error:
        return f"no Docker Engine answers (tests/images/start_docker.sh starts one): {error}"
    return ""


class Bench:
    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._hear()  # that it is ready

    def run(self, cell: Cell) -> Result:
        """Blocks for some seconds. Raises RuntimeError when the bench itself is gone."""
        assert self._process.stdin
        self._process.stdin.write(f"{cell.key}\n")
        self._process.stdin.flush()
        return Result(**json.loads(self._hear()))

    def _hear(self) -> str:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError(f"the bench is gone: {self._errors.read_text()[-3000:]}")


@contextmanager
def bench() -> Iterator[Bench]:
    """Whatever happens to this process, what it has begun is ended and taken away by the kernel."""
    with tempfile.TemporaryDirectory(prefix="tritontui-faults-") as kept:
        folder, errors = Path(kept) / "lab", Path(kept) / "errors"
        folder.mkdir()
        with errors.open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, sys.executable, "-m", "tests.faults.bench", str(folder)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            yield Bench(process, errors)
        finally:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S)


def run_all(cells: list[Cell], count: int) -> Iterator[Result]:
    """On `count` benches at a time; in the order in which they end."""
    todo, done, lock = iter(cells), [], threading.Condition()
    working = count

    def work() -> None:
        nonlocal working
        try:
            with bench() as one:
                while True:
                    with lock:
                        cell = next(todo, None)
                    if cell is None:
                        return
                    result = one.run(cell)
                    with lock:
                        done.append(result)
                        lock.notify()
        finally:
            with lock:
                working -= 1
                lock.notify()

    # The kernel ends a bench with the thread that began it; these last as long as their benches.
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    while True:
        with lock:
            lock.wait_for(lambda: done or not working)
            if not done:
                return
            result = done.pop(0)
        yield result
