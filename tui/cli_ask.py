"""`tritontui ask`: a prompt to a deployment, its answer as it comes, and its timings; also again, or beside another."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.errors import Exit, NotFound
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token
from engine.prompt_record import KeptPrompt, PromptDifference, SavedPrompt
from engine.prompts.options import OPTIONS
from engine.text import clean_line
from tui import cli_output as out
from tui.cli_ask_request import LAST, add_arguments, request_of
from tui.cli_engine import Engine
from tui.widgets.glyphs import UNKNOWN, with_unit
from tui.widgets.prompt_reasoning import only_reasoned

if TYPE_CHECKING:
    from engine.load_result import Digest

__all__ = ["add_arguments", "ask"]

LISTED = 50
"""Of the history, unless told"""
LOOKED_AT = 50
"""Of earlier runs of the same prompt, for one that was answered"""


def ask(engine: Engine, args: Namespace) -> int:
    """Exit 0 when all was answered, 1 when anything failed. Raises KeyboardInterrupt when it was cancelled."""
    if args.limit and not args.history:
        args.wrong("--limit says how many --history lists")
    if args.force and not args.save:
        args.wrong("--force is about the file that --save writes")
    if args.history:
        return _history(engine, args)
    request = request_of(engine, args)
    if args.save:
        out.talk(f"saved as {engine.save_prompt(SavedPrompt(args.save, request), overwrite=args.force)}")
    if args.against:
        return _against(engine, args, request)
    if args.repeat:
        return _repeat(engine, args, request)
    result = _send(engine, args.name, request, json=args.json)
    if args.json:
        out.print_json(as_json(args.name, result))
    return _code(_uncancelled(result))


def as_json(name: str, result: PromptResult) -> dict[str, Any]:
    """The documented object: docs/commands.md."""
    request = {**out.plain(result.request), "history": [out.plain(turn) for turn in result.request.history]}
    gaps = out.gaps(result)
    more = {
        "tokens_per_s": result.timing.tokens_per_s,
        "inter_token_s": result.timing.inter_token_s,
        "gap_p50_s": gaps.p50,
        "gap_p99_s": gaps.p99,
    }
    told = {"deployment": name, **out.plain(result), "request": request, "ended_by": result.ended_by}
    del told["sent_at"]  # on a clock of this process alone
    return {**told, "timing": {**out.plain(result.timing), **out.plain(more)}}


# -- what comes of it -------------------------------------------------------------------------------------------------


def _send(engine: Engine, name: str, request: PromptRequest, *, json: bool, label: str = "") -> PromptResult:
    """The answer to standard output as it comes, and how long it took to standard error; with `json` neither.

    `label`: what tells this answer from others; it stands above it.
    """
    if label and not json:
        _heading(label)

    def show(event: PromptEvent) -> None:
        if isinstance(event, Token) and not json:
            with suppress(OSError):  # another thread's; the last flush, in `main`, meets it again
                print(event.text, end="", flush=True)

    result = engine.ask_blocking(name, request, show)
    if not json:
        if result.text and not result.text.endswith("\n"):
            print(flush=True)
        out.talk(": ".join(part for part in (label or result.model, out.timing_line(result)) if part))
        if result.error:
            out.talk(f"tritontui: {result.error}")
        elif result.ended_by == "length" and only_reasoned(result.text):
            out.talk("tritontui: It still reasoned when max_tokens was reached: --max-tokens gives it more.")
    return result


def _uncancelled(result: PromptResult) -> PromptResult:
    if result.outcome is PromptOutcome.CANCELLED:
        raise KeyboardInterrupt  # nothing else cancels it
    return result


def _code(*results: PromptResult) -> int:
    return Exit.DONE if all(result.outcome is PromptOutcome.DONE for result in results) else Exit.FAILED


def _repeat(engine: Engine, args: Namespace, request: PromptRequest) -> int:
    """It ends with the first that fails."""
    results: list[PromptResult] = []
    while len(results) < args.repeat and not (results and _code(results[-1])):
        label = f"{len(results) + 1} of {args.repeat}"
        results.append(_uncancelled(_send(engine, args.name, request, json=args.json, label=label)))
    summary = {title: _digest(figure, results) for title, figure in _REPEATED.items()}
    if args.json:
        told = {
            title: {key: getattr(one, key) for key in ("n", "p50", "least", "most")} for title, one in summary.items()
        }
        out.print_json({"runs": [as_json(args.name, result) for result in results], "summary": out.plain(told)})
    else:
        print()
        rows = [
            (title, *(with_unit(value, "s") for value in (one.p50, one.least, one.most)), str(one.n))
            for title, one in summary.items()
        ]
        out.print_table(("", "P50", "MIN", "MAX", "N"), rows)
    return _code(*results)


_REPEATED: Mapping[str, Callable[[Timing], float | None]] = {
    "first token": lambda timing: timing.first_token_s,
    "inter-token": lambda timing: timing.inter_token_s,
}


def _against(engine: Engine, args: Namespace, request: PromptRequest) -> int:
    if args.against == LAST:
        kept = _last_answered(engine, args.name, request)
        labels = (f"{args.name}, {out.moment(kept.at)}", f"{args.name}, now")
        if not args.json:
            _heading(labels[0])
            print(kept.result.text, end="" if kept.result.text.endswith("\n") else "\n", flush=True)
            out.talk(f"{labels[0]}: {out.timing_line(kept.result)}")
            if different := _different_options(kept.request, request):
                out.talk(f"The earlier one was asked with other options: {different}")
        names, results = (args.name, args.name), [kept.result]
    else:
        engine.require_running(args.against)  # before the first is asked in vain
        names = labels = (args.name, args.against)
        results = []
    for name, label in list(zip(names, labels, strict=True))[len(results) :]:
        results.append(_uncancelled(_send(engine, name, request, json=args.json, label=label)))
    first, second = (result.style for result in results)
    if first and second and first is not second and not args.json:
        out.talk(f"Not put in the same way: {first} and {second}. --chat and --completion choose one.")
    _tell_differences(names, labels, results, json=args.json)
    return _code(*results)


def _last_answered(engine: Engine, name: str, request: PromptRequest) -> KeptPrompt:
    kept = engine.kept_prompts(name, LOOKED_AT, same_as=request)
    _complain(engine)
    found = next((one for one in kept if one.result.outcome is PromptOutcome.DONE), None)
    if found is None:
        raise NotFound(
            f"No answer of {clean_line(name)} to this prompt is kept.", "Send it once without --against last."
        )
    return found


def _different_options(before: PromptRequest, now: PromptRequest) -> str:
    pairs = [
        *(
            (option.name, getattr(before.sampling, option.name), getattr(now.sampling, option.name))
            for option in OPTIONS
        ),
        *((name, getattr(before, name), getattr(now, name)) for name in ("model", "style", "lora", "transport")),
    ]
    told = [f"{name} {_said(old)}, now {_said(new)}" for name, old, new in pairs if old != new]
    return clean_line("; ".join(told))


def _said(value: object) -> str:
    return "not given" if value in (None, ()) else ", ".join(value) if isinstance(value, tuple) else str(value)


def _tell_differences(
    names: Sequence[str], labels: Sequence[str], results: Sequence[PromptResult], *, json: bool
) -> None:
    from engine.prompts.difference import SAME_TEXT, differences

    *figures, same = differences(*results)
    if json:
        runs = [as_json(name, result) for name, result in zip(names, results, strict=True)]
        told = [{**out.plain(one), "change": one.change} for one in figures]
        out.print_json({"runs": runs, "differences": out.plain(told), "same_text": bool(same.second)})
        return
    print()
    out.print_table(("", *labels, "CHANGE"), [_row(one) for one in figures if (one.first, one.second) != (None, None)])
    print(f"{SAME_TEXT}: {'yes' if same.second else 'no'}")


def _row(one: PromptDifference) -> tuple[str, ...]:
    change = UNKNOWN if one.change is None else f"{100 * one.change:+.1f} %"
    unit = "" if one.unit == "tokens" else one.unit  # the title says so
    return (one.title, with_unit(one.first, unit), with_unit(one.second, unit), change)


def _heading(label: str) -> None:
    print(f"== {clean_line(label)} ==", flush=True)


# -- what was asked before --------------------------------------------------------------------------------------------


def _history(engine: Engine, args: Namespace) -> int:
    kept = engine.kept_prompts(args.name, args.limit or LISTED)
    if args.json:
        more = ("id", "at", "run", "what")
        out.print_json(
            {
                "prompts": [
                    {**as_json(one.deployment, one.result), **{key: getattr(one, key) for key in more}} for one in kept
                ]
            }
        )
    elif kept:
        header = ("TIME", "ENDED BY", "FIRST TOKEN", "DECODING", "OUT", "TOTAL", "PROMPT")
        out.print_table(header, [_kept_row(one) for one in kept])
    else:
        out.talk(f"No prompt to {clean_line(args.name)} is kept.")
    _complain(engine)
    return Exit.DONE


def _kept_row(one: KeptPrompt) -> tuple[str, ...]:
    timing, request = one.result.timing, one.request
    text = request.prompt or request.tensors or ""
    return (
        out.moment(one.at),
        one.result.ended_by,
        with_unit(timing.first_token_s, "s"),
        with_unit(timing.tokens_per_s, "tokens/s"),
        UNKNOWN if timing.tokens_out is None else str(timing.tokens_out),
        with_unit(timing.total_s, "s"),
        out.shortened(clean_line(text), 60),
    )


def _complain(engine: Engine) -> None:
    if problem := engine.kept_prompts_problem():
        out.talk(f"tritontui: {problem}")


def _digest(figure: Callable[[Timing], float | None], results: Sequence[PromptResult]) -> "Digest":
    from engine.load.statistics import digest

    return digest([value for result in results if (value := figure(result.timing)) is not None])
