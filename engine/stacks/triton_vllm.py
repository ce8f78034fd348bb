"""The stack `triton-vllm`."""

from engine.plan import Plan
from engine.stacks.context import PlanContext


def plan(context: PlanContext) -> Plan:
    raise context.invalid("The stack is being made.")
