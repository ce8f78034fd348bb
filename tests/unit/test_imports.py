"""What is imported when: the engine knows no screen, and nothing heavy stands before the first paint or a command."""

import json
import pkgutil
import subprocess
import sys

import pytest

import engine

SCREEN = {"textual", "rich", "plotext"}
HEAVY = {"docker", "httpx", "tritonclient", "pynvml", "grpc", "prometheus_client"}


def imported_by(code: str) -> set[str]:
    """Names of the top-level packages that a fresh interpreter has after `code`."""
    script = f"{code}\nimport json, sys\nprint('\\n' + json.dumps([name for name in sys.modules if '.' not in name]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_engine_knows_no_screen() -> None:
    modules = [module.name for module in pkgutil.walk_packages(engine.__path__, "engine.")]
    assert "engine.facade" in modules
    assert not imported_by("\n".join(f"import {name}" for name in modules)) & (SCREEN | {"tui"})


def test_the_console_paints_before_anything_heavy_is_imported() -> None:
    imported = imported_by("import tui.app")
    assert "textual" in imported
    assert not imported & (HEAVY | {"plotext"})


@pytest.mark.parametrize("module", ["engine.api", "engine.facade", "tui.cli"])
def test_a_quick_command_imports_little(module: str) -> None:
    assert not imported_by(f"import {module}") & (HEAVY | {"textual", "plotext", "pydantic", "yaml"})


def test_version_and_ls_need_no_screen_and_no_grpc() -> None:
    code = "from tui.cli import main\nassert main(['ls']) == 0\ntry:\n    main(['--version'])\nexcept SystemExit: pass"
    assert not imported_by(code) & {"textual", "plotext", "grpc", "tritonclient"}  # httpx brings rich by itself
