"""What one look tells of what runs, without watching it: what its metrics say now, and what another has measured."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.deployment import State
from engine.notice import Notice
from engine.observe.kept_bounds import bound_of
from engine.observe.metric_history import WRITE_EVERY_S, History
from engine.observe.runs import Run
from engine.observe.series import Computed
from engine.observe.thresholds import FAILURES, FIRST_TOKEN, PAST, WINDOW_S, Look, computed, passed
from engine.observe.timeline import STEP_S
from engine.observe.watch import RunOf
from engine.snapshot import Model, Snapshot

if TYPE_CHECKING:
    from engine.profile import Watch

TWO = 2
"""Scrapes: counters are compared, and a histogram's quantile is of what came between"""
NEWEST_S = WRITE_EVERY_S + 2 * STEP_S
"""Who measures a deployment now, has written something that is no older"""


def at_a_glance(
    snapshot: Snapshot, limits: "Mapping[str, Watch]", run_of: RunOf, busy: Collection[str], kept: History
) -> Snapshot:
    """With what holds at this moment, however short it has. Blocks while `kept` is read.

    `limits`: what each profile says, by name; of others the defaults hold. `busy`: names of the deployments that an
    operation changes. `kept`: what open consoles, if there are any, have measured.
    """
    from engine.profile import Watch

    defaults, now = Watch(), time.time()

    def look(model: Model) -> Model:
        run = run_of(model.deployment) if model.deployment else None
        if not run or model.state is not State.READY or model.name in busy:
            return model
        watch = (None if model.foreign else limits.get(model.name)) or defaults
        reading, since = run.metrics.current(now, (*PAST, *FIRST_TOKEN)), run.deployment.started_at or 0.0
        times = next((one.times for one in reading.series if one.times), (now,))
        found = passed(watch, reading, since, now, _look(kept, model.name, max(since, now - WINDOW_S), times))
        return replace(model, notices=tuple(Notice(one.rule, now, one.text, one.short) for one in found))

    models = tuple(look(model) for model in snapshot.models)
    return replace(snapshot, models=models, trouble=snapshot.trouble or kept.problem)


def wants_another(watch: "Watch", run: Run) -> bool:
    """Scrape: a limit is of what is counted, something has been, and of one scrape nobody knows when.

    More than two where tokens are computed, and no first one has come meanwhile.
    """
    first = FIRST_TOKEN if watch.ttft_p99 is not None else ()
    if run.reads < TWO:
        return run.metrics.has_counted((*first, *((FAILURES,) if watch.failures is not None else ())))
    reading = run.metrics.current(time.time(), PAST)
    known = [one.value is not None for one in reading.series if one.key in first]
    return bool(known) and not any(known) and computed(reading, 0.0)


def _look(kept: History, name: str, since: float, times: tuple[float, ...]) -> Look:
    """`times`: of the scrapes of this look."""
    measured = kept.measured(name, since, times[0])
    failed = math.fsum(one.means.get(FAILURES, 0.0) * min(one.seconds, one.samples) for one in measured)
    newest = measured[-1] if measured else None
    look = Look(times[-1] - times[0], failed)
    if newest is None or newest.at < times[0] - NEWEST_S:
        return look
    key = next((key for key in FIRST_TOKEN if key in newest.means), "")
    first = Computed(newest.means[key], bound_of(key, newest.means)) if key else None
    return replace(look, first_token=first, until=newest.at + newest.seconds)
