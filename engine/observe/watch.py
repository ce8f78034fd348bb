"""Watches what runs, and tells what its operator should look at: thresholds that are passed, and no answer."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from engine.deployment import Deployment, State
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading
from engine.notice import Notice, Rule
from engine.observe.canary import Canaries, Unanswered, Wanted
from engine.observe.probe import Health
from engine.observe.runs import Run
from engine.observe.thresholds import PAST, Passed, clock, computed, passed
from engine.snapshot import Model

if TYPE_CHECKING:
    from engine.observe.canary import Ask
    from engine.profile import Watch

SETTLED_S = 5.0
"""What is passed again within so short a time has been passed all the time"""
PAUSE_S = 10.0
"""Who has not looked for so long was suspended, or the machine was: what was not heard then, was not silent"""
_HELD = (Rule.WAITING, Rule.KV_CACHE, Rule.TTFT_P99)
RunOf = Callable[[Deployment], Run | None]
_WATCHED = (State.READY, State.UNREACHABLE)


@dataclass(slots=True)
class _Condition:
    since: float
    held_at: float
    """When it was seen to hold last"""
    notice: Notice | None = None
    """Once it has held for long enough"""


class _Watched:
    """One run, since it is watched without a pause."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._conditions: dict[Rule, _Condition] = {}

    @property
    def notices(self) -> tuple[Notice, ...]:
        return tuple(one.notice for rule in Rule if (one := self._conditions.get(rule)) and one.notice)

    def take(self, watch: "Watch", found: Iterable[tuple[Passed, float]], now: float) -> None:
        """`found`: what holds, and since when."""
        for one, since in found:
            condition = self._conditions.setdefault(one.rule, _Condition(since, now))
            condition.held_at = now
            if one.rule not in _HELD or now - condition.since >= watch.hold:
                condition.notice = Notice(one.rule, condition.since, one.text, one.short)
        for rule, condition in list(self._conditions.items()):
            if condition.held_at < now and (not condition.notice or now - condition.held_at >= SETTLED_S):
                del self._conditions[rule]


class Watches:
    """For one thread. Nothing is told of what starts, stops, sleeps or is being changed by an operation."""

    def __init__(self, ask: "Ask | None" = None) -> None:
        """`ask`: for canaries; without it none is sent."""
        self._watched: dict[Run, _Watched] = {}
        self._canaries = Canaries(ask) if ask else None
        self._looked_at: float | None = None

    def of(self, run: Run) -> tuple[Notice, ...]:
        """The gravest first."""
        watched = self._watched.get(run)
        return watched.notices if watched else ()

    def look(
        self,
        models: Iterable[Model],
        profiles: "Mapping[str, Watch]",
        run_of: RunOf,
        busy: Collection[str],
        now: float,
        *,
        leased: bool = False,
    ) -> bool:
        """Whether anything is told now that was not, or the other way round. `now`: seconds since the epoch.

        `profiles`: what each says, by name; of others the defaults hold. `busy`: names of the deployments that an
        operation changes. `leased`: somebody changes the machine, and perhaps waits for requests to end.
        """
        from engine.profile import Watch

        defaults = Watch()
        before = {run: watched.notices for run, watched in self._watched.items()}
        if self._looked_at is None or not 0 <= now - self._looked_at < PAUSE_S:
            self._watched = {}
            if self._canaries:
                self._canaries.look({}, now)
        self._looked_at = now
        seen: dict[Run, _Watched] = {}
        canaries: dict[Run, Wanted] = {}
        for model in models:
            run = run_of(model.deployment) if model.deployment else None
            if not run or model.state not in _WATCHED or model.name in busy:
                continue
            watch = (None if model.foreign else profiles.get(model.name)) or defaults
            seen[run] = self._watched.get(run) or _Watched(now)
            if watch.canary and model.state is State.READY and not leased:
                canaries[run] = Wanted(run.deployment, watch.canary, partial(_computes, run))
            canary = self._canaries.of(run) if self._canaries else None
            seen[run].take(watch, _found(run, watch, canary, seen[run].since, now), now)
        self._watched = seen
        if self._canaries:
            self._canaries.look(canaries, now)
        return {run: told for run, told in before.items() if told} != {
            run: watched.notices for run, watched in seen.items() if watched.notices
        }

    def close(self) -> None:
        if self._canaries:
            self._canaries.close()


def _found(
    run: Run, watch: "Watch", canary: Unanswered | None, since: float, now: float
) -> Iterator[tuple[Passed, float]]:
    """What holds now, and since when, as far as that is known. `since`: for how long it is watched."""
    reading = run.metrics.current(now, PAST)
    if watch.no_answer is not None:
        yield from _silent(run, watch.no_answer, reading, since, now)
    if canary:
        text = (
            f"It says that it is ready, and has answered no prompt since {clock(canary.since)}: {canary.why}."
            " Its log may say why; a restart brings it back."
        )
        yield Passed(Rule.CANARY, text, "mute"), canary.since
    yield from ((one, now) for one in passed(watch, reading, run.deployment.started_at or since, now))


def _silent(
    run: Run, limit_s: float, reading: MetricsReading, since: float, now: float
) -> Iterator[tuple[Passed, float]]:
    answered_at = _not_before(since, run.answered_at, now)
    if run.probe and run.probe.health is not Health.READY:
        if now - answered_at >= limit_s:
            text = (
                f"It has not answered since {clock(answered_at)}, for more than {limit_s:g} s: {run.probe.detail}."
                " Its log may say why."
            )
            yield Passed(Rule.NO_ANSWER, text, "silent"), answered_at
    elif (
        reading.freshness is Freshness.STALE
        and reading.at
        and now - (told_at := _not_before(since, reading.at, now)) >= limit_s
    ):
        text = (
            f"It says that it is ready, and its metrics have not answered since {clock(told_at)},"
            f" for more than {limit_s:g} s: what is shown of them is from then."
        )
        yield Passed(Rule.NO_ANSWER, text, "silent"), told_at


def _computes(run: Run, since: float) -> bool:
    return computed(run.metrics.current(time.time(), PAST), since)


def _not_before(since: float, at: float | None, now: float) -> float:
    """What seems to lie ahead was before the clock was set back."""
    return max(at, since) if at is not None and at <= now else since
