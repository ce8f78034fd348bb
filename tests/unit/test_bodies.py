"""What each server is sent for a prompt: nothing that was asked for is left out in silence."""

import json
from dataclasses import fields
from typing import Any

import pytest

from engine.inference.bodies import (
    ServedModel,
    model_to_send,
    openai_body,
    plain_text,
    served_models,
    styles_of,
    wants_template,
)
from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault, PromptRequest, Role, Sampling, Style, Turn
from engine.inference.sampling_tensors import taken
from engine.inference.tensors import Tensor
from engine.inference.triton_model import TritonModel, find_model
from engine.inference.unfit import Unfit, refused
from tests.unit.inference_server import LLMAPI_INPUTS, TRTLLM_INPUTS, VLLM_INPUTS

EVERYTHING = Sampling(9, 0.5, 0.9, 5, 0.1, 0.3, -0.3, 1.1, 7, ("\n", "END"), 4, ignore_eos=True)
HISTORY = (Turn(Role.USER, "Hello"), Turn(Role.ASSISTANT, "Good day."))
CHAT = PromptRequest("And now?", system="Be brief.", history=HISTORY)
BLS_INPUTS = (
    *("text_input", "max_tokens:INT32", "stream:BOOL", "exclude_input_in_output:BOOL", "temperature:FP32"),
    *("top_p:FP32", "top_k:INT32", "repetition_penalty:FP32", "presence_penalty:FP32", "frequency_penalty:FP32"),
    *("seed:UINT64", "stop_words", "min_tokens:INT32", "lora_task_id:UINT64", "return_num_input_tokens:BOOL"),
)
LLMAPI_ALL = (*LLMAPI_INPUTS, "stop:BOOL", "sampling_param_stop", "lora_id:UINT64", "lora_name", "lora_path")


def model(*inputs: str) -> TritonModel:
    split = [name.partition(":") for name in inputs]
    return TritonModel("llama", {name: Tensor(kind or "BYTES", (-1, 1)) for name, _, kind in split}, decoupled=True)


def test_a_chat_carries_everything_that_is_set_and_nothing_else() -> None:
    path, body = openai_body(CHAT, "llama", Style.CHAT)
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "llama",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Good day."},
            {"role": "user", "content": "And now?"},
        ],
        "max_tokens": 256,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    path, body = openai_body(PromptRequest("Once", sampling=EVERYTHING), "llama", Style.COMPLETION)
    assert (path, body["prompt"]) == ("/v1/completions", "Once")
    assert {field.name for field in fields(Sampling)} <= body.keys()
    assert (body["stop"], body["ignore_eos"], body["temperature"]) == (["\n", "END"], True, 0.5)
    zero = openai_body(PromptRequest("", sampling=Sampling(temperature=0.0, top_k=0, seed=0)), "m", Style.CHAT)[1]
    assert (zero["temperature"], zero["top_k"], zero["seed"]) == (0.0, 0, 0), "zero is a value"


def test_a_style_that_is_asked_for_is_the_only_one() -> None:
    assert styles_of(PromptRequest("x")) == (Style.CHAT, Style.COMPLETION)
    assert styles_of(PromptRequest("x", style=Style.CHAT)) == (Style.CHAT,)


def test_a_refusal_for_want_of_a_template_is_known() -> None:
    refusal = b'{"error":{"message":"As of transformers v4.44, default chat template is no longer allowed, so you"}}'
    assert wants_template(400, refusal)
    assert not wants_template(404, refusal)
    assert wants_template(500, b'{"detail":"Unknown tokenizer"}'), "Triton's OpenAI frontend"
    assert not wants_template(400, b'{"error":{"message":"temperature must be in [0, 2], got 2.5."}}')


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (PromptRequest("Once"), "Once"),
        (PromptRequest("Once", system="Tell."), "Tell.\n\nOnce"),
        (CHAT, "Be brief.\n\nUser: Hello\nAssistant: Good day.\nUser: And now?\nAssistant:"),
    ],
)
def test_text_for_a_model_without_a_template_is_plain(request_: PromptRequest, expected: str) -> None:
    assert plain_text(request_) == expected
    assert model(*VLLM_INPUTS).values(request_)["text_input"] == expected


VLLM_LISTING = {"data": [{"id": "llama", "max_model_len": 64, "owned_by": "vllm"}, {"id": "style", "parent": "llama"}]}
TWO_NAMES = {
    "data": [
        *({"id": name, "root": "/m", "parent": None, "owned_by": "vllm"} for name in ("a", "b")),
        {"id": "style", "root": "/adapter", "parent": "a"},
    ]
}
FRONTEND_LISTING = {
    "data": [{"id": name, "owned_by": "Triton Inference Server"} for name in ("llama", "llama_l_style")]
}


