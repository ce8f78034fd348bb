"""For every test: folders of its own, so that none reads or writes those of the person who runs it."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("config", "state", "cache"):
        folder = tmp_path / "tritontui" / kind
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"TRITONTUI_{kind.upper()}_DIR", str(folder))
    monkeypatch.setenv("TRITONTUI_SYSTEM_CONFIG", str(tmp_path / "tritontui" / "none.yaml"))
    monkeypatch.delenv("TRITONTUI_READ_ONLY", raising=False)
