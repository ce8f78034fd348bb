"""How far a start has come, written for a person: its phases, what moves in them, and when nothing does."""

from collections.abc import Mapping, Sequence

from rich.style import Style
from rich.text import Text

from engine.startup import Phase, PhaseProgress, Reported, Startup
from tui import format as write
from tui.widgets.glyphs import UNKNOWN, bar, with_unit
from tui.widgets.launch_text import Inks

STALLED_S = 60.0
"""Without progress for so long is worth a word, unless the phase usually takes longer than that"""
BAR_CELLS = 12
TIME_CELLS = 8
TITLE_CELLS = max(len(phase.value) for phase in Phase)
_ORDER = tuple(Phase)


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
    return " ".join(part for part in (current.phase.value, _amount(current) or current.detail) if part)


class StartupText:
    def __init__(self, name: str, startup: Startup, inks: Inks, width: int, *, plain: bool = False) -> None:
        self._name = name
        self._startup = startup
        self._inks = inks
        self._width = width
        self._plain = plain

    def lines(self, room: int) -> list[Text]:
        """At most `room`: the phase under way before those that are done, and those before what is yet to come."""
        now, startup = write.now(), self._startup
        done = [phase for phase in startup.phases if phase.ended_at is not None]
        current = startup.current
        lines = [self._phase(phase, now) for phase in done]
        if current:
            lines.append(self._phase(current, now))
            if said := stall(startup, now):
                lines.append(Text(f"      {said}", style=self._inks.warning))
        if lines and len(lines) < room:
            lines.insert(0, self._line(f"  start of {self._name}", self._inks.muted))
        kept = lines[max(0, len(lines) - room) :]
        if coming := self._coming():
            kept += [self._line(f"      then {', '.join(coming)}", self._inks.muted)] if len(kept) < room else []
        if startup.problem and len(kept) < room:
            kept.append(self._line(f"  {startup.problem}", self._inks.warning))
        return kept

    def _phase(self, phase: PhaseProgress, now: float) -> Text:
        running = phase.ended_at is None
        symbol, style = ("◐", self._inks.warning) if running else ("✓", self._inks.success)
        took = write.duration((phase.ended_at or now) - phase.began_at)
        text = Text.assemble("    ", (f"{symbol} ", style), f"{phase.phase.value:<{TITLE_CELLS}}{took:>{TIME_CELLS}}  ")
        if running and phase.total and phase.done is not None:
            share = phase.done / phase.total
            text.append(bar(share, BAR_CELLS, plain=self._plain), style=self._inks.success)
            text.append(f" {share:4.0%}  ")
        facts = [_amount(phase), _rate(phase) if running else "", phase.detail]
        if usual := self._startup.usual_s(phase.phase):
            facts.append(f"usually {write.duration(usual)}")
        text.append("  ".join(fact for fact in facts if fact), style=self._inks.muted)
        return self._cut(text)

    def _coming(self) -> Sequence[str]:
        """Phases of past launches that are still to come, each with what it usually takes."""
        begun = {phase.phase.value for phase in self._startup.phases}
        latest = max((_ORDER.index(phase.phase) for phase in self._startup.phases), default=-1)
        ahead = {phase.value for phase in _ORDER[latest + 1 :]}
        return [
            f"{title} {write.duration(seconds)}"
            for title, seconds in self._startup.usual
            if title in ahead and title not in begun
        ]

    def _line(self, text: str, style: Style) -> Text:
        return self._cut(Text(text, style=style))

    def _cut(self, text: Text) -> Text:
        text.truncate(self._width, overflow="ellipsis")
        return text


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
        if key in found
    ]
    if times:
        lines.append(("took", ", ".join(times)))
    return lines


def _amount(phase: PhaseProgress) -> str:
    """`5 of 9 shards`, `1.2 of 15 GiB`; of what is done only its size."""
    if phase.done is None:
        return ""
    if phase.unit == "bytes":
        if phase.total is None or phase.ended_at is not None:
            return with_unit(phase.done, "bytes") if phase.done else ""
        return f"{with_unit(phase.done, 'bytes')} of {with_unit(phase.total, 'bytes')}"
    total = UNKNOWN if phase.total is None else f"{phase.total:,.0f}"
    if phase.ended_at is not None:
        return f"{phase.total or phase.done:,.0f} {phase.unit}"
    return (
        f"{phase.done:,.0f} of {total} {phase.unit}" if phase.total is not None else f"{phase.done:,.0f} {phase.unit}"
    )


def _rate(phase: PhaseProgress) -> str:
    if not phase.rate:
        return ""
    rate = with_unit(phase.rate, phase.unit)
    left = ""
    if phase.total and phase.done is not None and phase.total > phase.done:
        left = f", ~{write.roughly((phase.total - phase.done) / phase.rate)} left"
    return f"{rate}/s{left}"
