"""Will it fit: the table, the verdict and what to change. Pure arithmetic over a few small files."""

import math
from dataclasses import replace

from engine.fit.advice import Advisor, largest_shares
from engine.fit.judge import Demand, Judgement, judge
from engine.fit.model import Missing, Model, find_model
from engine.fit.question import FitQuestion
from engine.fit.result import Fit, FitRow, Verdict
from engine.fit.values import gib, grouped


def assess(question: FitQuestion) -> Fit:
    """Never raises for what a model's files or an engine's options say: what is missing is said in words."""
    model, options = find_model(question)
    if isinstance(model, Missing):
        return Fit(Verdict.UNKNOWN, model.what, (model.remedy,))
    question = replace(question, options=options)
    now = judge(model, question)
    if isinstance(now, str):
        return Fit(Verdict.UNKNOWN, now, ("Give the model's numbers under `fit.model`.",), source=model.source)
    if now.gpu is None:
        advice = () if now.verdict is Verdict.DOES_NOT_FIT else _for_unknown_memory(question)
        return Fit(
            now.verdict,
            now.summary,
            advice,
            tuple(_rows(now, question)),
            model.source,
            kv_bytes_per_token=now.demand.cost.per_token,
        )
    return _known(model, question, now)


def _known(model: Model, question: FitQuestion, now: Judgement) -> Fit:
    advisor = Advisor(model, question, now)
    utilization, fraction = largest_shares(now)
    cost, demand = now.demand.cost, now.demand
    tokens = cost.tokens(max(0, now.room.low), demand.context)
    if demand.options.kv_tokens is not None:
        tokens = min(tokens, demand.options.kv_tokens)
    return Fit(
        now.verdict,
        now.summary,
        tuple(advisor.sentences()),
        tuple(_rows(now, question)),
        model.source,
        gpu_total=now.gpu.total if now.gpu else None,
        budget=now.budget,
        kv_bytes_per_token=cost.per_token,
        kv_tokens=tokens,
        largest_max_model_len=advisor.longest(),
        smallest_tensor_parallel=None if question.engines else advisor.smallest_tensor(),
        gpu_memory_utilization=utilization,
        free_gpu_memory_fraction=fraction,
    )


def _for_unknown_memory(question: FitQuestion) -> tuple[str, ...]:
    if not question.gpu_count:
        return ("Give `gpus`, and `fit.gpu_memory` (e.g. 80g) where this machine has none.",)
    return ("Give `fit.gpu_memory`, e.g. 80g, to plan for GPUs that this machine does not have.",)


def _rows(now: Judgement, question: FitQuestion) -> list[FitRow]:
    demand = now.demand
    over, adapters = demand.overhead.all_but_adapters, demand.overhead.adapters
    rows = [
        FitRow("weights", demand.weights.low, demand.weights.high, demand.weights_how),
        FitRow("KV cache", demand.wish, demand.wish, _kv_note(demand)),
        FitRow("activations and graphs", over.low, over.high, _overhead_note(demand)),
    ]
    if demand.options.adapters:
        slots = f"{demand.options.adapters} slot{'s' if demand.options.adapters > 1 else ''}"
        rows.append(FitRow("LoRA adapters", adapters.low, adapters.high, f"{slots} of rank {demand.options.rank}"))
    if now.gpu is None:
        return rows
    used = now.gpu.used
    reserved = max(0, math.ceil(question.reserve * now.gpu.total) - used)
    rows.append(FitRow("in use already", used, used))
    if question.reserve:
        note = f"{question.reserve:.0%} of {gib(now.gpu.total)}" + (", less what is in use" if used else "")
        rows.append(FitRow("reserved for another job", reserved, reserved, note))
    low, high = sum(row.high for row in rows), sum(row.low for row in rows)
    rows.append(FitRow("left", now.gpu.total - low, now.gpu.total - high, _left_note(now)))
    return rows


def _kv_note(demand: Demand) -> str:
    requests = f" × {demand.concurrency} requests" if demand.concurrency > 1 else ""
    if demand.cost.sliding:
        one = demand.cost.request(demand.context)
        return f"{gib(one)} for {grouped(demand.context)} tokens{requests}; {demand.cost.layers}"
    each = f"{grouped(demand.cost.per_token)} B a token"
    return f"{each} × {grouped(demand.context)} tokens{requests}; {demand.cost.layers}"


def _overhead_note(demand: Demand) -> str:
    options = demand.options
    parts = ["CUDA context"]
    if options.world > 1:
        parts.append("NCCL")
    if not options.eager:
        parts.append("graphs" if options.graphs_counted else "graphs (on top of the budget)")
    return "estimate, with " + ", ".join(parts)


def _left_note(now: Judgement) -> str:
    options = now.demand.options
    if options.engine == "vllm" and options.kv_bytes is None:
        return f"vLLM takes {gib(now.budget)} (gpu_memory_utilization {options.share:g}) and makes KV cache of the rest"
    if options.engine == "vllm":
        return "vLLM takes no more KV cache than kv_cache_memory_bytes says"
    return f"TensorRT-LLM makes KV cache of {options.share:.0%} of what is free once it is loaded"
