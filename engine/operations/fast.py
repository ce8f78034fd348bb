"""The fast ways of a swap, within servers that go on running: other models in one Triton, sleeping and waking vLLM.

Each can be done again and again: what is so already is left so. Hence the undo of one is the other, whoever does it.
All block, for a thread without an event loop; all raise `ControlFailed` and `Cancelled`. Deadlines are on
`time.monotonic`.
"""

import shlex
import time
from dataclasses import dataclass

from engine.deployment import Deployment, Protocol, Service
from engine.drift import facts, launch_facts
from engine.inference import triton_control, vllm_control
from engine.inference.control import ControlFailed
from engine.inference.triton_control import NOT_HELD
from engine.operations.asking import ask
from engine.operations.waiting import Waiting
from engine.plan import Plan

ANSWER_S = 10.0
"""For a question that changes nothing"""
LEAST_S = 1.0
UNDO_S = 600.0
"""What was unloaded has to be loaded again, and what began to load is loaded before it is unloaded"""
LOADED = "option --load-model"


def models_of(service: Service, launched_with: str) -> tuple[str, ...]:
    """What a Triton with explicit control was started with (`engine.drift.launch_facts`), and what prompts go to."""
    value = facts(launched_with).get(LOADED, "")
    try:
        named = shlex.split(value)
    except ValueError:  # a single value stands there as it is
        named = [value]
    return tuple(dict.fromkeys((*named, *((service.model,) if service.model else ()))))


@dataclass(frozen=True, slots=True)
class InOneServer:
    """The models of two profiles on the Triton that runs."""

    service: Service
    incoming: tuple[str, ...]
    outgoing: tuple[str, ...]

    @classmethod
    def of(cls, outgoing: Deployment, incoming: Plan) -> "InOneServer":
        launch = incoming.launch
        return cls(
            outgoing.service,
            models_of(launch.service, launch_facts(launch)),
            models_of(outgoing.service, outgoing.launch_facts),
        )

    @property
    def back(self) -> "InOneServer":
        return InOneServer(self.service, self.outgoing, self.incoming)

    def load(self, waiting: Waiting, deadline: float) -> str:
        """Returns, in a few words, what was loaded, when the server says that all of the incoming's are ready."""
        loaded = []
        for model in self._missing(waiting):
            waiting.detail(f"loading {model}")
            ask(triton_control.load(self.service, model, _left(deadline)), waiting)
            loaded.append(model)
        if missing := self._missing(waiting):
            names = ", ".join(missing)
            raise ControlFailed(f"{self.service.http} was told to load {names}, and it is not ready.", "See its log.")
        return f"loaded {', '.join(loaded)}" if loaded else "loaded already"

    def unload(self, waiting: Waiting, deadline: float) -> str:
        """The outgoing's, save what the incoming needs too; returns when their requests are answered and they are gone.

        GPU memory may come back later still, or never: that is for the caller to look at.
        """
        held = ask(triton_control.index(self.service, ANSWER_S), waiting)
        models = [model for model in self.outgoing if model not in self.incoming and not held.get(model, NOT_HELD).gone]
        for model in models:
            ask(triton_control.unload(self.service, model, _left(deadline), waiting.detail), waiting)
        return f"unloaded {', '.join(models)}" if models else "nothing of it was loaded"

    def _missing(self, waiting: Waiting) -> list[str]:
        held = ask(triton_control.index(self.service, ANSWER_S), waiting)
        return [model for model in self.incoming if not held.get(model, NOT_HELD).ready]


def take_back(models: InOneServer, waiting: Waiting, deadline: float) -> str:
    """Undoes `load` and `unload`, at whichever point they ended.

    What could not be loaded may take memory that the outgoing's models need, so that goes first.
    """
    return "; ".join((models.back.unload(waiting, deadline), models.back.load(waiting, deadline)))


def put_to_sleep(service: Service, waiting: Waiting, deadline: float) -> str:
    """Undone by `wake`. Requests that the server has are aborted."""
    waiting.detail("its weights go to the machine's memory")
    ask(vllm_control.sleep(service, _left(deadline)), waiting)
    return "asleep"


def wake(service: Service, waiting: Waiting, deadline: float) -> str:
    """Undone by `put_to_sleep`."""
    waiting.detail("its weights come back to the GPU")
    ask(vllm_control.wake(service, _left(deadline)), waiting)
    return "awake"


def sleeps(service: Service) -> bool:
    """Whether it is known to; never raises."""
    if service.protocol is not Protocol.OPENAI:
        return False
    try:
        return ask(vllm_control.is_asleep(service, ANSWER_S), Waiting())
    except ControlFailed:
        return False


def _left(deadline: float) -> float:
    """A server is asked once even when the time is over: its answer says more."""
    return max(LEAST_S, deadline - time.monotonic())
