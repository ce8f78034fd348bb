"""What would mend a profile, computed from what a log says: the catalogue of signatures names these by their keys.

Each takes the values that a signature captured from the log, as text, and the profile. Where a value is missing, or
nothing in the profile would help, there is no change, and the signature's own sentence has to do.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.diagnose.remedies_options import renamed_or_removed_option
from engine.diagnose.remedies_values import VLLM, changed, option, real, whole
from engine.diagnosis import Change

if TYPE_CHECKING:
    from engine.profile import Profile

Remedy = Callable[[Mapping[str, str], "Profile"], tuple[Change, ...]]

GIB = 1 << 30
TRTLLM = "triton-trtllm"
SPARE = 0.005
"""Share of a GPU's memory that is left free beside what others hold: what they hold moves a little"""
LEAST_UTILIZATION = 0.1
"""With less of a GPU no engine has room for its graphs and context beside any weights"""
BLOCK = 16
"""Tokens: vLLM's usual `block_size`"""
SEQUENCES = 256
"""vLLM's usual `max_num_seqs`"""
LEAST_SHARED = 8 * GIB
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `max_lora_rank`"""
MOST_PORTS_TRIED = 500


def free_port(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`port`: the taken one. Another for the entry of `expose` that has it, free at this moment."""
    from engine.stacks.context import is_free

    taken = whole(captures, "port")
    exposed = _exposed(profile)
    purpose = next((purpose for purpose, port in exposed.items() if port == taken), None)
    if taken is None or purpose is None:
        return ()
    candidates = range(taken + 1, min(taken + MOST_PORTS_TRIED, 1 << 16))
    port = next((one for one in candidates if one not in exposed.values() and is_free(profile.bind, one)), None)
    if port is None:
        return ()
    # What is not named under `expose` is not exposed: the others have to be, once one is.
    others = {} if profile.expose else {other: known for other, known in exposed.items() if other != purpose}
    new = {purpose: port, **others}
    return tuple(Change(f"expose.{name}", new[name], _stated_port(profile, name)) for name in exposed if name in new)


def _exposed(profile: "Profile") -> dict[str, int | str]:
    if profile.expose:
        return {purpose: port for purpose, port in profile.expose.model_dump().items() if port is not None}
    from engine.stacks import openai_frontend, tritonserver, vllm

    if profile.frontend:
        return dict(openai_frontend.PORTS)
    return dict(vllm.PORTS if profile.stack == "vllm" else tritonserver.PORTS)


def _stated_port(profile: "Profile", purpose: str) -> int | str | None:
    stated: int | str | None = getattr(profile.expose, purpose) if profile.expose else None
    return stated


def largest_divisor_tp(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`heads`, and `tp` unless the profile has it: the largest size up to that which divides the heads.

    A power of two if one does: it divides most models' other sizes, too (key-value heads, layers' widths).
    """
    heads, key = whole(captures, "heads"), option(profile, "tensor_parallel_size")
    asked = whole(captures, "tp") or _number(profile, key)
    if not heads or not asked or not _has_sizes(profile):
        return ()
    sizes = [size for size in range(min(asked, heads), 0, -1) if heads % size == 0]
    best = next((size for size in sizes if size > 1 and size & (size - 1) == 0), sizes[0])
    return _resized(profile, best) if best != asked else ()


def gpus_for_parallel(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`world` ranks, and `gpus` that were seen: as many GPUs where the profile asks for fewer, or smaller sizes."""
    world, seen = whole(captures, "world"), whole(captures, "gpus")
    if not world or not _has_sizes(profile):
        return ()
    if isinstance(profile.gpus, int) and profile.gpus < world:
        return (Change("gpus", world, profile.gpus),)
    tensor = _number(profile, option(profile, "tensor_parallel_size"))
    if not tensor or not seen or world % tensor:
        return ()
    room = seen // (world // tensor)
    # What divides the size divides the heads that the size divides.
    best = next((size for size in range(min(room, tensor), 0, -1) if tensor % size == 0), None)
    return _resized(profile, best) if best and best != tensor else ()


