"""An option that this version of vLLM does not take: by its new name, or taken out."""

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.diagnose.remedies_values import VLLM, Scalar, option, shown
from engine.diagnosis import Change

if TYPE_CHECKING:
    from engine.profile import Profile

_POOLING = ("classify", "embed", "embedding", "reward", "score")
_MEANT = ("rope_scaling", "rope_theta")
"""They change what is computed: without them it would start, and answer otherwise"""
_KEY = re.compile(r"with the key `(\w+)`")
_VALUE = re.compile(r"with the value `(\w+)`")
_CLOSE = 0.75


def renamed_or_removed_option(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`option`, in whichever way the log writes it, and `version` of vLLM if it is known; the newest otherwise.

    Its value is kept where it means the same under the new name; what has no counterpart is taken out.
    """
    name = (captures.get("option") or "").strip().lstrip("-").partition("=")[0].partition(".")[0].replace("-", "_")
    if not name:
        return ()
    key = option(profile, name)
    if key in profile.engine:
        # The command line's options may be objects; the engine's own take what the backend gives them.
        new = _new(name, profile.engine[key], captures, profile) if profile.stack in VLLM else {}
        if new is None:
            return ()
        added = (Change(f"engine.{path}", value) for path, value in new.items() if path not in profile.engine)
        return (Change(f"engine.{key}", None, shown(profile.engine[key])), *added)
    for key in (name, name.replace("_", "-")):
        if key in profile.server:
            return (Change(f"server.{key}", None, shown(profile.server[key])),)
    return ()


def _new(name: str, value: object, captures: Mapping[str, str], profile: "Profile") -> dict[str, Scalar] | None:
    """What says the same now, by its path; nothing when there is nothing, None when only a person can tell."""
    from engine.stacks.vllm_options import table

    known = table()
    if name in _MEANT:
        return None
    if name not in known.server and name not in known.engine:
        near = difflib.get_close_matches(name, known.engine, n=1, cutoff=_CLOSE)
        return _renamed(near[0], value) if near else {}
    if name == "disable_log_requests":
        return {} if value else {"enable_log_requests": True}
    if name == "disable_mm_preprocessor_cache":
        return {"mm_processor_cache_gb": 0} if value else {}
    if name == "task":
        return {"runner": "pooling"} if value in _POOLING else {"runner": "generate"} if value == "generate" else {}
    replaced = known.replaced.get(name, {"by": [], "note": ""})
    version = captures.get("version") or profile.version or known.newest
    by = [one for one in replaced["by"] if one in known.engine and known.spans(known.engine[one], version)]
    if not by:
        return {}
    if not replaced["note"]:
        return _renamed(by[0], value)
    if found := _VALUE.search(replaced["note"]):
        return {by[0]: found[1]} if value else {}
    if found := _KEY.search(replaced["note"]):
        # The backend of Triton hands an object to the engine as it is, which not every version takes.
        return _renamed(f"{by[0]}.{found[1]}", value) if profile.stack == "vllm" else {}
    return {}


def _renamed(path: str, value: object) -> dict[str, Scalar] | None:
    return {path: value} if isinstance(value, str | int | float | bool) else None
