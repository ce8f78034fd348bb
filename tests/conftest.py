"""For every test: folders of its own, so that none reads or writes those of the person who runs it.

And no Docker Engine but for those that say so: its lease is the machine's, and only one test at a time can hold it.
"""

from pathlib import Path

import pytest

FIRST = ("docker", "faults", "vllm")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Several workers (`make test`): what shares a part runs in one of them."""
    if group := _group(item):
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""

    def place(item: pytest.Item) -> int:
        group = _group(item)
        return FIRST.index(group) if group in FIRST else len(FIRST) + (not group)

    items.sort(key=place)


def _group(item: pytest.Item) -> str:
    if item.path.stem == "test_fault_table":
        return "faults"  # on Docker Engines of its own
    shared = next((part for part in ("docker", "vllm") if item.get_closest_marker(part)), "")
    return shared or (item.path.stem if item.path.parent.name == "real" else "")


@pytest.fixture(autouse=True)
def own_folders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.node.get_closest_marker("docker"):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    for kind in ("config", "state", "cache"):
        folder = tmp_path / "tritontui" / kind
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"TRITONTUI_{kind.upper()}_DIR", str(folder))
    monkeypatch.setenv("TRITONTUI_SYSTEM_CONFIG", str(tmp_path / "tritontui" / "none.yaml"))
    monkeypatch.delenv("TRITONTUI_READ_ONLY", raising=False)
