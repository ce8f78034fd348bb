"""A swap's plan, written for a person: what goes, what comes, how, and what becomes of it when it fails."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from engine.plan import Outgoing, Plan, SwapPlan
from engine.request import Way
from engine.snapshot import Model, Snapshot, Step
from tui import format as write
from tui.operation_words import usual
from tui.widgets.glyphs import gib
from tui.widgets.plan_text import Inks

_WAYS = {
    Way.FULL: "full",
    Way.LOAD: "load within the running server",
    Way.SLEEP: "sleep",
}
HOLDINGS = ("GPU", "port")


@dataclass(frozen=True, slots=True)
class Swap:
    """All that the dialog knows of a swap."""

    plan: SwapPlan
    steps: Sequence[Step]
    """After the check"""
    model: Model
    """The incoming one"""
    snapshot: Snapshot
    drain_s: float

    def changes(self, plan: Plan, inks: Inks) -> Iterable[RenderableType]:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style=inks.muted, no_wrap=True)
        table.add_column(overflow="fold")
        for title, value in self._facts(plan, inks.muted):
            table.add_row(title, value)
        yield table

    def _facts(self, plan: Plan, muted: Style) -> Iterable[tuple[str, Text]]:
        for one in self.plan.outgoing:
            yield "goes", Text.assemble((one.name, "bold"), self._going(one))
        summary = f": {plan.summary}" if plan.summary else ""
        yield "comes", Text.assemble((plan.launch.name, "bold"), f" on {plan.launch.runtime}{summary}")
        yield "way", Text.assemble((_WAYS[self.plan.way], "bold"), f": {self.plan.reason}")
        for sentence in self.plan.other_ways:
            yield "", Text(sentence, style=muted)
        if self.plan.way is Way.FULL:
            known = self.model.estimate
            yield "takes", Text(usual(known) if known else "not known: no start of it has been recorded here")
        yield "steps", Text(_in_order(self.steps))
        yield "if it fails", Text(self._failure())

    def _going(self, one: Outgoing) -> str:
        model = self.snapshot.model(one.name)
        told = []
        if one.why:
            told.append(f"holds {one.why}" if one.why.startswith(HOLDINGS) else one.why)
        if not one.running:
            told.append("does not run")
        elif model and model.since:
            told.append(f"{model.state.value} for {write.duration(write.now() - model.since)}")
        if freed := sum(one.frees_bytes.values()):
            told.append(f"frees {gib(freed)} GiB of GPU memory")
        facts = f": {'; '.join(told)}" if told else ""
        return f"{facts}. {self._draining(one)}" if one.running else f"{facts}."

    def _draining(self, one: Outgoing) -> str:
        if self.drain_s <= 0:
            return "Its requests under way are not waited for."
        if not one.drained_by:
            return "Nothing tells its requests under way: they are not waited for."
        return f"Its requests under way get up to {write.duration(self.drain_s)} to end."

    def _failure(self) -> str:
        running = [one.name for one in self.plan.outgoing if one.running]
        if not running:
            return f"If it fails at any step, {self.model.name} is taken away again."
        return f"Whatever the step, {' and '.join(running)} {'is' if len(running) == 1 else 'are'} brought back."


def _in_order(steps: Sequence[Step]) -> str:
    """E.g. `mixtral: drain, stop → llama3-70b: create, start → mixtral: let go`."""
    stretches = groupby(steps, key=lambda step: step.subject)
    return " → ".join(f"{subject}: {', '.join(step.title for step in stretch)}" for subject, stretch in stretches)
