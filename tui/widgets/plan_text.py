"""A plan, written for a person."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.plan import Plan
from tui.plan_facts import plan_facts


def plan_text(plan: Plan) -> RenderableType:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for title, value in plan_facts(plan):
        facts.add_row(title, Text(value))
    warnings = [Text(f"▲ {warning}", style="bold") for warning in plan.warnings]
    by_hand = Text(plan.command_line(), overflow="fold")
    return Group(*warnings, facts, Text("\nThe same by hand", style="dim"), by_hand)
