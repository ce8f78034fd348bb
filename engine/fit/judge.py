"""Whether a model with these options fits on these GPUs: the arithmetic and its verdict, without advice."""

import math
from dataclasses import dataclass, replace

from engine.fit.kv import KvCost, kv_cost
from engine.fit.model import Model
from engine.fit.options import EngineOptions, read_options
from engine.fit.overhead import Overhead, batch, overhead
from engine.fit.question import FitQuestion, GpuMemory
from engine.fit.result import Verdict
from engine.fit.structure import obstacle
from engine.fit.values import NOTHING, Range, gib, grouped
from engine.fit.weights import served_dtype, weights


@dataclass(frozen=True, slots=True)
class Demand:
    """What the fullest GPU has to hold."""

    options: EngineOptions
    weights: Range
    weights_how: str
    cost: KvCost
    overhead: Overhead
    length: int
    """Tokens of the longest request that the engine takes"""
    context: int
    """Tokens of the requests that are wished for"""
    concurrency: int

    @property
    def wish(self) -> int:
        """Bytes of KV cache for all requests wished for."""
        return self.cost.request(self.context) * self.concurrency

    @property
    def fixed(self) -> Range:
        """What the engine's budget holds beside the KV cache."""
        return self.weights + self.overhead.within + self.overhead.adapters


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    summary: str
    demand: Demand
    gpu: GpuMemory | None = None
    allowed: int = 0
    """Bytes of the GPU that the engine may take: neither in use nor reserved"""
    budget: int = 0
    room: Range = NOTHING
    """For KV cache"""


def judge(model: Model, question: FitQuestion) -> Judgement | str:
    """Of the GPU that has the least room. A sentence when a number is missing."""
    options = read_options(question.engine, question.options, question.version)
    gpus = question.gpus[: options.ranks_here or None]
    demand = _demand(model, question, options, max((gpu.total for gpu in gpus), default=None))
    if isinstance(demand, str):
        return demand
    broken = obstacle(model, question, options)
    found = [_on(gpu, question, demand) for gpu in dict.fromkeys(gpus)]
    worst = min(found, key=lambda one: (ORDER[one.verdict], one.room.low, one.allowed), default=None)
    if worst is None:
        words = "How much memory the GPUs have is not known." if question.gpu_count else "No GPU is known that it gets."
        worst = Judgement(Verdict.UNKNOWN, words, demand)
    if broken:
        return replace(worst, verdict=Verdict.DOES_NOT_FIT, summary=broken)
    return worst


ORDER = {Verdict.DOES_NOT_FIT: 0, Verdict.TIGHT: 1, Verdict.FITS: 2, Verdict.UNKNOWN: 3}


def _demand(model: Model, question: FitQuestion, options: EngineOptions, gpu_total: int | None) -> Demand | str:
    loaded = weights(model, options)
    if loaded is None:
        return "How large its weights are is not known: neither files nor numbers tell."
    length = options.length or model.shape.limit or question.context
    if length is None:
        return "How long its requests may be is not known: no limit is stated."
    _, (batched, _) = batch(options, gpu_total)
    cost = kv_cost(model.shape, options, served_dtype(model, options), batched)
    return Demand(
        options,
        *loaded,
        cost,
        overhead(model.shape, options, gpu_total),
        length,
        min(question.context or length, length),
        question.concurrency,
    )


def _on(gpu: GpuMemory, question: FitQuestion, demand: Demand) -> Judgement:
    options = demand.options
    # What is in use counts as part of what is reserved: the other job may be running already.
    allowed = gpu.total - max(gpu.used, math.ceil(question.reserve * gpu.total))
    taken, budget, room = (_vllm if options.engine == "vllm" else _tensorrt_llm)(gpu, demand)
    if options.length_chosen:
        demand = _chosen(demand, room, question)
    verdict, summary = _verdict(gpu, question, demand, allowed, budget, taken, room)
    return Judgement(verdict, summary, demand, gpu, allowed, budget, room)


def _vllm(gpu: GpuMemory, demand: Demand) -> tuple[Range, int, Range]:
    """What it takes of the GPU, its budget, and the room for KV cache: a share of the *total*, whatever is in use."""
    options, fixed, outside = demand.options, demand.fixed, demand.overhead.outside
    if options.kv_bytes is not None:
        kv = Range(options.kv_bytes, options.kv_bytes)
        return fixed + kv + outside, fixed.high + kv.high, kv
    budget = math.ceil(gpu.total * options.share)
    # The start is refused when the budget is not free; what comes on top is an estimate, so it only makes it tight.
    return Range(budget, budget + outside.high), budget, Range(budget - fixed.high, budget - fixed.low)


