"""A load test's result in words and rows, for the shell and for pages."""

from collections.abc import Iterator, Sequence

from engine.load_plan import LoadPlan, Objectives
from engine.load_result import Digest, Doubt, LevelResult, LoadResult

UNKNOWN = "–"
LITTLE_CPU = 0.5
"""Of a core: who used no more and was late all the same had to wait for the processor"""
DEFINITIONS = (
    "TTFT: from sending to the first text; ITL: (last - first) / (tokens - 1) of each request; E2E: to the last "
    "token; with a rate, TTFT and E2E are from when the request was meant to be sent.",
    "All in ms, p50/p99 over the requests that were answered, linearly interpolated; p99 from 100 on. Rates are from "
    "the first sending to the last answer's end.",
)
Row = tuple[str, ...]


def table(result: LoadResult) -> tuple[Row, list[Row]]:
    """A header, and a row for each level and repeat."""
    good = result.plan.objectives.any
    header = (
        *("LEVEL", *_repeat(result, "REPEAT"), "DONE", "FAILED", "REQ/S", "TOK/S"),
        *("TTFT 50/99", "ITL 50/99", "E2E 50/99", *(("GOOD/S",) if good else ())),
    )
    rows = [
        (
            level.level.words,
            *_repeat(result, str(level.repeat + 1)),
            str(level.done),
            str(level.failed),
            figure(level.requests_per_s),
            figure(level.output_tokens_per_s),
            *(_pair(digest) for digest in (level.ttft_intended, level.itl, level.e2e_intended)),
            *((figure(level.goodput_per_s),) if good else ()),
        )
        for level in result.levels
    ]
    return header, rows


def server_table(result: LoadResult) -> tuple[Row, list[Row]]:
    """What the server counted beside what the client did, and both means in ms; no rows when it has no metrics."""
    header = (
        *("SERVER / CLIENT", *_repeat(result, "REPEAT"), "REQUESTS", "TOKENS IN", "TOKENS OUT"),
        *("TTFT MEAN", "ITL MEAN", "E2E MEAN", "QUEUED"),
    )
    rows = [
        (
            level.level.words,
            *_repeat(result, str(level.repeat + 1)),
            f"{_count(server.requests)} / {level.sent}",
            f"{_count(server.tokens_in)} / {_count(level.tokens_in or None)}",
            f"{_count(server.tokens_out)} / {level.tokens_out}",
            *(
                f"{milliseconds(own.mean)} / {milliseconds(seen.mean)}"
                for own, seen in ((server.ttft, level.ttft), (server.itl, level.itl), (server.e2e, level.e2e))
            ),
            milliseconds(server.queue.mean),
        )
        for level in result.levels
        if (server := level.server) is not None
    ]
    return header, rows


def doubts(result: LoadResult) -> Iterator[str]:
    """A sentence each, with the level that it is of."""
    for level in result.levels:
        for doubt in level.doubts:
            yield f"{_named(result, level)}: {_sentence(doubt, level, result.plan)}"


def failures(result: LoadResult) -> Iterator[str]:
    """Each kind of failure of each level, with its first sentence."""
    for level in result.levels:
        for failed in level.failures:
            example = f": {failed.example}" if failed.example else ""
            yield f"{_named(result, level)}: {failed.count} failed, {failed.fault.value}{example}"


def _repeat(result: LoadResult, cell: str) -> Row:
    """A column that there is only where a level was repeated."""
    return (cell,) if any(level.repeat for level in result.levels) else ()


def _named(result: LoadResult, level: LevelResult) -> str:
    return ", repeat ".join((level.level.words, *_repeat(result, str(level.repeat + 1))))


def objectives(wanted: Objectives) -> str:
    """E.g. `TTFT at most 200 ms, E2E at most 5000 ms`; empty without any."""
    titles = (("TTFT", wanted.ttft_s), ("ITL", wanted.itl_s), ("E2E", wanted.e2e_s))
    return ", ".join(f"{title} at most {milliseconds(limit)} ms" for title, limit in titles if limit is not None)


def workload(plan: LoadPlan) -> str:
    """What was sent, e.g. `prompts of 128 tokens, answers of 64±16 tokens`."""
    work = plan.workload
    prompts = f"prompts of {work.file}" if work.file else f"prompts of {_length(work.prompt.mean, work.prompt.spread)}"
    prefix = f", {work.shared_prefix} of them shared by all" if work.shared_prefix else ""
    answers = f"answers of {_length(work.output.mean, work.output.spread)}"
    early = "" if plan.sampling.ignore_eos else " at most"
    return f"{prompts}{prefix}, {answers}{early}, seed {work.seed}"


def milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else figure(seconds * 1000)


def figure(value: float | None) -> str:
    """To three significant figures, without an exponent."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{decimals}f}"


def _pair(digest: Digest) -> str:
    return UNKNOWN if digest.p50 is None else f"{milliseconds(digest.p50)}/{milliseconds(digest.p99)}"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _length(mean: float, spread: float) -> str:
    return f"{mean:g}±{spread:g} tokens" if spread else f"{mean:g} tokens"


def _sentence(doubt: Doubt, level: LevelResult, plan: LoadPlan) -> str:
    match doubt:
        case Doubt.CLIENT_SLOW:
            waited = level.generator.cpu is not None and level.generator.cpu <= LITTLE_CPU
            others = ": others on this machine had the processor" if waited else ""
            remedy = "Let less run on it, or ask from another" if waited else "Ask for less, or from another machine"
            return f"the client was too slow ({_slow(level)}){others}, and the latencies hold its own delay. {remedy}."
        case Doubt.NOT_SENT:
            return f"{level.not_sent} requests were not sent, because {plan.most_in_flight} were under way already."
        case Doubt.OVERLOADED:
            return (
                "waits grew all through: more came than the server answered, and the latencies depend on how long it "
                "went on. Ask for a lower rate."
            )
        case Doubt.OTHERS:
            if level.server is None or level.server.requests is None:
                return "the server began to count anew meanwhile, as after a restart."
            return (
                f"the server counted {_count(level.server.requests)} requests of {level.sent} sent: it was not alone."
            )
        case Doubt.OTHER_MODELS:
            return "the server counts several models, none by the name that was asked: its figures are of all of them."
        case Doubt.SHORT:
            answered = {0: "no request was", 1: "only 1 request was"}.get(
                level.done, f"only {level.done} requests were"
            )
            return f"{answered} answered, too few for such figures. Send more."
        case Doubt.STOPPED:
            return "it was stopped before it was through."
        case Doubt.COUNTED_BY_CHUNKS:
            return "the server did not count its tokens; each piece of text counts as one."
        case Doubt.FEW_ARRIVALS:
            return (
                "many tokens came at once, and what comes at once has one time: where more than one came first, TTFT "
                "may be late, and ITL is short, or 0 where all did."
            )
        case Doubt.FREE_ENDS:
            return (
                "the model takes no `ignore_eos`, so it was not asked for: answers may end early, "
                "and their lengths differ with what the model says."
            )


def _slow(level: LevelResult) -> str:
    woke, sent, cpu = level.generator.lag.tail, level.generator.late.tail, level.generator.cpu
    told: Sequence[str] = (
        *(() if woke is None else (f"it woke {milliseconds(woke)} ms late",)),
        *(() if sent is None else (f"it sent {milliseconds(sent)} ms late",)),
        *(() if cpu is None else (f"it used {cpu * 100:.0f} % of a core",)),
    )
    return ", ".join(told)
