"""How many bytes one weight takes, quantized or not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.fit.values import block, flag, whole

DTYPE_BYTES: dict[str, float] = {
    "float32": 4,
    "float": 4,
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "float8_e4m3fn": 1,
    "fp8": 1,
}
NVFP4_BYTES = 0.5 + 1 / 16
"""Four bits, and a scale of eight for each 16 weights"""
MXFP4_BYTES = 0.5 + 1 / 32
NF4_BYTES = 0.5 + 4 / 64
"""bitsandbytes: a scale of 32 bits for each 64 weights"""
_FP8 = ("fp8", "fbgemm_fp8", "ptpc_fp8", "experts_int8", "modelopt", "w8a8", "int8")
# What vLLM quantizes while it loads a checkpoint that is not; the others must come quantized.
AT_LOAD: dict[str, float] = {
    "fp8": 1,
    "ptpc_fp8": 1,
    "experts_int8": 1,
    "bitsandbytes": NF4_BYTES,
}


@dataclass(frozen=True, slots=True)
class Quantization:
    words: str
    """For the reader, e.g. `gptq, 4 bits`"""
    weight_bytes: float
    """Of one quantized weight, its share of scales and zeros included"""
    kv_eight_bits: bool = False
    """The checkpoint asks for a KV cache of eight bits"""


def dtype_of(config: Mapping[str, Any]) -> str | None:
    for name in ("torch_dtype", "dtype"):
        value = config.get(name)
        if isinstance(value, str) and value.removeprefix("torch.") in DTYPE_BYTES:
            return value.removeprefix("torch.")
    return None


def quantization_of(config: Mapping[str, Any]) -> Quantization | None:
    """From `quantization_config` of a `config.json`; None when the weights are not quantized."""
    stated = block(config, "quantization_config") or block(config, "compression_config")
    if not stated:
        return None
    method = stated.get("quant_method")
    algorithm = stated.get("quant_algo")
    name = next((value for value in (method, algorithm) if isinstance(value, str)), "")
    if isinstance(algorithm, str) and algorithm.upper() == "NVFP4":
        name = "nvfp4"
    kv = str(stated.get("kv_cache_quant_algo", "")).upper() in ("FP8", "INT8")
    bits, group = whole(stated, "bits", "w_bit", top=32), whole(stated, "group_size", "q_group_size")
    if method == "compressed-tensors":
        bits, group = _compressed(stated)
    if method == "bitsandbytes":
        bits = 8 if flag(stated, "load_in_8bit") else None
    return Quantization(_words(name, bits), _bytes(name, bits, group), kv)


def named(name: str) -> Quantization | None:
    """What an engine's option, or TensorRT-LLM's `quant_algo`, says of a checkpoint that nobody has at hand."""
    name = name.lower()
    if name in ("", "none", "auto", "no_quant"):
        return None
    return Quantization(_words(name, None), _bytes(name, None, None))


def _compressed(stated: Mapping[str, Any]) -> tuple[int | None, int | None]:
    groups = [one for one in block(stated, "config_groups").values() if isinstance(one, dict)]
    for one in groups:
        weights = block(one, "weights")
        bits = whole(weights, "num_bits", top=32)
        if bits:
            return bits, whole(weights, "group_size")
    return None, None


def _bytes(name: str, bits: int | None, group: int | None) -> float:
    name = name.lower()
    if "nvfp4" in name or name == "modelopt_fp4":
        return NVFP4_BYTES
    if "mxfp4" in name:
        return MXFP4_BYTES
    if bits is None:
        algorithm = re.match(r"w(\d)a", name)
        if name == "bitsandbytes":
            return NF4_BYTES
        if name.startswith(_FP8) and not algorithm:
            return 1
        if algorithm:
            bits = int(algorithm[1])
        elif name.startswith(("gptq", "awq", "moe_wna16", "auto-round", "auto_round", "int4")):
            bits = 4
        if bits == 4:
            group = 128
    if bits is None:
        return 2
    # A scale of 16 bits and a zero of as many as the weights, for each group.
    return bits / 8 + ((2 + bits / 8) / group if group and bits < 8 else 0)


def _words(name: str, bits: int | None) -> str:
    shown = re.sub(r"[^\w. -]", "", name, flags=re.ASCII)[:30] or "quantized"
    return f"{shown}, {bits} bits" if bits else shown
