"""How keys are written, in the footer as in the help."""

from textual.keys import format_key

_NAMES = {
    "pagedown": "page down",
    "pageup": "page up",
    # As the documentation calls them; Textual has signs for them, which not every terminal shows.
    **{name: name for name in ("up", "down", "left", "right", "enter", "escape", "backspace", "delete")},
}


def key_name(key: str) -> str:
    """The character that it types, or its name."""
    modifiers, plus, base = key.rpartition("+")
    return f"{modifiers}{plus}{_NAMES.get(base) or format_key(base)}"


def key_names(keys: str) -> str:
    """Several keys for one thing, given with commas between them."""
    return "  ".join(key_name(key) for key in keys.split(","))
