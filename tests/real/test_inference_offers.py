"""What real servers say that can be asked of them, and that they take what is made of it: tensors, values, adapters."""

import importlib.util
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.deployment import Protocol, Service
from engine.errors import EngineError
from engine.inference.client import PromptClient
from engine.inference.discover import discover
from engine.inference.offer import ModelOffer, Offer
from engine.inference.prompt import (
    Fault,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Role,
    Sampling,
    Style,
    Transport,
    Turn,
)
from engine.inference.tensors import parse_inputs
from engine.inference.triton_model import TritonModel, described
from engine.settings import Settings
from engine.stacks.local_triton import find_tritonserver
from tests.real.commands import Commands
from tests.real.triton_support import DEMO_REPOSITORY, free_ports, kill_all, settings_in, wait_until
from tests.real.vllm_support import LocalVllm

TENSORS = """
input [
  { name: "words" data_type: TYPE_STRING dims: [ -1 ] }, { name: "matrix" data_type: TYPE_FP32 dims: [ -1, 2 ] },
  { name: "number" data_type: TYPE_INT64 dims: [ 1 ] }, { name: "flags" data_type: TYPE_BOOL dims: [ 2 ] },
  { name: "extra" data_type: TYPE_UINT8 dims: [ -1 ] optional: true }
]
output [
  { name: "words_out" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "matrix_out" data_type: TYPE_FP32 dims: [ -1, 2 ] },
  { name: "number_out" data_type: TYPE_INT64 dims: [ 1 ] }, { name: "flags_out" data_type: TYPE_BOOL dims: [ 2 ] }
]
"""
TRTLLM = """
input [
  { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }, { name: "max_tokens" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "stop_words" data_type: TYPE_STRING dims: [ -1 ] optional: true },
  { name: "temperature" data_type: TYPE_FP32 dims: [ 1 ] optional: true },
  { name: "top_k" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
  { name: "min_tokens" data_type: TYPE_INT32 dims: [ 1 ] optional: true },
  { name: "seed" data_type: TYPE_UINT64 dims: [ 1 ] optional: true },
  { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
  { name: "lora_task_id" data_type: TYPE_UINT64 dims: [ 1 ] reshape: { shape: [ ] } optional: true },
  { name: "return_num_input_tokens" data_type: TYPE_BOOL dims: [ 1 ] reshape: { shape: [ ] } optional: true }
]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]
"""


def echo(kind: str, dims: int, first: str = "x", second: str = "x_out") -> str:
    tensor = f"data_type: TYPE_{kind} dims: [ {dims} ]"
    return f'input [ {{ name: "{first}" {tensor} }} ] output [ {{ name: "{second}" {tensor} }} ]'


CONFIGS = {
    "every-type": f"max_batch_size: 0 {TENSORS}",
    "batched": f"max_batch_size: 4 {echo('FP32', 3)}",
    "half": f"max_batch_size: 0 {echo('FP16', 3)}",
    "brain": f"max_batch_size: 0 {echo('BF16', 3)}",
    "counter": f"max_batch_size: 0 model_transaction_policy {{ decoupled: true }} {echo('INT32', 1, 'n', 'i')}",
    "tensorrt_llm_bls": f"max_batch_size: 4 model_transaction_policy {{ decoupled: true }} {TRTLLM}",
}
MODEL = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL

