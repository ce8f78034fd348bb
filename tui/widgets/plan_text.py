"""A plan, written for a person."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.by_hand import command_line
from engine.plan import Plan
from tui.plan_facts import plan_facts


def plan_text(plan: Plan) -> RenderableType:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for title, value in plan_facts(plan):
        facts.add_row(title, Text(value))
    warnings = [Text(f"▲ {warning}", style="bold") for warning in plan.warnings]
    by_hand = Text(command_line(plan.launch), overflow="fold")
    return Group(*warnings, facts, Text("\nThe same by hand", style="dim"), by_hand)
