"""What a log is made of. Light to import: screens are built from it."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Level(IntEnum):
    """How grave a line is; ordered, so that `>= WARNING` filters."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    FATAL = 50


class Stream(StrEnum):
    OUT = "stdout"
    ERR = "stderr"


class LineKind(StrEnum):
    PLAIN = "plain"
    TRACEBACK = "traceback"
    """The line that begins a Python traceback"""
    FRAME = "frame"
    """Within a traceback; what raised it follows, and is plain"""
    BANNER = "banner"
    """Of an NGC image, or a program's own picture of itself"""
    PROGRESS = "progress"
    """A progress bar in its last state"""
    GAP = "gap"
    """Written by the engine: here lines are missing, and how many where that is known"""


@dataclass(frozen=True, slots=True)
class Styled:
    """A part of a line's text that its writer coloured: `start <= position < end`, in characters."""

    start: int
    end: int
    style: str
    """E.g. `bold red`: colour names of the terminal's own sixteen, `#rrggbb`, and bold, dim, italic, underline"""


@dataclass(frozen=True, slots=True)
class LogLine:
    seq: int
    """Counts every line ever read from this log, so that a gap shows"""
    time: str
    """RFC 3339 with nine decimals, UTC; empty when the line had none"""
    text: str
    """Cleaned and masked; long lines are cut and say so"""
    stream: Stream | None = None
    """None when the runtime does not tell them apart"""
    level: Level | None = None
    """As its writer gave it; None for a line that has none of its own"""
    source: str = ""
    """Which process wrote it, as far as the line says: `APIServer`, `EngineCore_DP1`, `Worker_TP3`, `triton`"""
    kind: LineKind = LineKind.PLAIN
    styled: tuple[Styled, ...] = ()


class MarkKind(StrEnum):
    RUN = "run"
    """The deployment's process began anew"""
    PHASE = "phase"
    """A phase of its start-up begins"""
    ERROR = "error"
    """A line of level ERROR or FATAL, or the first line of a traceback, unless one stands right before it"""


@dataclass(frozen=True, slots=True)
class LogMark:
    """A place in a log worth jumping to."""

    seq: int
    kind: MarkKind
    title: str = ""
    """Of a phase: its name"""
