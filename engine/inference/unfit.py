"""What is refused before anything is sent."""

import difflib
from collections.abc import Sequence

from engine.deployment import Protocol, Service
from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault, PromptRequest
from engine.inference.sse import excerpt

MOST_NAMED = 8
"""Of what a server has, in one sentence"""
LONGEST_NAME = 80


class Unfit(PromptFailed):
    """A prompt cannot be sent as it is: no such model, or a value that the model does not take."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy, Fault.UNFIT)


def no_grpc(service: Service) -> tuple[str, str]:
    """What to say of a deployment that has no gRPC port, and what to do."""
    if service.protocol is Protocol.OPENAI:
        return "The deployment speaks the OpenAI protocol, and has no gRPC port.", "Leave the transport to it."
    return "The deployment exposes no gRPC port.", "Use HTTP, or expose grpc in its profile."


def named(there: Sequence[str], wanted: str) -> str:
    """What a server has in place of what was wanted, for sentences: the nearest first, and at most `MOST_NAMED`."""
    near = difflib.get_close_matches(wanted, there, n=MOST_NAMED)
    told = list(dict.fromkeys((*near, *there)))
    left_out = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(excerpt(name, LONGEST_NAME) for name in told[:MOST_NAMED]) + left_out


def refused(what: str, said: str, request: PromptRequest, fault: Fault) -> PromptFailed:
    """`said`: the server's word; where it is of the LoRA adapter that was asked for, it is said what to do."""
    if request.lora is None or "lora" not in said.lower():
        return PromptFailed(f"{what}: {said}", fault=fault)
    remedy = "Leave the LoRA adapter out (--lora), or name one that the model was started with."
    return PromptFailed(f"{what}: {said.rstrip('.')}.", remedy, fault)
