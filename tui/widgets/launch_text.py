"""An operation, written for a person: its steps, what they do, and how long they take."""

import textwrap
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

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
        """Every step, with all that there is to say."""
        status = self._status
        lines = [*self._head(), *self._steps(status.steps)]
        lines += [self._wrapped(f"! {note}", self._inks.warning, 2) for note in status.notes]
        if status.message and status.outcome is not Outcome.RUNNING:
            lines.append(self._wrapped(status.message))
        if status.log_path and status.log_path not in status.message:
            lines.append(self._wrapped(f"The log of what failed is kept: {status.log_path}"))
        if status.settled_by:
            lines.append(self._wrapped(f"It was interrupted, and {status.settled_by}."))
        elif status.unsettled:
            lines.append(self._wrapped("▲ Its process is gone: u finishes it or rolls it back.", self._inks.error))
        return Text("\n").join(lines)

    def folded(self) -> Text:
        """The step under way, and the others on a line together: for a pane that has no room for all."""
        steps = self._status.steps
        if self._status.rolling_back:
            shown = [step for step in steps if step.outcome is Outcome.FAILED and not step.undo]
            steps_now = [step for step in steps if step.undo]
        else:
            shown, steps_now = [], list(steps)
        done = [step.title for step in steps if step.outcome is Outcome.DONE]
        coming = [step.title for step in steps_now if step.outcome is None]
        now = [step for step in steps_now if step.outcome not in (None, Outcome.DONE)]
        lines = self._head()
        if done:
            lines.append(self._line(f"  ✓ {', '.join(done)}"))
        lines += self._steps([*shown, *now], one_line=True)
        if coming:
            lines.append(self._line(f"  then {', '.join(coming)}", self._inks.muted))
        return Text("\n").join(lines)

    def _head(self) -> list[Text]:
        status, now = self._status, write.now()
        ending = words.ending(status)
        colour: Style = getattr(self._inks, words.COLOURS[status.outcome])
        title = Text.assemble((f"{words.SYMBOLS[status.outcome]} ", colour), (status.title, "bold"))
        if ending:
            title.append(": ").append(ending, style=colour)
        pace = words.pace(status, now)
        took = words.took(status, now)
        if status.outcome is Outcome.RUNNING:
            title.append(f"  {took}{', ' if pace else ''}")
            title.append(pace, style=self._inks.warning if pace.startswith("late") else self._inks.muted)
        title.truncate(self._width, overflow="ellipsis")
        ended = "" if status.outcome is Outcome.RUNNING else f", took {took}"
        usual = f"; {words.usual(status.estimate)}" if status.estimate and status.outcome is Outcome.RUNNING else ""
        about = f"  began {write.clock(status.began_at)}{ended}, by {status.owner}"
        return [title, self._line(about + usual, self._inks.muted)]

    def _steps(self, steps: "tuple[Step, ...] | list[Step]", *, one_line: bool = False) -> list[Text]:
        lines: list[Text] = []
        back = False
        for step in steps:
            if step.undo and not back:
                back = True
                verb = "rolling back" if self._status.outcome is Outcome.RUNNING else "rolled back"
                told = f"  {verb}: {words.cause(self._status)}"
                lines.append(
                    self._line(told, self._inks.warning) if one_line else self._wrapped(told, self._inks.warning, 4)
                )
            lines.append(self._step(step, one_line=one_line))
        return lines

    def _step(self, step: Step, *, one_line: bool) -> Text:
        columns = self._columns
        colour: Style = getattr(self._inks, words.COLOURS[step.outcome]) if step.outcome else self._inks.muted
        text = Text.assemble("  ", (f"{words.SYMBOLS[step.outcome]} ", colour))
        text.append(f"{cut(step.title, columns.title)} ", style="" if step.outcome else self._inks.muted)
        text.append(cut(step.subject, columns.subject) if columns.subject else "", style=self._inks.muted)
        took = write.duration((step.ended_at or write.now()) - step.began_at) if step.began_at else ""
        text.append(f"{took:>{TIME_CELLS}}  ")
        if one_line:
            text.append(step.detail, style=self._inks.muted)
            text.truncate(self._width, overflow="ellipsis")
        else:
            text.append(hung(step.detail, columns.detail, columns.before_detail), style=self._inks.muted)
        return text

    def _fit_columns(self) -> Columns:
        title = max((cell_len(step.title) for step in self._status.steps), default=0)
        longest = max((cell_len(step.subject) for step in self._status.steps), default=0)
        spare = self._width - LEAST_DETAIL - Columns(title, 0, 0).before_detail
        subject = min(longest, spare) if self._status.outgoing and spare >= min(longest, LEAST_DETAIL // 3) else 0
        detail = self._width - Columns(title, subject, 0).before_detail
        return Columns(title, subject, max(LEAST_DETAIL, detail))

    def _line(self, text: str, style: Style | str = "") -> Text:
        line = Text(text, style=style)
        line.truncate(self._width, overflow="ellipsis")
        return line

    def _wrapped(self, text: str, style: Style | str = "", indent: int = 0) -> Text:
        begins = len(text) - len(text.lstrip())
        lines = hung(text.lstrip(), self._width - max(begins, indent), indent)
        return Text(" " * begins + lines, style=style)


def hung(text: str, width: int, indent: int) -> str:
    """Wrapped, with the lines below the first as far in as it begins."""
    return f"\n{' ' * indent}".join(textwrap.wrap(text, max(20, width), break_on_hyphens=False))
