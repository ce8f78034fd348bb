"""What `triton-trtllm` makes of templates, loaded by the real tritonserver and asked through the real client.

TensorRT-LLM itself needs a GPU and NVIDIA's image. Small models with its tensors stand in for it, in templates with the
placeholders of NVIDIA's; all else is real: the launcher, the server core that reads the filled files, the streams.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Lifecycle, Service
from engine.errors import EngineError
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from engine.plan import GeneratedFile, Launch, Plan
from engine.runtimes.docker import DockerRuntime
from engine.stacks import triton_trtllm
from engine.stacks.context import PlanContext
from engine.stacks.local_triton import find_tritonserver
from tests.real.docker_support import Launches, deployment, read
from tests.real.triton_support import free_ports, settings_in, wait_until
from tests.unit.asking import ask

TEMPLATES = Path(__file__).with_name("trtllm_templates")
BOTH = (Transport.TRITON_HTTP, Transport.TRITON_GRPC)
LLM_API = """
model: org/tiny
gpus: 0
engine: {max_seq_len: 128, kv_cache_config: {free_gpu_memory_fraction: 0.5}}
"""
PREBUILT = """
engines: built
tokenizer: ./words
gpus: 0
engine: {kv_cache_free_gpu_mem_fraction: 0.7}
"""

pytestmark = pytest.mark.triton


def plan(folder: Path, name: str, text: str) -> Plan:
    """On Docker, with the engine and tokenizer that the profiles name, and free ports."""
    engine, words = folder / "built", folder / "words"
    for one in (engine, words):
        one.mkdir(exist_ok=True)
    (words / "tokenizer.json").write_text("{}")
    (engine / "rank0.engine").write_bytes(b"")
    limits = {"max_batch_size": 2, "plugin_config": {"use_paged_context_fmha": True}}
    config = {"version": "1.1.0", "pretrained_config": {"mapping": {"tp_size": 1}}, "build_config": limits}
    (engine / "config.json").write_text(json.dumps(config))
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    path = folder / "p.yaml"
    expose = json.dumps(ports)
    path.write_text(f"name: {name}\nstack: triton-trtllm\nversion: 1.1.0\nexpose: {expose}\n{text}", encoding="utf-8")
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    return triton_trtllm.plan(PlanContext(entry.profile, path, entry.digest, "docker", settings_in(folder)))


def answered(service: Service, transport: Transport, prompt: str) -> tuple[list[str], PromptResult]:
    request = PromptRequest(prompt, sampling=Sampling(16), transport=transport)
    return asyncio.run(asyncio.wait_for(ask(service, request), 60))


def is_ready(service: Service) -> bool:
    try:
        with urllib.request.urlopen(service.health, timeout=2):
            return True
    except OSError:
        return False


def model_config(service: Service, model: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{service.http}/v2/models/{model}/config", timeout=5) as response:
        return dict(json.load(response))


def check_llm_api(service: Service) -> None:
    assert service.model is not None
    config = model_config(service, service.model)
    assert config["model_transaction_policy"] == {"decoupled": True}
    for transport in BOTH:
        pieces, result = answered(service, transport, "Hello")
        assert result.outcome is PromptOutcome.DONE, result.error
        # Each chunk repeats the text so far, as TensorRT-LLM's does; what is shown is what each adds.
        cache = "kv_cache_config={'free_gpu_memory_fraction': 0.5}"
        assert "".join(pieces) == result.text == f"Hello model=org/tiny backend=pytorch max_seq_len=128 {cache}"
        assert len(pieces) == 4, "five chunks, of which the second is held until the third tells their kind"
        assert result.finish_reason == "stop"


def check_pipeline(service: Service) -> None:
    assert service.model is not None
    assert model_config(service, service.model)["model_transaction_policy"] == {"decoupled": True}
    for transport in BOTH:
        pieces, result = answered(service, transport, "stressed")
        assert result.outcome is PromptOutcome.DONE, result.error
        assert pieces == list("desserts")


def in_container_paths(made: Plan, folder: Path) -> dict[str, str]:
    """Where the paths of the plan's settings are on this machine."""
    mounts = {mount.target: mount.source for mount in made.launch.mounts}
    return {
        triton_trtllm.TEMPLATES: str(TEMPLATES),
        triton_trtllm.REPOSITORY: str(folder / "repository"),
        **{f'"{target}"': f'"{source}"' for target, source in mounts.items()},
    }


