"""How load tests read in words. Knows no widget."""

import math
from collections.abc import Sequence

from engine.deployment import State
from engine.load_plan import Arrival, LoadPlan
from engine.load_result import Digest, Doubt, LoadOutcome, LoadResult
from engine.metrics_reading import MetricsReading
from engine.snapshot import Model, Snapshot
from engine.text import clean_line
from tui import format as fmt
from tui.widgets.glyphs import UNKNOWN, scale_for, three_figures, with_unit
from tui.widgets.state import LOOKS, Look

OUTCOMES = {
    LoadOutcome.DONE: Look("●", "done", "text-success"),
    LoadOutcome.STOPPED: Look("■", "stopped", "text-warning"),
    LoadOutcome.FAILED: Look("▲", "failed", "text-error"),
}
DOUBTS = {
    Doubt.CLIENT_SLOW: "its loop woke late, it sent late, or its core was full, and latencies hold its own delay",
    Doubt.NOT_SENT: "more were under way than are allowed: the rate was lower than asked for",
    Doubt.OVERLOADED: "more came than was answered, and latencies depend on how long it went on",
    Doubt.OTHERS: "the server counted more requests than were sent from here",
    Doubt.OTHER_MODELS: "the server names none as the one that was asked; its figures are of all",
    Doubt.SHORT: "the high percentiles rest on little",
    Doubt.STOPPED: "it is what was measured until then",
    Doubt.COUNTED_BY_CHUNKS: "the server did not count them",
    Doubt.FEW_ARRIVALS: "where more than one came first, TTFT may be late, and ITL is short, or 0",
    Doubt.FREE_ENDS: "the model takes no ignore_eos: lengths differ with what it says",
}
SPREAD = 20.0
"""From so many times the usual value on the largest does not choose the unit"""
DEFINITIONS = (
    (
        "TTFT",
        "time to first token: from sending to the first text that is not empty, reasoning included; with a rate from"
        " when the request was meant to be sent, which is what a user waits",
    ),
    ("ITL", "inter-token latency: (last - first) / (tokens - 1) of each request that has two tokens or more"),
    ("gap", "between one chunk with text and the next; a chunk may hold several tokens"),
    ("E2E", "the same to the last token"),
    ("from sending", "with a rate: the same from when it was sent, which the server's own figures are comparable with"),
    (
        "p50, p95, p99",
        "percentiles, linear between the two nearest ranks; no p99 of fewer than 100 values",
    ),
    ("n", "how many values they are of: requests that were answered; warm-up is left out"),
    ("req/s", "answered requests by the time from the first sending to the last answer's end"),
    ("tok/s", "output tokens by the same time; as the server counts them where it does, otherwise chunks"),
    ("goodput", "requests per second that kept every objective, looked at one by one"),
    (
        "server",
        "what its own histograms grew by meanwhile, all clients together; quantiles lie somewhere within a bucket,"
        " means are exact",
    ),
    (
        "mean/server's",
        "two means of TTFT: the client's, from sending, and the server's own; the client's is more by the network, the"
        " server's front end, and its own delay",
    ),
    ("±", "standard deviation"),
)


def refusal(model: Model | None, snapshot: Snapshot | None) -> str:
    """Why no load test can begin; empty when one can."""
    if model is None:
        return "No model is selected."
    if snapshot and snapshot.read_only:
        return f"No load test may begin from here: tritontui is read-only ({snapshot.read_only})."
    if model.state is State.READY:
        return ""
    word = "not started" if model.state is State.ABSENT else LOOKS[model.state].word
    return f"{clean_line(model.name)} is {word}: it can be tested when it is ready."


def what_is_sent(plan: LoadPlan) -> str:
    """E.g. `300 requests of ~128 tokens in, 64 out, at 1, 4, 16 at once`"""
    workload = plan.workload
    source = f"from {workload.file.name}" if workload.file else f"of ~{workload.prompt.mean:g} tokens in"
    about = "~" if workload.output.spread else ""
    out = f"{'' if plan.sampling.ignore_eos else 'up to '}{about}{workload.output.mean:g} out"
    most = "at most " if plan.requests and plan.duration_s else ""
    total = total_requests(plan)
    count = f"{most}{total:,} requests" if total else "Requests"
    warmup = plan.warmup * len(plan.levels) * plan.repeats
    also = f", and {warmup} to warm up" if warmup else ""
    return f"{count[0].upper()}{count[1:]} {source}, {out}, at {loads(plan)}{_long(plan)}{also}"


def loads(plan: LoadPlan) -> str:
    """E.g. `1, 4, 16 at once`, `2, 8/s poisson`, with how often"""
    if not plan.levels:
        return UNKNOWN
    amounts = ", ".join(f"{level.amount:g}" for level in plan.levels)
    arrival = plan.levels[0].arrival
    kind = f"{amounts} at once" if arrival is Arrival.CLOSED else f"{amounts}/s {arrival.value}"
    return f"{kind}, {plan.repeats} times over" if plan.repeats > 1 else kind


