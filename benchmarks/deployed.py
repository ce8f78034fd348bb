"""Deployments of the process runtime for a benchmark, with folders of their own, and the console that shows them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFUSED = 3
"""The exit code while another operation is under way on this machine"""
REMOVALS = 30
"""So often it is tried, a second apart: what is left behind would run on"""


@dataclass(frozen=True, slots=True)
class Deployed:
    arguments: tuple[str, ...]
    """Of the console"""
    environment: dict[str, str]
    """What it needs beside this process's"""


@contextmanager
def deployed(profiles: Mapping[str, str]) -> Iterator[Deployed]:
    """Starts each profile, by its name, and removes all in any case. Relative paths are of this checkout's profiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {f"TRITONTUI_{kind}_DIR": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")}
        (folder / "profiles").mkdir()
        for deployment, text in profiles.items():
            whole = text.replace(" ./", f" {ROOT / 'profiles'}/")
            (folder / "profiles" / f"{deployment}.yaml").write_text(whole)
        arguments = ("--profiles", str(folder / "profiles"))
        tritontui = [sys.executable, "-m", "tui", *arguments]
        full = {**os.environ, **environment}
        try:
            for deployment in profiles:
                subprocess.run([*tritontui, "up", deployment, "--wait"], env=full, check=True, capture_output=True)
            yield Deployed(arguments, environment)
        finally:
            for deployment in profiles:
                for _ in range(REMOVALS):
                    removal = subprocess.run([*tritontui, "rm", deployment], env=full, check=False, capture_output=True)
                    if removal.returncode != REFUSED:
                        break
                    time.sleep(1.0)
