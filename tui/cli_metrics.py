"""`tritontui metrics`: what a deployment's endpoint tells, once or on and on."""

import csv
import math
import os
import shutil
import sys
import textwrap
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace

from engine.errors import Exit
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.widgets.metric_rows import MetricRow, metric_lines

CSV_HEADER = ("time", "key", "of", "value", "bound", "unit", "word")
KEPT_BY_CONSOLES = ("marks", "comparison")
"""What a few seconds cannot tell"""
_HOME, _CLEAR_SCREEN, _CLEAR_REST, _CLEAR_LINE = "\x1b[H", "\x1b[2J", "\x1b[J", "\x1b[K"


def add_arguments(one: ArgumentParser) -> None:
    one.add_argument("name", metavar="NAME")
    one.add_argument("--watch", action="store_true", help="again every second, until Ctrl+C")
    one.add_argument("--csv", action="store_true", help="a line for each value, below a header")
    one.add_argument("--family", metavar="FAMILY", help="only this metric family, as the endpoint words it")
    one.set_defaults(wrong=one.error)


def metrics(engine: Engine, args: Namespace) -> int:
    if args.csv and args.json:
        args.wrong("--csv and --json are two ways to print the same: choose one")
    if args.family is not None:
        if args.csv or args.watch:
            args.wrong("--family prints what the endpoint says once: leave out --csv and --watch")
        return _family(engine, args)
    if args.watch:
        with closing(engine.watch_metrics(args.name)) as readings:
            return _watch(readings, args)
    reading = engine.scrape(args.name)
    if args.json:
        out.print_json(_plain(reading, args.name))
    elif args.csv:
        _print_csv(reading, header=True)
    else:
        limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in _lines(reading, sources=True):
            print(line if limit is None else out.shortened(line, limit))
        if reading.message:
            out.talk(reading.message)
    return Exit.FAILED if reading.freshness is Freshness.FAILED else Exit.DONE


def _family(engine: Engine, args: Namespace) -> int:
    lines = engine.family(args.name, args.family)
    if args.json:
        out.print_json({"name": args.name, "family": args.family, "lines": list(lines)})
    else:
        for line in lines:
            print(line)
    return Exit.DONE


def _watch(readings: Iterable[MetricsReading], args: Namespace) -> int:
    """What could not be read is told, and no values with it: those before it were printed."""
    at: float | None = None
    told = ""
    for place, reading in enumerate(readings):
        new = reading.at != at
        at = reading.at
        if args.json or args.csv:
            if reading.message and reading.message != told:
                out.talk(reading.message)
            if args.json and new:
                out.print_json(_plain(reading, args.name), indent=None)
            elif args.csv and new:
                _print_csv(reading, header=place == 0)
        else:
            _draw(reading, first=place == 0)
        told = reading.message
    return Exit.DONE


def _draw(reading: MetricsReading, *, first: bool) -> None:
    """In a terminal in place of the last one, elsewhere below it."""
    clock = time.strftime("%H:%M:%S", time.localtime(reading.at)) if reading.at is not None else ""
    told = f"{clock}  {reading.message}".strip()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        size = shutil.get_terminal_size()
        lines = [*textwrap.wrap(told, size.columns), *_lines(reading, sources=True)]
        text = f"{_CLEAR_LINE}\n".join(out.fitted(lines, size.columns, size.lines))
        print(f"{_HOME}{_CLEAR_SCREEN if first else ''}{text}{_CLEAR_LINE}\n{_CLEAR_REST}", end="", flush=True)
    else:
        print("\n".join(([] if first else [""]) + [told, *_lines(reading, sources=False)]), flush=True)


def _lines(reading: MetricsReading, *, sources: bool) -> list[str]:
    """A table of what there is, the quantiles of one idea on one line."""
    lines = metric_lines(_finite(reading).series, compact=True, headings=False)
    rows = [(line.title, line.value, line.source) for line in lines if isinstance(line, MetricRow)]
    if not rows:
        return []
    width = 3 if sources else 2
    return out.table(("METRIC", "VALUE", "SOURCE")[:width], [row[:width] for row in rows])


def _plain(reading: MetricsReading, name: str) -> dict[str, object]:
    found = {"name": name, **out.plain(reading)}
    return {key: value for key, value in found.items() if key not in KEPT_BY_CONSOLES}


def _print_csv(reading: MetricsReading, *, header: bool) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        writer.writerow(CSV_HEADER)
    at = "" if reading.at is None else f"{reading.at:.3f}"
    for one in _finite(reading).series:
        value = "" if one.value is None else f"{one.value:.12g}"
        writer.writerow((at, one.key, one.of, value, one.bound.value, one.unit, one.word))
    sys.stdout.flush()


def _finite(reading: MetricsReading) -> MetricsReading:
    """A number that is none is not known."""
    series = (
        one if one.value is None or math.isfinite(one.value) else replace(one, value=None) for one in reading.series
    )
    return replace(reading, series=tuple(series))
