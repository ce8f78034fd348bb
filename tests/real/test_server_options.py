"""The options that are known of tritonserver, against those that the real one tells of itself."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.stacks.local_triton import find_tritonserver
from engine.stacks.server_options import KNOWN
from tests.real.triton_support import settings_in


@pytest.mark.triton
def test_every_option_of_the_real_server_is_known(tmp_path: Path) -> None:
    try:
        local = find_tritonserver(settings_in(tmp_path))
    except EngineError as error:
        pytest.skip(str(error))
    told = subprocess.run(
        [local.program, "--help"],
        env={**os.environ, **local.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = {
        name.replace("-", "_")
        for name in re.findall(r"^\s*--([a-z][a-z-]+) <", told.stderr + told.stdout, re.MULTILINE)
    }
    assert len(found) > 50
    assert found <= KNOWN
