"""The machine's lease over runtimes in memory: who gets it, who is refused and told what, and who takes it over."""

import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest

from engine.errors import EngineError, OperationFailed, Refused, RuntimeUnreachable
from engine.lease import LEASE, Holder
from engine.operations import lease, lease_found
from engine.operations.lease import Lease, current, held
from engine.request import Origin
from engine.runtimes import process_records
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from tests.unit.operations_bench import MemoryRuntime

OVER = f"{LEASE}-over"


def holder(what: str = "start m", user: str = "bob", **changes: object) -> Holder:
    made = Holder.this_process(what, "op1", Origin(user, "gpu-box", 1, "10.0.0.7"))
    return replace(made, **changes)  # type: ignore[arg-type]


def dead(what: str = "swap a → b", user: str = "alice", token: str = "dead") -> Holder:
    """Its process id is another process's now."""
    return holder(what, user, started=1, token=token, since=time.time() - 725)


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
    facts = holder("swap a → b", "alice", since=time.time() - 7500).to_facts()
    process.records[LEASE] = facts
    with pytest.raises(Refused) as refused, held(runtimes, holder(), notes.append):
        pytest.fail("it was not refused")
    for word in ("alice@gpu-box from 10.0.0.7", "swap a → b", "2 h 5 m", "tritontui cancel", "as alice"):
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
    assert notes == ["The lease of alice's swap a → b, begun 12 m ago, was taken over: its process is gone."]
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
    for module in ("engine.lease", "engine.operations.lease_found"):
        monkeypatch.setattr(f"{module}.identify", lambda pid: (pid, 5, "boot") if pid == os.getpid() else None)
    monkeypatch.setattr("engine.operations.lease_found.stat_fields", lambda _: [])
    with subprocess.Popen(["sleep", "60"]) as other:
        hidden = holder(pid=other.pid, started=5, boot="boot")
        assert lease_found.alive(hidden) is None
        other.kill()
        other.wait()
        assert lease_found.alive(hidden) is False
    assert lease_found.alive(holder(started=5, boot="boot")) is True


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


# -- races ------------------------------------------------------------------------------------------------------------


class Died(BaseException):
    """A taker was killed: nothing more of it is carried out, giving back neither."""


class Watched(MemoryRuntime):
    """Calls `at` before and after everything that is done to a record."""

    def __init__(self) -> None:
        super().__init__("docker")
        self.at: Callable[[], None] = lambda: None

    def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
        self.at()
        answer = super().keep_record(name, facts)
        self.at()
        return answer

    def record(self, name: str) -> Mapping[str, str] | None:
        self.at()
        answer = super().record(name)
        self.at()
        return answer

    def drop_record(self, name: str) -> None:
        self.at()
        super().drop_record(name)
        self.at()


class Inside:
    """Who believes to have the machine for itself."""

    def __init__(self) -> None:
        self.now: set[str] = set()
        self.ever: list[str] = []

    def enter(self, who: str) -> None:
        self.now.add(who)
        self.ever.append(who)
        assert len(self.now) == 1, f"{self.now} at once"


LEFT = [
    {LEASE: "t1"},
    {LEASE: "t1", OVER: "t2"},
    {OVER: "t2", f"{OVER}-over": "t3"},
    {LEASE: "t1", OVER: "t1", f"{OVER}-over": "t3"},
    {},
]


