"""What can be asked of a deployment. Its server is asked, within bounds of time and number; nothing is generated."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.deployment import Protocol, Service
from engine.inference import sampling_tensors
from engine.inference.bodies import ServedModel, names_of, served_models, wants_template
from engine.inference.calls import Calls
from engine.inference.channel import PromptFailed
from engine.inference.control import ControlFailed, connected, path_of
from engine.inference.limits import frontend_parameters, openai_parameters, triton_parameters, vllm_parameters
from engine.inference.offer import ModelOffer, Offer, Parameter, TensorOffer
from engine.inference.prompt import Style, Transport
from engine.inference.server import OPENAI, TRITON
from engine.inference.sse import excerpt, parse_object
from engine.inference.tensors import Tensor, example
from engine.inference.triton_model import TritonModel, described, front_door, ready_names
from engine.inference.unfit import no_grpc
from engine.text import clean_line

LIMIT_S = 10.0
MOST_MODELS = 1000
"""That a Triton server is asked about, each by two requests"""
CONNECTIONS = 4

BOTH_STYLES = (Style.CHAT, Style.COMPLETION)
_VLLM = "vllm"
_FRONTEND = "Triton Inference Server"
"""What each writes as the owner of its models: vLLM's `ModelCard`, `triton_engine.py` of the OpenAI frontend"""


async def discover(service: Service, transport: Transport | None = None) -> Offer:
    """Asks by `transport`, or by the deployment's own protocol. Triton's two offer the same: HTTP is asked for both.

    Raises `EngineError` when the server does not answer, or not by that protocol.
    """
    own = Transport.OPENAI if service.protocol is Protocol.OPENAI else Transport.TRITON_HTTP
    wanted = transport or own
    if wanted is Transport.TRITON_GRPC and service.grpc is None:
        raise ControlFailed(*no_grpc(service))
    ways = [own, *((Transport.TRITON_GRPC,) if own is not Transport.OPENAI and service.grpc else ())]
    transports = tuple(dict.fromkeys((*ways, wanted)))
    return await (_openai if wanted is Transport.OPENAI else _triton)(service, transports)


# -- OpenAI ------------------------------------------------------------------------------------------------------------


async def _openai(service: Service, transports: tuple[Transport, ...]) -> Offer:
    async with connected(service, LIMIT_S, "What it serves was not told") as connection:
        status, body = await connection.call("GET", "/v1/models")
        if status in (401, 403):
            why = "it has another API key" if service.api_key else "it asks for an API key, and its profile names none"
            raise ControlFailed(
                f"{connection.base} does not let its models be listed (HTTP {status}): {why}.",
                "Check `secrets` in the profile, and start it anew when the key has changed.",
            )
        served = served_models(parse_object(connection.expect(status, body, OPENAI)))
        models = [model for model in served if model.base is None]
        version = await _version(connection) if any(model.owner == _VLLM for model in models) else ""
        offers = [
            ModelOffer(
                clean_line(model.name),
                await _styles(connection, model),
                model.context_tokens,
                _parameters(model, version),
                tuple(clean_line(other.name) for other in served if other.base in names_of(served, model)),
            )
            for model in _meant_first(models, service.model)[:MOST_MODELS]
        ]
    return Offer(tuple(offers), transports, max(len(models) - MOST_MODELS, 0))


def _meant_first(models: Sequence[ServedModel], meant: str | None) -> list[ServedModel]:
    return sorted(models, key=lambda model: model.name != meant)


async def _version(connection: Calls) -> str:
    """Of vLLM; empty when it does not say."""
    status, body = await connection.call("GET", "/version")
    try:
        version = parse_object(body).get("version") if status == 200 else None
    except PromptFailed:
        return ""
    return excerpt(version, 40) if isinstance(version, str) else ""


async def _styles(connection: Calls, model: ServedModel) -> tuple[Style, ...]:
    """vLLM applies the chat template to count the tokens of messages, and refuses as for a chat when it has none."""
    if model.owner != _VLLM:
        return BOTH_STYLES
    question = {"model": model.name, "messages": [{"role": "user", "content": "x"}]}
    status, body = await connection.call("POST", "/tokenize", question)
    return (Style.COMPLETION,) if wants_template(status, body) else BOTH_STYLES


def _parameters(model: ServedModel, version: str) -> tuple[Parameter, ...]:
    if model.owner == _VLLM:
        return vllm_parameters(model.context_tokens, version)
    return frontend_parameters() if model.owner == _FRONTEND else openai_parameters()


# -- Triton ------------------------------------------------------------------------------------------------------------


async def _triton(service: Service, transports: tuple[Transport, ...]) -> Offer:
    async with connected(service, LIMIT_S, "Which models it holds was not told") as connection:
        body = connection.expect(*await connection.call("POST", "/v2/repository/index", {"ready": True}), TRITON)
    ready = ready_names(_entries(body))
    ready.sort(key=lambda name: name != service.model)
    asked = ready[:MOST_MODELS]
    found: dict[str, TritonModel] = {}
    waiting = iter(asked)
    workers = (_describe(service, waiting, found) for _ in range(min(CONNECTIONS, len(asked))))
    for ended in await asyncio.gather(*workers, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    models = _in_order([found[name] for name in asked if name in found], service.model)
    return Offer(tuple(_offer(model) for model in models), transports, len(ready) - len(asked))


def _entries(body: bytes) -> list[dict[str, Any]]:
    entries = parse_object(b'{"models":' + (body or b"[]") + b"}")["models"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PromptFailed(f"The server lists its models in an unknown way: {excerpt(body)}")
    return entries


async def _describe(service: Service, names: Iterator[str], found: dict[str, TritonModel]) -> None:
    """Those that nobody else has taken. One that is unloaded meanwhile is none to offer."""
    async with connected(service, LIMIT_S, "What its models take was not told") as connection:
        for name in names:
            path = f"/v2/models/{path_of(name)}"
            status, metadata = await connection.call("GET", path)
            if status != 200:
                continue
            status, config = await connection.call("GET", f"{path}/config")
            found[name] = described(name, parse_object(metadata), parse_object(config) if status == 200 else {})


def _in_order(models: list[TritonModel], meant: str | None) -> list[TritonModel]:
    """The one that is meant first, then those that take text."""
    door = front_door([model.name for model in models if model.takes_text])
    return sorted(models, key=lambda model: (model.name != meant, model.name != door, not model.takes_text, model.name))


def _offer(model: TritonModel) -> ModelOffer:
    text = model.takes_text
    taken = sampling_tensors.taken(model) if text else ()
    return ModelOffer(
        clean_line(model.name),
        (Style.COMPLETION,) if text else (),
        model.context_tokens,
        triton_parameters(taken, model.context_tokens, vllm=sampling_tensors.JSON_INPUT in model.inputs),
        streams=model.decoupled,
        inputs=_tensors(model.inputs),
        outputs=_tensors(model.outputs),
        example="" if text else example(model, batched=model.batched),
    )


def _tensors(declared: Mapping[str, Tensor]) -> tuple[TensorOffer, ...]:
    return tuple(
        TensorOffer(clean_line(name), clean_line(tensor.datatype), tensor.shape) for name, tensor in declared.items()
    )
