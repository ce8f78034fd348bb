"""How a line of a log looks: its level as a letter, and which of it is not the message."""

from rich.style import Style
from textual.color import Color

from engine.log_line import Level, LineKind, LogLine
from engine.observe.log_words import head

LETTERS = {Level.DEBUG: "D", Level.WARNING: "W", Level.ERROR: "E", Level.FATAL: "F"}
"""Most lines are of level INFO, or have none: they get no letter, so that the others stand out"""
NAMES = {Level.DEBUG: "debug", Level.WARNING: "warning", Level.ERROR: "error", Level.FATAL: "error"}
"""Of the styles that widgets have for them"""
HUES = ("red", "green", "yellow", "blue", "magenta", "cyan")
"""Of a terminal's own colours, those that a theme has an answer to; the others are shades of its foreground"""
_WEIGHTS = ("bold", "dim", "italic", "underline")
_LEAST_CONTRAST = 0.3


def message_start(text: str) -> int:
    """Where the message begins, after who wrote it, when, at what level and where in its source."""
    return head(text)[2]


def level_of(line: LogLine) -> Level | None:
    """Its own; a traceback is an error even when nothing else says so."""
    if line.level is None and line.kind in (LineKind.TRACEBACK, LineKind.FRAME):
        return Level.ERROR
    return line.level


def continues(line: LogLine) -> bool:
    """It is indented below the line that it belongs to."""
    start = message_start(line.text)
    return line.level is None and line.text[start : start + 1] in (" ", "\t")


def style_of(wanted: str, hues: dict[str, Style], background: Color) -> Style:
    """Of a part that its writer coloured, in the theme's terms: colours that cannot be read on it are left out."""
    style = Style()
    for word in wanted.split():
        name = word.removeprefix("bright_")
        if name in hues:
            style += hues[name]
        elif word in _WEIGHTS or (word.startswith("#") and _readable(word, background)):
            style += Style.parse(word)
    return style


def _readable(colour: str, background: Color) -> bool:
    return abs(Color.parse(colour).brightness - background.brightness) >= _LEAST_CONTRAST