class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_name"]

    def execute(self, requests):
        if self.name in ("counter", "tensorrt_llm_bls"):
            for request in requests:
                getattr(self, self.name)(request, request.get_response_sender())
            return None
        return [pb_utils.InferenceResponse(list(map(self.echo, request.inputs()))) for request in requests]

    def echo(self, tensor):
        name = tensor.name() + "_out"
        if self.name == "brain":
            return pb_utils.Tensor.from_dlpack(name, tensor.to_dlpack())
        return pb_utils.Tensor(name, tensor.as_numpy())

    def counter(self, request, sender):
        wanted = int(pb_utils.get_input_tensor_by_name(request, "n").as_numpy()[0])
        for number in range(wanted):
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("i", np.array([number], dtype=np.int32))]))
        sender.send(flags=FINAL)

    def tensorrt_llm_bls(self, request, sender):
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        told = {name: [list(array.shape), array.reshape(-1).tolist()] for name, array in given.items()}
        text = np.array([json.dumps(told, default=bytes.decode).encode()], dtype=np.object_)
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("text_output", text)]), flags=FINAL)
"""
GIVEN = {"words": ["one", "zwei €"], "matrix": [[0.1, 2], [3, -4.5]], "number": 1 << 60, "flags": [True, False]}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if importlib.util.find_spec("pytriton") is None:
        pytest.skip("the demo extra is not installed")
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "repository"
    shutil.copytree(DEMO_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    for name, config in CONFIGS.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(f'backend: "python" {config}')
        (repository / name / "1/model.py").write_text(MODEL)
    try:
        local = find_tritonserver(settings_in(folder))
    except EngineError as error:
        pytest.skip(str(error))
    http, grpc = free_ports(2)
    base = f"http://127.0.0.1:{http}"
    command = (local.program, f"--model-repository={repository}", *local.arguments, "--allow-metrics=false")
    ports = (f"--http-port={http}", f"--grpc-port={grpc}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1")
    prefix = f"--backend-config=python,shm-region-prefix-name=test_{http}"
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            (*command, *ports, prefix), env=dict(local.env), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: is_ready(server, base, log), "tritonserver is ready", 90)
            yield Service(Protocol.TRITON, base, f"{base}/v2/health/ready", grpc=f"127.0.0.1:{grpc}", model="prose")
        finally:
            server.terminate()
            try:
                server.wait(45)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def is_ready(server: "subprocess.Popen[bytes]", base: str, log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-3000:]
    try:
        return httpx.get(f"{base}/v2/health/ready", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def model_of(service: Service, name: str) -> TritonModel:
    metadata = httpx.get(f"{service.http}/v2/models/{name}", trust_env=False).json()
    return described(name, metadata, httpx.get(f"{service.http}/v2/models/{name}/config", trust_env=False).json())


def plain(model: TritonModel, text: str) -> dict[str, Any]:
    """A body made without what tritontui knows of JSON's limits."""
    return {"inputs": [asdict(tensor) for tensor in model.tensors(PromptRequest("", tensors=text))]}


async def ask(service: Service, request: PromptRequest) -> PromptResult:
    client = PromptClient(service)
    try:
        return await client.send(request)
    finally:
        await client.close()


async def answers(service: Service, model: str, tensors: str, transport: Transport) -> list[dict[str, Any]]:
    """The outputs of each response."""
    result = await ask(service, PromptRequest("", model=model, tensors=tensors, transport=transport))
    assert result.outcome is PromptOutcome.DONE, result.error
    decoder, found, text = json.JSONDecoder(), [], result.text.strip()
    while text:
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:].strip()
    return found


def offered(offer: Offer, name: str) -> ModelOffer:
    return next(model for model in offer.models if model.name == name)


@pytest.mark.triton
async def test_what_triton_offers(triton: Service) -> None:
    offer = await discover(triton)
    assert offer.transports == (Transport.TRITON_HTTP, Transport.TRITON_GRPC)
    assert offer.models[0].name == "prose", "the deployment's own is the one that is meant"
    assert {model.name for model in offer.models} == {"prose", *CONFIGS}
    prose = offer.models[0]
    assert (prose.styles, prose.streams, prose.example) == ((Style.COMPLETION,), True, "")
    assert "ignore_eos" in {parameter.name for parameter in prose.parameters}
    assert (await discover(replace(triton, model=None))).models[0].name == "tensorrt_llm_bls", "a front door"
    bls = offered(offer, "tensorrt_llm_bls")
    assert {parameter.name for parameter in bls.parameters} == {
        *("max_tokens", "temperature", "top_k", "seed", "stop", "min_tokens", "ignore_eos")
    }
    batched = offered(offer, "batched")
    assert (batched.styles, batched.streams, batched.inputs[0].shape) == ((), False, (-1, 3))
    assert json.loads(batched.example) == {"x": [[0.5, 0.5, 0.5]]}
    with pytest.raises(EngineError, match="does not speak the OpenAI protocol"):
        await discover(triton, Transport.OPENAI)


