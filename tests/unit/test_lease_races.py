"""The lease's takers at once, each of which may stall or be killed at any point: never two have it, nothing is left."""

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Queue

import pytest

from engine.errors import EngineError, Refused
from engine.lease import LEASE, Holder
from engine.operations import lease
from engine.operations.lease import held
from tests.unit.holders import dead, holder
from tests.unit.memory_runtime import MemoryRuntime

OVER = f"{LEASE}-over"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.0)


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
    judge = vars(Holder)["alive"].fget
    monkeypatch.setattr(Holder, "alive", property(lambda one: False if one.token in tokens else judge(one)))
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