def total_requests(plan: LoadPlan) -> int | None:
    """That are sent at most, warm-up aside; None where only time ends a closed loop."""
    total = 0.0
    for level in plan.levels:
        of_time = math.inf
        if level.arrival is not Arrival.CLOSED and plan.duration_s:
            of_time = math.ceil(level.amount * plan.duration_s)
        total += min(plan.requests or math.inf, of_time)
    return None if math.isinf(total) else round(total) * plan.repeats


def _long(plan: LoadPlan) -> str:
    if not plan.duration_s:
        return ""
    seconds = fmt.duration(plan.duration_s)
    each = f"{seconds} each" if len(plan.levels) * plan.repeats > 1 else seconds
    return f", at most {each}" if plan.requests else f", for {each}"


def answered_now(reading: MetricsReading) -> float | None:
    """Requests that the deployment is working on, as its metrics say; None where they do not."""
    found = [series.value for series in reading.series if series.key in ("running", "pending") and not series.of]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def amounts(digest: Digest, *names: str) -> tuple[str, ...]:
    """Those of its figures in one unit, which comes last: that of the usual ones, so that one straggler leaves them
    readable."""
    values: list[float | None] = [getattr(digest, name) for name in names]
    known = [abs(value) for value in values if value is not None]
    usual = digest.p50 if digest.p50 is not None else digest.mean
    most = max(known, default=0.0)
    divisor, unit = scale_for(most if usual is None or usual > most / SPREAD else usual, "s") if known else (1.0, "")
    return (*(UNKNOWN if value is None else three_figures(value / divisor) for value in values), unit)


def pair(digest: Digest | None) -> str:
    """E.g. `41.2/120 ms`: median and p99"""
    if digest is None or (digest.p50 is None and digest.p99 is None):
        return UNKNOWN
    low, high, unit = amounts(digest, "p50", "p99")
    return f"{low}/{high} {unit}"


def side_by_side(first: float | None, second: float | None) -> str:
    """Two times in one unit, e.g. `17.4/16.2 ms`"""
    known = [abs(value) for value in (first, second) if value is not None]
    if not known:
        return UNKNOWN
    divisor, unit = scale_for(max(known), "s")
    low, high = (UNKNOWN if value is None else three_figures(value / divisor) for value in (first, second))
    return f"{low}/{high} {unit}"


def rate(value: float | None) -> str:
    return UNKNOWN if value is None else with_unit(value, "")


def doubts(result: LoadResult) -> list[Doubt]:
    """Each once."""
    return list(dict.fromkeys(doubt for level in result.levels for doubt in level.doubts))


def briefly(result: LoadResult) -> str:
    """What was asked for, and the most that came of it, or why nothing did."""
    best = max((level.output_tokens_per_s for level in result.levels), default=None)
    nothing = clean_line(result.message) or "nothing was measured"
    return f"{loads(result.plan)}  {nothing if best is None else f'best {rate(best)} tok/s'}"


def summary(result: LoadResult) -> str:
    """What it came to, in a line."""
    first = next((level for level in result.levels if level.ttft_intended.p50 is not None), None)
    if first is None:
        return briefly(result)
    ttft, where = with_unit(first.ttft_intended.p50, "s"), first.level.words.removesuffix(" at once")
    return f"{briefly(result)}  TTFT p50 {ttft} at {where}"


def start_text(name: str, why_not: str, earlier: Sequence[LoadResult] | None, trouble: str, elsewhere: str) -> str:
    """`name`: empty when no model is selected. `earlier`: None while they are read."""
    if not name:
        return why_not
    lines = [
        f"A load test tells what {name} holds: it sends many requests at once, or at a rate, and measures how soon"
        " answers begin (TTFT), how fast they go on (ITL), how long they take (E2E), and how much comes in a second.",
        "",
    ]
    lines += [elsewhere] if elsewhere else [why_not] if why_not else ["n       new test: what to send is asked first"]
    if trouble:
        lines.append(f"▲ {trouble}")
    elif earlier:
        look = OUTCOMES[earlier[0].outcome]
        tests = "1 test is" if len(earlier) == 1 else f"{len(earlier)} tests are"
        lines += [
            f"ctrl+r  earlier tests: {tests} kept; the last is",
            f"        {look.symbol} {fmt.moment(earlier[0].began_at)[:16]}  {briefly(earlier[0])}",
        ]
    else:
        lines.append("No test of it is kept yet." if earlier is not None else "Looking for earlier tests …")
    return "\n".join(lines)
