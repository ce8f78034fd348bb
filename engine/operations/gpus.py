"""Whether a deployment got the GPUs that its plan placed it on, asked of itself once it runs."""

from collections.abc import Iterable

from engine.errors import EngineError, OperationFailed, RuntimeUnreachable
from engine.plan import Plan
from engine.runtimes.base import Runtime

UNTOLD = "cannot be told: no nvidia-smi in it"


def check_gpus(plan: Plan, runtime: Runtime, stop_timeout_s: float) -> str:
    """Returns what to tell the operator. Raises `OperationFailed` when it has others, after stopping it again."""
    name = plan.launch.name
    planned = {gpu.uuid for gpu in plan.placement}
    try:
        got = runtime.gpus(name)
    except RuntimeUnreachable as error:
        # The server may go on without it.
        return f"cannot be told: {error.what}"
    if got is None:
        return UNTOLD
    if set(got) == set(planned):
        return "as planned"
    what = f"{name} was placed on {_named(planned)}, and it got {_named(got)}."
    try:
        runtime.stop(name, stop_timeout_s)
    except EngineError as error:
        raise OperationFailed(what, f"It could not be stopped again: {error}") from error
    raise OperationFailed(
        what, "It was stopped again. Check the NVIDIA Container Toolkit, and what `env` in the profile says of GPUs."
    )


def _named(uuids: Iterable[str]) -> str:
    return ", ".join(sorted(uuids)) or "none"
