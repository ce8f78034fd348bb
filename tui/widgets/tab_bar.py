"""The tabs above the detail area, with the keys that open them."""

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.glyphs import cut

LEAST_SUBJECT = 8
"""Cells in which the beginning of a name is still of use"""


class TabBar(Widget):
    class Picked(Message):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    COMPONENT_CLASSES = {"tabs--active", "tabs--key"}
    DEFAULT_CSS = """
    TabBar {
        height: 1; color: $foreground-muted;
        & > .tabs--active { color: $foreground; text-style: bold reverse; }
        & > .tabs--key { color: $footer-key-foreground; }
    }
    """

    def __init__(self, tabs: tuple[tuple[str, str], ...], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tabs = tabs
        self._active = tabs[0][0]
        self._subject = ""
        self._detail = ""
        self._marks: dict[str, str] = {}

    def mark(self, key: str, sign: str) -> None:
        """A character after a tab's title, for what goes on in it unseen; empty: nothing does."""
        if self._marks.get(key, "") != sign:
            self._marks[key] = sign
            self.refresh()

    def show(self, active: str, subject: str, detail: str = "") -> None:
        """`subject`: what the panes are about, written at the right; with `detail` on it where there is room."""
        if (active, subject, detail) != (self._active, self._subject, self._detail):
            self._active, self._subject, self._detail = active, subject, detail
            self.refresh()

    def _labels(self) -> list[tuple[str, str, str]]:
        """Key, number and title of each; where there is no room, only the active one keeps its title.

        They stand closer together where the subject would else have no room.
        """
        most = sum(len(title) + 5 for _, title in self._tabs)
        room = most <= self.size.width
        close = room and most + min(len(self._subject), LEAST_SUBJECT) + 2 > self.size.width
        return [
            (key, f" {number} ", f"{title}{'' if close else ' '}" if room or key == self._active else "")
            for number, (key, title) in enumerate(self._tabs, start=1)
        ]

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        active = base + self.get_component_rich_style("tabs--active", partial=True)
        key_style = base + self.get_component_rich_style("tabs--key", partial=True)
        segments: list[Segment] = []
        for key, number, title in self._labels():
            on = key == self._active
            segments += [Segment(number, active if on else key_style), Segment(title, active if on else base)]
            segments.append(Segment(self._marks.get(key) or " ", base))
        strip = Strip(segments)
        room = self.size.width - strip.cell_length - 1
        said = f"{self._subject}: {self._detail}" if self._detail else self._subject
        said = said if len(said) <= room else self._subject
        if len(said) > room >= LEAST_SUBJECT:
            said = cut(said, room)
        if 0 < len(said) <= room:
            strip = Strip([*segments, Segment(said.rjust(room), base), Segment(" ", base)])
        return strip.adjust_cell_length(self.size.width, base)

    def on_click(self, event: events.Click) -> None:
        start = 0
        for key, number, title in self._labels():
            end = start + len(number) + len(title)
            if start <= event.x < end:
                self.post_message(self.Picked(key))
                return
            start = end + 1
