"""Stacks: ways of serving. One file each: profile -> plan. A new one is a file and a line here."""

from typing import TYPE_CHECKING

from engine.stacks import triton, triton_trtllm, triton_vllm, vllm

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.plan import Plan
    from engine.stacks.context import PlanContext

STACKS: dict[str, "Callable[[PlanContext], Plan]"] = {
    "triton-vllm": triton_vllm.plan,
    "triton-trtllm": triton_trtllm.plan,
    "vllm": vllm.plan,
    "triton": triton.plan,
}
"""Each raises `InvalidProfile` when the profile cannot be served so."""