@contextlib.contextmanager
def launched(made: Plan, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The launcher with the plan's own files as a local process, on the real tritonserver."""
    try:
        local = find_tritonserver(settings_in(folder))
    except EngineError as error:
        pytest.skip(str(error))
    backends = folder / "backends"
    backends.mkdir()
    theirs = next(word for word in local.arguments if word.startswith("--backend-directory=")).partition("=")[2]
    # The files themselves: the server takes no library of a Python-based backend through a link out of the folder.
    shutil.copytree(Path(theirs, "python"), backends / "python")
    shutil.copytree(TEMPLATES / "backend", backends / "tensorrtllm")
    files = folder / "files"
    files.mkdir()
    for file in made.launch.files:
        (files / file.path).write_text(file.text, encoding="utf-8")
    text = (files / triton_trtllm.SETTINGS).read_text()
    for there, here in in_container_paths(made, folder).items():
        text = text.replace(there, here)
    settings = json.loads(text)
    server = settings["server"]
    server["program"] = local.program
    server["options"] += [f"--backend-directory={backends}"]
    for port in made.launch.ports:
        server["first"] += [f"--{port.purpose}-port={port.host_port}", f"--{port.purpose}-address=127.0.0.1"]
    (files / triton_trtllm.SETTINGS).write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, files / triton_trtllm.LAUNCHER],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **local.env},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def until_ready(made: Plan, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, log.read_text(errors="replace")
        return is_ready(made.launch.service)

    wait_until(ready, "tritonserver is ready", 60)


@pytest.mark.parametrize(
    ("name", "text", "check"),
    [
        ("tiny", LLM_API, check_llm_api),
        ("tiny", PREBUILT, check_pipeline),
        ("tiny", PREBUILT + "served_model_name: tensorrt_llm_bls\n", check_pipeline),
    ],
    ids=["llm-api", "ensemble", "bls"],
)
def test_a_local_tritonserver_serves_it(tmp_path: Path, name: str, text: str, check: Callable[[Service], None]) -> None:
    made = plan(tmp_path, name, "image: example/triton:1\n" + text)
    with launched(made, tmp_path) as process:
        until_ready(made, process, tmp_path / "log")
        check(made.launch.service)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, (tmp_path / "log").read_text(errors="replace")


def test_ranks_after_the_first_serve_nobody(tmp_path: Path) -> None:
    """What the launcher gives them loads the engine's model alone, and opens no port."""
    made = plan(tmp_path, "tiny", "image: example/triton:1\n" + PREBUILT)
    settings = next(file for file in made.launch.files if file.path == triton_trtllm.SETTINGS)
    swapped = json.loads(settings.text)
    swapped["server"]["first"] = swapped["server"]["others"]
    files = [file for file in made.launch.files if file is not settings]
    files.append(GeneratedFile(settings.path, json.dumps(swapped)))
    other = replace(made, launch=replace(made.launch, files=tuple(files), ports=()))
    with launched(other, tmp_path) as process:
        log = tmp_path / "log"

        def loaded() -> bool:
            text = log.read_text(errors="replace")
            assert process.poll() is None, text
            return "startup_models_0" in text  # in the table of options, printed when all is loaded

        wait_until(loaded, "the engine's model is loaded", 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        text = log.read_text(errors="replace")
        assert "successfully loaded 'tensorrt_llm'" in text
        assert "successfully loaded 'preprocessing'" not in text
        assert "Started" not in text, "HTTPService, GRPCInferenceService, Metrics Service"


def without_limits(made: Plan) -> Launch:
    """Raising them takes a right that an engine which itself runs in a container has not got."""
    return replace(made.launch, ulimits={})


@pytest.mark.docker
@pytest.mark.parametrize(
    ("text", "check"), [(LLM_API, check_llm_api), (PREBUILT, check_pipeline)], ids=["llm-api", "ensemble"]
)
def test_a_container_serves_it(
    tmp_path: Path,
    runtime: DockerRuntime,
    launches: Launches,
    triton_image: str,
    text: str,
    check: Callable[[Service], None],
) -> None:
    # PyYAML is in NVIDIA's image, and not in the small one here.
    mounts = [
        f"{TEMPLATES}:/app/all_models",
        f"{TEMPLATES / 'backend'}:/opt/tritonserver/backends/tensorrtllm",
        f"{Path(yaml.__file__).parent}:/usr/lib/python3/dist-packages/yaml",
    ]
    name = f"{launches.prefix}-trtllm"
    made = plan(tmp_path, name, f"image: {triton_image}\nmounts: {json.dumps(mounts)}\nshm_size: 256m\n{text}")
    runtime.create(without_limits(made))
    runtime.start(name)

    def ready() -> bool:
        assert deployment(runtime, name).lifecycle is Lifecycle.RUNNING, read(runtime, name).decode()
        return is_ready(made.launch.service)

    wait_until(ready, "tritonserver is ready", 90)
    check(made.launch.service)
    began = time.monotonic()
    runtime.stop(name, made.launch.stop_timeout_s)
    stopped = deployment(runtime, name)
    assert (stopped.lifecycle, stopped.exit_code) == (Lifecycle.EXITED, 0), read(runtime, name).decode()
    assert time.monotonic() - began < made.launch.stop_timeout_s

    # A second start of the same container makes its repository anew.
    runtime.start(name)
    wait_until(ready, "tritonserver is ready again", 90)


@pytest.mark.docker
def test_an_image_without_the_templates_ends_with_a_sentence(
    tmp_path: Path, runtime: DockerRuntime, launches: Launches, triton_image: str
) -> None:
    name = f"{launches.prefix}-bare"
    made = plan(tmp_path, name, f"image: {triton_image}\n{LLM_API}")
    runtime.create(without_limits(made))
    runtime.start(name)
    wait_until(lambda: deployment(runtime, name).lifecycle is Lifecycle.EXITED, "the container ends")
    assert deployment(runtime, name).exit_code == 1
    assert "this image has no such TensorRT-LLM template" in read(runtime, name).decode()
