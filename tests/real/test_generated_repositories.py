"""What is generated for the vLLM backend, loaded by the real tritonserver with a stand-in under that backend's name."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Lifecycle
from engine.errors import EngineError
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from engine.plan import Plan
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.stacks.local_triton import find_tritonserver
from tests.real.docker_support import Launches, deployment, read
from tests.real.triton_support import free_ports, kill_all, of, settings_in, text_of, wait_until
from tests.unit.asking import ask as asked

STANDIN = Path(__file__).parent / "standin_vllm"
BACKENDS_IN_IMAGE = "/opt/tritonserver/backends"
ENGINE = {
    "max_model_len": 8192,
    "gpu_memory_utilization": 0.85,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "speculative_config": {"method": "ngram", "num_speculative_tokens": 3},
    "tokenizer": "größer/模型",
}

pytestmark = pytest.mark.triton


@dataclass(frozen=True, slots=True)
class Server:
    plan: Plan
    log: Any
    """Called, its text so far"""

    def get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.plan.launch.service.http}{path}", timeout=10)
        assert answer.status_code == httpx.codes.OK, answer.text
        return dict(answer.json())

    def generate(self, **body: Any) -> httpx.Response:
        url = f"{self.plan.launch.service.http}/v2/models/{self.plan.launch.service.model}/generate"
        return httpx.post(url, json=body, timeout=10)


def planned(folder: Path, settings: Settings, runtime: str, **changes: Any) -> Plan:
    http, grpc, metrics = free_ports(3)
    profile: dict[str, Any] = {
        "name": "standin",
        "stack": "triton-vllm",
        "model": "org/model",
        "version": "0.11.1",
        "engine": ENGINE,
        "expose": {"http": http, "grpc": grpc, "metrics": metrics},
    }
    path = folder / "profile.yaml"
    path.write_text(json.dumps(profile | changes), encoding="utf-8")
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    return STACKS["triton-vllm"](PlanContext(entry.profile, path, entry.digest, runtime, settings))


def backend_directory(folder: Path, settings: Settings) -> Path:
    """The local server's Python backend, and beside it the stand-in as `vllm`.

    Copies: for a Python-based backend the core refuses a library that is a link out of its folder.
    """
    try:
        local = find_tritonserver(settings)
    except EngineError as error:
        pytest.skip(str(error))
    backends = folder / "backends"
    shutil.copytree(local.backends / "python", backends / "python")
    shutil.copytree(STANDIN, backends / "vllm", ignore=shutil.ignore_patterns("__pycache__"))
    return backends


@contextlib.contextmanager
def running(folder: Path, **changes: Any) -> Iterator[Server]:
    """Planned by the stack and started by the process runtime, as `tritontui up` would."""
    settings = settings_in(folder)
    options = {"backend_directory": str(backend_directory(folder, settings)), **changes.pop("server", {})}
    plan = planned(folder, settings, "process", server=options, **changes)
    runtime, name = ProcessRuntime(settings), plan.launch.name
    try:
        runtime.create(plan.launch)
        runtime.start(name)

        def ready() -> bool:
            assert of(runtime, name).lifecycle is Lifecycle.RUNNING, text_of(runtime, name)
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(plan.launch.service.health, timeout=1).status_code == httpx.codes.OK
            return False

        wait_until(ready, "the server is ready", 60)
        yield Server(plan, lambda: text_of(runtime, name))
        runtime.stop(name, 45)
    finally:
        kill_all(settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With two adapters, one of them a folder."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "adapter").mkdir()
    lora = {"near": "./adapter", "far": "org/adapter"}
    with running(
        folder, lora=lora, served_model_name="Model.of-mine", engine=ENGINE | {"max_lora_rank": 16}
    ) as started:
        yield started


async def ask(server: Server, transport: Transport, prompt: str, **changes: Any) -> tuple[list[str], PromptResult]:
    """The pieces as they came, and the end of the stream."""
    request = PromptRequest(prompt, transport=transport, **{"sampling": Sampling(1000), **changes})
    return await asked(server.plan.launch.service, request)


def test_one_instance_of_kind_model(server: Server) -> None:
    config = server.get("/v2/models/Model.of-mine/config")
    (group,) = config["instance_group"]
    assert (group["kind"], group["count"]) == ("KIND_MODEL", 1)
    assert config["backend"] == "vllm"
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["max_batch_size"] == 0
    assert config["parameters"] == {"REPORT_CUSTOM_METRICS": {"string_value": "true"}}
    started = re.findall(r"TRITONBACKEND_ModelInstanceInitialize: (\S+ \(\w+ device \d+\))", server.log())
    assert started == ["Model.of-mine_0_0 (MODEL device 0)"]


@pytest.mark.parametrize("transport", [Transport.TRITON_HTTP, Transport.TRITON_GRPC])
async def test_a_prompt_is_answered_by_the_engine_that_the_profile_describes(
    server: Server, transport: Transport
) -> None:
    pieces, result = await ask(server, transport, "Wie groß?")
    assert result.outcome is PromptOutcome.DONE, result.error
    told = json.loads(result.text)
    assert told["prompt"] == "Wie groß?"
    assert told["kind"] == "MODEL"
    assert told["engine"] == {"model": "org/model", **ENGINE, "max_lora_rank": 16, "enable_lora": True}
    assert "".join(pieces) == result.text
    assert len(pieces) > 10, "streamed, and each piece is new text"
    assert (result.timing.tokens_in, result.timing.tokens_out) == (2, len(pieces))
    assert (result.timing.token_source, result.finish_reason) == ("server", "stop")


async def test_a_length_is_kept(server: Server) -> None:
    pieces, result = await ask(server, Transport.TRITON_HTTP, "ping", sampling=Sampling(3))
    assert (len(pieces), result.finish_reason) == (3, "length")


def test_adapters_are_those_of_the_profile(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    def ask(adapter: str) -> httpx.Response:
        sampling = json.dumps({"max_tokens": 1000, "lora_name": adapter})
        return server.generate(text_input="ping", exclude_input_in_output=True, sampling_parameters=sampling)

    near, far = (json.loads(ask(name).json()["text_output"])["adapter"] for name in ("near", "far"))
    assert Path(near).is_dir()
    assert Path(near).name == "adapter"
    assert far == "org/adapter"
    assert "LoRA other is not supported, we currently support ['near', 'far']" in ask("other").text


def test_the_engines_own_metrics_are_reported(server: Server) -> None:
    server.generate(text_input="one two three", sampling_parameters='{"max_tokens": 5}')
    assert server.plan.launch.service.metrics
    text = httpx.get(server.plan.launch.service.metrics, timeout=10).text
    assert re.search(r'^vllm:generation_tokens_total\{model="Model\.of-mine",version="1"\} [1-9]', text, re.MULTILINE)


def test_explicit_control_loads_the_model_and_watches_its_health(tmp_path: Path) -> None:
    """Without `lora`, and with its configuration written out, as Triton is told to complete nothing."""
    options = {"model_control_mode": "explicit", "disable_auto_complete_config": True}
    with running(tmp_path, server=options, engine=ENGINE | {"disable_log_stats": True}) as server:
        config = server.get("/v2/models/standin/config")
        assert config["parameters"] == {"ENABLE_VLLM_HEALTH_CHECK": {"string_value": "true"}}
        assert config["model_transaction_policy"] == {"decoupled": True}
        answer = server.generate(text_input="", sampling_parameters='{"max_tokens": 1000}').json()
        assert json.loads(answer["text_output"])["engine"]["disable_log_stats"] is True
        refused = server.generate(text_input="ping", sampling_parameters='{"lora_name": "x"}')
        assert "LoRA feature is not enabled." in refused.text
        text = httpx.get(str(server.plan.launch.service.metrics), timeout=10).text
        assert "nv_inference_request_success" in text
        assert "vllm:" not in text
        unloaded = httpx.post(f"{server.plan.launch.service.http}/v2/repository/models/standin/unload", timeout=30)
        assert unloaded.status_code == httpx.codes.OK


def test_load_model_alone_is_what_tritonserver_itself_refuses(tmp_path: Path) -> None:
    """The rule that is checked at plan time, by the server's own word."""
    settings = settings_in(tmp_path)
    plan = planned(
        tmp_path, settings, "process", server={"backend_directory": str(backend_directory(tmp_path, settings))}
    )
    launch = replace(plan.launch, command=(*plan.launch.command, "--load-model=standin"))
    runtime = ProcessRuntime(settings)
    try:
        runtime.create(launch)
        runtime.start(launch.name)
        wait_until(lambda: of(runtime, launch.name).lifecycle is Lifecycle.EXITED, "it ends")
        assert "requires setting '--model-control-mode=explicit'" in text_of(runtime, launch.name)
    finally:
        kill_all(settings)


