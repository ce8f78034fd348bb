"""A stand-in for the NVIDIA driver's library, compiled on this machine; fakenvml.c describes its control file."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("fakenvml.c")
ROOT = Path(__file__).parents[2]


def compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def build(folder: Path) -> Path:
    """Compiles the library into `folder`, under the name that pynvml loads."""
    library = folder / "libnvidia-ml.so.1"
    found = compiler()
    assert found is not None
    subprocess.run(
        [found, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True, timeout=60
    )
    return library


def sample(library: Path, controls: Sequence[str]) -> list[dict[str, Any]]:
    """What `GpuSampler` reads, in a process of its own, after each of the control files in turn."""
    control = library.with_name("control")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "FAKENVML": str(control)}
    command = [sys.executable, "-m", "tests.fakenvml.sampling", str(control)]
    done = subprocess.run(
        command, input=json.dumps(controls), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    readings: list[dict[str, Any]] = json.loads(done.stdout)
    return readings


def act(library: Path, control: str, folder: Path, *steps: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the engine, on a machine whose GPUs `control` describes, makes of each (action, name, options)."""
    control_file = library.with_name("control")
    control_file.write_text(control)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library.parent),
        "FAKENVML": str(control_file),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.fakenvml.acting", json.dumps(steps)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
