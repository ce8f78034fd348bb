"""A stand-in for the NVIDIA driver's library, compiled on this machine; fakenvml.c describes its control file."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SOURCES = [Path(__file__).with_name(name) for name in ("fakenvml.c", "links.c")]
ROOT = Path(__file__).parents[2]


def compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def build(folder: Path) -> Path:
    """Compiles the library into `folder`, under the name that pynvml loads."""
    library = folder / "libnvidia-ml.so.1"
    found = compiler()
    assert found is not None
    flags = ("-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread")
    subprocess.run([found, *flags, "-o", library, *SOURCES], check=True, timeout=60)
    return library


def sample(library: Path, controls: Sequence[str]) -> list[dict[str, Any]]:
    """What `GpuSampler` reads, in a process of its own, after each of the control files in turn."""
    readings: list[dict[str, Any]] = _told("sampling", library, controls)
    return readings


def watch(
    library: Path,
    *controls: str,
    deployments: Sequence[dict[str, Any]] = (),
    settle_s: float = 20.0,
    stuck_s: float = 5.0,
    **around: Any,
) -> dict[str, Any]:
    """What `GpuWatch` tells after each of the control files: `readings`, and `histories` of the first two GPUs."""
    given = {
        "controls": controls,
        "deployments": deployments,
        "around": around,
        "settle_s": settle_s,
        "stuck_s": stuck_s,
    }
    told: dict[str, Any] = _told("watching", library, given)
    return told


def act(library: Path, control: str, folder: Path, *steps: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the engine, on a machine whose GPUs `control` describes, makes of each (action, name, options)."""
    control_file = library.with_name("control")
    control_file.write_text(control)
    environment = {**_environment(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.fakenvml.acting", json.dumps(steps)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def uses(library: Path, *lines: str) -> list[dict[str, Any]]:
    """What `GpuProcesses` tells of the machine that `lines` describe, without any deployment."""
    present(library.with_name("control"), *lines)
    code = """
import dataclasses, json, sys
from engine.observe.gpu_processes import GpuProcesses
sys.stdout.write(json.dumps([dataclasses.asdict(use) for use in GpuProcesses({})()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_environment(library),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def looked_over(library: Path, *lines: str) -> dict[str, Any]:
    """What the doctor reads of the machine that `lines` describe; or the driver's `error`."""
    present(library.with_name("control"), *lines)
    code = """
import dataclasses, json, sys
from engine.diagnose.doctor.devices import read_driver
from engine.observe.nvml import DriverError
try:
    found = read_driver()
    told = {"version": found.version, "cuda": found.cuda, "devices": [dataclasses.asdict(one) for one in found.devices]}
    told["paths"] = {f"{a}-{b}": path for (a, b), path in found.paths.items()}
    told["blocked"] = [f"{a}-{b}" for a, b in sorted(found.blocked)]
except DriverError as error:
    told = {"error": str(error)}
sys.stdout.write(json.dumps(told))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=_environment(library), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def doctor(library: Path, folder: Path, *lines: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of `tritontui doctor` in `folder`, on a machine with these GPUs and without Docker."""
    present(library.with_name("control"), *lines)
    environment = {**_environment(library), "PYTHONPATH": str(ROOT), "DOCKER_HOST": f"unix://{folder}/none.sock"}
    command = [sys.executable, "-m", "tui", "doctor", "--json"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


class Wait:
    """A wait for GPU memory in a process of its own, while the test changes what the driver says."""

    def __init__(self, library: Path, process: subprocess.Popen[str]) -> None:
        self._control = library.with_name("control")
        self._process = process
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def state(self, *lines: str) -> None:
        """What the driver says from now on."""
        present(self._control, *lines)

    def until(self, text: str) -> None:
        """Until its detail has this text. The test fails when it ends before."""
        while True:
            said = self._said.get(timeout=30)
            assert "detail" in said, said
            if text in said["detail"]:
                return

    def cancel(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What came of it: `done`, or `error` and `message`; and its `seconds`."""
        while True:
            said = self._said.get(timeout=30)
            if "detail" not in said:
                return said

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._said.put(json.loads(line))


def present(control: Path, *lines: str) -> None:
    """Replaces the control file, so that none is read in part."""
    new = control.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(control)


@contextmanager
def wait(library: Path, *lines: str, **arguments: Any) -> Iterator[Wait]:
    """Begins to wait on a machine of which `lines` tell; `arguments` are those of memory.py."""
    present(library.with_name("control"), *lines)
    command = [sys.executable, "-m", "tests.fakenvml.memory", json.dumps(arguments)]
    with subprocess.Popen(
        command, env=_environment(library), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Wait(library, process)
        finally:
            process.kill()


def _environment(library: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKENVML": str(library.with_name("control"))}


def _told(program: str, library: Path, given: object) -> Any:
    """What the program beside this file answers to `given`, with the stand-in as its driver."""
    done = subprocess.run(
        [sys.executable, "-m", f"{__name__}.{program}", str(library.with_name("control"))],
        input=json.dumps(given),
        env=_environment(library),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
