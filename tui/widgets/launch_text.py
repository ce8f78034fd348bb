"""An operation, written for a person: its steps, what they do, and how long they take."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from engine.diagnosis import Cause
from engine.snapshot import OperationStatus, Outcome, Step
from tui import format as write
from tui import operation_words as words
from tui.widgets.glyphs import cut

TIME_CELLS = 8
LEAST_DETAIL = 24
"""Cells that a step's detail needs: a name beside the title gives way to it"""


@dataclass(frozen=True, slots=True)
class Inks:
    """The styles of the theme that is used."""

    success: Style
    warning: Style
    error: Style
    muted: Style


@dataclass(frozen=True, slots=True)
class Columns:
    """Cells that each part of a step's line has."""

    title: int
    subject: int
    detail: int

    @property
    def before_detail(self) -> int:
        return 4 + self.title + 1 + self.subject + TIME_CELLS + 2


class OperationText:
    def __init__(self, status: OperationStatus, inks: Inks, width: int) -> None:
        self._status = status
        self._inks = inks
        self._width = max(LEAST_DETAIL, width)
        self._columns = self._fit_columns()

    def whole(self) -> Text:
        """What came of it, and every step with all that there is to say."""
        return Text("\n").join([*self._head(), *self._ending(), *self._steps(self._status.steps)])

    def folded(self, room: int) -> Text:
        """The step under way, and of the others as much as there is room for, in lines."""
        steps = self._status.steps
        back = [step for step in steps if step.undo]
        ahead = [step for step in steps if not step.undo]
        failed = [step for step in ahead if back and step.outcome not in (None, Outcome.DONE)]
        now = [step for step in back or ahead if step.outcome not in (None, Outcome.DONE)]
        coming = [step.title for step in back or ahead if step.outcome is None]
        title, about = self._head()
        lines: list[tuple[int, Text]] = [(0, title), (1, about)]
        lines += self._done(2, ahead)
        lines += [(0, line) for line in self._steps(failed, one_line=True)]
        if back:
            lines.append((0, self._back(one_line=True)))
            lines += self._done(3, back)
        lines += [(0, self._step(step, one_line=True)) for step in now]
        if coming:
            lines.append((4, self._line(f"    then {', '.join(coming)}", self._inks.muted)))
        for rank in range(1, 5):
            if len(lines) > room:
                lines = [line for line in lines if line[0] != rank]
        return Text("\n").join(text for _, text in lines)

    def _done(self, rank: int, steps: list[Step]) -> list[tuple[int, Text]]:
        done = [step.title for step in steps if step.outcome is Outcome.DONE]
        if not done:
            return []
        line = Text.assemble("  ", ("✓ ", self._inks.success), ", ".join(done))
        line.truncate(self._width, overflow="ellipsis")
        return [(rank, line)]

    def _head(self) -> tuple[Text, Text]:
        status, now = self._status, write.now()
        running = status.outcome is Outcome.RUNNING
        ending = words.ending(status)
        colour: Style = getattr(self._inks, words.COLOURS[status.outcome])
        title = Text.assemble((f"{words.SYMBOLS[status.outcome]} ", colour), (status.title, "bold"))
        if ending:
            title.append(": ").append(ending, style=colour)
        took = words.took(status, now)
        pace = words.pace(status, now)
        late = pace.startswith("late")
        if running:
            title.append(f"  {took}{', ' if pace else ''}")
            if title.cell_len + cell_len(pace) > self._width:
                pace = pace.partition(":")[0]  # the line below says the rest
            title.append(pace, style=self._inks.warning if late else self._inks.muted)
        title.truncate(self._width, overflow="ellipsis")
        ended = f", took {took}" if status.ended_at else ""
        usual = f"; {words.usual(status.estimate)}" if status.estimate and pace and ":" not in pace else ""
        about = f"  began {write.clock(status.began_at)}{ended}, by {status.owner}{usual}"
        return title, self._line(about, self._inks.muted)

    def _ending(self) -> list[Text]:
        """How it ended, and what to know besides."""
        status = self._status
        lines = []
        if status.message and status.outcome is not Outcome.RUNNING:
            lines.append(self._wrapped(status.message, indent=2))
        if status.log_path and status.log_path not in status.message:
            lines.append(self._wrapped(f"The log of what failed is kept: {status.log_path}", indent=2))
        if status.settled_by:
            lines.append(self._wrapped(f"It was {status.settled_by}.", indent=2))
        elif status.unsettled:
            lines.append(self._wrapped("Press u to finish it or to roll it back.", self._inks.error, indent=2))
        return lines + [self._wrapped(f"! {note}", self._inks.warning, indent=2) for note in status.notes]

    def _steps(self, steps: Sequence[Step], *, one_line: bool = False) -> list[Text]:
        lines: list[Text] = []
        for index, step in enumerate(steps):
            if step.undo and (index == 0 or not steps[index - 1].undo):
                lines.append(self._back(one_line=one_line))
            lines.append(self._step(step, one_line=one_line))
        return lines

    def _back(self, *, one_line: bool) -> Text:
        verb = "rolling back" if self._status.outcome is Outcome.RUNNING else "rolled back"
        told = f"{verb}: {words.cause(self._status)}"
        if one_line:
            return self._line(f"  {told}", self._inks.warning)
        return self._wrapped(told, self._inks.warning, indent=2)

    def _step(self, step: Step, *, one_line: bool) -> Text:
        columns = self._columns
        colour: Style = getattr(self._inks, words.COLOURS[step.outcome]) if step.outcome else self._inks.muted
        text = Text.assemble("  ", (f"{words.SYMBOLS[step.outcome]} ", colour))
        text.append(f"{cut(step.title, columns.title)} ", style="" if step.outcome else self._inks.muted)
        text.append(cut(self._subject(step), columns.subject) if columns.subject else "", style=self._inks.muted)
        text.append(f"{self._took(step):>{TIME_CELLS}}  ")
        if one_line:
            text.append(step.detail, style=self._inks.muted)
            text.truncate(self._width, overflow="ellipsis")
        else:
            text.append(hung(step.detail, columns.detail, columns.before_detail), style=self._inks.muted)
        return text

    def _subject(self, step: Step) -> str:
        """Of one that settles another operation the first step is about that one, and its id says nothing."""
        return step.subject if step.subject in self._status.subjects else ""

    def _took(self, step: Step) -> str:
        """Nothing for what was interrupted: when that was nobody has written down."""
        if step.began_at is None or (step.ended_at is None and self._status.outcome is not Outcome.RUNNING):
            return ""
        return write.duration((step.ended_at or write.now()) - step.began_at)

    def _fit_columns(self) -> Columns:
        title = max((cell_len(step.title) for step in self._status.steps), default=0)
        longest = max((cell_len(self._subject(step)) for step in self._status.steps), default=0)
        spare = self._width - LEAST_DETAIL - Columns(title, 0, 0).before_detail
        subject = min(longest, spare) if self._status.outgoing and spare >= min(longest, LEAST_DETAIL // 3) else 0
        detail = self._width - Columns(title, subject, 0).before_detail
        return Columns(title, subject, max(LEAST_DETAIL, detail))

    def _line(self, text: str, style: Style | str = "") -> Text:
        line = Text(text, style=style)
        line.truncate(self._width, overflow="ellipsis")
        return line

    def _wrapped(self, text: str, style: Style | str = "", *, indent: int) -> Text:
        return Text(" " * indent + hung(text, self._width - indent, indent), style=style)


def cause_text(cause: Cause, inks: Inks, width: int, *, said: str) -> Text:
    """Why it failed and what to do, in a few lines; the rest is a key away. `said`: what stands below it anyway."""
    text = Text.assemble((f"▲ {cause.title}", inks.error))
    if cause.cause not in said:
        text.append(f"\n  {hung(cause.cause, width - 2, 2)}")
    if cause.remedy not in said:
        text.append(f"\n→ {hung(cause.remedy, width - 2, 2)}")
    told = "w shows what proves it, and the change to make" if cause.changes else "w shows what proves it"
    return text.append(f"\n  {told}", style=inks.muted)


def hung(text: str, width: int, indent: int) -> str:
    """Wrapped, with the lines below the first as far in as it begins."""
    return f"\n{' ' * indent}".join(textwrap.wrap(text, max(20, width), break_on_hyphens=False))
