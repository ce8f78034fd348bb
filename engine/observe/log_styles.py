"""The colours that a program gives its log (SGR), as styles of parts of a line."""

from collections.abc import Iterator

from engine.log_line import Styled
from engine.text import COLOUR

_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_ATTRIBUTES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 21: "underline"}
_ENDED = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",)}
_LEVELS = (0, 95, 135, 175, 215, 255)
"""Of each hue in the cube of 256 colours"""


def without_colours(text: str) -> str:
    return COLOUR.sub("", text)


def parse(text: str) -> tuple[str, tuple[Styled, ...]]:
    """A cleaned line whose only sequences are colours: its text, and its styled parts in their order.

    Colours of the background are left out, and with them those of the text on it: it is shown on another one.
    """
    pen = _Pen()
    pieces: list[str] = []
    parts: list[Styled] = []
    position = length = 0
    for match in COLOUR.finditer(text):
        pieces.append(text[position : match.start()])
        length = _add(parts, length, len(pieces[-1]), pen.style)
        position = match.end()
        pen.take(match[1])
    pieces.append(text[position:])
    _add(parts, length, len(pieces[-1]), pen.style)
    return "".join(pieces), tuple(parts)


def _add(parts: list[Styled], start: int, count: int, style: str) -> int:
    """Where the next piece begins."""
    end = start + count
    if not count or not style:
        return end
    if parts and parts[-1].end == start and parts[-1].style == style:
        start = parts.pop().start
    parts.append(Styled(start, end, style))
    return end


class _Pen:
    def __init__(self) -> None:
        self._attributes: dict[str, None] = {}
        self._colour = ""
        self._on_colour = False

    @property
    def style(self) -> str:
        return " ".join((*self._attributes, *([self._colour] if self._colour and not self._on_colour else [])))

    def take(self, parameters: str) -> None:
        """The parameters of one sequence; what is unknown does nothing."""
        fields = iter(parameters.split(";"))
        for field in fields:
            # `38:2::255:0:0` and `4:3` have in one field what `38;2;255;0;0` has in five.
            first, *more = field.split(":")
            number = int(first or 0)
            if number in (38, 48):
                colour = _of_colon_form(more) if more else _of_fields(fields)
                if number == 48:
                    self._on_colour = True
                else:
                    self._colour = colour
            elif number == 4 and more[:1] == ["0"]:
                self._set(24)
            else:
                self._set(number)

    def _set(self, number: int) -> None:
        if number == 0:
            self._attributes, self._colour, self._on_colour = {}, "", False
        elif number in _ATTRIBUTES:
            self._attributes[_ATTRIBUTES[number]] = None
        elif number in _ENDED:
            for name in _ENDED[number]:
                self._attributes.pop(name, None)
        elif 30 <= number <= 37:
            self._colour = _NAMES[number - 30]
        elif 90 <= number <= 97:
            self._colour = f"bright_{_NAMES[number - 90]}"
        elif number == 39:
            self._colour = ""
        elif 40 <= number <= 47 or 100 <= number <= 107:
            self._on_colour = True
        elif number == 49:
            self._on_colour = False


def _of_fields(fields: Iterator[str]) -> str:
    kind = next(fields, "")
    if kind == "5":
        return _of_index(next(fields, ""))
    return _of_hues([next(fields, "") for _ in range(3)]) if kind == "2" else ""


def _of_colon_form(parts: list[str]) -> str:
    if parts[0] == "5" and len(parts) == 2:
        return _of_index(parts[1])
    return _of_hues(parts[-3:]) if parts[0] == "2" and len(parts) >= 4 else ""


def _of_index(word: str) -> str:
    """Of the 256 colours; empty for a number beyond them."""
    index = int(word) if word.isdecimal() else 256
    if index < 16:
        return ("bright_" if index >= 8 else "") + _NAMES[index % 8]
    if index < 232:
        index -= 16
        return _hex(_LEVELS[index // 36], _LEVELS[index // 6 % 6], _LEVELS[index % 6])
    return _hex(*[8 + 10 * (index - 232)] * 3) if index < 256 else ""


def _of_hues(words: list[str]) -> str:
    hues = [int(word) for word in words if word.isdecimal()]
    return _hex(*hues) if len(hues) == 3 and max(hues) < 256 else ""


def _hex(red: int, green: int, blue: int) -> str:
    return f"#{red:02x}{green:02x}{blue:02x}"
