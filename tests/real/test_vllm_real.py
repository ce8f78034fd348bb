"""A `vllm` profile on both runtimes: the real `vllm serve` on the CPU, through the commands as a user runs them."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import psutil
import pytest

from engine.plan import CONTAINER_PREFIX
from engine.settings import Settings
from tests.real.commands import Commands
from tests.real.docker_support import free_port
from tests.real.triton_support import kill_all
from tests.real.vllm_support import LocalVllm

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

CONTEXT = 8192
PROFILE = """
name: {name}
stack: vllm
runtime: {runtime}
image: {image}
program: {program}
model: {model}
engine:
  dtype: bfloat16
  max_model_len: {context}
  max_num_seqs: 8
  enforce_eager: true
  enable_prefix_caching: false
  generation_config: vllm
  override_generation_config: {{temperature: 0.0}}
  seed: 7
env:
  VLLM_CPU_KVCACHE_SPACE: "1"
  HF_HUB_OFFLINE: "1"
  VLLM_NO_USAGE_STATS: "1"
  VLLM_CACHE_ROOT: {cache}
expose: {{http: {port}}}
ready: {{timeout: 5m, prompt: ping}}
"""


@pytest.fixture
def name() -> str:
    return f"tiny-{secrets.token_hex(4)}"


def commands(folder: Path, local: LocalVllm, name: str, *, image: str = "") -> Commands:
    """With one profile, for the runtime that it is to run on."""
    (folder / "profiles").mkdir()
    (folder / "huggingface").mkdir()
    text = PROFILE.format(
        name=name,
        runtime="docker" if image else "process",
        image=image or "nowhere/vllm:0",
        program=local.program,
        model=local.model,
        cache=folder / "vllm",
        context=CONTEXT,
        # Not `auto`: what is free then may be taken by the time that vLLM, after many imports, listens.
        port=free_port(),
    )
    (folder / "profiles/tiny.yaml").write_text(text, encoding="utf-8")
    made = Commands(folder, docker=bool(image))
    # The machine's own is none of a test's business.
    made.env["HF_HOME"] = str(folder / "huggingface")
    return made


@pytest.fixture
def on_process(tmp_path: Path, local_vllm: LocalVllm, name: str) -> Iterator[Commands]:
    made = commands(tmp_path, local_vllm, name)
    yield made
    kill_all(Settings.load())


@pytest.fixture
def on_docker(
    tmp_path: Path, local_vllm: LocalVllm, name: str, docker_engine: docker.DockerClient, vllm_image: str
) -> Iterator[Commands]:
    yield commands(tmp_path, local_vllm, name, image=vllm_image)
    for container in docker_engine.containers.list(all=True, filters={"name": CONTAINER_PREFIX + name}):
        container.remove(force=True)


def test_a_profile_serves_from_a_local_process(on_process: Commands, name: str) -> None:
    pid = start_and_use(on_process, name)
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    assert len(family) > 2, "vLLM has processes of its own for its engine and its workers"

    on_process.ok("down", name)
    assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    forget(on_process, name)


@pytest.mark.docker
def test_the_same_profile_serves_from_a_container(
    on_docker: Commands, name: str, docker_engine: docker.DockerClient
) -> None:
    start_and_use(on_docker, name)
    container = docker_engine.containers.get(CONTAINER_PREFIX + name)
    [model] = [mount for mount in container.attrs["Mounts"] if mount["Destination"] == "/model"]
    assert model["RW"] is False
    assert [host["HostIp"] for hosts in container.ports.values() for host in hosts or ()] == ["127.0.0.1"]

    on_docker.ok("down", name)
    container.reload()
    assert container.status == "exited"
    assert container.attrs["State"]["ExitCode"] == 0, "its own orderly shutdown, not a kill"
    forget(on_docker, name)
    assert not docker_engine.containers.list(all=True, filters={"name": CONTAINER_PREFIX + name})


def start_and_use(tritontui: Commands, name: str) -> int:
    """From the plan to the log of what has been served; returns the server's process id, as the runtime tells it."""
    planned = tritontui.json("plan", name)
    assert f"--max-model-len {CONTEXT}" in planned["command_line"]
    with tritontui.begin("up", name, "--wait", "--json") as up:
        out, err = up.communicate(timeout=300)
        assert up.returncode == 0, err + tritontui("logs", name).stdout[-3000:]
    steps = {step["kind"]: step for step in json.loads(out)["steps"]}
    assert "8 tokens" in steps["prompt"]["detail"]

    model = tritontui.model(name)
    assert model["state"] == "ready"
    [served] = httpx.get(model["endpoint"] + "/v1/models", timeout=10, trust_env=False).json()["data"]
    assert served["id"] == name, "a model from a folder is served under the profile's name"
    assert served["max_model_len"] == CONTEXT, "the profile's options have reached the engine"

    streamed = tritontui("ask", name, "What is in the log?", "--max-tokens", "24")
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout.strip()
    answers = [tritontui.json("ask", name, "What is in the log?", "--max-tokens", "24") for _ in range(2)]
    for answer in answers:
        assert (answer["outcome"], answer["transport"], answer["model"]) == ("done", "openai", name)
        assert (answer["timing"]["tokens_out"], answer["timing"]["token_source"]) == (24, "server")
        # equal where a client had no processor meanwhile: of what it reads at once, the system says when the last came
        assert 0 < answer["timing"]["first_token_s"] <= answer["timing"]["last_token_s"]
        assert len(answer["gaps_s"]) > 10, "it comes in pieces"
    assert answers[0]["text"] == answers[1]["text"], "the profile's temperature of 0 has reached the engine"

    page = httpx.get(model["deployment"]["service"]["metrics"], timeout=10, trust_env=False).text
    assert f'vllm:generation_tokens_total{{engine="0",model_name="{name}"}} {8 + 3 * 24:.1f}' in page
    reading = tritontui.json("metrics", name)
    assert reading["freshness"] == "fresh"
    found = {series["key"]: series["value"] for series in reading["series"] if "vllm:" in series["source"]}
    assert {"running", "waiting", "kv_cache", "generation", "ttft_p50"} <= found.keys()
    assert found["running"] == 0
    lines = tritontui.ok("logs", name, "--grep", "POST /v1/").splitlines()
    assert len(lines) >= 4
    assert all("200 OK" in line for line in lines)
    pid: int = model["deployment"]["pid"]
    return pid


def forget(tritontui: Commands, name: str) -> None:
    stopped = tritontui.model(name)
    assert (stopped["state"], stopped["deployment"]["exit_code"]) == ("stopped", 0)
    assert tritontui("ask", name, "Still there?").returncode == 1
    tritontui.ok("rm", name)
    assert tritontui.model(name)["deployment"] is None
