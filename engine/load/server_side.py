"""What a server itself counted while it was under load: its metrics before and after, and by what they grew.

Names and what they mean: as `engine.observe.metric_catalog` has them of vLLM, Triton, and Triton's vLLM backend.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import EngineError
from engine.load.statistics import is_done
from engine.load_result import LEAST_FOR_P99, Digest, RequestRecord, ServerFigures
from engine.metrics_reading import Bound
from engine.observe.exposition import ExpositionError, ExpositionReader, Slot
from engine.observe.metric_catalog.idea import MICROSECONDS, MILLISECONDS
from engine.observe.scrape import rubbish, scrape
from engine.observe.series import histogram_quantile

SETTLE_S = 2.0
"""So long it is waited for what a server counts a moment after its client has seen it"""
LOOK_EVERY_S = 0.1

_FINISHED = (("vllm:request_success",), ("nv_inference_request_success", "nv_inference_request_failure"))
"""What ended, well or not. vLLM's own server has the first; of a request that a client left it may count nothing"""
_TOKENS_IN, _TOKENS_OUT = "vllm:prompt_tokens", "vllm:generation_tokens"
_TTFT = (("vllm:time_to_first_token_seconds", 1.0), ("nv_inference_first_response_histogram_ms", MILLISECONDS))
_ITL = (
    ("vllm:request_time_per_output_token_seconds", 1.0),  # of each request, as the client has it
    ("vllm:inter_token_latency_seconds", 1.0),  # of each token
    ("vllm:time_per_output_token_seconds", 1.0),
)
_E2E = (("vllm:e2e_request_latency_seconds", 1.0),)
_QUEUE = (("vllm:request_queue_time_seconds", 1.0),)
_TRITON_QUEUE, _TRITON_SUCCESSES = "nv_inference_queue_duration_us", "nv_inference_request_success"
_TRITON_E2E = "nv_inference_request_duration_us"
_BEGAN = "process_start_time_seconds"

_COUNTERS = frozenset(
    {name for names in _FINISHED for name in names} | {_TOKENS_IN, _TOKENS_OUT, _TRITON_QUEUE, _TRITON_E2E}
)
_HISTOGRAMS = frozenset(family for families in (_TTFT, _ITL, _E2E, _QUEUE) for family, _ in families)
_WANTED = _COUNTERS | {_BEGAN} | _HISTOGRAMS | {f"{name}{end}" for name in _HISTOGRAMS for end in ("_sum", "_count")}
_MODEL_LABELS = ("model", "model_name")

Look = Mapping[Slot, float]


