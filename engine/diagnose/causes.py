"""From what was found in a log to the sentences and changes that the operator reads."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.diagnose.catalogue import Signature, fill
from engine.diagnose.run import Found
from engine.diagnosis import Cause, Change

if TYPE_CHECKING:
    from engine.profile import Profile

Scalar = str | int | float | bool | None
_WHOLE = re.compile(r"\d{1,15}")
_REAL = re.compile(r"\d{1,15}\.\d{1,15}")
_IMAGE = re.compile(r"\bimage\b")


def cause_of(found: Found, context: Mapping[str, str] | None = None, profile: "Profile | None" = None) -> Cause:
    """`context`: values for what its own lines do not tell, and the `runtime`."""
    signature = found.signature
    captures = {**(context or {}), **found.captures}
    return Cause(
        signature.id,
        signature.title,
        _sentence(fill((worded(one, captures) for one in signature.cause), captures)),
        _sentence(fill((worded(one, captures) for one in signature.remedy), captures)),
        found.weight,
        tuple(found.proofs),
        _changes(signature, captures, profile) if profile else (),
        tuple(found.ranks),
        signature.reference,
    )


def worded(text: str, context: Mapping[str, str]) -> str:
    """What runs without a container has no image."""
    return _IMAGE.sub("installation", text) if context.get("runtime") == "process" else text


def _sentence(text: str) -> str:
    """What was captured may end with a full stop of its own, or without one."""
    return f"{text.rstrip(' .,:;')}."


def _changes(signature: Signature, captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    if signature.stacks and profile.stack not in signature.stacks:
        return ()
    if signature.fix:
        from engine.diagnose.remedies import REMEDIES

        return REMEDIES[signature.fix](captures, profile)
    stated = _stated(profile)
    dropped = (Change(path, None, stated(path)) for path in signature.drop if stated(path) is not None)
    filled = ((path, _value(path, template, captures)) for path, template in signature.change)
    changed = (Change(path, value, stated(path)) for path, value in filled if value not in (None, stated(path)))
    return (*dropped, *changed)


def _value(path: str, template: Scalar, captures: Mapping[str, str]) -> Scalar:
    """None when the log does not tell it. Variables of the environment are text always."""
    if not isinstance(template, str):
        return template
    text = fill((template,), captures)
    if path.startswith("env."):
        return text or None
    return int(text) if _WHOLE.fullmatch(text) else float(text) if _REAL.fullmatch(text) else text or None


def _stated(profile: "Profile") -> Callable[[str], Scalar]:
    """Tells what the profile has at a path; None for what is no single value."""
    whole = profile.model_dump(exclude_unset=True)

    def stated(path: str) -> Scalar:
        value: Any = whole
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str | int | float | bool) else None

    return stated
