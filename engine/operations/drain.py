"""Waits until a server has answered the requests that it has, as far as its metrics tell."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from engine.deployment import Service
from engine.observe.exposition import Exposition, ExpositionError, ExpositionReader
from engine.observe.http_get import Failure, UnansweredError
from engine.observe.scrape import MetricsError, scrape
from engine.operations.asking import ask
from engine.operations.waiting import Waiting

BUSY_EVERY_S = 0.5
CONFIRM_AFTER_S = 0.2
"""Between the two samples without a request that it takes: new ones may come at any time, so no more is asked for"""
STILL_S = 3.0
"""What is counted as under way, and has made no progress for so long, is not: its client went away"""
FAILURES = 3
"""Scrapes that fail one after the other until the server counts as gone"""
BUSY = (Failure.NOT_ACCEPTED, Failure.SILENT, Failure.UNFINISHED)
"""Failures of a server that is there: who computes as much as it can may answer nobody who looks on"""

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
TRTLLM_REQUESTS, TRTLLM_GENERAL = "nv_trt_llm_request_metrics", "nv_trt_llm_general_metrics"
ACCEPTED, QUEUED = "nv_inference_request_success", "nv_inference_pending_request_count"
GENERATED, PROMPTS = "vllm:generation_tokens", "vllm:prompt_tokens"
BEGUN, FINISHED = "vllm:time_to_first_token_seconds_count", "vllm:e2e_request_latency_seconds_count"
_FAMILIES = frozenset(
    (RUNNING, WAITING, TRTLLM_REQUESTS, TRTLLM_GENERAL, ACCEPTED, QUEUED, GENERATED, PROMPTS, BEGUN, FINISHED)
)


@dataclass(frozen=True, slots=True)
class Load:
    """What one scrape tells of a server's requests."""

    told_by: str
    """The family that it is read from"""
    requests: int
    progress: float | None = None
    """Grows while anything is computed, where `requests` may count such as have gone away; else None"""
    queued: int = 0
    """Of them, those that no model has taken in, where that is told"""
    queue_only: bool = False
    """`requests` are those that wait; how many are computed is not told"""

    @property
    def count(self) -> str:
        most = "up to " if self.progress is not None and self.requests else ""
        return f"{most}{self.requests} {'request' if self.requests == 1 else 'requests'}"

    @property
    def where(self) -> str:
        return "queued" if self.queue_only else "under way"


def drained_by(service: Service) -> str:
    """The metric family that tells its requests under way, by one scrape; empty when none does, or none is served.

    Blocks, for some seconds at most; for a thread without an event loop.
    """
    if not service.metrics:
        return ""
    try:
        load = ask(_sample(service.metrics), Waiting())
    except (MetricsError, ExpositionError):
        return ""
    return load.told_by if load else ""


def drain(service: Service, waiting: Waiting, limit_s: float) -> str:
    """Waits until no request is under way, at most `limit_s`, and returns in a few words what came of it.

    Raises `Cancelled`, and nothing for what the server does. For a thread without an event loop.
    """
    if limit_s <= 0:
        return "not waited for"
    if not service.metrics:
        return "whether requests are under way cannot be told: it serves no metrics"
    return ask(_drain(service.metrics, waiting, limit_s), waiting)


async def _sample(url: str) -> Load | None:
    return read_load(ExpositionReader(_FAMILIES).read(await scrape(url)))


async def _drain(url: str, waiting: Waiting, limit_s: float) -> str:
    began = time.monotonic()
    stretch = _Stretch(began)
    try:
        async with asyncio.timeout(limit_s):
            ended = await _until_drained(url, waiting, stretch, began + limit_s)
    except TimeoutError:
        return _cut_off(stretch.load, limit_s)
    took = time.monotonic() - began
    return f"{ended} (after {took:.0f} s)" if stretch.settled and took >= 1 else ended


async def _until_drained(url: str, waiting: Waiting, stretch: "_Stretch", deadline: float) -> str:
    reader, failures = ExpositionReader(_FAMILIES), 0
    while True:
        pause = BUSY_EVERY_S
        try:
            load = read_load(reader.read(await scrape(url)))
        except (MetricsError, ExpositionError) as error:
            if _is_busy(error):
                left = math.ceil(deadline - time.monotonic())
                waiting.detail(f"it does not answer what is under way, {left} s left")
                continue
            failures += 1
            if failures == FAILURES:
                said = error.what if isinstance(error, MetricsError) else f"{url} has no metrics, {error}"
                longer = " any longer" if stretch.load else ""
                return f"whether requests are under way cannot be told{longer}: {said.rstrip('.')}"
        else:
            failures = 0
            if load is None:
                return f"whether requests are under way cannot be told: no metric at {url} does"
            if ended := stretch.take(load, time.monotonic()):
                return ended
            left = math.ceil(deadline - time.monotonic())
            waiting.detail(f"{load.count} {load.where}, {left} s left")
            pause = BUSY_EVERY_S if load.requests else CONFIRM_AFTER_S
        await asyncio.sleep(pause)