@pytest.mark.triton
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "tensorrt_llm_bls"])
async def test_every_example_is_taken(triton: Service, name: str) -> None:
    example = offered(await discover(triton), name).example
    by_stream = await answers(triton, name, example, Transport.TRITON_GRPC)
    assert by_stream
    if name in ("every-type", "batched"):
        assert await answers(triton, name, example, Transport.TRITON_HTTP) == by_stream
        return
    refused = await ask(triton, PromptRequest("", model=name, tensors=example, transport=Transport.TRITON_HTTP))
    assert (refused.fault, refused.sent_at) == (Fault.UNFIT, None)
    assert refused.error.endswith("Send it by triton-grpc.")
    body = {"inputs": [asdict(tensor) for tensor in parse_inputs(model_of(triton, name), example)]}
    async with httpx.AsyncClient(trust_env=False) as client:
        taken = await client.post(f"{triton.http}/v2/models/{name}/infer", json=body)
    assert taken.status_code != httpx.codes.OK, "Triton would have taken it"


@pytest.mark.triton
@pytest.mark.parametrize("transport", [Transport.TRITON_HTTP, Transport.TRITON_GRPC])
async def test_tensors_come_back_as_they_were_given(triton: Service, transport: Transport) -> None:
    expected = {"words_out": GIVEN["words"], "matrix_out": GIVEN["matrix"]}
    expected |= {"number_out": [GIVEN["number"]], "flags_out": GIVEN["flags"]}
    assert await answers(triton, "every-type", json.dumps(GIVEN), transport) == [expected]


@pytest.mark.triton
async def test_what_json_cannot_carry_and_several_responses_come_by_grpc(triton: Service) -> None:
    grpc = Transport.TRITON_GRPC
    for name in ("half", "brain"):
        [answer] = await answers(triton, name, '{"x": [0.5, -2, NaN]}', grpc)
        assert answer == {"x_out": [0.5, -2.0, "NaN"]}
    [answer] = await answers(triton, "every-type", json.dumps(GIVEN | {"words": [{"b64": "/9g="}]}), grpc)
    assert answer["words_out"] == [{"b64": "/9g="}], "bytes that are no text"
    assert await answers(triton, "counter", '{"n": 3}', grpc) == [{"i": [0]}, {"i": [1]}, {"i": [2]}]


@pytest.mark.triton
@pytest.mark.parametrize("transport", [Transport.TRITON_HTTP, Transport.TRITON_GRPC])
async def test_values_reach_tensors_of_their_own(triton: Service, transport: Transport) -> None:
    sampling = Sampling(7, temperature=0.25, top_k=3, seed=(1 << 63) + 1, stop=("\n", "END"), ignore_eos=True)
    request = PromptRequest("hello", "tensorrt_llm_bls", "Be brief.", sampling=sampling, lora="12", transport=transport)
    result = await ask(triton, request)
    assert (result.error, result.style) == ("", Style.COMPLETION)
    assert json.loads(result.text) == {
        "text_input": [[1, 1], ["Be brief.\n\nhello"]],
        "max_tokens": [[1, 1], [7]],
        "stop_words": [[1, 2], ["\n", "END"]],
        "temperature": [[1, 1], [0.25]],
        "top_k": [[1, 1], [3]],
        "min_tokens": [[1, 1], [7]],
        "seed": [[1, 1], [(1 << 63) + 1]],
        "stream": [[1, 1], [True]],
        "lora_task_id": [[1], [12]],
        "return_num_input_tokens": [[1], [True]],
    }
    refused = await ask(triton, replace(request, sampling=Sampling(min_p=0.1)))
    assert (refused.fault, refused.sent_at) == (Fault.UNFIT, None)
    assert "has no input for min_p. Its inputs are " in refused.error


# -- vLLM --------------------------------------------------------------------------------------------------------------

