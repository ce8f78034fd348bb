"""The load tests that are kept of a deployment, newest first: to be opened, or compared by twos."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from engine.load_result import LoadResult
from tui import format as fmt
from tui.widgets.glyphs import terminal_is_plain
from tui.widgets.load_words import OUTCOMES, doubts, summary
from tui.widgets.state import NOTICE

ID_FROM_COLUMNS = 100
"""From so many there is room for the id that `tritontui loads` lists a test by"""
HINT = "space marks two, b compares them, the older with the newer"


class EarlierLoads(Vertical):
    class Opened(Message):
        def __init__(self, result: LoadResult) -> None:
            super().__init__()
            self.result = result

    class Compared(Message):
        """The older of the two first."""

        def __init__(self, first: LoadResult, second: LoadResult) -> None:
            super().__init__()
            self.first = first
            self.second = second

    class Left(Message):
        pass

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark", id="load.mark", tooltip="Mark a load test to be compared"),
        Binding("b", "compare", "compare", id="load.compare", tooltip="Compare the two that are marked"),
        Binding("escape", "leave_list", "back", id="load.leave_list", tooltip="From the earlier load tests back"),
        Binding("j", "move(1)", "down", show=False, tooltip="Go to the next load test"),
        Binding("k", "move(-1)", "up", show=False, tooltip="Go to the previous load test"),
    ]
    DEFAULT_CSS = """
    EarlierLoads {
        height: 1fr;
        & > #earlier-says { height: auto; padding: 0 1; color: $text-muted; }
        & > #earlier-says.-failed { color: $text-error; }
        & > OptionList { height: 1fr; background: transparent; text-wrap: nowrap; text-overflow: ellipsis; }
        & > OptionList > .option-list--option-highlighted, & > OptionList:focus > .option-list--option-highlighted {
            background: $panel; color: $foreground; text-style: $block-cursor-text-style;
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._results: Sequence[LoadResult] = ()
        self._marked: list[str] = []
        """Ids, the one that was marked last at the end"""
        self._with_ids = False

    def compose(self) -> ComposeResult:
        yield Static(id="earlier-says", markup=False)
        yield OptionList(compact=True, markup=False)

    def say(self, sentence: str, *, failed: bool = False) -> None:
        says = self.query_one("#earlier-says", Static)
        says.update(sentence)
        says.set_class(failed, "-failed")

    def show(self, results: Sequence[LoadResult]) -> None:
        """The cursor stays on its test."""
        before = self.under_cursor
        self._results = results
        self._marked = [one for one in self._marked if any(one == result.id for result in results)]
        self.say(HINT if len(results) > 1 else "")
        self._fill(before)

    def _fill(self, cursor: LoadResult | None) -> None:
        listed = self.query_one(OptionList)
        self._with_ids = self.size.width >= ID_FROM_COLUMNS
        listed.set_options(
            [_row(result, marked=result.id in self._marked, with_id=self._with_ids) for result in self._results]
        )
        at = next((y for y, result in enumerate(self._results) if cursor and result.id == cursor.id), 0)
        listed.highlighted = at if self._results else None

    def on_resize(self) -> None:
        if self._with_ids is not (self.size.width >= ID_FROM_COLUMNS):
            self._fill(self.under_cursor)

    @property
    def under_cursor(self) -> LoadResult | None:
        at = self.query_one(OptionList).highlighted
        return self._results[at] if at is not None and at < len(self._results) else None

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        if self._results:
            listed.highlighted = max(0, min((listed.highlighted or 0) + by, len(self._results) - 1))

    @on(OptionList.OptionSelected)
    def _opened(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self.under_cursor:
            self.post_message(self.Opened(self.under_cursor))

    def action_mark(self) -> None:
        """A third takes the place of the first."""
        found = self.under_cursor
        if found:
            others = [one for one in self._marked if one != found.id]
            self._marked = others if found.id in self._marked else [*others[-1:], found.id]
            self._fill(found)

    def action_compare(self) -> None:
        """One that is marked is compared with the one under the cursor."""
        chosen = [result for result in self._results if result.id in self._marked]
        found = self.under_cursor
        if len(chosen) == 1 and found and found not in chosen:
            chosen.append(found)
        if len(chosen) == 2:
            first, second = sorted(chosen, key=lambda result: result.began_at)
            self.post_message(self.Compared(first, second))
        else:
            self.app.notify("Mark two load tests with the space bar first.", severity="warning", markup=False)

    def action_leave_list(self) -> None:
        self.post_message(self.Left())


def _row(result: LoadResult, *, marked: bool, with_id: bool) -> Content:
    look = OUTCOMES[result.outcome]
    mark = ("x" if terminal_is_plain() else "✓") if marked else " "
    found = doubts(result)
    return Content.assemble(
        (f"{mark} ", "$secondary"),
        (f"{look.symbol} ", f"${look.colour}"),
        (f"{NOTICE if found else ' '} ", "$text-warning"),
        f"{fmt.moment(result.began_at)[:16]}  {f'{result.id}  ' if with_id else ''}{summary(result)}",
        ("".join(f"  {NOTICE} {doubt.value}" for doubt in found), "$text-warning"),
    )
