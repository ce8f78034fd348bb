"""What the fit says. Bytes are for one GPU, the fullest of them."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    FITS = "fits"
    TIGHT = "tight"
    """It fits unless activations and graphs take the upper end of their range"""
    DOES_NOT_FIT = "does not fit"
    UNKNOWN = "unknown"
    """Numbers of the model or of the GPU are missing"""


@dataclass(frozen=True, slots=True)
class FitRow:
    """One line of the table of memory."""

    title: str
    """weights, KV cache, activations and graphs, in use already, left"""
    low: int
    high: int
    """Equal to `low` for what is known exactly"""
    note: str = ""
    """How it was computed, e.g. `131 072 B a token × 8 192 tokens × 4 requests`"""


@dataclass(frozen=True, slots=True)
class Fit:
    verdict: Verdict
    summary: str
    """The verdict in one sentence, with the figures that decide it"""
    advice: tuple[str, ...] = ()
    """Each a sentence with the option and the number to change"""
    rows: tuple[FitRow, ...] = ()
    source: str = ""
    """Where the model's numbers come from: the Hugging Face cache, a folder, the profile"""
    gpu_total: int | None = None
    """Memory of the smallest of the GPUs"""
    budget: int | None = None
    """What the engine may take: vLLM a share of the total, TensorRT-LLM all but a share of what stays free"""
    kv_bytes_per_token: int | None = None
    """What each further token costs; layers with a sliding window count only where there are no others"""
    kv_tokens: int | None = None
    """Tokens of KV cache for which there is room at least"""
    largest_max_model_len: int | None = None
    smallest_tensor_parallel: int | None = None
    gpu_memory_utilization: float | None = None
    """vLLM: the largest that leaves free what is in use and what is reserved"""
    free_gpu_memory_fraction: float | None = None
    """TensorRT-LLM: the largest that leaves free what is reserved"""
