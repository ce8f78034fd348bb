"""Text that grows under its end many times a second."""

from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.widget import Widget


def resize(view: ScrollView, size: Size) -> None:
    """A row more, where there is a scrollbar already, moves only that: nothing else has to be laid out anew."""
    before = view.virtual_size
    if view.show_vertical_scrollbar and size.width == before.width and size.height >= before.height:
        view.set_reactive(Widget.virtual_size, size)
        view.vertical_scrollbar.window_virtual_size = size.height
    else:
        view.virtual_size = size
