"""What is installed here: the real parts that the cases start."""

import importlib.metadata
import subprocess
from functools import cache
from pathlib import Path

from tests.samples.recording.room import Impossible

_TESTS = Path(__file__).parents[2]
VLLM = "0.32"
TRITON = "2.51"
"""In the names of files, as tests/images builds them"""
VLLM_IMAGE = f"tritontui-test/vllm:{VLLM}"
TRITON_IMAGE = f"tritontui-test/triton:{TRITON}"


@cache
def vllm_folder() -> Path:
    """Holds `env` and `model`. Raises `Impossible`."""
    build = _TESTS / "images/build_vllm.sh"
    printed = subprocess.run([build, "--print"], capture_output=True, text=True, check=True, timeout=10).stdout
    folder = Path(printed.strip())
    if not (folder / "env/bin/vllm").is_file():
        raise Impossible("there is no vLLM (tests/images/build_vllm.sh builds it)")
    return folder


@cache
def triton_root() -> Path:
    """Raises `Impossible`."""
    try:
        distribution = importlib.metadata.distribution("nvidia-pytriton")
    except importlib.metadata.PackageNotFoundError as error:
        raise Impossible("there is no tritonserver (pip install 'tritontui[demo]')") from error
    return Path(str(distribution.locate_file("pytriton/tritonserver")))