def _tensorrt_llm(gpu: GpuMemory, demand: Demand) -> tuple[Range, int, Range]:
    """A share of what is *free* once the model is loaded."""
    loaded = demand.fixed + demand.overhead.outside
    free = gpu.total - gpu.used
    least, most = max(0, free - loaded.high), max(0, free - loaded.low)
    room = Range(int(least * demand.options.share), int(most * demand.options.share))
    if demand.options.kv_tokens is not None:
        cap = demand.options.kv_tokens * demand.cost.per_token
        room = Range(min(room.low, cap), min(room.high, cap))
    taken = Range(loaded.low + room.high, loaded.high + room.low)
    taken = Range(min(taken.low, taken.high), max(taken.low, taken.high))
    return taken, taken.high, room


def _chosen(demand: Demand, room: Range, question: FitQuestion) -> Demand:
    """With `max_model_len: auto` vLLM takes the longest that fits."""
    longest = demand.cost.largest(room.low, demand.length) or demand.cost.largest(room.high, demand.length)
    length = longest or demand.cost.block
    if question.context is None:
        return replace(demand, length=length, context=length, concurrency=1)
    return replace(demand, length=length, context=min(question.context, length))


def _verdict(
    gpu: GpuMemory, question: FitQuestion, demand: Demand, allowed: int, budget: int, taken: Range, room: Range
) -> tuple[Verdict, str]:
    options, cost, total = demand.options, demand.cost, gib(gpu.total)
    if demand.fixed.low > min(budget, gpu.total - gpu.used):
        least = demand.fixed.low
        return Verdict.DOES_NOT_FIT, (
            f"Weights ({gib(demand.weights.low)} a GPU) and what computing takes need {gib(least)} at least,"
            f" and {_of_budget(gpu, demand, budget)}."
        )
    if taken.low > allowed:
        return Verdict.DOES_NOT_FIT, _too_much(gpu, question, demand, allowed, taken)
    one = cost.request(demand.length if options.engine == "vllm" else demand.context)
    must = max(one, cost.request(demand.context))
    if must > room.high:
        tokens = demand.length if options.engine == "vllm" else demand.context
        return Verdict.DOES_NOT_FIT, (
            f"One request of {grouped(tokens)} tokens needs {gib(must)} of KV cache a GPU,"
            f" and {gib(max(0, room.high))} at most are left for it of {total}."
        )
    each = cost.request(demand.context)  # nothing, when no layer keeps any
    requests = room.high // each if each else demand.concurrency
    if requests < demand.concurrency:
        return Verdict.TIGHT, (
            f"{requests} of the {demand.concurrency} wished requests of {grouped(demand.context)} tokens fit at once"
            f" ({gib(room.high)} at most for KV cache, {gib(demand.wish)} wished for); the others wait."
        )
    wish = f"{demand.concurrency} × {grouped(demand.context)} tokens"
    if must > room.low or demand.wish > room.low:
        return Verdict.TIGHT, (
            f"It fits unless activations and graphs take the upper end of their range: {wish} need {gib(demand.wish)}"
            f" of KV cache, and {gib(max(0, room.low))} to {gib(room.high)} are left for it."
        )
    if taken.high > allowed:
        return Verdict.TIGHT, (
            f"It takes {gib(taken.low)} to {gib(taken.high)} of each GPU, and {gib(allowed)} are neither in use nor"
            f" reserved: it fits unless what comes on top of its budget takes the upper end of its range."
        )
    if question.context and question.context > demand.length:
        name = "max_model_len" if options.engine == "vllm" else "max_seq_len"
        return Verdict.TIGHT, (
            f"It fits, but takes requests of {grouped(demand.length)} tokens at most ({name}), and"
            f" {grouped(question.context)} are wished for."
        )
    return Verdict.FITS, (
        f"It fits: {wish} need {gib(demand.wish)} of KV cache a GPU, and {gib(room.low)} at least are left for it"
        f" of {total}."
    )


def _of_budget(gpu: GpuMemory, demand: Demand, budget: int) -> str:
    free = gpu.total - gpu.used
    if demand.options.engine == "vllm" and demand.options.kv_bytes is None and budget <= free:
        return f"gpu_memory_utilization {demand.options.share:g} allows {gib(budget)} of {gib(gpu.total)}"
    return f"{gib(free)} of {gib(gpu.total)} are free"


def _too_much(gpu: GpuMemory, question: FitQuestion, demand: Demand, allowed: int, taken: Range) -> str:
    free = gpu.total - gpu.used
    if demand.options.engine == "vllm" and demand.options.kv_bytes is None and taken.low > free:
        return (
            f"vLLM asks for {gib(taken.low)} of each GPU at its start (gpu_memory_utilization {demand.options.share:g}"
            f" of {gib(gpu.total)}), and {gib(free)} are free: it would refuse to start."
        )
    held = f"{gib(gpu.used)} are in use" if free == allowed else f"{question.reserve:.0%} are reserved"
    return f"It takes {gib(taken.low)} of each GPU's {gib(gpu.total)}, of which {held}: {gib(allowed)} are left."
