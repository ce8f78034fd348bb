"""Stacks: ways of serving. One file each: profile -> plan. A new one is a file and a line here."""

from typing import TYPE_CHECKING

from engine.stacks import triton, vllm

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.plan import Plan
    from engine.stacks.context import PlanContext

STACKS: dict[str, "Callable[[PlanContext], Plan]"] = {"triton": triton.plan, "vllm": vllm.plan}
"""Each raises `InvalidProfile` when the profile cannot be served so."""
