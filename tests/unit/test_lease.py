"""The machine's lease over runtimes in memory: who gets it, who is refused and told what, and who takes it over."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import OperationFailed, Refused, RuntimeUnreachable
from engine.lease import LEASE
from engine.operations import lease
from engine.operations.lease import Lease, current, held
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from tests.unit.holders import dead, holder
from tests.unit.memory_runtime import MemoryRuntime

OVER = f"{LEASE}-over"


@pytest.fixture
def docker() -> MemoryRuntime:
    return MemoryRuntime("docker")


@pytest.fixture
def process() -> MemoryRuntime:
    return MemoryRuntime("process")


@pytest.fixture
def runtimes(docker: MemoryRuntime, process: MemoryRuntime) -> dict[str, MemoryRuntime]:
    return {"process": process, "docker": docker}


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.0)
    monkeypatch.setattr(lease, "GIVE_BACK_S", 0.02)
    monkeypatch.setattr(lease, "POLL_S", 0.001)


def test_it_is_held_with_every_runtime_and_given_back(runtimes: dict[str, MemoryRuntime], notes: list[str]) -> None:
    mine = holder()
    with held(runtimes, mine, notes.append) as taken:
        assert [runtime.records for runtime in runtimes.values()] == [{LEASE: mine.to_facts()}] * 2
        taken.confirm()
        taken.give_back()
        assert not any(runtime.records for runtime in runtimes.values())
        taken.take()
        taken.confirm()
    assert not any(runtime.records for runtime in runtimes.values())
    assert notes == []


def test_who_is_refused_is_told_who_from_where_what_and_since_when(
    runtimes: dict[str, MemoryRuntime], docker: MemoryRuntime, process: MemoryRuntime, notes: list[str]
) -> None:
    # Docker's is free and is taken first; it must be free again after.
    facts = holder("swap a → b", "alice", since=time.time() - 7530).to_facts()
    process.records[LEASE] = facts
    with pytest.raises(Refused) as refused, held(runtimes, holder(), notes.append):
        pytest.fail("it was not refused")
    for word in ("alice@gpu-box from 10.0.0.7", "swap a → b", "2h05m", "tritontui cancel", "let alice cancel it"):
        assert word in str(refused.value)
    assert process.records == {LEASE: facts}
    assert docker.records == {}
    assert notes == []


def test_a_dead_holders_lease_is_taken_over_and_said_so_once(
    runtimes: dict[str, MemoryRuntime], notes: list[str]
) -> None:
    for runtime in runtimes.values():
        runtime.records[LEASE] = dead().to_facts()
    mine = holder()
    with held(runtimes, mine, notes.append):
        assert all(runtime.records == {LEASE: mine.to_facts()} for runtime in runtimes.values())
    assert len(notes) == 1
    assert re.fullmatch(
        r"The lease of alice's swap a → b, begun 12m\d\ds ago, was taken over: its process is gone.", notes[0]
    )
    assert not any(runtime.records for runtime in runtimes.values())


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (holder(user="alice", pid_namespace="pid:[1]").to_facts(), "alice@gpu-box"),
        # Somebody whose Docker this is, too, through a tunnel: their process ids and boot are another machine's.
        (holder(user="alice", boot="another", host="elsewhere").to_facts(), "alice@elsewhere"),
        ({}, "does not say who"),
        ({**holder().to_facts(), "token": "../../x"}, "does not say who"),
        ({**holder().to_facts(), "since": "nan"}, "does not say who"),
        ({**holder().to_facts(), "since": "1e300"}, "does not say who"),
        ({**holder().to_facts(), "pid": str(10**30)}, "does not say who"),
        ({**holder().to_facts(), "pid": "-1"}, "does not say who"),
    ],
)
@pytest.mark.parametrize("record", [LEASE, OVER])
def test_what_cannot_be_told_from_here_is_left_and_given_up_by_hand_alone(
    docker: MemoryRuntime, record: str, facts: dict[str, str], why: str, notes: list[str]
) -> None:
    docker.records = {LEASE: dead().to_facts(), record: facts}
    before = dict(docker.records)
    with pytest.raises(Refused) as refused, held({"docker": docker}, holder(), notes.append):
        pytest.fail("it was not refused")
    assert why in str(refused.value)
    assert f"`docker volume rm {record}`" in str(refused.value)
    assert docker.records == before
    assert notes == []


def test_after_a_restart_of_the_machine_its_holder_is_dead(docker: MemoryRuntime, notes: list[str]) -> None:
    here = os.uname().nodename
    docker.records[LEASE] = holder(user="alice", boot="an-earlier-one", host=here, pid=1).to_facts()
    with held({"docker": docker}, holder(), notes.append):
        pass
    assert len(notes) == 1


def test_a_process_that_this_users_proc_hides_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid: neither `identify` nor `stat_fields` sees it."""
    monkeypatch.setattr("engine.lease.identify", lambda pid: (pid, 5, "boot") if pid == os.getpid() else None)
    monkeypatch.setattr("engine.lease.stat_fields", lambda _: [])
    with subprocess.Popen(["sleep", "60"]) as other:
        hidden = holder(pid=other.pid, started=5, boot="boot")
        assert hidden.alive is None
        other.kill()
        other.wait()
        assert hidden.alive is False
    assert holder(started=5, boot="boot").alive is True