PROFILE = """
name: {name}
stack: vllm
runtime: process
image: nowhere/vllm:0
program: {program}
model: {model}
engine:
  dtype: bfloat16
  max_model_len: 1024
  max_num_seqs: 8
  enforce_eager: true
  enable_lora: true
  max_lora_rank: 8
  lora_modules: style={adapter}
env: {{VLLM_CPU_KVCACHE_SPACE: "1", HF_HUB_OFFLINE: "1", VLLM_NO_USAGE_STATS: "1", VLLM_CACHE_ROOT: {cache}}}
expose: {{http: {port}}}
ready: {{timeout: 5m}}
"""
ADAPTER = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
model, folder = json.loads(Path(sys.argv[1], "config.json").read_text()), Path(sys.argv[2])
hidden, queries = model["hidden_size"], model["head_dim"] * model["num_attention_heads"]
weights = {}
for layer in range(model["num_hidden_layers"]):
    name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
    weights[f"{name}.lora_A.weight"] = torch.ones(8, hidden)
    weights[f"{name}.lora_B.weight"] = torch.ones(queries, 8)
folder.mkdir()
save_file(weights, folder / "adapter_model.safetensors")
config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
(folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))
"""


@pytest.fixture
def vllm(tmp_path: Path, local_vllm: LocalVllm) -> Iterator[Service]:
    """Without a chat template, and with an adapter."""
    name, port = f"tiny-{secrets.token_hex(4)}", free_ports(1)[0]
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    shutil.copytree(local_vllm.model, model, ignore=shutil.ignore_patterns("chat_template*"))
    python = local_vllm.program.with_name("python")
    subprocess.run([python, "-c", ADAPTER, model, adapter], check=True, timeout=120)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "huggingface").mkdir()
    text = PROFILE.format(
        name=name, program=local_vllm.program, model=model, adapter=adapter, cache=tmp_path / "vllm", port=port
    )
    (tmp_path / "profiles/tiny.yaml").write_text(text, encoding="utf-8")
    tritontui = Commands(tmp_path, docker=False)
    tritontui.env["HF_HOME"] = str(tmp_path / "huggingface")
    try:
        tritontui.ok("up", name, "--wait")
        base = f"http://127.0.0.1:{port}"
        yield Service(Protocol.OPENAI, base, f"{base}/health", model=name)
    finally:
        kill_all(Settings.load())


@pytest.mark.vllm
@pytest.mark.timeout(600)
async def test_what_vllm_offers_and_takes(vllm: Service) -> None:
    [offer] = (await discover(vllm)).models
    assert (offer.name, offer.loras, offer.context_tokens) == (vllm.model, ("style",), 1024)
    assert offer.styles == (Style.COMPLETION,), "its model has no chat template"
    limits = {parameter.name: parameter for parameter in offer.parameters}
    assert (limits["max_tokens"].most, limits["temperature"].most) == (1024, 2)

    everything = Sampling(8, 0.5, 0.9, 5, 0.1, 0.5, 0.5, 1.1, 3, ("zz",), 8, ignore_eos=True)
    history = (Turn(Role.USER, "Hello"), Turn(Role.ASSISTANT, "Good day."))
    for lora, model in ((None, offer.name), ("style", "style")):
        result = await ask(
            vllm, PromptRequest("x", system="Be brief.", history=history, sampling=everything, lora=lora)
        )
        assert (result.error, result.model, result.style) == ("", model, Style.COMPLETION), "a chat was tried first"
        assert (result.timing.tokens_out, result.ended_by) == (8, "length")
    refused = await ask(vllm, PromptRequest("x", lora="stile"))
    assert (refused.fault, refused.error.endswith("Name one of those that it lists: style.")) == (Fault.UNFIT, True)
    refused = await ask(vllm, PromptRequest("x", style=Style.CHAT))
    assert (refused.fault, "chat template" in refused.error) == (Fault.REFUSED, True)
    for name, parameter in limits.items():
        for limit, beyond in ((parameter.least, -1), (parameter.most, 1)):
            if limit is None:
                continue
            value: Any = int(limit + beyond)
            refused = await ask(vllm, PromptRequest("x", sampling=replace(Sampling(8), **{name: value})))
            assert refused.fault is Fault.REFUSED, f"{name} {value}"