def _is_busy(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(cause, UnansweredError) and cause.failure in BUSY


class _Stretch:
    """How long nothing has been under way."""

    def __init__(self, now: float) -> None:
        self.load: Load | None = None
        self.settled = False
        self._moved_at = now

    def take(self, load: Load, now: float) -> str:
        """What to say when the server is drained; empty when it is not, or not for sure."""
        before, self.load = self.load, load
        same = before is not None and before.progress == load.progress
        if not same:
            self._moved_at = now
        twice_none = same and before and not before.requests and not load.requests
        still = load.progress is not None and not load.queued and now - self._moved_at >= STILL_S
        self.settled = bool(twice_none or still)
        if not self.settled:
            return ""
        if load.queue_only:
            return "nothing is queued; what it still computes Triton does not tell, and ends when it is stopped"
        return "no requests under way" if twice_none else f"none under way: nothing was computed for {STILL_S:g} s"


def _cut_off(load: Load | None, limit_s: float) -> str:
    if load is None:
        return f"whether requests are under way could not be told within {limit_s:g} s"
    if not load.requests:
        return f"requests kept coming for {limit_s:g} s; those under way are cut off"
    was, are = ("was", "is") if load.requests == 1 else ("were", "are")
    return f"{load.count} {was} still {load.where} after {limit_s:g} s and {are} cut off"


def read_load(exposition: Exposition) -> Load | None:
    """None when none of the families that tell it is there."""
    for read in (_vllm, _trtllm, _vllm_in_triton, _triton):
        load = read(exposition)
        if load is not None:
            return load
    return None


def _vllm(exposition: Exposition) -> Load | None:
    """vLLM's own server counts them."""
    running = exposition.scalars.get(RUNNING)
    if running is None:
        return None
    waiting = exposition.scalars.get(WAITING, {})
    return Load(RUNNING, _whole(running.values()) + _whole(waiting.values()))


def _trtllm(exposition: Exposition) -> Load | None:
    """TensorRT-LLM's backend reports its last iteration, so what ended in that one may stay counted."""
    found = exposition.scalars.get(TRTLLM_REQUESTS)
    if found is None:
        return None
    by_type: dict[str, float] = defaultdict(float)
    for labels, value in found.items():
        by_type[dict(labels).get("request_type", "")] += value
    requests = max(_whole([by_type["active"]]), _whole([by_type["waiting"], by_type["scheduled"]]))
    general = exposition.scalars.get(TRTLLM_GENERAL, {})
    iterations = [value for labels, value in general.items() if ("general_type", "iteration_counter") in labels]
    return Load(TRTLLM_REQUESTS, requests, math.fsum(iterations) if iterations else None)


def _vllm_in_triton(exposition: Exposition) -> Load | None:
    """No gauge tells them, but Triton counts a decoupled request as a success when the model has taken it in.

    Of those less what vLLM has finished remain the ones under way, and the ones whose client went away: they are
    never counted as finished. (Seen on tritonserver 2.51: 12 streams under way read as 12 successes, 0 pending.)
    """
    finished = _by_model(exposition, FINISHED)
    if not finished:
        return None
    accepted, begun = _by_model(exposition, ACCEPTED), _by_model(exposition, BEGUN)
    unfinished = (max(accepted[model], begun[model]) - ended for model, ended in finished.items())
    queued = _whole(exposition.scalars.get(QUEUED, {}).values())
    tokens = (exposition.scalars.get(exposition.scalar([family]) or "", {}) for family in (GENERATED, PROMPTS))
    progress = math.fsum(value for found in tokens for value in found.values())
    return Load(FINISHED, queued + _whole(unfinished), progress, queued)


def _triton(exposition: Exposition) -> Load | None:
    """Triton's only gauge is of the requests that no model has taken in yet (seen on tritonserver 2.51).

    What is computed shows nowhere, in its statistics neither; told to stop, it ends that first, for as long as
    `--exit-timeout-secs` says (30 s).
    """
    queued = exposition.scalars.get(QUEUED)
    if queued is None:
        return None
    waiting = _whole(queued.values())
    return Load(QUEUED, waiting, queued=waiting, queue_only=True)


def _by_model(exposition: Exposition, family: str) -> defaultdict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for labels, value in exposition.scalars.get(family, {}).items():
        found[dict(labels).get("model", "")] += value
    return found


def _whole(values: Iterable[float]) -> int:
    return round(math.fsum(max(0.0, value) for value in values if math.isfinite(value)))