class ServerSide:
    """Two looks at a server's metrics. Belongs to one level: `begin`, send, `end`. Both take up to `SETTLE_S`."""

    def __init__(self, url: str | None, *, streams: bool = True) -> None:
        """`url`: of its metrics; None when it has none.

        `streams`: the model answers in more than one response. Triton counts the time of such a request until its model
        has taken it over, which is no time of an answer.
        """
        self.problem = ""
        """Why there are no figures; empty when there are, or the server has no metrics"""
        self._url = url
        self._streams = streams
        self._reader = ExpositionReader(_WANTED)
        self._before: Look | None = None

    async def begin(self) -> None:
        """The first look, when what was sent before (the warm-up) has been counted."""
        self._before = await self._settled(lambda _: True)

    async def end(self, records: Sequence[RequestRecord], model: str = "") -> ServerFigures | None:
        """The second look, as soon as the server has counted these requests; None without metrics, or a first look.

        `model`: as the requests named it; Triton counts each model's, those within an ensemble, too.
        """
        before = self._before
        if before is None:
            return None
        done = sum(map(is_done, records))

        def counted(look: Look) -> bool:
            growth = _Growth(before, look, model, self._streams)
            requests = growth.requests()
            return requests is None or requests >= done or growth.began_anew()

        after = await self._settled(counted)
        if after is None:
            return None
        growth = _Growth(before, after, model, self._streams)
        return growth.figures(done, sum(record.sent is not None for record in records))

    async def _settled(self, enough: Callable[[Look], bool]) -> Look | None:
        """What is counted when it has stood still from one look to the next, and is enough, or time is over."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + SETTLE_S
        last: Look | None = None
        while True:
            look = await self._look()
            if look is None or (look == last and enough(look)) or clock() >= deadline:
                return look
            last = look
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> Look | None:
        if self._url is None:
            return None
        try:
            text = await scrape(self._url)
            found = self._reader.read(text)
        except ExpositionError as error:
            self.problem = str(rubbish(self._url, error.line))
            return None
        except EngineError as error:
            self.problem = str(error)
            return None
        self.problem = ""
        values = {found.slots[number]: found.values[number] for number in found.present}
        return {slot: value for slot, value in values.items() if math.isfinite(value)}


@dataclass(frozen=True, slots=True)
class _Growth:
    """Of counters, histograms' buckets among them; a series that was not there before began at 0."""

    before: Look
    after: Look
    model: str
    streams: bool

    def figures(self, done: int, sent: int) -> ServerFigures:
        if self.began_anew():
            return ServerFigures(alone=False)
        requests = self.requests()
        return ServerFigures(
            requests=requests,
            tokens_in=self._counter(_TOKENS_IN),
            tokens_out=self._counter(_TOKENS_OUT),
            ttft=self._distribution(_TTFT),
            itl=self._distribution(_ITL),
            e2e=self._of_all(_E2E, None if self.streams else _TRITON_E2E),
            queue=self._of_all(_QUEUE, _TRITON_QUEUE),
            alone=requests is None or done <= requests <= sent,
            own=self._is_own(),
        )

    def requests(self) -> float | None:
        for names in _FINISHED:
            found = [count for name in names if (count := self._counter(name)) is not None]
            if found:
                return sum(found)
        return None

    def began_anew(self) -> bool:
        """The server was started again meanwhile: what it counted before is lost."""
        if any(value != self.after.get(slot, value) for slot, value in self.before.items() if slot.name == _BEGAN):
            return True
        return any(self.after.get(slot, -math.inf) < value for slot, value in self.before.items())

    def _is_own(self) -> bool:
        """Whether the requests that were counted are the model's.

        One model alone is, whatever its name: vLLM counts those of an adapter, and of a second name, by its first one.
        """
        counters = [name for names in _FINISHED for name in names]
        models = {_model(slot) for name in counters for slot in self._slots(name)} - {None}
        return len(models) < 2 or self.model in models

    def _slots(self, name: str) -> list[Slot]:
        return [slot for slot in self.after if slot.name in (name, f"{name}_total")]

    def _grown(self, name: str) -> Iterator[tuple[Slot, float]]:
        """Each series of that name, only the model's where some are; with what it has grown by."""
        slots = self._slots(name)
        for slot in [slot for slot in slots if _model(slot) == self.model] or slots:
            yield slot, self.after[slot] - self.before.get(slot, 0.0)

    def _counter(self, name: str) -> float | None:
        found = [growth for _, growth in self._grown(name)]
        return math.fsum(found) if found else None

    def _distribution(self, families: Sequence[tuple[str, float]]) -> Digest:
        """Of the first family that is there."""
        for family, scale in families:
            count, total = self._counter(f"{family}_count"), self._counter(f"{family}_sum")
            if count is not None and total is not None:
                return self._digest(family, scale, count, total) if count > 0 else Digest()
        return Digest()

    def _digest(self, family: str, scale: float, count: float, total: float) -> Digest:
        sets: dict[object, dict[float, float]] = {}
        for slot, growth in self._grown(family):
            if slot.bound is not None:
                sets.setdefault(slot.labels, {})[slot.bound] = growth
        bounds = sorted(set.intersection(*map(set, sets.values()))) if sets else []
        counts = [math.fsum(one[bound] for one in sets.values()) for bound in bounds]

        def within(share: float) -> float | None:
            """Not known in the lowest bucket, nor beyond the highest bound."""
            value, bound = histogram_quantile(share, bounds, counts)
            return value * scale if value is not None and bound is Bound.EXACT else None

        p99 = within(0.99) if count >= LEAST_FOR_P99 else None
        return Digest(
            round(count), total * scale / count, p50=within(0.50), p90=within(0.90), p95=within(0.95), p99=p99
        )

    def _of_all(self, families: Sequence[tuple[str, float]], triton: str | None) -> Digest:
        """Triton itself counts only how long all of those together took that it answered."""
        found = self._distribution(families)
        if found.n or triton is None:
            return found
        together, count = self._counter(triton), self._counter(_TRITON_SUCCESSES)
        return Digest(round(count), together * MICROSECONDS / count) if together is not None and count else Digest()


def _model(slot: Slot) -> str | None:
    labels = dict(slot.labels)
    return next((labels[label] for label in _MODEL_LABELS if label in labels), None)
