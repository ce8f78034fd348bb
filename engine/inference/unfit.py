"""What is refused before anything is sent."""

from engine.deployment import Protocol, Service
from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault


class Unfit(PromptFailed):
    """A prompt cannot be sent as it is: no such model, or a value that the model does not take."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy, Fault.UNFIT)


def no_grpc(service: Service) -> tuple[str, str]:
    """What to say of a deployment that has no gRPC port, and what to do."""
    if service.protocol is Protocol.OPENAI:
        return "The deployment speaks the OpenAI protocol, and has no gRPC port.", "Leave the transport to it."
    return "The deployment exposes no gRPC port.", "Use HTTP, or expose grpc in its profile."