def world_size(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`tp` and `pp`, or `world`: TensorRT-LLM has one rank for each GPU."""
    tensor, pipeline = whole(captures, "tp"), whole(captures, "pp")
    wanted = tensor * (pipeline or 1) if tensor else whole(captures, "world")
    if profile.stack != TRTLLM or not wanted or not isinstance(profile.gpus, int) or profile.gpus == wanted:
        return ()
    return (Change("gpus", wanted, profile.gpus),)


def _resized(profile: "Profile", tensor: int) -> tuple[Change, ...]:
    """Another tensor parallel size, and as many GPUs as there are ranks then."""
    before = _number(profile, option(profile, "tensor_parallel_size"))
    changes = changed(profile, "tensor_parallel_size", tensor)
    if isinstance(profile.gpus, int) and profile.gpus and before and profile.gpus % before == 0:
        changes += (Change("gpus", profile.gpus // before * tensor, profile.gpus),)
    return changes


def utilization_that_fits(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`free` and `total`, in the same unit: the share of the GPU that is free, rounded down."""
    free, total = real(captures, "free"), real(captures, "total")
    if free is None or not total or profile.stack not in VLLM:
        return ()
    share = int((free / total - SPARE) * 100) / 100
    asked = _stated(profile, "gpu_memory_utilization") or real(captures, "utilization")
    if share < LEAST_UTILIZATION or (isinstance(asked, int | float) and share >= asked):
        return ()
    return changed(profile, "gpu_memory_utilization", share)


def utilization_as_share(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`value`: what was meant in hundredths."""
    value = real(captures, "value")
    if value is None or not 1 < value <= 100 or profile.stack not in VLLM:
        return ()
    return changed(profile, "gpu_memory_utilization", round(value / 100, 4))


def estimated_length(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`estimate` tokens, or the `limit` of the model or of the cache: rounded down to whole blocks of the cache."""
    estimate = whole(captures, "estimate") or whole(captures, "limit")
    stated = _number(profile, option(profile, "block_size"))
    block = stated or BLOCK
    length = (estimate or 0) // block * block
    asked = _number(profile, option(profile, _length_option(profile))) or whole(captures, "asked")
    if not length or not _has_sizes(profile) or (asked and length >= asked):
        return ()
    return changed(profile, _length_option(profile), length)


def _length_option(profile: "Profile") -> str:
    return "max_seq_len" if profile.stack == TRTLLM else "max_model_len"


def fewer_sequences(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """Half as many as the profile says, or the log (`sequences`), or as vLLM takes by itself."""
    name = "max_batch_size" if profile.stack == TRTLLM else "max_num_seqs"
    now = _number(profile, option(profile, name)) or whole(captures, "sequences") or SEQUENCES
    return changed(profile, name, now // 2) if now > 1 and _has_sizes(profile) else ()


def half_dtype(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """Also for quantized weights whose kernels know no bfloat16."""
    if not _has_sizes(profile) or _stated(profile, "dtype") in ("half", "float16"):
        return ()
    return changed(profile, "dtype", "float16" if profile.stack == TRTLLM else "half")


def quantization_dropped(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """The model's own configuration says how it is quantized."""
    return changed(profile, "quantization", None) if profile.stack in VLLM else ()


def trust_remote_code(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """Never done unasked: it lets the model's authors run code, which the plan says again."""
    if not _has_sizes(profile) or _stated(profile, "trust_remote_code") is True:
        return ()
    return changed(profile, "trust_remote_code", value=True)


def max_lora_rank(captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """`rank` of the adapter: the next that vLLM takes."""
    rank = whole(captures, "rank")
    best = next((one for one in LORA_RANKS if rank and one >= rank), None)
    return changed(profile, "max_lora_rank", best) if best and profile.stack in VLLM else ()


def larger_shm(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """Twice what it has, and at least 8 GiB: a limit, of which only what is used is taken."""
    from engine.stacks.parallel import shared_memory

    if profile.runtime != "docker" or profile.ipc:
        return ()
    now = profile.shm_size or (shared_memory(profile.engine) if profile.stack in VLLM else GIB)
    size = max(LEAST_SHARED, 2 * (now // GIB) * GIB)
    return (Change("shm_size", f"{size // GIB}g", profile.shm_size),)


def hf_token(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    """The token of whoever starts it, by reference."""
    if "HF_TOKEN" in profile.secrets or "HF_TOKEN" in profile.env:
        return ()
    return (Change("secrets.HF_TOKEN", "env"),)


def spawn_workers(_captures: Mapping[str, str], profile: "Profile") -> tuple[Change, ...]:
    name = "VLLM_WORKER_MULTIPROC_METHOD"
    if profile.stack not in VLLM or profile.env.get(name) == "spawn":
        return ()
    return (Change(f"env.{name}", "spawn", profile.env.get(name)),)


def kind_model(_captures: Mapping[str, str], _profile: "Profile") -> tuple[Change, ...]:
    """Nothing: it stands in a model's own config.pbtxt, and those that are made from a profile have it always."""
    return ()


def _has_sizes(profile: "Profile") -> bool:
    """Whether `engine` holds the engine's own options, and not those of the server or of templates."""
    return profile.stack in VLLM or (profile.stack == TRTLLM and not profile.engines)


def _stated(profile: "Profile", name: str) -> Any:
    return profile.engine.get(option(profile, name))


def _number(profile: "Profile", key: str) -> int | None:
    value = profile.engine.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


REMEDIES: Mapping[str, Remedy] = {
    "estimated_length": estimated_length,
    "fewer_sequences": fewer_sequences,
    "free_port": free_port,
    "gpus_for_parallel": gpus_for_parallel,
    "half_dtype": half_dtype,
    "hf_token": hf_token,
    "kind_model": kind_model,
    "larger_shm": larger_shm,
    "largest_divisor_tp": largest_divisor_tp,
    "max_lora_rank": max_lora_rank,
    "quantization_dropped": quantization_dropped,
    "renamed_or_removed_option": renamed_or_removed_option,
    "spawn_workers": spawn_workers,
    "trust_remote_code": trust_remote_code,
    "utilization_as_share": utilization_as_share,
    "utilization_that_fits": utilization_that_fits,
    "world_size": world_size,
}
