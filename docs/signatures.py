"""Writes the page of known failures from the catalogue: `python docs/signatures.py`."""

import re
from collections.abc import Iterator
from pathlib import Path

from engine.diagnose import catalogue as module
from engine.diagnose.catalogue import Signature, read

PAGE = Path(__file__).with_suffix(".md")
FILES = Path(module.__file__).parent / "signatures"
INTRODUCTION = """\
# Known failures

What `tritontui explain`, the list of models and the diagnosis screen know. The page is made from the catalogue,
`engine/diagnose/signatures/*.toml`, by `python docs/signatures.py`; how it is used stands in [commands](commands.md).

A **wrapper** only says that something else went wrong, and is shown when nothing else is known. A **hint** does not
stop a server by itself. Where the last column says so, the change to the profile is computed from the log and shown as
a diff. Words in *italics* are taken from the log. For what runs without a container, the sentences say installation
where they say image here.

Exit codes, Docker's own errors, the kernel's kills for want of memory, restart loops, and several instances of an
engine where one was meant are causes of their own: `exit-137`, `oom-killed`, `restart-loop`, `runtime-error`,
`engine-per-gpu`.
"""


def page() -> str:
    return "\n".join([INTRODUCTION, *_tables()])


def _tables() -> Iterator[str]:
    for file in sorted(FILES.glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        yield f"## {text.partition(chr(10))[0].removeprefix('# ').rstrip('.')}\n"
        yield "| id | title | what to do | change |\n|---|---|---|---|"
        yield from map(_row, read(text, file.name))
        yield ""


def _row(signature: Signature) -> str:
    name = f"[{signature.id}]({signature.reference})" if signature.reference else signature.id
    title = signature.title if signature.weight == "cause" else f"{signature.title} ({signature.weight})"
    remedy = (
        re.sub(r"\{(\w+)\}", r"*\1*", signature.remedy[0]).replace("{{", "{").replace("}}", "}").replace("|", "\\|")
    )
    changes = (*(f"`{path}`" for path, _ in signature.change), *(f"without `{path}`" for path in signature.drop))
    change = ", ".join(changes) or signature.fix.replace("_", " ")
    return f"| {name} | {title} | {remedy} | {change} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
