"""A plan, written for a person: whether it can be done comes before what it is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from engine.by_hand import command_line
from engine.fit.result import Verdict
from engine.plan import GeneratedFile, PlacedGpu, Plan
from tui.plan_facts import fit_numbers, gib_range, plan_facts, told_before
from tui.widgets.glyphs import gib
from tui.widgets.ink import ink
from tui.widgets.noted_rows import NotedRow, NotedRows

FOLDED_LINES = 12
"""Of a generated file"""
UNFOLD_KEY = "f"
LOOKS = {
    Verdict.FITS: ("●", "good"),
    Verdict.TIGHT: ("◐", "warning"),
    Verdict.DOES_NOT_FIT: ("▲", "bad"),
    Verdict.UNKNOWN: ("?", "muted"),
}


@dataclass(frozen=True, slots=True)
class Inks:
    """The styles of the theme that is used."""

    good: Style
    warning: Style
    bad: Style
    muted: Style


Part = Callable[[Plan, Inks], Iterable[RenderableType]]


class PlanText(Static):
    COMPONENT_CLASSES = {"plan--good", "plan--warning", "plan--bad", "plan--muted"}
    DEFAULT_CSS = """
    PlanText {
        height: auto;
        & > .plan--good { color: $text-success; text-style: bold; }
        & > .plan--warning { color: $text-warning; text-style: bold; }
        & > .plan--bad { color: $text-error; text-style: bold; }
        & > .plan--muted { color: $foreground-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    @property
    def inks(self) -> Inks:
        return Inks(*(ink(self, f"plan--{name}") for name in Inks.__slots__))

    def show(self, plan: Plan, parts: Sequence[Part]) -> None:
        inks = self.inks
        pieces = [piece for part in parts for piece in part(plan, inks)]
        if pieces and isinstance(pieces[0], Text) and pieces[0].plain.startswith("\n"):
            pieces[0] = pieces[0][1:]  # nothing is above it
        self.display = bool(pieces)
        self.update(Group(*pieces))


def judgement(plan: Plan, inks: Inks, what: str = "A start") -> Iterable[RenderableType]:
    """Why it would be refused, and whether it fits, which may be the reason: then it is said once."""
    summary = plan.fit.summary if plan.fit else None
    if plan.obstacles:
        yield Text(f"{what} would be refused:", style=inks.bad)
        yield points("▲", [obstacle for obstacle in plan.obstacles if obstacle != summary], inks.bad)
    if plan.fit:
        symbol, name = LOOKS[plan.fit.verdict]
        style, word = getattr(inks, name), plan.fit.verdict.value
        yield points(symbol, [Text.assemble((word, style), ": ", plan.fit.summary.removeprefix(f"It {word}: "))], style)


def warnings(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    if plan.warnings:
        yield points("!", plan.warnings, inks.warning)


def advice(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    if plan.fit and plan.fit.advice:
        yield points("→", plan.fit.advice, inks.muted)


def memory(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    fit = plan.fit
    if not fit or not fit.rows:
        return
    yield _heading("Memory of each GPU, in GiB", inks)
    yield NotedRows(
        [NotedRow((row.title, gib_range(row.low, row.high)), row.note) for row in fit.rows], inks.muted, (1,)
    )
    if known := fit_numbers(fit):
        yield Text(known, style=inks.muted)


def told(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    if lines := told_before(plan):
        yield _heading("What the engine told at its last start", inks)
        yield _grid(lines, inks)


def gpus(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    if plan.placement:
        yield _heading("GPUs", inks)
        yield NotedRows([_gpu_row(gpu) for gpu in plan.placement], inks.muted)


def facts(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    yield _heading("What is started", inks)
    yield _grid(plan_facts(plan), inks)


def _grid(rows: Iterable[tuple[str, str]], inks: Inks) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=inks.muted, no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in rows:
        table.add_row(title, Text(value))
    return table


def files(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    """What is written for it; of long ones the beginning."""
    return _files(plan, inks, FOLDED_LINES)


def whole_files(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    return _files(plan, inks, None)


def by_hand(plan: Plan, inks: Inks) -> Iterable[RenderableType]:
    yield _heading("The same by hand", inks)
    yield Text(command_line(plan.launch), overflow="fold")


def can_unfold(plan: Plan) -> bool:
    """Some of its files are longer than what is shown of them at first."""
    return any(len(file.text.splitlines()) > FOLDED_LINES for file in plan.launch.files)


def _files(plan: Plan, inks: Inks, limit: int | None) -> Iterable[RenderableType]:
    for file in plan.launch.files:
        yield from _file(plan.launch.files_root, file, inks, limit)


def _file(root: str, file: GeneratedFile, inks: Inks, limit: int | None) -> Iterable[RenderableType]:
    lines = file.text.splitlines()
    kind = ", executable" if file.executable else ""
    size = f"  {len(lines)} line{'' if len(lines) == 1 else 's'}{kind}"
    yield Text.assemble("\n", (f"{root.rstrip('/')}/{file.path}", "bold"), (size, inks.muted), overflow="fold")
    yield Padding(Text("\n".join(lines[:limit]), overflow="fold"), (0, 0, 0, 2))
    if limit and len(lines) > limit:
        yield Text(f"  … {len(lines) - limit} more: {UNFOLD_KEY} shows all", style=inks.muted)


def _heading(title: str, inks: Inks) -> Text:
    return Text.assemble("\n", (title, inks.muted + Style(underline=True)))


def points(symbol: str, sentences: Iterable[str | Text], style: Style) -> Table:
    """Each with a symbol before it, and its further lines below its first word."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for sentence in sentences:
        table.add_row(symbol, sentence if isinstance(sentence, Text) else Text(sentence))
    return table


def _gpu_row(gpu: PlacedGpu) -> NotedRow:
    used = ""
    if gpu.memory_total is not None:
        used = f"{gib(gpu.memory_used)} of {gib(gpu.memory_total)} GiB in use"
    index = str(gpu.index) if gpu.index >= 0 else "–"
    note = f"{gpu.uuid}, used by {' and '.join(gpu.used_by)}" if gpu.used_by else gpu.uuid
    return NotedRow((index, gpu.name, used), note)