@pytest.mark.docker
async def test_in_a_container_that_holds_the_generated_files(
    runtime: DockerRuntime, launches: Launches, triton_image: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "weights").mkdir()
    plan = planned(
        tmp_path,
        settings_in(tmp_path),
        "docker",
        name=launches().name,
        image=triton_image,
        model="./weights",
        lora={"near": "./adapter"},
        mounts=[f"{STANDIN}:{BACKENDS_IN_IMAGE}/vllm"],
        server={"backend_config": "python,stub-timeout-seconds=120"},
    )
    launch = plan.launch
    runtime.create(launch)
    runtime.start(launch.name)
    server = Server(plan, lambda: read(runtime, launch.name).decode())

    def ready() -> bool:
        assert deployment(runtime, launch.name).lifecycle is Lifecycle.RUNNING, server.log()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(launch.service.health, timeout=1).status_code == httpx.codes.OK
        return False

    wait_until(ready, "the server in the container is ready", 90)
    _, result = await ask(server, Transport.TRITON_GRPC, "ping")
    assert json.loads(result.text)["engine"] == {"model": "/model", **ENGINE, "enable_lora": True}
    assert server.log().count("TRITONBACKEND_ModelInstanceInitialize: ") == 1
    sampling = json.dumps({"max_tokens": 1000, "lora_name": "near"})
    answer = server.generate(text_input="ping", exclude_input_in_output=True, sampling_parameters=sampling)
    assert json.loads(answer.json()["text_output"])["adapter"] == "/lora/near"
    runtime.stop(launch.name, launch.stop_timeout_s)
    assert deployment(runtime, launch.name).exit_code == 0
