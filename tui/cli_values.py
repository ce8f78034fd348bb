"""What the command line's options take: their text as values. Each raises `argparse.ArgumentTypeError`."""

import re
import time
from argparse import ArgumentTypeError
from datetime import datetime
from pathlib import Path

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def folder(text: str) -> Path:
    try:
        folder = Path(text).expanduser().absolute()
    except (RuntimeError, FileNotFoundError) as error:
        raise ArgumentTypeError(f"{text} cannot be found: {error}") from error
    if not folder.is_dir():
        raise ArgumentTypeError(f"there is no folder {text}")
    return folder


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a number from 1 upwards")
    return int(text)


def duration(text: str) -> float:
    """In seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not match:
        raise ArgumentTypeError(f"{text} is no duration; write 90s, 30m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def some_time(text: str) -> float:
    """In seconds, more than none."""
    if seconds := duration(text):
        return seconds
    raise ArgumentTypeError(f"{text} leaves no time; write 90s or 30m")


def since(text: str) -> float:
    """A moment, in seconds since the epoch; a duration is so long ago."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - duration(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text} is neither 90s, 30m, 2h, 1d nor a date and time") from None


def pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ArgumentTypeError(f"{text} is no regular expression: {error}") from None
