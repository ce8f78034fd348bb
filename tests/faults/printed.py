"""The table as Markdown."""

import re
from collections.abc import Mapping

from tests.faults.table import FAULTS, STEPS, Result, cells

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEAD = 4
"""Lines of a table above its first row"""
LONGEST = 110
"""Characters of a message"""
FOLDER = re.compile(r"/\S+/tritontui-faults-\w+/lab/")
STAMP = re.compile(r"-\d{8}-\d{6}-\d+\.log")


def tables(results: Mapping[str, Result]) -> str:
    """Fault by step, one for each operation."""
    said = {cell.key: cell for cell in cells()}
    found = []
    for operation, steps in STEPS.items():
        lines = [f"### {operation.capitalize()}", "", f"| fault | {' | '.join(steps)} |", f"|---|{'---|' * len(steps)}"]
        for fault in FAULTS:
            keys = [f"{operation} / {step} / {fault.name}" for step in steps]
            if any(key in results for key in keys):
                words = (_word(key, results) if key in said else "–" for key in keys)
                lines.append(f"| {fault.name} | {' | '.join(words)} |")
        if len(lines) > HEAD:
            found.append("\n".join(lines))
    return "\n\n".join(found)


def _word(key: str, results: Mapping[str, Result]) -> str:
    result = results.get(key)
    if result is None:
        return "not run"
    return f"**{result.outcome}!**" if result.broken else result.outcome


def told(results: Mapping[str, Result]) -> str:
    """The first words of what each operation said, where it was not simply done."""
    lines = ["### What is said", "", "| cell | outcome | message |", "|---|---|---|"]
    for cell in cells():
        result = results.get(cell.key)
        if result and result.outcome != "done":
            lines.append(f"| {cell.key} | {result.outcome} | {_short(result.message)} |")
    return "\n".join(lines)


def _short(message: str) -> str:
    plain = STAMP.sub("-….log", FOLDER.sub("…/", message)).replace("|", "¦")
    if len(plain) <= LONGEST:
        return plain
    return plain[:LONGEST].rpartition(" ")[0] + " …"


def kept(document: str) -> str:
    """The table that a document has."""
    return document.partition(BEGIN)[2].partition(END)[0].strip()


def replaced(document: str, text: str) -> str:
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
