"""Finds any family that a deployment's endpoint reports, to pin it among its metrics."""

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from engine.metrics_reading import Family
from tui.widgets.metric_table import CHARTED

NAME_WIDTH = 50
NONE_REPORTED = "The endpoint has reported no families yet."
NO_MATCH = "No family's name or help has all of these words."


class FamilyFinder(Vertical):
    class Picked(Message):
        """A family is to be pinned, or not any more."""

        def __init__(self, family: Family) -> None:
            super().__init__()
            self.family = family

    class Closed(Message):
        pass

    BINDINGS: ClassVar[list[BindingType]] = [
        # At once, not when its turn comes in the line that is typed into.
        Binding("enter", "pin", "pin", id="metrics.pin", tooltip="In the finder: pin the family", priority=True),
        Binding(
            "enter", "unpin", "unpin", id="metrics.unpin", tooltip="In the finder: pin it no longer", priority=True
        ),
        Binding("escape", "close", "values", id="metrics.end_find", tooltip="In the finder: back to the values"),
        Binding("down", "move(1)", "down", show=False, tooltip="In the finder: go to the next family"),
        Binding("up", "move(-1)", "up", show=False, tooltip="In the finder: go to the previous family"),
        Binding("pagedown", "page(1)", "page down", show=False, tooltip="In the finder: go down by a page"),
        Binding("pageup", "page(-1)", "page up", show=False, tooltip="In the finder: go up by a page"),
    ]
    DEFAULT_CSS = """
    FamilyFinder {
        height: 1fr;
        & > Horizontal { height: 1; background: $panel; }
        & #find-sign { width: auto; padding: 0 1; color: $footer-key-foreground; }
        & #find-text { width: 1fr; background: $panel; }
        & #find-count { width: auto; padding: 0 1; color: $text-muted; }
        & > OptionList { height: 1fr; scrollbar-size-vertical: 1; background: transparent; }
        & > OptionList { text-wrap: nowrap; text-overflow: ellipsis; }
        & > OptionList > .option-list--option-highlighted {
            background: $panel; color: $foreground; text-style: $block-cursor-text-style;
        }
        & > #find-help { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._families: Sequence[Family] = ()
        self._found: list[Family] = []
        self.input = Input(placeholder="part of a family's name or help", compact=True, id="find-text")
        self.input.cursor_blink = False  # nothing moves that means nothing
        self._list = OptionList(compact=True, markup=False)
        self._list.can_focus = False  # its keys are this one's, so that typing goes on

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("/", id="find-sign")
            yield self.input
            yield Static(id="find-count", markup=False)
        yield self._list
        yield Static(id="find-help", markup=False)

    def show(self, families: Sequence[Family]) -> None:
        """The cursor stays on its family."""
        if families != self._families:
            self._families = families
            self._sift()

    def begin(self) -> None:
        self.input.value = ""
        self._list.highlighted = 0 if self._found else None
        self.screen.set_focus(self.input)

    @property
    def family(self) -> Family | None:
        """The one under the cursor."""
        at = self._list.highlighted
        return self._found[at] if at is not None and at < len(self._found) else None

    def _sift(self) -> None:
        before = self.family
        words = self.input.value.lower().split()
        self._found = [family for family in self._families if _matches(family, words)]
        self._found.sort(key=lambda family: (not family.pinned, not _matches_name(family, words), family.name))
        width = max((len(family.name) for family in self._found), default=0)
        with self.prevent(OptionList.OptionHighlighted):
            self._list.set_options([_row(family, min(width, NAME_WIDTH)) for family in self._found])
            names = [family.name for family in self._found]
            kept = names.index(before.name) if before and before.name in names and not words else 0
            self._list.highlighted = kept if names else None
        self.query_one("#find-count", Static).update(f"{len(self._found)} of {len(self._families)}")
        self._show_help()

    @on(OptionList.OptionHighlighted)
    def _show_help(self) -> None:
        family = self.family
        if family is None:
            text = NO_MATCH if self._families else NONE_REPORTED
        elif not family.series:
            text = f"{family.name}: pinned, and the endpoint does not report it now; another version may have."
        else:
            sets = "one label set" if family.series == 1 else f"{family.series} label sets"
            text = f"{family.name}: {family.help or 'no help is given'} ({family.kind}, {sets})"
        self.query_one("#find-help", Static).update(text)
        self.refresh_bindings()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._sift()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._pick()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pin", "unpin"):
            return self.family is not None and self.family.pinned is (action == "unpin")
        return True

    def action_pin(self) -> None:
        self._pick()

    def action_unpin(self) -> None:
        self._pick()

    def _pick(self) -> None:
        if self.family:
            self.post_message(self.Picked(self.family))

    def action_close(self) -> None:
        self.post_message(self.Closed())

    def action_move(self, by: int) -> None:
        if self._found:
            at = self._list.highlighted or 0
            self._list.highlighted = max(0, min(at + by, len(self._found) - 1))

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self._list.size.height - 1))


def _matches(family: Family, words: Sequence[str]) -> bool:
    text = f"{family.name}\n{family.help}".lower()
    return all(word in text for word in words)


def _matches_name(family: Family, words: Sequence[str]) -> bool:
    return all(word in family.name.lower() for word in words)


def _row(family: Family, width: int) -> Content:
    mark = CHARTED if family.pinned else " "
    said = f"{family.kind:<9}  {family.help}" if family.series else "not reported now"
    return Content.assemble((f"{mark} ", "$secondary"), f"{family.name:<{width}}  ", (said, "$text-muted"))
