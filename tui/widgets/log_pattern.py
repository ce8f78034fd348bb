"""Regular expressions that the operator types: none of them may hold the console, however it is made."""

import re
import signal
import warnings
from types import FrameType, TracebackType

ALLOWED_S = 0.1
"""Processor time that matching within one `Bounded` may take"""


class TooSlow(Exception):
    """A pattern takes for ever on some line."""


class Bounded:
    """`with Bounded():` around matching, on the main thread: raises `TooSlow` when it takes too long.

    Python's `re` cannot be interrupted by another thread, but looks for signals while it matches. The timer counts
    processor time, so that a machine that is busy elsewhere makes no pattern slow. Nothing but matching belongs inside:
    the error can come from anywhere in it.
    """

    _installed = False
    _armed = False

    def __enter__(self) -> None:
        if not Bounded._installed:
            signal.signal(signal.SIGVTALRM, _too_slow)
            signal.siginterrupt(signal.SIGVTALRM, False)  # noqa: FBT003
            Bounded._installed = True
        Bounded._armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, ALLOWED_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Bounded._armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    @classmethod
    def is_armed(cls) -> bool:
        return cls._armed


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    if Bounded.is_armed():
        raise TooSlow


def compile_pattern(text: str) -> re.Pattern[str]:
    """Capitals matter only when there are some. Raises ValueError with what is wrong."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return re.compile(text, re.NOFLAG if any(char.isupper() for char in text) else re.IGNORECASE)
    except (re.error, OverflowError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("too many brackets within brackets") from error


def spans(pattern: re.Pattern[str], text: str, most: int) -> list[tuple[int, int]]:
    """Where it matches, at most so many times. Raises `TooSlow`."""
    found: list[tuple[int, int]] = []
    with Bounded():
        for match in pattern.finditer(text):
            if match.end() > match.start():
                found.append(match.span())
            if len(found) == most:
                break
    return found
