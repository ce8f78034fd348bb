"""What is offered, from what scripted servers tell of themselves, and what is said when they do not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, NotFound, OperationFailed
from engine.facade import Engine
from engine.inference import discover as discover_module
from engine.inference.client import PromptClient
from engine.inference.discover import discover
from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import PromptRequest, Style, Transport
from engine.settings import Settings
from tests.unit.inference_server import Act, Script, ScriptedServer, openai, reply, triton
from tests.unit.memory_runtime import MemoryRuntime
from tests.unit.model_server import Server

BOTH = (Style.CHAT, Style.COMPLETION)
NO_TEMPLATE = reply({"error": {"message": "default chat template is no longer allowed"}}, status=400)


def vllm(tokenize: bytes) -> dict[str, Script]:
    listed = [
        {"id": "llama", "owned_by": "vllm", "parent": None, "max_model_len": 8192},
        {"id": "style", "owned_by": "vllm", "parent": "llama", "max_model_len": None},
    ]
    return openai([]) | {
        "GET /v1/models": [reply({"data": listed})],
        "GET /version": [reply({"version": "0.32.0"})],
        "POST /tokenize": [tokenize],
    }


def named(model: ModelOffer) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in model.parameters}


async def test_vllm_tells_its_adapters_limits_and_template() -> None:
    async with ScriptedServer(vllm(reply({"count": 4}))) as server:
        offer = await discover(server.service(Protocol.OPENAI))
        assert not [asked for asked in server.asked if "completions" in asked.path], "nothing is generated"
        assert server.last("/tokenize").json["model"] == "llama"
    [model] = offer.models
    assert offer.transports == (Transport.OPENAI,)
    assert (model.name, model.styles, model.loras, model.context_tokens) == ("llama", BOTH, ("style",), 8192)
    limits = named(model)
    assert limits["max_tokens"] == Parameter("max_tokens", 1, 8192, why="max_model_len 8192, the prompt included")
    assert (limits["temperature"].least, limits["temperature"].most) == (0, 2)
    assert limits["temperature"].why == "vLLM 0.32.0"
    assert "generation_config" in limits["temperature"].default
    assert {"top_k", "min_p", "repetition_penalty", "ignore_eos"} <= limits.keys()


async def test_a_model_of_two_names_has_its_adapters_by_both() -> None:
    listed = [{"id": name, "owned_by": "vllm", "parent": None, "root": "/m"} for name in ("a", "b")]
    listed.append({"id": "style", "owned_by": "vllm", "parent": "a", "root": "/adapter"})
    routes = vllm(reply({"count": 4})) | {"GET /v1/models": [reply({"data": listed})]}
    async with ScriptedServer(routes) as server:
        offer = await discover(server.service(Protocol.OPENAI))
    assert [(model.name, model.loras) for model in offer.models] == [("a", ("style",)), ("b", ("style",))]


async def test_a_model_without_a_template_is_offered_for_completion_alone() -> None:
    async with ScriptedServer(vllm(NO_TEMPLATE)) as server:
        [model] = (await discover(server.service(Protocol.OPENAI))).models
    assert model.styles == (Style.COMPLETION,)


async def test_other_servers_are_offered_what_they_know() -> None:
    listed = [{"id": name, "owned_by": "Triton Inference Server"} for name in ("embed", "llama")]
    routes = openai([]) | {"GET /v1/models": [reply({"data": listed})]}
    async with ScriptedServer(routes) as server:
        offer = await discover(server.service(Protocol.OPENAI, model="llama"))
        assert [asked.path for asked in server.asked] == ["/v1/models"], "no guesses at what it may have"
    assert [model.name for model in offer.models] == ["llama", "embed"], "the meant one first"
    assert offer.models[0].styles == BOTH
    known = named(offer.models[0]).keys()
    assert {"min_tokens", "ignore_eos"} <= known
    assert not {"top_k", "min_p", "repetition_penalty"} & known
    async with ScriptedServer(openai([])) as server:
        [model] = (await discover(server.service(Protocol.OPENAI))).models
    assert "ignore_eos" not in named(model)
    assert model.context_tokens is None


def held(**models: dict[str, Any]) -> dict[str, Script]:
    """A Triton server's models: each with `inputs` (name to datatype and shape) and its configuration."""
    routes: dict[str, Script] = {
        "POST /v2/repository/index": [reply([{"name": name, "state": "READY"} for name in models] + [{"name": "off"}])]
    }
    for name, model in models.items():
        inputs = [{"name": key, "datatype": kind, "shape": shape} for key, (kind, shape) in model["inputs"].items()]
        routes[f"GET /v2/models/{name}"] = [reply({"name": name, "inputs": inputs, "outputs": inputs[:1]})]
        routes[f"GET /v2/models/{name}/config"] = [reply(model.get("config", {}))]
    return routes


