"""One line on a deployment: is it healthy, is it saturated, who waits, and what do its GPUs do."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len
from textual.content import Content

from engine.deployment import State
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.snapshot import Model, Snapshot
from tui import format as fmt
from tui.widgets.glyphs import gib, with_unit
from tui.widgets.metric_rows import MetricRow, metric_lines
from tui.widgets.state import LOOKS

BETWEEN = "  "
FULL_CACHE = 95.0
"""% of the KV cache in use from which waiting requests wait for it"""
RUNNING, WAITING, CACHE = "running", "waiting", "kv_cache"
QUEUED = (WAITING, "pending")
"""Those that the engine holds back, and those that Triton has not handed to a model: others"""
DONE = ("finished", "requests")
"""Rates of answered requests: the engine's before the server's"""
FAILED = ("failed", "failures")
LATENCY = ("ttft_p50", "first_response_p50", "request_time")
OUTPUT = "generation"
MUTED, WARNING, ERROR = "$text-muted", "$text-warning", "$text-error"


class Part(NamedTuple):
    text: str
    style: str = ""


def glance(model: Model, reading: MetricsReading, snapshot: Snapshot, width: int) -> Content:
    """As many parts as have room, what matters most first."""
    shown: list[Content] = []
    used = 0
    for part in _parts(model, reading, snapshot):
        needed = cell_len(part.text) + (len(BETWEEN) if shown else 0)
        if used + needed > width:
            continue
        used += needed
        shown.append(Content.styled(part.text, part.style) if part.style else Content(part.text))
    return Content(BETWEEN).join(shown)


def _parts(model: Model, reading: MetricsReading, snapshot: Snapshot) -> Iterator[Part]:
    look = LOOKS[model.state]
    yield Part(f"{look.symbol} {look.word}", f"${look.colour}")
    if reading.freshness is not Freshness.FRESH:
        if reading.at is not None:
            yield Part(f"figures of {fmt.clock(reading.at)}", MUTED)
            for part in _figures(model, reading, snapshot):
                yield Part(part.text, MUTED)
        return
    yield from _figures(model, reading, snapshot)


def _figures(model: Model, reading: MetricsReading, snapshot: Snapshot) -> Iterator[Part]:
    fresh = reading.freshness is Freshness.FRESH
    now = {one.key: one.value for one in reading.series if not one.of and one.value is not None}
    if fresh and (load := _load(now)):
        yield load
    if RUNNING in now:
        yield Part(f"{now[RUNNING]:.0f} running")
    queued = _queued(now)
    if queued is not None:
        yield Part(f"{queued:.0f} waiting", WARNING if queued > 0 else "")
    failed = next((now[key] for key in FAILED if key in now), None)
    if failed:
        yield Part(f"{with_unit(failed, 'req/s')} failed", ERROR)
    if CACHE in now:
        yield Part(f"KV {now[CACHE]:.0f} %", WARNING if now[CACHE] >= FULL_CACHE else "")
    if fresh and (gpus := _gpus(model, snapshot)):
        yield gpus
    if OUTPUT in now:
        yield Part(with_unit(now[OUTPUT], "tok/s"))
    if done := next((now[key] for key in DONE if key in now), None):
        yield Part(with_unit(done, "req/s"))
    if latency := _latency(reading.series):
        yield Part(f"{latency.title} {latency.value}")


def _load(now: dict[str, float]) -> Part | None:
    """In a word; None where nothing tells."""
    queued = _queued(now)
    running = now.get(RUNNING)
    if running is None:
        running = next((now[key] for key in DONE if key in now), None)
    if queued:
        full = now.get(CACHE, 0.0) >= FULL_CACHE
        return Part("saturated" if full else "queueing", WARNING)
    if running is None:
        return None
    return Part("serving") if running else Part("idle", MUTED)


def _queued(now: dict[str, float]) -> float | None:
    told = [now[key] for key in QUEUED if key in now]
    return sum(told) if told else None


def _gpus(model: Model, snapshot: Snapshot) -> Part | None:
    """Load and memory of the GPUs that it was placed on, or has memory of."""
    reading = snapshot.gpus
    placed = model.deployment.gpus if model.deployment else ()
    if reading is None or model.state is State.ABSENT:
        return None
    own = [
        gpu
        for gpu in reading.gpus
        if gpu.uuid in placed or any(share.deployment and share.owner == model.name for share in gpu.shares)
    ]
    if not own:
        return None
    names = _ranges(sorted(gpu.index for gpu in own))
    loads = [gpu.utilization for gpu in own if gpu.utilization is not None]
    told = [f"{sum(loads) / len(loads):.0f} %"] if loads else []
    if all(gpu.memory_used is not None and gpu.memory_total for gpu in own):
        used = sum(gpu.memory_used or 0 for gpu in own)
        total = sum(gpu.memory_total or 0 for gpu in own)
        told.append(f"{gib(used, 0)}/{gib(total, 0)} GiB")
    return Part(f"GPU {names}: {' '.join(told)}") if told else None


def _ranges(numbers: Sequence[int]) -> str:
    """E.g. `0-3,6`."""
    stretches = (list(some) for _, some in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]))
    ends = ((stretch[0][1], stretch[-1][1]) for stretch in stretches)
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def _latency(series: Sequence[Series]) -> MetricRow | None:
    rows = metric_lines(series, compact=True, headings=False)
    found = {row.series[0].key: row for row in rows if isinstance(row, MetricRow)}
    return next((found[key] for key in LATENCY if key in found and found[key].series[0].value is not None), None)
