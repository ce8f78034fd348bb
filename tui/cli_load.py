"""`tritontui load`: measures a deployment under load; `tritontui loads`: what was measured before, and what changed."""

import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine.errors import EngineError, Exit, NotFound
from engine.load_plan import Arrival, LoadPlan
from engine.load_result import (
    STOPPED_BY_HAND,
    LevelResult,
    LoadChange,
    LoadEvent,
    LoadOutcome,
    LoadProgress,
    LoadResult,
)
from engine.text import clean_line
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.cli_load_arguments import plan
from tui.widgets.glyphs import UNKNOWN, cut, three_figures, with_unit

INTERRUPTED = 130
ALL_KEPT = 500
LONGEST_OUTCOME = 100
PATIENCE_S = 10.0
"""With nothing that tells how it stands: from then on what is waited for is told"""
_ERASE = "\r\x1b[K"
NOISE = "Noise: how far apart two such means are in 19 of 20 cases if nothing changed, by the spread of the repeats."


def load(engine: Engine, args: Namespace) -> int:
    try:
        _check(args.out)
        wanted = plan(args)
        _read(wanted.workload.file)
        with _Progress(wanted) as progress:
            result = engine.load_blocking(args.name, wanted, progress.show)
    except KeyboardInterrupt:
        out.talk("tritontui: It was stopped before it had begun; nothing was measured.")
        raise
    _print(result, as_json=args.json)
    out.talk(_kept(result))
    _export(engine, result, args.out)
    if result.outcome is LoadOutcome.STOPPED:
        return INTERRUPTED
    failed = result.outcome is LoadOutcome.FAILED or not any(level.done for level in result.levels)
    return Exit.FAILED if failed else Exit.DONE


def loads(engine: Engine, args: Namespace) -> int:
    _check(args.out)
    if args.out and args.show is None:
        args.wrong("--out writes one load test: say which with --show ID")
    if args.compare:
        return _compare(engine, *args.compare, as_json=args.json)
    if args.show is not None:
        result = _find(engine, args.show)
        _print(result, as_json=args.json)
        _export(engine, result, args.out)
        return Exit.DONE
    results = engine.loads(args.name, args.limit)
    if args.json:
        from engine.load.export import document

        out.print_json({"loads": [document(result) for result in results]})
    elif results:
        header = ("ID", "WHEN", "MODEL", "LEVELS", "ANSWERED", "BEST TOK/S", "OUTCOME")
        out.print_table(header, [_row(result) for result in results])
    else:
        out.talk("No load test was kept." if args.name is None else f"No load test of {args.name} was kept.")
    return Exit.DONE


def _check(paths: Sequence[Path]) -> None:
    """Before minutes are spent on what cannot be written."""
    from engine.load.export import SUFFIXES

    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise _Unwritable(f"{path}: a load test is written as {', '.join(SUFFIXES)}.")
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise _Unwritable(f"{path} cannot be written.", "Give a file in a folder that can.")


def _read(prompts: Path | None) -> None:
    """Whether they can be sent, before a test of them is begun, and kept."""
    from engine.load.prompt_file import read

    if prompts is not None:
        read(prompts)


class _Unwritable(EngineError):
    exit_code = Exit.INVALID


def _print(result: LoadResult, *, as_json: bool) -> None:
    from engine.load import report
    from engine.load.export import document

    if as_json:
        out.print_json(document(result))
    elif result.levels:
        out.print_table(*report.table(result))
        header, rows = report.server_table(result)
        if rows:
            print()
            out.print_table(header, rows)
        print()
        for line in (*report.DEFINITIONS, *report.failures(result), *report.doubts(result)):
            print(line)
        if good := report.objectives(result.plan.objectives):
            print(f"Good: {good}.")
    if result.outcome is not LoadOutcome.DONE:
        out.talk(f"tritontui: {result.message or f'The load test has {result.outcome.value}.'}")


def _kept(result: LoadResult) -> str:
    if result.id:
        return f"Kept as {result.id}; `tritontui loads --show {result.id}` prints it again."
    if result.came_to_nothing:
        return "Nothing was answered until then, and nothing is kept."
    # Of a test that was not carried through this is told with why it was not.
    return f"It could not be kept. {result.message if result.outcome is LoadOutcome.DONE else ''}".rstrip()


def _export(engine: Engine, result: LoadResult, paths: Sequence[Path]) -> None:
    """All that can be written. Raises `EngineError` of the first that cannot."""
    first: EngineError | None = None
    for path in paths:
        try:
            left_out = engine.export_load(result, path)
        except EngineError as error:
            if first:
                out.talk(f"tritontui: {error}")
            first = first or error
            continue
        lacks = f" It lacks {left_out} of the requests, which are not kept." if left_out else ""
        out.talk(f"Written to {path}.{lacks}")
    if first:
        raise first


def _row(result: LoadResult) -> tuple[str, ...]:
    best = max((level.output_tokens_per_s for level in result.levels), default=None)
    doubted = sum(bool(level.doubts) for level in result.levels)
    in_doubt = f", {doubted} of {len(result.levels)} in doubt" if doubted else ""
    why = f": {clean_line(result.message)}" if result.message not in ("", STOPPED_BY_HAND) else ""
    return (
        result.id,
        out.moment(result.began_at),
        result.deployment,
        _levels(result.plan),
        str(sum(level.done for level in result.levels)),
        UNKNOWN if best is None else three_figures(best),
        out.shortened("".join((result.outcome.value, in_doubt, why)), LONGEST_OUTCOME),
    )


