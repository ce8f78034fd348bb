"""A bench of the fault table in namespaces of its own, from outside: cells go in, what came of them comes out."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
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


def run_all(cells: Iterable[Cell], count: int) -> Generator[Result, None, None]:
    """On `count` benches at a time; in the order in which they end. Ends early when a bench is gone."""
    todo, done, change = deque(cells), deque[Result](), threading.Condition()
    working = count

    def work() -> None:
        nonlocal working
        try:
            with bench() as one:
                while cell := _next(todo):
                    result = one.run(cell)
                    with change:
                        done.append(result)
                        change.notify()
        finally:
            with change:
                working -= 1
                change.notify()

    # The kernel ends a bench with the thread that began it; each of these lasts as long as its bench.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        while True:
            with change:
                change.wait_for(lambda: done or not working)
                if not done:
                    return
                result = done.popleft()
            yield result
    finally:
        todo.clear()
        for thread in threads:
            thread.join()


def _next(todo: deque[Cell]) -> Cell | None:
    try:
        return todo.popleft()
    except IndexError:
        return None
