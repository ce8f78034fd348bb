"""How far a start has come, written for a person: its phases, what moves in them, and when nothing does."""

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from engine.startup import Phase, PhaseProgress, Startup
from tui import format as write
from tui.startup_words import WORTH_S, amount, stall
from tui.widgets.glyphs import bar, with_unit
from tui.widgets.launch_text import Inks

BAR_CELLS = 12
TIME_CELLS = 8
TITLE_CELLS = max(len(phase.value) for phase in Phase)
_ORDER = tuple(Phase)


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
        facts = [amount(phase), _rate(phase) if running else "", phase.detail]
        if (usual := self._startup.usual_s(phase.phase) or 0.0) >= WORTH_S:
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
            if title in ahead and title not in begun and seconds >= WORTH_S
        ]

    def _line(self, text: str, style: Style) -> Text:
        return self._cut(Text(text, style=style))

    def _cut(self, text: Text) -> Text:
        text.truncate(self._width, overflow="ellipsis")
        return text


def _rate(phase: PhaseProgress) -> str:
    if not phase.rate:
        return ""
    rate = with_unit(phase.rate, phase.unit)
    left = ""
    if phase.total and phase.done is not None and phase.total > phase.done:
        left = f", ~{write.roughly((phase.total - phase.done) / phase.rate)} left"
    return f"{rate}/s{left}"
