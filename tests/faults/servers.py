"""The profiles of the table: `a` serves before a swap, `b` comes in, and `b` in the ways that servers go wrong."""

import json
import shutil
from pathlib import Path

from tests.real.test_placement import NVIDIA_SMI
from tests.real.triton_support import DEMO_REPOSITORY

PORTS = {"a": 8000, "b": 9000}
READY_S = 20
NEVER_S = 4
"""How long a server is waited for that will never be ready"""

MODEL = """
import os, signal, time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        {execute}
"""
SLOWLY = """

_initialize = TritonPythonModel.initialize

def _slowly(self, args):
    time.sleep(5)
    _initialize(self, args)

TritonPythonModel.initialize = _slowly
"""
"""Under the demo's own model: it loads as a large one does"""
RAISES = 'raise RuntimeError("no weights here")'
BAD: dict[str, dict[str, str]] = {
    "never ready": {"initialize": RAISES},
    "answers errors": {"execute": 'raise RuntimeError("CUDA error: an illegal memory access")'},
    "exits while loading": {"initialize": f"time.sleep(2); {RAISES}"},
    "exits at once": {"initialize": RAISES},
    "exits at the prompt": {"execute": "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"},
}
"""Ways in which b goes wrong, and what its model does then"""


def write_profiles(profiles: Path, folder: Path) -> None:
    smi = folder / "nvidia-smi"
    smi.write_text(NVIDIA_SMI)
    smi.chmod(0o755)
    shutil.copytree(DEMO_REPOSITORY, folder / "good")
    for name, does in BAD.items():
        repository = folder / name.replace(" ", "-")
        shutil.copytree(DEMO_REPOSITORY, repository)
        text = MODEL.format(**{"initialize": "pass", "execute": "pass", **does})
        (repository / "prose" / "1" / "model.py").write_text(text)
    shutil.copytree(DEMO_REPOSITORY, folder / "changed")
    slow = folder / "slow"
    shutil.copytree(DEMO_REPOSITORY, slow)
    with (slow / "prose" / "1" / "model.py").open("a") as model:
        model.write(SLOWLY)
    for name in PORTS:
        write_profile(profiles, name)


def write_profile(profiles: Path, name: str, way: str = "good") -> None:
    port = PORTS[name]
    keys = {
        "name": name,
        "stack": "triton",
        "image": f"tritontui-fault/{name}:1",
        "repository": f"../{way.replace(' ', '-')}",
        "model": "prose",
        "gpus": [0],
        "mounts": [f"{profiles.parent}/nvidia-smi:/usr/bin/nvidia-smi"],
        "expose": {"http": port, "grpc": port + 1, "metrics": port + 2},
        "ready": {"timeout": f"{READY_S}s", "prompt": "ping"},
        # A server whose model cannot be loaded stays, and is never ready, instead of ending.
        "engine": {"exit_on_error": False} if way == "never ready" else {},
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in keys.items())
    (profiles / f"{name}.yaml").write_text("\n".join(lines) + "\n")