@pytest.mark.parametrize(
    ("listing", "wanted", "lora", "name"),
    [
        (VLLM_LISTING, None, None, "llama"),
        (VLLM_LISTING, None, "style", "style"),
        (VLLM_LISTING, "alias", None, "alias"),
        (TWO_NAMES, None, None, "a"),
        (TWO_NAMES, "b", None, "b"),
        (TWO_NAMES, None, "style", "style"),
        (FRONTEND_LISTING, "llama", None, "llama"),
        (FRONTEND_LISTING, "llama", "style", "llama_l_style"),
        (FRONTEND_LISTING, "llama", "llama_l_style", "llama_l_style"),
    ],
)
def test_an_adapter_is_a_model_by_name(
    listing: dict[str, Any], wanted: str | None, lora: str | None, name: str
) -> None:
    assert model_to_send(served_models(listing), "server", wanted, lora) == name


@pytest.mark.parametrize(
    ("listing", "lora", "said"),
    [
        (TWO_NAMES, "b", "server has no LoRA adapter 'b'. Name one of those that it lists: style."),
        ({"data": [{"id": "a", "root": "/m"}, {"id": "b", "root": "/n"}]}, None, "server serves several models: a, b."),
        ({"data": [{"id": "a"}, {"id": "b"}]}, None, "server serves several models: a, b. Say which one is meant."),
        ({"data": []}, None, "server serves no model."),
        (
            VLLM_LISTING,
            "stile",
            "server has no LoRA adapter 'stile'. Name one of those that it lists: style.",
        ),
        (
            {"data": [{"id": "a"}]},
            "x",
            "it lists none. Leave the adapter out (--lora), or start the server with it: `lora` in",
        ),
    ],
)
def test_a_model_that_is_not_served_is_said(listing: dict[str, Any], lora: str | None, said: str) -> None:
    with pytest.raises(PromptFailed) as failure:
        model_to_send(served_models(listing), "server", None, lora)
    assert said in str(failure.value)


def test_rubbish_in_a_listing_is_passed_over() -> None:
    listing = {"data": [None, {"id": 3}, {"id": "a", "parent": 1, "max_model_len": "x", "owned_by": None}]}
    assert served_models(listing) == (ServedModel("a"),)
    assert served_models({"data": "none"}) == served_models({}) == ()


def test_the_vllm_backend_takes_everything_as_one_json_text() -> None:
    sent = model(*VLLM_INPUTS).values(PromptRequest("x", sampling=EVERYTHING, lora="style"))
    told = json.loads(str(sent["sampling_parameters"]))
    assert told.keys() == {field.name for field in fields(Sampling)} | {"lora_name"}
    assert (told["stop"], told["lora_name"], told["ignore_eos"]) == (["\n", "END"], "style", True)
    assert sent.keys() == {name.partition(":")[0] for name in VLLM_INPUTS}


def test_tensorrt_llm_takes_a_tensor_for_each_value() -> None:
    sampling = Sampling(9, 0, 0.9, 5, None, 0.3, -0.3, 1.1, 7, ("\n", "END"), None, ignore_eos=True)
    bls = model(*BLS_INPUTS)
    sent = bls.values(PromptRequest("x", sampling=sampling, lora="3"))
    assert sent == {
        "text_input": "x",
        "max_tokens": 9,
        "stream": True,
        "exclude_input_in_output": True,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 5,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.3,
        "frequency_penalty": -0.3,
        "seed": 7,
        "stop_words": ["\n", "END"],
        "min_tokens": 9,
        "lora_task_id": 3,
        "return_num_input_tokens": True,
    }
    assert isinstance(sent["temperature"], float), "an FP32 tensor"
    tensors = {tensor.name: tensor for tensor in bls.tensors(PromptRequest("x", sampling=sampling))}
    assert (tensors["stop_words"].shape, tensors["stop_words"].data) == ((1, 2), [b"\n", b"END"])
    assert (tensors["seed"].datatype, tensors["seed"].shape, tensors["seed"].data) == ("UINT64", (1, 1), [7])
    assert set(taken(bls)) == {field.name for field in fields(Sampling)} - {"min_p"}


def test_llmapi_has_its_own_names_and_a_stop_that_is_none() -> None:
    llmapi = model(*LLMAPI_ALL)
    sent = llmapi.values(PromptRequest("x", sampling=Sampling(9, stop=("END",))))
    assert sent == {
        "text_input": "x",
        "streaming": True,
        "sampling_param_max_tokens": 9,
        "sampling_param_stop": ["END"],
    }
    assert set(taken(llmapi)) == {"max_tokens", "temperature", "stop"}


