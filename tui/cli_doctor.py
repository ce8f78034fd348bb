"""`tritontui doctor`: what the machine needs to serve models, and what mends it."""

import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from itertools import groupby

from engine.errors import Exit
from engine.finding import Finding, Severity
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.finding_words import LOOKS, counted, counts

MOST_COLUMNS = 100
INDENT = "    "


def doctor(engine: Engine, args: Namespace) -> int:
    if sys.stderr.isatty() and not args.json:
        out.talk("Looking the machine over …")
    findings = engine.doctor(profile=args.name)
    if args.json:
        out.print_json({"findings": out.plain(findings), "counts": out.plain(counts(findings))})
    else:
        _print(findings)
    return Exit.FAILED if any(one.severity is Severity.ERROR for one in findings) else Exit.DONE


def _print(findings: Sequence[Finding]) -> None:
    width = min(MOST_COLUMNS, shutil.get_terminal_size().columns)
    for severity, group in groupby(findings, lambda one: one.severity):
        print(LOOKS[severity].heading.upper())
        for finding in group:
            print(f"  {LOOKS[severity].symbol} {finding.title}  [{finding.check}]")
            _paragraph(finding.evidence, "", width)
            _paragraph(finding.remedy, "→ ", width)
            if finding.command:
                print(f"{INDENT}$ {finding.command}")  # never broken: it is to be copied
        print()
    print(counted(findings))


def _paragraph(text: str, mark: str, width: int) -> None:
    for line in textwrap.wrap(
        text,
        width,
        initial_indent=INDENT + mark,
        subsequent_indent=INDENT + " " * len(mark),
        break_on_hyphens=False,
        break_long_words=False,
    ):
        print(line)
