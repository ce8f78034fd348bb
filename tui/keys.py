"""How keys are written, in the footer as in the help."""

_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "page down",
    "pageup": "page up",
}


def key_name(key: str) -> str:
    return _NAMES.get(key, key)


def key_names(keys: str) -> str:
    """Several keys for one thing, given with commas between them."""
    return "  ".join(key_name(key) for key in keys.split(","))