@pytest.mark.parametrize(
    ("inputs", "request_", "said"),
    [
        (
            TRTLLM_INPUTS,
            {"sampling": Sampling(min_p=0.1)},
            "no input for min_p. Its inputs are text_input BYTES [-1, 1]",
        ),
        (("text_input",), {"sampling": Sampling(stop=("x",))}, "'llama' has no input for stop."),
        (LLMAPI_INPUTS, {"sampling": Sampling(ignore_eos=True)}, "has no input for ignore_eos."),
        (
            TRTLLM_INPUTS,
            {"lora": "style"},
            "takes no LoRA adapter: it has no input for one. Leave the adapter out (--lora).",
        ),
        (LLMAPI_ALL, {"lora": "style"}, "by number, name and path at once"),
        (BLS_INPUTS, {"lora": "style"}, "(lora_task_id), not as 'style'. Give the adapter's number."),
        (BLS_INPUTS, {"sampling": Sampling(seed=-1)}, "Input seed of model 'llama' takes whole numbers from 0 to 1844"),
        (VLLM_INPUTS, {"style": Style.CHAT}, "apply no chat template. Send it as a completion (--completion)."),
    ],
)
def test_what_a_triton_model_does_not_take_is_said(
    inputs: tuple[str, ...], request_: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unfit) as failure:
        model(*inputs).values(PromptRequest("x", **request_))
    assert said in str(failure.value)


class Held:
    """A repository of models by their inputs."""

    def __init__(self, **models: str) -> None:
        self.models = models

    async def index(self) -> list[dict[str, Any]]:
        return [{"name": name, "state": "READY"} for name in self.models]

    async def metadata(self, model: str) -> dict[str, Any]:
        if model not in self.models:
            raise PromptFailed(f"server refused (HTTP 404): no {model}", fault=Fault.REFUSED)
        return {"name": model, "inputs": [{"name": self.models[model], "datatype": "BYTES", "shape": ["-1"]}]}

    async def config(self, model: str) -> dict[str, Any]:
        return {"max_batch_size": 8, "parameters": {"max_model_len": {"string_value": "4096"}}}


async def test_tensors_find_a_model_that_takes_no_text() -> None:
    found = await find_model(Held(resnet="image"), None, tensors=True)
    assert (found.name, found.takes_text, found.batched, found.context_tokens) == ("resnet", False, True, 4096)
    assert found.inputs["image"].shape == (-1,), "gRPC's JSON has lengths as text"
    assert (await find_model(Held(resnet="image", llama="text_input"), "resnet", tensors=True)).name == "resnet"
    with pytest.raises(Unfit, match=r"Several models are ready: llama, resnet. Say which one the tensors are for."):
        await find_model(Held(resnet="image", llama="text_input"), None, tensors=True)
    with pytest.raises(PromptFailed, match="No model is ready"):
        await find_model(Held(), None, tensors=True)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (("llama", "resnet", "llama-70b"), "Choose one of those that are: llama, llama-70b, resnet."),
        (tuple("abcdefghijklmnopqrst"), "those that are: a, b, c, d, e, f, g, h and 12 more."),
        ((), "None is: load one first."),
    ],
)
async def test_a_model_that_is_not_there_is_told_with_those_that_are(held: tuple[str, ...], said: str) -> None:
    with pytest.raises(Unfit) as failure:
        await find_model(Held(**dict.fromkeys(held, "text_input")), "lama")
    assert failure.value.what == "No model 'lama' is ready on the server."
    assert failure.value.remedy.endswith(said)


class _Unlisted(Held):
    """Its index cannot be had."""

    async def index(self) -> list[dict[str, Any]]:
        raise PromptFailed("server refused (HTTP 500): no index", fault=Fault.REFUSED)


async def test_the_servers_word_stays_where_its_models_are_not_told() -> None:
    with pytest.raises(PromptFailed, match=r"server refused \(HTTP 404\): no lama"):
        await find_model(_Unlisted(llama="text_input"), "lama")


@pytest.mark.parametrize(
    ("lora", "said", "told"),
    [
        ("x", "LoRA x is not supported.", "LoRA x is not supported. Leave the LoRA adapter out (--lora), or name one"),
        ("x", "LoRA feature is not enabled", "is not enabled. Leave the LoRA adapter out (--lora), or name one that"),
        ("x", "out of memory", "server refused: out of memory"),
        (None, "LoRA feature is not enabled", "server refused: LoRA feature is not enabled"),
    ],
)
def test_a_refused_adapter_is_told_with_what_to_do(lora: str | None, said: str, told: str) -> None:
    failure = refused("server refused", said, PromptRequest("x", lora=lora), Fault.ERROR)
    assert told in str(failure)
    assert ("Leave" in str(failure)) == ("Leave" in told)
    assert failure.fault is Fault.ERROR
