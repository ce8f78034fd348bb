"""How far a start has come, in words: its phase, when nothing moves in it, and what the engine told of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.deployment import State
from tui import format as write
from tui.widgets.glyphs import with_unit

if TYPE_CHECKING:  # the first paint needs none of them
    from collections.abc import Mapping, Sequence

    from engine.snapshot import Model
    from engine.startup import PhaseProgress, Reported, Startup

STALLED_S = 60.0
"""Without progress for so long is worth a word, unless the phase usually takes longer than that"""
WORTH_S = 0.1
"""What took less is not worth a word"""


def stall(startup: Startup, now: float) -> str:
    """E.g. `nothing has moved for 4m10s; weights usually takes 55s`; empty while it moves, or has ended."""
    current = startup.current
    if not current:
        return ""
    still = now - max(startup.moved_at or 0.0, current.began_at)
    usual = startup.usual_s(current.phase)
    if still < max(STALLED_S, usual or 0.0):
        return ""
    told = f"nothing has moved for {write.duration(still)}"
    if usual is None:
        return f"{told}; how long {current.phase.value} usually takes is not known yet"
    return f"{told}; {current.phase.value} usually takes {write.duration(usual)}"


def in_short(startup: Startup) -> str:
    """The phase under way, for a line that has little room: `weights 56 %`."""
    current = startup.current
    if not current:
        return ""
    if current.total and current.done is not None:
        return f"{current.phase.value} {100 * current.done / current.total:.0f} %"
    return " ".join(part for part in (current.phase.value, amount(current)) if part)


def state_detail(model: Model) -> str:
    """What there is to say beside its state: of a start how far it has come, if that is known."""
    at = in_short(model.startup) if model.startup and model.state is State.STARTING else ""
    return "; ".join(part for part in (at, model.detail) if part)


def phases_took(startup: Startup) -> str:
    """E.g. `boot 12s, engine start 8s, weights 55s`; empty while it goes on, and when its phases are not known."""
    if startup.current:
        return ""
    took = [(one.phase.value, (one.ended_at or one.began_at) - one.began_at) for one in startup.phases]
    return ", ".join(f"{title} {write.duration(seconds)}" for title, seconds in took if seconds >= WORTH_S)


def told(reported: Sequence[Reported], planned: Mapping[str, float]) -> list[tuple[str, str]]:
    """What the engine said of itself, each with what was planned where that is known; for a list of facts."""
    found = {one.key: one.value for one in reported}
    lines: list[tuple[str, str]] = []

    def compare(title: str, key: str, unit: str = "bytes") -> str:
        if key not in found:
            return ""
        plan = f" (planned {with_unit(planned[key], unit)})" if key in planned else ""
        return f"{title} {with_unit(found[key], unit)}{plan}"

    memory = [compare("weights", "weights_bytes"), compare("KV cache", "kv_bytes"), compare("graphs", "graphs_bytes")]
    if any(memory):
        lines.append(("memory", ", ".join(part for part in memory if part)))
    if tokens := found.get("kv_tokens"):
        planned_tokens = f" (planned {planned['kv_tokens']:,.0f})" if "kv_tokens" in planned else ""
        at_once = ""
        if concurrency := found.get("concurrency"):
            length = found.get("concurrency_tokens")
            of = f" of {length:,.0f} tokens" if length else ""
            at_once = f", {concurrency:.2f} requests{of} at once"
        lines.append(("KV cache", f"{tokens:,.0f} tokens{planned_tokens}{at_once}"))
    times = [
        f"{title} {write.duration(found[key])}"
        for title, key in (("weights", "weights_s"), ("compile", "compile_s"), ("graphs", "graphs_s"))
        if found.get(key, 0) >= WORTH_S
    ]
    if times:
        lines.append(("took", ", ".join(times)))
    return lines


def amount(phase: PhaseProgress) -> str:
    """`5 of 9 shards`, `1.2 of 15 GiB`; of what is done only its size."""
    if phase.done is None:
        return ""
    if phase.unit == "bytes":
        if phase.total is None or phase.ended_at is not None:
            return with_unit(phase.done, "bytes") if phase.done else ""
        return f"{with_unit(phase.done, 'bytes')} of {with_unit(phase.total, 'bytes')}"
    whole = phase.total or phase.done
    unit = phase.unit.removesuffix("s") if whole == 1 else phase.unit
    if phase.ended_at is not None:
        return f"{whole:,.0f} {unit}"
    of = f" of {phase.total:,.0f}" if phase.total is not None else ""
    return f"{phase.done:,.0f}{of} {unit}"
