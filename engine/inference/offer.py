"""What can be asked of a deployment, as its server says."""

from dataclasses import dataclass

from engine.inference.prompt import Style, Transport


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of `Sampling` that the model takes, with the values that the server accepts."""

    name: str
    """As in `Sampling`"""
    least: float | None = None
    most: float | None = None
    default: str = ""
    """What the server does when it is not told, as far as it is known"""
    why: str = ""
    """Where a limit comes from, e.g. `max_model_len 8192`"""


@dataclass(frozen=True, slots=True)
class TensorOffer:
    name: str
    datatype: str
    """Triton's word: BYTES, FP32 …"""
    shape: tuple[int, ...]
    """-1 for any length; the batch's dimension included where the model has one"""


@dataclass(frozen=True, slots=True)
class ModelOffer:
    name: str
    styles: tuple[Style, ...] = ()
    """How text can be put to it, the usual one first; empty: it takes tensors only"""
    context_tokens: int | None = None
    """Prompt and answer together"""
    parameters: tuple[Parameter, ...] = ()
    loras: tuple[str, ...] = ()
    streams: bool = True
    inputs: tuple[TensorOffer, ...] = ()
    outputs: tuple[TensorOffer, ...] = ()
    """Both for Triton's models"""
    example: str = ""
    """For one that takes tensors only: JSON for `PromptRequest.tensors` that it would accept"""


@dataclass(frozen=True, slots=True)
class Offer:
    models: tuple[ModelOffer, ...]
    """The one that is meant when none is named comes first"""
    transports: tuple[Transport, ...]
    """The deployment's own first"""
    left_out: int = 0
    """Ready models beyond the number that is asked about"""
