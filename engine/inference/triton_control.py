"""Triton's model repository API: which models a running server holds, and loading and unloading them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.deployment import Service
from engine.inference.calls import Calls
from engine.inference.channel import PromptFailed
from engine.inference.control import ControlFailed, connected, path_of
from engine.inference.sse import excerpt, parse_object
from engine.text import clean_line

POLL_EVERY_S = 0.2
HELD = frozenset(("READY", "LOADING", "UNLOADING"))
NO_CONTROL = "explicit model load / unload is not allowed"
"""Of a server in any other mode (seen on tritonserver 2.51, core `ModelRepositoryManager::LoadUnloadModel`)"""


@dataclass(frozen=True, slots=True)
class Held:
    """What the index says of one model."""

    states: frozenset[str]
    """Of its versions; none for one that was never loaded"""
    reason: str = ""
    """Of a state that is none to be in"""

    @property
    def ready(self) -> bool:
        return "READY" in self.states and not self.states & {"LOADING", "UNLOADING"}

    @property
    def gone(self) -> bool:
        return not self.states & HELD


NOT_HELD = Held(frozenset())


async def index(service: Service, timeout_s: float) -> Mapping[str, Held]:
    """Every model of the server's repository by name. Raises `ControlFailed`."""
    async with connected(service, timeout_s, "What it has loaded was not told") as connection:
        return await _index(connection)


async def load(service: Service, model: str, timeout_s: float) -> None:
    """Returns when it is loaded. Raises `ControlFailed`.

    What is given up, or cancelled, goes on loading in the server.
    """
    async with connected(service, timeout_s, f"The model {model} was not loaded") as connection:
        await _change(connection, model, "load", {})


async def unload(
    service: Service, model: str, timeout_s: float, waiting: Callable[[str], None] = lambda _: None
) -> None:
    """Returns when it is unloaded: when the requests that it has are answered. Raises `ControlFailed`.

    The models that an ensemble is made of go with it, save those that another one needs. One that is still loading
    is loaded first. One that is not loaded, or unknown, is no error. `waiting` is told what is waited for.
    """
    async with connected(service, timeout_s, f"The model {model} was not unloaded") as connection:
        await _change(connection, model, "unload", {"parameters": {"unload_dependents": True}})
        # Triton answers when it has begun to.
        while not (await _index(connection)).get(model, NOT_HELD).gone:
            waiting(f"{clean_line(model)} answers the requests that it has")
            await asyncio.sleep(POLL_EVERY_S)


async def _change(connection: Calls, model: str, verb: str, body: dict[str, Any]) -> None:
    status, answer = await connection.call("POST", f"/v2/repository/models/{path_of(model)}/{verb}", body)
    if status == 200:
        return
    word, name = connection.reason(answer), clean_line(model)
    if NO_CONTROL in word:
        raise ControlFailed(
            f"{connection.base} does not let its models be changed: it runs without explicit model control.",
            "Write `model_control_mode: explicit` under `engine` and start it anew, or swap with --full.",
        )
    raise ControlFailed(f"{connection.base} did not {verb} the model {name} (HTTP {status}): {word}")


async def _index(connection: Calls) -> dict[str, Held]:
    body = connection.expect(*await connection.call("POST", "/v2/repository/index", {}))
    entries = parse_object(b'{"models":' + (body or b"[]") + b"}")["models"]
    states: dict[str, set[str]] = defaultdict(set)
    reasons: dict[str, str] = {}
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry.get("name") for entry in entries):
        raise PromptFailed(f"{connection.base} lists its models in an unknown way: {excerpt(body)}")
    for entry in entries:
        name, state, reason = str(entry["name"]), entry.get("state"), entry.get("reason")
        states[name] |= {state} if isinstance(state, str) else set()
        if isinstance(reason, str):
            reasons[name] = excerpt(reason)
    return {name: Held(frozenset(found), reasons.get(name, "")) for name, found in states.items()}