def test_what_does_not_answer_is_passed_over_unless_it_is_needed(
    runtimes: dict[str, MemoryRuntime], docker: MemoryRuntime, process: MemoryRuntime, notes: list[str]
) -> None:
    process.unreachable = True
    with held(runtimes, holder(), notes.append, needed=["docker"]) as taken:
        assert list(docker.records) == [LEASE]
        taken.confirm()
        taken.give_back()
        taken.take()
    assert notes == ["process does not answer. Others who use process are not kept out."]
    with pytest.raises(RuntimeUnreachable), held(runtimes, holder(), notes.append, needed=["process"]):
        pytest.fail("it was not refused")
    assert docker.records == {}


def test_confirm_makes_again_what_is_gone_and_stops_for_somebody_else(docker: MemoryRuntime, notes: list[str]) -> None:
    mine, other = holder(), holder("start x", "carol")
    with held({"docker": docker}, mine, notes.append) as taken:
        docker.records.clear()
        taken.confirm()
        assert docker.records == {LEASE: mine.to_facts()}
        assert len(notes) == 1
        assert "made again" in notes[0]
        docker.unreachable = True
        taken.confirm()
        docker.unreachable = False
        docker.records[LEASE] = other.to_facts()
        with pytest.raises(OperationFailed, match=r"Somebody else.*carol@gpu-box.*start x.*nothing more is done"):
            taken.confirm()
    assert docker.records == {LEASE: other.to_facts()}, "another's is not given back"


def test_it_is_given_back_when_the_runtime_answers_again(
    docker: MemoryRuntime, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "GIVE_BACK_S", 10.0)
    with held({"docker": docker}, holder(), notes.append):
        docker.unreachable = True
        back = threading.Timer(0.02, lambda: setattr(docker, "unreachable", False))
        back.start()
    back.join()
    assert docker.records == {}
    assert notes == []


def test_what_cannot_be_given_back_is_noted(docker: MemoryRuntime, notes: list[str]) -> None:
    with held({"docker": docker}, holder(), notes.append):
        docker.unreachable = True
    assert len(notes) == 1
    assert "still with docker" in notes[0]


def test_a_lost_answer_leaves_nothing(docker: MemoryRuntime, notes: list[str]) -> None:
    class Deaf(MemoryRuntime):
        def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
            super().keep_record(name, facts)
            raise RuntimeUnreachable("docker did not answer within 5 s.")

    deaf = Deaf("docker")
    with held({"docker": deaf}, holder(), notes.append):
        assert list(deaf.records) == [LEASE]
    assert deaf.records == {}


def test_current_tells_who_has_it(
    runtimes: dict[str, MemoryRuntime], docker: MemoryRuntime, process: MemoryRuntime
) -> None:
    assert current(runtimes) is None
    docker.records[LEASE] = dead().to_facts()
    told = current(runtimes)
    assert told is not None
    assert (told.what, told.who, told.alive) == ("swap a → b", "alice@gpu-box from 10.0.0.7", False)
    process.records[LEASE] = holder("stop m").to_facts()
    assert (told := current(runtimes)) is not None
    assert (told.what, told.alive, told.operation) == ("stop m", True, "op1")
    process.records.clear()
    docker.records[LEASE] = {"token": "x", "pid": "what?"}
    assert (told := current(runtimes)) is not None
    assert told.alive is None
    assert "cannot be read" in told.what
    docker.unreachable = True
    assert current(runtimes) is None


def test_it_is_kept_in_the_state_folder(tmp_path: Path, notes: list[str]) -> None:
    local = ProcessRuntime(Settings(tmp_path, tmp_path / "state", tmp_path))
    local.keep_record(LEASE, dead().to_facts())
    with held({"process": local}, holder(), notes.append), pytest.raises(Refused, match="bob@gpu-box"):
        Lease({"process": local}, holder(), notes.append).take()
    assert local.record(LEASE) is None
    assert len(notes) == 1