def leftovers(left: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    return {record: dead(token=token).to_facts() for record, token in left.items()}


@pytest.mark.parametrize("left", LEFT)
def test_one_that_stalls_at_any_point_harms_nobody(left: dict[str, str]) -> None:
    for point in range(1, 1000):
        runtime, inside = Watched(), Inside()
        runtime.records = leftovers(left)
        errors, calls = [], 0
        stalled, go_on = threading.Event(), threading.Event()

        def count() -> None:
            nonlocal calls
            if threading.current_thread().name == "stalls":
                calls += 1
                if calls == point:  # noqa: B023 (it is used within the same round)
                    stalled.set()  # noqa: B023
                    assert go_on.wait(10)  # noqa: B023

        def take() -> None:
            try:
                with held({"docker": runtime}, holder(), lambda _: None):  # noqa: B023
                    inside.enter("stalled")  # noqa: B023
                    inside.now.discard("stalled")  # noqa: B023
            except EngineError as error:
                errors.append(error)  # noqa: B023
            finally:
                stalled.set()  # noqa: B023

        runtime.at = count
        thread = threading.Thread(target=take, name="stalls", daemon=True)
        thread.start()
        assert stalled.wait(10)
        mine = holder()
        with suppress(Refused), held({"docker": runtime}, mine, lambda _: None) as taken:
            inside.enter("other")
            go_on.set()
            thread.join(10)
            assert runtime.records == {LEASE: mine.to_facts()}
            taken.confirm()
            inside.now.discard("other")
        go_on.set()
        thread.join(10)
        assert not thread.is_alive()
        assert inside.ever, "neither got it"
        assert all(isinstance(error, Refused) for error in errors)
        assert runtime.records == {}
        if calls < point:
            return
    pytest.fail("it never came to an end")


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Tokens of those that count as dead, besides those whose process is."""
    tokens: set[str] = set()
    judge = lease_found.alive
    monkeypatch.setattr(lease_found, "alive", lambda one: False if one.token in tokens else judge(one))
    return tokens


@pytest.mark.parametrize(("left", "stride"), list(zip(LEFT, (1, 3, 7, 7, 1), strict=True)))
def test_two_that_are_killed_at_any_two_points_leave_nothing_behind(
    left: dict[str, str], stride: int, killed: set[str]
) -> None:
    runtime = Watched()

    def take_until(point: int) -> bool:
        """Whether it came so far."""
        calls, mine = 0, holder()

        def kill() -> None:
            nonlocal calls
            calls += 1
            if calls >= point:
                killed.add(mine.token)
                raise Died

        runtime.at = kill
        with suppress(Died), held({"docker": runtime}, mine, lambda _: None):
            pass
        return calls >= point

    def both_die(first: int, second: int) -> tuple[bool, bool]:
        runtime.records = leftovers(left)
        far = take_until(first), take_until(second)
        runtime.at = lambda: None
        mine = holder()
        with held({"docker": runtime}, mine, lambda _: None):
            assert runtime.records == {LEASE: mine.to_facts()}
        assert runtime.records == {}
        return far

    first, far = 0, True
    while far:
        first, second, further = first + 1, 1 - stride, True
        while further:
            second += stride
            far, further = both_die(first, second)
    assert first > 5


class Schedule:
    """Lets one of several takers go on at a time, from one call of the runtime to the next, in a random order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.runtime, self.inside = Watched(), Inside()
        self.runtime.at = self._wait
        self.killed: set[str] = set()
        self.errors: list[BaseException] = []
        self._arrived: Queue[str] = Queue()
        self._turns: dict[str, Queue[bool]] = {}

    def run(self, takers: int) -> None:
        threads = [threading.Thread(target=self._take, args=(holder(),), daemon=True) for _ in range(takers)]
        for thread in threads:
            thread.start()
        waiting = [self._arrived.get(timeout=10) for _ in threads]
        while waiting:
            token = self.random.choice(waiting)
            die = self.random.random() < 0.02 and len(self.killed) < takers - 1
            if die:
                self.killed.add(token)
                self.inside.now.discard(token)
            self._turns[token].put(die)
            if self._arrived.get(timeout=10) == "":
                waiting.remove(token)
        for thread in threads:
            thread.join(10)

    def _wait(self) -> None:
        token = threading.current_thread().name
        if token not in self._turns:
            return
        self._arrived.put(token)
        if self._turns[token].get(timeout=10):
            del self._turns[token]
            raise Died

    def _take(self, mine: Holder) -> None:
        threading.current_thread().name = mine.token
        self._turns[mine.token] = Queue()
        try:
            with held({"docker": self.runtime}, mine, lambda _: None) as taken:
                self.inside.enter(mine.token)
                for _ in range(3):
                    taken.confirm()
                self.inside.now.discard(mine.token)
        except Refused:
            pass
        except (Died, AssertionError, EngineError) as error:
            self.errors.append(error)
        finally:
            self._arrived.put("")


@pytest.mark.parametrize("seed", range(60))
def test_never_two_at_once_whatever_the_order(seed: int, killed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 10.0)
    monkeypatch.setattr(lease, "POLL_S", 0.0)
    schedule = Schedule(seed)
    schedule.killed = killed
    schedule.runtime.records = leftovers(LEFT[seed % len(LEFT)])
    schedule.run(takers=4)
    assert [error for error in schedule.errors if not isinstance(error, Died)] == []
    assert schedule.inside.ever or killed
    with held({"docker": schedule.runtime}, holder(), lambda _: None):
        pass
    assert schedule.runtime.records == {}


# -- records in files -------------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Iterator[ProcessRuntime]:
    made = ProcessRuntime(Settings(tmp_path, tmp_path / "state", tmp_path))
    yield made
    (tmp_path / "state").chmod(0o700)


def test_a_record_is_a_file_and_of_several_at_once_one_makes_it(local: ProcessRuntime, tmp_path: Path) -> None:
    assert local.record("r") is None
    local.drop_record("r")
    answers: list[Mapping[str, str]] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(local.keep_record("r", {"token": str(n), "who": "ä"})))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == local.record("r") for answer in answers)
    folder = tmp_path / "state" / process_records.FOLDER
    assert [path.name for path in folder.iterdir()] == ["r.json"]
    assert (folder / "r.json").stat().st_mode & 0o777 == 0o600
    local.drop_record("r")
    assert local.record("r") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, json.dumps([1]).encode()])
def test_a_damaged_record_is_one_that_says_nothing(local: ProcessRuntime, tmp_path: Path, content: bytes) -> None:
    local.keep_record("r", {"token": "1"})
    (tmp_path / "state" / process_records.FOLDER / "r.json").write_bytes(content)
    assert local.record("r") == {}
    assert local.keep_record("r", {"token": "2"}) == {}


def test_a_folder_that_cannot_be_written_is_said_so(local: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises((OperationFailed, RuntimeUnreachable), match="state"):
        local.keep_record("r", {"token": "1"})
    with pytest.raises(OperationFailed, match="can be named"):
        local.keep_record("../../r", {"token": "1"})


def test_what_a_killed_writer_left_is_swept(local: ProcessRuntime, tmp_path: Path) -> None:
    folder = tmp_path / "state" / process_records.FOLDER
    folder.mkdir(parents=True)
    for name, age in ((".new-old", 3600), (".new-now", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    local.keep_record("r", {"token": "1"})
    assert sorted(path.name for path in folder.iterdir()) == [".new-now", "r.json"]


def test_leases_of_a_holder_in_the_same_state_folder(local: ProcessRuntime, notes: list[str]) -> None:
    local.keep_record(LEASE, dead().to_facts())
    with held({"process": local}, holder(), notes.append), pytest.raises(Refused, match="bob@gpu-box"):
        Lease({"process": local}, holder(), notes.append).take()
    assert local.record(LEASE) is None
    assert len(notes) == 1
