"""Values as a log writes them, and options as a profile does."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.diagnosis import Change

if TYPE_CHECKING:
    from engine.profile import Profile

VLLM = ("vllm", "triton-vllm")
"""Stacks whose `engine` is vLLM's"""
_LARGEST = 1 << 40
_WHOLE = re.compile(r"\d{1,3}(?:[,_]\d{3})+|\d+", re.ASCII)
Scalar = str | int | float | bool | None


def whole(captures: Mapping[str, str], name: str) -> int | None:
    """A whole number above 0, perhaps with commas between thousands; None when there is none of that name."""
    match = _WHOLE.fullmatch((captures.get(name) or "").strip())
    value = int(match[0].replace(",", "").replace("_", "")[:20]) if match else 0
    return value if 0 < value < _LARGEST else None


def real(captures: Mapping[str, str], name: str) -> float | None:
    """A number from 0 on."""
    text = (captures.get(name) or "").strip()
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", text, re.ASCII) else None


def option(profile: "Profile", name: str) -> str:
    """The key under `engine` that has the option: on vLLM's command line dashes do as well."""
    dashed = name.replace("_", "-")
    return dashed if dashed in profile.engine and name not in profile.engine else name


def changed(profile: "Profile", name: str, value: Scalar) -> tuple[Change, ...]:
    """The engine's option with that value; nothing when it has it already."""
    key = option(profile, name)
    before = profile.engine.get(key)
    if before == value and isinstance(before, bool) == isinstance(value, bool):
        return ()
    return (Change(f"engine.{key}", value, shown(before)),)


def shown(value: object) -> Scalar:
    """What a change can say of a value that stood there."""
    return value if isinstance(value, str | int | float | bool) else None
