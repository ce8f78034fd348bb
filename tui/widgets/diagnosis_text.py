"""A diagnosis, written for a person: the cause and what to do come before what proves them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from engine.diagnosis import Cause, Diagnosis, Proof, Weight
from tui.widgets.ink import ink
from tui.widgets.yaml_look import tokens

LOOKS = {Weight.CAUSE: ("▲", "bad"), Weight.HINT: ("?", "warning"), Weight.WRAPPER: ("?", "warning")}
NO_TELLING = {
    Weight.HINT: "It may have to do with it, and does not stop a server by itself.",
    Weight.WRAPPER: "That only says that something else went wrong, which is none of the known causes.",
}
MOST_PROOFS = 4
LONGEST_PROOF = 400
"""Characters of a line"""
Patch = Sequence[str] | str
"""Lines of a diff, or why there is none"""


@dataclass(frozen=True, slots=True)
class Inks:
    """The styles of the theme that is used."""

    warning: Style
    bad: Style
    muted: Style
    key: Style
    added: Style
    removed: Style


class DiagnosisText(Static):
    COMPONENT_CLASSES = {f"diagnosis--{name}" for name in Inks.__slots__}
    DEFAULT_CSS = """
    DiagnosisText {
        height: auto;
        & > .diagnosis--warning { color: $text-warning; text-style: bold; }
        & > .diagnosis--bad { color: $text-error; text-style: bold; }
        & > .diagnosis--muted { color: $foreground-muted; }
        & > .diagnosis--key { color: $secondary; }
        & > .diagnosis--added { color: $text-success; }
        & > .diagnosis--removed { color: $text-error; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def say(self, text: str, *, wrong: bool = False) -> None:
        """One sentence in place of a diagnosis."""
        inks = self._inks
        self.update(Text.assemble(("▲ ", inks.bad), text) if wrong else Text(text, style=inks.muted))

    def show(self, diagnosis: Diagnosis, shown: int, patch: Patch, path: str) -> None:
        """`shown`: which of the causes; `patch`: what would mend the profile in the file `path`."""
        self.update(Group(*written(diagnosis, shown, patch, path, self._inks)))

    @property
    def _inks(self) -> Inks:
        return Inks(*(ink(self, f"diagnosis--{name}") for name in Inks.__slots__))


def written(diagnosis: Diagnosis, shown: int, patch: Patch, path: str, inks: Inks) -> Iterable[RenderableType]:
    if not diagnosis.causes:
        yield from _unknown(diagnosis, inks)
        return
    cause = diagnosis.causes[shown]
    symbol, name = LOOKS[cause.weight]
    number = f"  {shown + 1} of {len(diagnosis.causes)}" if len(diagnosis.causes) > 1 else ""
    yield Text.assemble((f"{symbol} {cause.title}", getattr(inks, name)), (number, inks.muted))
    yield _hung("", cause.cause)
    if cause.weight in NO_TELLING:
        yield _hung("", NO_TELLING[cause.weight], inks.muted)
    yield Text("")
    yield _hung("→", cause.remedy)
    if cause.proofs:
        yield _heading("What says so", inks)
        yield _lines(cause.proofs[:MOST_PROOFS], inks, len(cause.proofs) - MOST_PROOFS)
    if diagnosis.first_error:
        yield _heading("The first error of its log", inks)
        yield _lines(diagnosis.first_error, inks)
    yield from _patch(cause, patch, path, inks)
    yield from _others(diagnosis, shown, inks)
    yield from _requests(diagnosis, inks)
    yield Text("")
    yield _hung("", _read(diagnosis, cause.ranks), inks.muted)
    if cause.reference:
        yield _hung("", cause.reference, inks.muted)


def _unknown(diagnosis: Diagnosis, inks: Inks) -> Iterable[RenderableType]:
    yield Text("? no known cause", style=inks.warning)
    if diagnosis.first_error:
        yield Text("  The first error of its log, with what stands around it:")
        yield Text("")
        yield _lines(diagnosis.first_error, inks)
    elif not diagnosis.requests:
        yield Text("  Nothing in its log is marked as an error.")
    yield from _requests(diagnosis, inks)
    if diagnosis.first_error or diagnosis.requests:
        yield Text("")
    yield _hung("", _read(diagnosis, ()), inks.muted)


def _read(diagnosis: Diagnosis, ranks: Sequence[str]) -> str:
    """What was looked at."""
    count = f"{diagnosis.lines:,} line{'' if diagnosis.lines == 1 else 's'} read"
    said = [f"said by {', '.join(ranks)}"] if ranks else []
    read = " · ".join((count, *(f"{program} {version}" for program, version in diagnosis.versions), *said))
    return f"{diagnosis.log} {read}" if diagnosis.log else read


def _patch(cause: Cause, patch: Patch, path: str, inks: Inks) -> Iterable[RenderableType]:
    if not cause.changes:
        return
    if isinstance(patch, str):
        yield Text("")
        yield _hung("!", patch or "It has no profile here to be changed.", inks.warning)
        return
    yield _heading(f"What would mend it in {path.rpartition('/')[2]}", inks)
    for line in patch[2:]:  # without the file's name, twice
        yield _diff_line(line, inks)


def _diff_line(line: str, inks: Inks) -> Text:
    if line.startswith("@@"):
        return Text(f"  {line}", style=inks.muted, no_wrap=True, overflow="ellipsis")
    if line.startswith(("+", "-")):
        return Text(f"  {line[0]} {line[1:]}", style=inks.added if line[0] == "+" else inks.removed, overflow="fold")
    text = Text("    ", overflow="fold")
    for piece, kind in tokens(line[1:]):
        text.append(piece, style=inks.muted if kind == "comment" else inks.key if kind == "key" else "")
    return text


def _lines(proofs: Sequence[Proof], inks: Inks, more: int = 0) -> Table:
    """Each with its number, or none for what the runtime tells."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style=inks.muted, no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for proof in proofs:
        text = proof.text if len(proof.text) <= LONGEST_PROOF else f"{proof.text[:LONGEST_PROOF]} …"
        table.add_row("  " if proof.line is None else f"  {proof.line}", Text(text))
    if more > 0:
        table.add_row("", Text(f"and {more} more", style=inks.muted))
    return table


def _others(diagnosis: Diagnosis, shown: int, inks: Inks) -> Iterable[RenderableType]:
    others = [cause for index, cause in enumerate(diagnosis.causes) if index != shown]
    if others:
        yield _heading("Also possible", inks)
    for cause in others:
        symbol, name = LOOKS[cause.weight]
        yield _hung(symbol, Text.assemble((cause.title, "bold"), ": ", cause.cause), getattr(inks, name))


def _requests(diagnosis: Diagnosis, inks: Inks) -> Iterable[RenderableType]:
    if diagnosis.requests:
        yield _heading("What failed single requests, and not the server", inks)
    for one in diagnosis.requests:
        yield _hung("·", Text.assemble((one.title, "bold"), ": ", one.cause, " ", one.remedy))


def _heading(title: str, inks: Inks) -> Text:
    return Text.assemble("\n", (title, inks.muted + Style(underline=True)), overflow="fold")


def _hung(symbol: str, text: str | Text, style: Style | str = "") -> Table:
    """A symbol, and the text's further lines below its first word."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1, no_wrap=True, style=style)
    table.add_column(overflow="fold")
    table.add_row(symbol, Text(text, style="" if symbol else style) if isinstance(text, str) else text)
    return table
