"""Whose a process that has GPU memory is."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.gpu_reading import GpuProcess
from engine.observe import gpu_owners
from engine.observe.gpu_owners import Owners
from engine.runtimes.shim import LAUNCH_ID, identify

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
OURS, OUTER = "a" * 64, "b" * 64


def deployment(name: str, id: str = "", lifecycle: Lifecycle = Lifecycle.RUNNING, **rest: int) -> Deployment:
    return Deployment(name, "docker", "vllm", id, "vllm", lifecycle, SERVICE, 1.0, 1.0, **rest)  # type: ignore[arg-type]


def owner(owners: Owners, pid: int, *deployments: Deployment) -> str:
    (told,) = owners.tell([(GpuProcess(pid, 1),)], deployments)
    assert told
    return told[0].deployment


@pytest.fixture
def other() -> Iterator[int]:
    """A process that carries the mark of a launch; its parent is this one."""
    with subprocess.Popen(["sleep", "600"], env={**os.environ, LAUNCH_ID: "launch-7"}) as one:
        yield one.pid
        one.kill()


@pytest.mark.parametrize(
    "group",
    [
        f"0::/system.slice/docker-{OURS}.scope",
        f"12:devices:/docker/{OURS}\n1:name=systemd:/docker/{OURS}",
        f"0::/kubepods/{OUTER}/{OURS}",
    ],
)
def test_a_container_s_process_by_its_control_group(
    group: str, other: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its parents are: they may be in another namespace of processes."""
    (tmp_path / str(other)).mkdir()
    (tmp_path / str(other) / "cgroup").write_text(group + "\n")
    monkeypatch.setattr(gpu_owners, "PROC", tmp_path)
    around = (deployment("outer", OUTER), deployment("ours", OURS), deployment("parent", "c" * 64, pid=os.getpid()))
    assert owner(Owners(), other, *around) == "ours"


def test_a_local_process_by_its_launch_and_else_by_whom_it_comes_from(other: int) -> None:
    parent = deployment("parent", "x", pid=os.getpid())
    assert owner(Owners(), other, deployment("marked", "launch-7"), parent) == "marked"
    assert owner(Owners(), other, deployment("marked", "launch-8"), parent) == "parent"
    assert owner(Owners(), other, deployment("parent", "x", Lifecycle.EXITED, pid=os.getpid())) == ""


def test_what_may_not_be_read_leaves_the_ancestry(other: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_owners, "PROC", tmp_path)
    assert owner(Owners(), other, deployment("parent", "launch-7", pid=os.getpid())) == "parent"
    assert owner(Owners(), other, deployment("marked", "launch-7")) == ""


def test_each_process_is_looked_at_once_until_it_is_another(other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    line = gpu_owners._line

    def look(pid: int) -> tuple[int, ...]:
        looked.append(pid)
        return line(pid)

    monkeypatch.setattr(gpu_owners, "_line", look)
    owners, parent = Owners(), deployment("parent", pid=os.getpid())
    assert [owner(owners, other, parent) for _ in range(5)] == ["parent"] * 5
    assert looked == [other]
    pid, _, boot = identify(other) or (0, 0, "")
    monkeypatch.setattr(gpu_owners, "identify", lambda _: (pid, 1, boot))
    owner(owners, other, parent)
    assert looked == [other, other]


def test_a_process_that_is_not_here_keeps_its_id_alone() -> None:
    (told,) = Owners().tell([(GpuProcess(999999999, None),)], [deployment("any", pid=os.getpid())])
    assert told == (GpuProcess(999999999, None),)
    assert Owners().tell([None], []) == [None]