IMAGES = {
    "inputs": {"image": ("FP32", [-1, 3, 8, 8]), "mode": ("INT32", [-1, 1])},
    "config": {"max_batch_size": 8, "input": [{"name": "image"}, {"name": "mode", "optional": True}]},
}
TEXT = {
    "inputs": {"text_input": ("BYTES", [1]), "max_tokens": ("INT32", [1]), "top_k": ("INT32", [1])},
    "config": {
        "model_transaction_policy": {"decoupled": True},
        "parameters": {"max_model_len": {"string_value": "2048"}},
    },
}


async def test_triton_offers_text_models_first_and_examples_for_the_others() -> None:
    async with ScriptedServer(held(aaa=IMAGES, tensorrt_llm_bls=TEXT, ensemble=TEXT)) as server:
        service = replace(server.service(), grpc="127.0.0.1:1")
        offer = await discover(service)
        stated = await discover(replace(service, model="aaa"), Transport.TRITON_GRPC)
    assert offer.transports == (Transport.TRITON_HTTP, Transport.TRITON_GRPC)
    assert [model.name for model in offer.models] == ["ensemble", "tensorrt_llm_bls", "aaa"], "front doors first"
    assert stated.models[0].name == "aaa"
    text, images = offer.models[0], offer.models[2]
    assert (text.styles, text.streams, text.example, text.loras) == ((Style.COMPLETION,), True, "", ())
    assert (text.context_tokens, named(text)["max_tokens"].most) == (2048, 2048)
    assert named(text).keys() == {"max_tokens", "top_k"}
    assert (images.styles, images.parameters, images.streams) == ((), (), False)
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in images.inputs] == [
        ("image", "FP32", (-1, 3, 8, 8)),
        ("mode", "INT32", (-1, 1)),
    ]
    assert json.loads(images.example) == {"image": {"shape": [1, 3, 8, 8], "fill": 0.5}}


async def test_the_vllm_backend_takes_every_value() -> None:
    async with ScriptedServer(triton([])) as server:
        offer = await discover(server.service())
    assert [model.name for model in offer.models] == ["llama", "helper"]
    limits = named(offer.models[0])
    assert limits["ignore_eos"].default == "off"
    assert (limits["top_p"].least, limits["top_p"].most) == (0, 1)


async def test_many_models_are_asked_about_at_once_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover_module, "MOST_MODELS", 40)
    async with ScriptedServer(held(**{f"m{number:03}": IMAGES for number in range(60)})) as server:
        offer = await discover(server.service(model="m059"))
        assert server.connections <= 1 + discover_module.CONNECTIONS
    assert (len(offer.models), offer.left_out) == (40, 20)
    assert offer.models[0].name == "m059", "the deployment's own is never left out"


async def test_a_model_that_goes_meanwhile_is_not_offered() -> None:
    routes = held(a=TEXT, b=IMAGES)
    routes["GET /v2/models/b"] = [reply({"error": "Request for unknown model: 'b' is not found"}, status=400)]
    async with ScriptedServer(routes) as server:
        offer = await discover(server.service())
    assert [model.name for model in offer.models] == ["a"]
    async with ScriptedServer(held()) as server:
        assert await discover(server.service()) == Offer((), (Transport.TRITON_HTTP,))


