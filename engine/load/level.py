"""One level of load: its requests go out when they are meant to, at once with each other, and each leaves a record."""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptOutcome, PromptRequest, PromptResult
from engine.load.running import Running
from engine.load.schedule import arrivals, sleep_until
from engine.load.statistics import digest, request_figures
from engine.load_plan import Arrival, Level, LoadPlan
from engine.load_result import Digest, Failures, RequestRecord

PAUSE_S = 0.1
"""After a request that failed at once, a place stays empty for so long: a server that refuses all would otherwise be
asked thousands of times a second"""
RECENT_S = 5.0


class Sender(Protocol):
    """`engine.inference.client.PromptClient`, as far as it is needed here."""

    async def carry_out(self, measured: Measured) -> PromptResult: ...


class LevelRun:
    """Sends one level's requests and keeps what came of them. Times are seconds since it began."""

    def __init__(
        self, plan: LoadPlan, level: Level, sender: Sender, request: Callable[[int], PromptRequest], seed: str
    ) -> None:
        """`request`: the one at a place of this level."""
        self._plan = plan
        self._level = level
        self._sender = sender
        self._request = request
        self._seed = seed
        self._began = 0.0
        self._tasks: set[asyncio.Task[object]] = set()
        self._broken: BaseException | None = None
        self._issued = 0
        self._counts: list[tuple[float, int, int]] = []
        """When, how many were done by then, and their tokens"""
        self._recent: deque[tuple[float, float]] = deque()
        """When a request was answered, and its TTFT, of the last seconds"""
        self._failures: dict[Fault, int] = {}
        self._tokens_out = 0
        self._under_way: set[Measured] = set()
        self.records: list[RequestRecord] = []
        self.gaps = array("d")
        """Of the requests that were answered to their end"""
        self.late = array("d")
        """By how much each was sent later than meant, with a rate"""
        self.examples: dict[Fault, str] = {}
        self.running = Running()
        self.model = self.transport = ""
        """As the answers had them"""
        self.sent = self.not_sent = self.in_flight = self.done = self.failed = 0
        self.stopped = False

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began if self._began else 0.0

    @property
    def share(self) -> float:
        """Of this level that is behind, by its number of requests or its time."""
        by_number = len(self.records) / self._plan.requests if self._plan.requests else 0.0
        by_time = self.elapsed_s / self._plan.duration_s if self._plan.duration_s else 0.0
        return min(1.0, max(by_number, by_time))

    @property
    def failures(self) -> tuple[Failures, ...]:
        return tuple(Failures(fault, count, self.examples[fault]) for fault, count in self._failures.items())

    def recent_rates(self) -> tuple[float, float]:
        """Requests and output tokens a second over the last seconds, from this call's view and those before.

        Of answers that have not ended, each piece of text counts as a token.
        """
        now = self.elapsed_s
        tokens_so_far = self._tokens_out + sum(measured.pieces for measured in self._under_way)
        self._counts.append((now, self.done, tokens_so_far))
        while len(self._counts) > 1 and now - self._counts[1][0] >= RECENT_S:
            self._counts.pop(0)
        then, done, tokens = self._counts[0] if now - self._counts[0][0] > 0 else (0.0, 0, 0)
        seconds = now - then
        return ((self.done - done) / seconds, max(0, tokens_so_far - tokens) / seconds) if seconds > 0 else (0.0, 0.0)

    def recent_ttft(self) -> Digest:
        """Of what was answered over the last seconds; with a rate from when it was meant to be sent."""
        since = self.elapsed_s - RECENT_S
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        return digest([ttft for _, ttft in self._recent])

    async def measure(self) -> None:
        """Until all have been sent, or `stop` is called, and all that were sent have ended."""
        self._began = time.perf_counter()
        if self.stopped:
            return
        if self._level.arrival is Arrival.CLOSED:
            places = min(int(self._level.amount), self._plan.requests or int(self._level.amount))
            for _ in range(places):
                self._begin(self._place())
        else:
            await asyncio.wait([self._begin(self._pace())])
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._broken:
            raise self._broken

    def stop(self) -> None:
        """Sends nothing more and lets go of what is under way, by which the server does, too."""
        self.stopped = True
        for task in tuple(self._tasks):
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._broken = error  # one of ours: nothing that a server does is raised
            self.stop()

    @property
    def _goes_on(self) -> bool:
        """Whether one more is to be sent, as far as this moment tells."""
        plan = self._plan
        if self.stopped or (plan.requests is not None and self._issued >= plan.requests):
            return False
        return plan.duration_s is None or self.elapsed_s < plan.duration_s

    def _issue(self) -> int:
        """The place of the next request."""
        self._issued += 1
        return self._issued - 1

    async def _place(self) -> None:
        """One of those that are always under way."""
        while self._goes_on:
            began = self.elapsed_s
            failed = await self._one(self._request(self._issue()), None)
            if failed and (left := began + PAUSE_S - self.elapsed_s) > 0:
                await asyncio.sleep(left)

    async def _pace(self) -> None:
        """Sends at the times that are meant, and waits for no answer."""
        plan = self._plan
        for intended in arrivals(self._level.arrival, self._level.amount, self._seed):
            if plan.duration_s is not None and intended >= plan.duration_s:
                await sleep_until(self._began + plan.duration_s)
                return
            if plan.requests is not None and self._issued >= plan.requests:
                return
            await sleep_until(self._began + intended)
            place = self._issue()
            if self.in_flight < plan.most_in_flight:
                self._begin(self._one(self._request(place), intended))
            else:
                self.not_sent += 1
                self.records.append(RequestRecord(intended, None))

    async def _one(self, request: PromptRequest, intended: float | None) -> bool:
        """Whether it failed."""
        began = self.elapsed_s
        if intended is not None:
            self.late.append(max(0.0, began - intended))
        self.sent += 1
        self.in_flight += 1
        result, measured = None, Measured(request)
        self._under_way.add(measured)
        try:
            result = await self._sender.carry_out(measured)
        finally:
            self._under_way.remove(measured)
            self.in_flight -= 1
            if result is None:  # it was let go of
                self.records.append(RequestRecord(began if intended is None else intended, began))
        return self._take(result, began, intended)

    def _take(self, result: PromptResult, began: float, intended: float | None) -> bool:
        timing = result.timing
        sent = result.sent_at - self._began if result.sent_at is not None else began

        def at(since: float | None) -> float | None:
            return None if since is None else sent + since

        fault = None
        if result.outcome is not PromptOutcome.DONE:
            fault = result.fault or Fault.ERROR
            self.failed += 1
            self._failures[fault] = self._failures.get(fault, 0) + 1
            self.examples.setdefault(fault, result.error)
        else:
            self.done += 1
            self.gaps.extend(result.gaps_s)
            self._tokens_out += timing.tokens_out or 0
            self.model = self.model or result.model
            self.transport = self.transport or (result.transport or "")
        record = RequestRecord(
            intended=sent if intended is None else intended,
            sent=None if result.sent_at is None else sent,
            first_token=at(timing.first_token_s),
            last_token=at(timing.last_token_s),
            ended=at(timing.total_s) if timing.total_s is not None else self.elapsed_s,
            tokens_in=timing.tokens_in,
            tokens_out=timing.tokens_out,
            counted=timing.counted,
            fault=fault,
            arrivals=_arrivals(result),
        )
        self.records.append(record)
        self.running.add(record)
        ttft = request_figures(record).ttft_intended if fault is None else None
        if ttft is not None:
            self._recent.append((self.elapsed_s, ttft))
        return fault is not None


def _arrivals(result: PromptResult) -> int | None:
    """Pieces of text that were read at once have the same time: no gap."""
    return None if result.timing.first_token_s is None else 1 + len(result.gaps_s) - result.gaps_s.count(0.0)
