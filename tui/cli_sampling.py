"""The sampling options of `ask` and `load`: what the command line takes, and what was given."""

import math
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from typing import Any

from engine.prompts.options import Option


def add_options(add_argument: Callable[..., object], options: Iterable[Option]) -> None:
    """One each, to a parser or a group of it; what is not given is None."""
    for option in options:
        flag = f"--{option.name.replace('_', '-')}"
        if option.kind is bool:
            add_argument(flag, action="store_true", default=None, help=option.text)
        elif option.kind is tuple:
            add_argument(flag, action="append", metavar="TEXT", help=option.text)
        else:
            add_argument(flag, type=_number(option), metavar="N", help=option.text)


def given(args: Namespace, options: Iterable[Option]) -> dict[str, Any]:
    """For `Sampling`: those that were given."""
    found = {option.name: value for option in options if (value := getattr(args, option.name)) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _number(option: Option) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = int(text) if option.kind is int else float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (option.least is not None and value < option.least):
            kind = "a whole number" if option.kind is int else "a number"
            bound = "" if option.least is None else f" from {option.least} upwards"
            raise ArgumentTypeError(f"{text} is not {kind}{bound}")
        return value

    return number