def _levels(wanted: LoadPlan) -> str:
    amounts = ",".join(f"{level.amount:g}" for level in wanted.levels)
    kinds = {level.arrival for level in wanted.levels}
    unit = " at once" if kinds == {Arrival.CLOSED} else f"/s {'/'.join(sorted(kind.value for kind in kinds))}"
    return f"{amounts}{unit}" + (f", {wanted.repeats} times" if wanted.repeats > 1 else "")


def _find(engine: Engine, id: str) -> LoadResult:
    found = [result for result in engine.loads(None, ALL_KEPT) if result.id.startswith(id)]
    if len(found) != 1:
        which = f"{len(found)} kept load tests begin with {id}." if found else f"No kept load test has the id {id}."
        raise NotFound(which, "`tritontui loads` lists them.")
    return found[0]


def _compare(engine: Engine, first: str, second: str, *, as_json: bool) -> int:
    from engine.load.compare import compare, differences

    one, other = _find(engine, first), _find(engine, second)
    changes = compare(one, other)
    for result in (one, other):
        if not result.levels:
            raise EngineError(f"{result.id} measured nothing: {result.message or result.outcome.value}")
    if not changes:
        raise EngineError(
            f"{one.id} ({_levels(one.plan)}) and {other.id} ({_levels(other.plan)}) measured no level that both have.",
            "Compare load tests of the same concurrency or rate.",
        )
    differing = differences(one, other)
    if as_json:
        told = [{**out.plain(change), "beyond_noise": change.beyond_noise} for change in changes]
        out.print_json({"first": one.id, "second": other.id, "differences": list(differing), "changes": told})
        return Exit.DONE
    out.print_table(("LEVEL", "FIGURE", one.id, other.id, "CHANGE", "NOISE", ""), [_change_row(one) for one in changes])
    print()
    for line in differing:
        print(line)
    print(NOISE if any(change.noise is not None for change in changes) else "Noise is known from --repeats 2 on.")
    return Exit.DONE


def _change_row(change: LoadChange) -> tuple[str, ...]:
    verdict = {None: "noise unknown", True: "beyond noise", False: "within noise"}[change.beyond_noise]
    return (
        change.level.words,
        change.title,
        with_unit(change.first, change.unit),
        with_unit(change.second, change.unit),
        UNKNOWN if change.change is None else f"{change.change * 100:+.1f} %",
        UNKNOWN if change.noise is None else f"±{change.noise * 100:.1f} %",
        verdict if change.change is not None else "",
    )


class _Progress:
    """A load test as it goes, on standard error: on a terminal a line that is rewritten, elsewhere one a level."""

    def __init__(self, wanted: LoadPlan) -> None:
        self._repeats = wanted.repeats
        self._rewrites = sys.stderr.isatty()
        self._told = 0
        self._began = time.monotonic()
        self._awaits_first = True

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._rewrites:
            print(_ERASE, end="", file=sys.stderr, flush=True)

    def show(self, event: LoadEvent) -> None:
        """From another thread; a terminal that has gone is met again with the command's next word."""
        with suppress(OSError):
            if self._rewrites:
                if isinstance(event, LoadProgress):
                    line = cut(_live(event), shutil.get_terminal_size().columns - 1).rstrip()
                    print(f"{_ERASE}{line}", end="", file=sys.stderr, flush=True)
                return
            self._wait(event)
            finished = event.finished if isinstance(event, LoadProgress) else event.levels
            for level in finished[self._told :]:
                out.talk(self._ended(level))
            self._told = len(finished)

    def _wait(self, event: LoadEvent) -> None:
        """Tells once that not even the first answer has come."""
        waited = time.monotonic() - self._began
        if isinstance(event, LoadResult) or event.done or event.failed or event.finished:
            self._awaits_first = False
        elif self._awaits_first and waited > PATIENCE_S:
            self._awaits_first = False
            out.talk(f"Waiting for the first answer, {waited:.0f} s so far.")

    def _ended(self, level: LevelResult) -> str:
        repeat = f", repeat {level.repeat + 1} of {self._repeats}" if self._repeats > 1 else ""
        return f"{level.level.words}{repeat}: {level.done} done, {level.failed} failed, {level.seconds:.1f} s"


def _live(event: LoadProgress) -> str:
    share = "" if event.share is None else f"{event.share * 100:.0f} %  "
    if event.warming:
        return f"{share}{event.level.words} ({event.number} of {event.of})  warming up"
    first = "" if event.ttft.p50 is None else f"  TTFT {with_unit(event.ttft.p50, 's')}"
    between = "" if event.itl.p50 is None else f"  ITL {with_unit(event.itl.p50, 's')}"
    doubts = f"  ({', '.join(event.doubts)})" if event.doubts else ""
    failed = f", {event.failed} failed" if event.failed else ""
    rates = f"{three_figures(event.requests_per_s)} req/s  {three_figures(event.output_tokens_per_s)} tok/s"
    return (
        f"{share}{event.level.words} ({event.number} of {event.of})  {event.done} done{failed}, "
        f"{event.in_flight} under way  {rates}{first}{between}{doubts}"
    )
