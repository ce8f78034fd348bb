"""The command that runs the table and prints it: `python -m tests.faults [--only TEXT] [--benches N] [--write FILE]`.

Exits with 1 when a cell did not come out as it is to.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.faults.laboratory import impossible, run_all
from tests.faults.printed import replaced, tables, told
from tests.faults.table import Result, cells


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.faults")
    options.add_argument("--only", default="", metavar="TEXT", help="only cells whose name has this text")
    options.add_argument("--benches", type=int, default=2, metavar="N", help="cells that are run at a time")
    options.add_argument("--write", type=Path, metavar="FILE", help="the document whose table is replaced")
    given = options.parse_args()
    if why := impossible():
        sys.stderr.write(f"The fault table cannot be run here: {why}.\n")
        return 1
    chosen = [cell for cell in cells() if given.only in cell.key]
    results: dict[str, Result] = {}
    began = time.monotonic()
    for result in run_all(chosen, given.benches):
        results[result.key] = result
        said = f"{len(results)}/{len(chosen)} {result.key}: {result.outcome}, {result.seconds:g} s"
        sys.stderr.write(f"{said}{'' if not result.broken else ' — BROKEN: ' + '; '.join(result.broken)}\n")
        if result.broken:
            sys.stderr.write(f"    {result.message}\n")
    wrong = [result for result in results.values() if result.broken]
    text = f"{tables(results)}\n\n{told(results)}"
    sys.stdout.write(f"{text}\n")
    minutes = (time.monotonic() - began) / 60
    sys.stderr.write(f"{len(results)} cells in {minutes:.0f} minutes, {len(wrong)} of them broken.\n")
    if len(results) < len(chosen):
        sys.stderr.write("A bench ended before its cells were run.\n")
        return 1
    if given.write and not wrong and not given.only:
        given.write.write_text(replaced(given.write.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 1 if wrong else 0


sys.exit(main())
