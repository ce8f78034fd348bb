"""What the console shows of a server's metrics, as data: each idea, and the names it has had across versions."""

from engine.observe.metric_catalog.idea import Idea
from engine.observe.metric_catalog.triton import TRITON
from engine.observe.metric_catalog.trtllm import TRTLLM
from engine.observe.metric_catalog.vllm import VLLM

CATALOGUE: tuple[Idea, ...] = (*VLLM, *TRTLLM, *TRITON)

GPU_FAMILIES = (
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_power_limit",
    "nv_energy_consumption",
)
"""Of each GPU by its UUID"""

WANTED: frozenset[str] = frozenset(GPU_FAMILIES) | {name for idea in CATALOGUE for name in idea.names}
