"""What is refused before anything is sent."""

from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault


class Unfit(PromptFailed):
    """A prompt cannot be sent as it is: no such model, or a value that the model does not take."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy, Fault.UNFIT)
