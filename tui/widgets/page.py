"""Text that is read from top to bottom, and scrolled by the keys of any pager."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll


class Page(VerticalScroll):
    # Room for the scrollbar always: with it text may wrap so that it is needed, and without it so that it is not.
    DEFAULT_CSS = "Page { padding: 0 1; scrollbar-gutter: stable; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False, tooltip="Scroll up by a line"),
        Binding("down,j", "scroll_down", "down", show=False, tooltip="Scroll down by a line"),
        Binding("pageup,b", "page_up", "page up", show=False, tooltip="Scroll up by a page"),
        Binding("pagedown,space", "page_down", "page down", show=False, tooltip="Scroll down by a page"),
        Binding("home,g", "scroll_home", "top", show=False, tooltip="Go to the top"),
        Binding("end,G", "scroll_end", "end", show=False, tooltip="Go to the end"),
    ]
