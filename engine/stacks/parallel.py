"""How many GPUs vLLM's options ask for, against how many the deployment gets."""

import math
from collections.abc import Mapping
from typing import Any

from engine.stacks.context import GIB, PlanContext
from engine.stacks.placement import ALL

SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")

SHARED_MEMORY = 8 * GIB


def shared_memory(options: Mapping[str, Any]) -> int:
    """Bytes of /dev/shm for vLLM's options: the ranks of one engine talk through it, NCCL's rings included.

    Too little is `Error while creating shared memory segment` or a bus error, and NCCL's own remedy is 1 to 10 GB; it
    is a limit, of which only what is used is taken. One rank alone has its needs met by 1 GiB, as NVIDIA runs it.
    """
    ranks = any(isinstance(options.get(key), int) and options[key] > 1 for key in SIZES)
    return SHARED_MEMORY if ranks else GIB


def check_parallel(context: PlanContext, options: Mapping[str, Any]) -> None:
    """Raises `InvalidProfile` when the engine would need more GPUs than it gets; warns of GPUs that stay unused.

    `options`: vLLM's own, by their names with underscores. An engine on several machines is left to vLLM.
    """
    if options.get("distributed_executor_backend") == "ray" or options.get("nnodes", 1) != 1:
        return
    sizes = {key: options[key] for key in SIZES if key in options}
    if "data_parallel_size_local" in options:
        sizes["data_parallel_size"] = options["data_parallel_size_local"]
    for key, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise context.invalid(f"`{key}: {size}` is no number of GPUs.", "It is a whole number from 1.")
    needed, given = math.prod(sizes.values()), context.placement.count
    if context.placement.gpus == ALL or (needed == 1 and not given):
        return
    if needed > given:
        words = " × ".join(f"{key} {size}" for key, size in sizes.items())
        raise context.invalid(
            f"the engine needs {needed} GPUs ({words}), and the profile gets {given or 'none'}.",
            f"Set `gpus: {needed}`" + (f", or lower the product to {given}." if given else ", or take the sizes out."),
        )
    if needed < given:
        tensor, rest = divmod(given * sizes.get("tensor_parallel_size", 1), needed)
        # It has to divide the model's heads, whose number is nearly always a multiple of a power of two.
        fills = not rest and tensor.bit_count() == 1
        context.warnings.append(
            f"The engine uses {needed} of the {given} GPUs that the profile gets. Set "
            + (f"`tensor_parallel_size: {tensor}`, or " if fills else "")
            + f"`gpus: {needed}`."
        )