async def test_names_from_outside_steer_no_terminal() -> None:
    hostile = {"inputs": {"x\x1b[2J": ("FP32\x1b[31m", [1])}}
    async with ScriptedServer(held(a=hostile)) as server:
        [model] = (await discover(server.service())).models
    assert "\x1b" not in f"{model.inputs[0].name}{model.inputs[0].datatype}{model.example}"
    listed = [{"id": "a\x1b[2J", "owned_by": "vllm"}, {"id": "b\x07", "parent": "a\x1b[2J"}]
    routes = vllm(NO_TEMPLATE) | {"GET /v1/models": [reply({"data": listed})]}
    routes["GET /version"] = [reply({"version": "0\x1b]0;x\x07"})]
    async with ScriptedServer(routes) as server:
        [model] = (await discover(server.service(Protocol.OPENAI))).models
    assert (model.name, model.loras) == ("a", ("b",))
    assert "\x1b" not in str([parameter.why for parameter in model.parameters])


@pytest.mark.parametrize(
    ("protocol", "routes", "said"),
    [
        (
            Protocol.OPENAI,
            {"GET /v1/models": [reply({"error": "x"}, status=401)]},
            "asks for an API key, and its profile",
        ),
        (Protocol.OPENAI, {"GET /v1/models": [reply(b"<html>")]}, "not a JSON object: <html>"),
        (Protocol.TRITON, {}, "does not speak"),
        (Protocol.TRITON, {"POST /v2/repository/index": [reply({"a": 1})]}, "lists its models in an unknown way"),
        (
            Protocol.TRITON,
            held(a=TEXT) | {"GET /v2/models/a": [reply({"inputs": [3]})]},
            "describes a model in an unknown",
        ),
        (Protocol.TRITON, {"POST /v2/repository/index": [Act.STALL]}, "was not told within"),
        (Protocol.TRITON, held(a=TEXT) | {"GET /v2/models/a": [Act.STALL]}, "was not told within"),
        (Protocol.TRITON, held(a=TEXT) | {"GET /v2/models/a": [Act.CUT]}, "closed the connection"),
    ],
)
async def test_what_goes_wrong_is_said(
    protocol: Protocol, routes: dict[str, Script], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover_module, "LIMIT_S", 0.5 if "within" in said else 20.0)
    async with ScriptedServer(routes) as server:
        with pytest.raises(EngineError) as failure:
            await discover(server.service(protocol))
    assert said in str(failure.value)


async def test_grpc_that_is_not_exposed_is_not_offered() -> None:
    async with ScriptedServer(held(a=TEXT)) as server:
        with pytest.raises(EngineError, match="exposes no gRPC port"):
            await discover(server.service(), Transport.TRITON_GRPC)


@pytest.mark.parametrize(
    ("transport", "protocol"), [(Transport.OPENAI, "the OpenAI protocol"), (Transport.TRITON_HTTP, "Triton's protocol")]
)
async def test_a_server_that_does_not_speak_what_is_asked_for(transport: Transport, protocol: str) -> None:
    async with ScriptedServer({}) as server:
        said = f"does not speak {protocol} \\(HTTP 404\\): .* Leave the transport to the deployment"
        with pytest.raises(EngineError, match=said):
            await discover(server.service(), transport)
        client = PromptClient(server.service())
        result = await client.send(PromptRequest("x", transport=transport))
        await client.close()
    assert re.search(said, result.error)


def test_the_engine_asks_what_runs_by_its_name(tmp_path: Path) -> None:
    server, runtime = Server(), MemoryRuntime("docker")
    try:
        service = Service(Protocol.OPENAI, server.url, f"{server.url}/health")
        running = Deployment("m", "docker", "vllm", "id", "i:1", Lifecycle.RUNNING, service, 1.0, 2.0, None, None)
        runtime.held = {"m": running, "over": replace(running, name="over", lifecycle=Lifecycle.EXITED)}
        engine = Engine(Settings(tmp_path, tmp_path, tmp_path), {"docker": runtime})
        assert [model.name for model in engine.offer("m").models] == ["m"]
        with pytest.raises(OperationFailed, match="over does not run"):
            engine.offer("over")
        with pytest.raises(NotFound):
            engine.offer("nobody")
        with pytest.raises(EngineError, match="does not speak Triton's protocol"):
            engine.offer("m", Transport.TRITON_HTTP)
    finally:
        server.close()
