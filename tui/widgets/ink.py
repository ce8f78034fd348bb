"""Styles of a widget's parts, for what it draws by itself."""

from rich.style import Style
from textual.widget import Widget


def ink(widget: Widget, part: str) -> Style:
    """Colour and weight of a component class, on whatever background: as part of a style Textual leaves out how
    transparent a colour is, and what is to be muted would shine."""
    style = widget.get_component_rich_style(part)
    return Style(color=style.color, bold=style.bold, italic=style.italic)
