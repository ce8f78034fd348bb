"""Which way a swap takes, for plans as the stacks make them and deployments that were launched from such plans."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Deployment, Lifecycle
from engine.drift import launch_facts
from engine.operations.fast import InOneServer, models_of
from engine.operations.ways import choose_way
from engine.plan import PlacedGpu, Plan
from engine.request import Way
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext

TRITON = """\
name: {name}
stack: triton
image: example/triton:1
repository: repo
model: {name}
program: {program}
expose: {{http: 18000, grpc: 18001, metrics: 18002}}
engine: {{model_control_mode: {mode}, load_model: [{name}, shared], log_verbose: {verbose}}}
"""
VLLM = """\
name: {name}
stack: vllm
image: vllm/vllm-openai:v0.11.1
model: org/{name}
expose: {{http: {port}}}
engine: {{enable_sleep_mode: {sleeps}}}
env: {env}
"""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path) -> None:
    for name in ("mixtral", "llama", "shared"):
        (tmp_path / f"repo/{name}/1").mkdir(parents=True)
        (tmp_path / f"repo/{name}/1/model.py").touch()
        (tmp_path / f"repo/{name}/config.pbtxt").write_text('backend: "python"')
    (tmp_path / "server").write_text("#!/bin/sh\n")
    (tmp_path / "server").chmod(0o755)
    (tmp_path / "backends/python").mkdir(parents=True)


def plan(tmp_path: Path, text: str, runtime: str = "docker") -> Plan:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    return STACKS[entry.profile.stack](PlanContext(entry.profile, path, entry.digest, runtime, settings))


def triton_profile(tmp_path: Path, name: str, *, mode: str = "explicit", verbose: int = 1) -> str:
    return TRITON.format(name=name, mode=mode, verbose=verbose, program=tmp_path / "server")


def triton(tmp_path: Path, name: str, *, mode: str = "explicit", verbose: int = 1, runtime: str = "docker") -> Plan:
    return plan(tmp_path, triton_profile(tmp_path, name, mode=mode, verbose=verbose), runtime)


def vllm(tmp_path: Path, name: str, port: int = 18000, *, sleeps: str = "true", env: str = "{}") -> Plan:
    return plan(tmp_path, VLLM.format(name=name, port=port, sleeps=sleeps, env=env))


def launched(made: Plan, lifecycle: Lifecycle = Lifecycle.RUNNING) -> Deployment:
    launch = made.launch
    return Deployment(
        launch.name,
        launch.runtime,
        launch.stack,
        "id",
        launch.image or "",
        lifecycle,
        launch.service,
        1.0,
        2.0,
        gpus=launch.gpus if isinstance(launch.gpus, tuple) else (),
        launch_facts=launch_facts(launch),
    )


@pytest.mark.parametrize("runtime", ["docker", "process"])
def test_two_profiles_of_one_triton_are_swapped_within_it(tmp_path: Path, runtime: str) -> None:
    old, new = triton(tmp_path, "mixtral", runtime=runtime), triton(tmp_path, "llama", runtime=runtime)
    way, reason, others = choose_way(new, None, (launched(old),))
    assert way is Way.LOAD, others
    assert reason == "The Triton server of mixtral goes on running: it loads llama, shared instead."
    assert others == ()
    models = InOneServer.of(launched(old), new)
    assert (models.incoming, models.outgoing) == (("llama", "shared"), ("mixtral", "shared"))


def test_what_keeps_it_from_loading_is_said(tmp_path: Path) -> None:
    old, new = launched(triton(tmp_path, "mixtral")), triton(tmp_path, "llama")

    def why(incoming: Plan, *outgoing: Deployment, kept: Deployment | None = None) -> str:
        way, reason, others = choose_way(incoming, kept, outgoing or (old,))
        assert way is Way.FULL
        assert reason.endswith("stopped, and llama is started.")
        return next(sentence for sentence in others if "loading" in sentence)

    uncontrolled = triton_profile(tmp_path, "llama", mode="none").replace("load_model: [llama, shared], ", "")
    assert "llama runs without `model_control_mode: explicit`" in why(plan(tmp_path, uncontrolled))
    assert "the two servers differ in --log-verbose" in why(triton(tmp_path, "llama", verbose=2))
    launch = new.launch
    assert "differ in SECRET_FREE" in why(replace(new, launch=replace(launch, env={"SECRET_FREE": "1"})))
    assert "differ in image" in why(replace(new, launch=replace(launch, image="example/triton:2")))
    elsewhere = replace(launch.service, metrics="http://127.0.0.1:9/metrics")
    assert "is to answer at http://127.0.0.1:9/metrics" in why(replace(new, launch=replace(launch, service=elsewhere)))
    placed = replace(new, placement=(PlacedGpu(1, "GPU-1", "H100"),))
    assert "on other GPUs" in why(placed, replace(old, gpus=("GPU-0",)))
    assert "what mixtral was started with is not known" in why(new, replace(old, launch_facts=""))
    assert "mixtral runs on process, and llama is to run on docker" in why(new, replace(old, runtime="process"))
    assert "2 deployments have to go" in why(new, old, replace(old, name="other"))
    assert "its stack is triton-vllm" in why(new, replace(old, stack="triton-vllm"))
    assert "llama has a server of its own" in why(new, kept=launched(new, Lifecycle.EXITED))
    every = replace(launch, command=(*launch.command, "--load-model=*"))
    assert "does not name its models one by one" in why(replace(new, launch=every))


def test_models_are_read_from_what_a_launch_was_made_from(tmp_path: Path) -> None:
    launch = triton(tmp_path, "llama").launch
    for named in ((), ("it's",), ("a b", "c")):
        words = tuple(word for word in launch.command if not word.startswith("--load-model"))
        made = replace(launch, command=(*words, *(f"--load-model={model}" for model in named)))
        assert models_of(made.service, launch_facts(made)) == (*named, "llama")
    assert models_of(replace(launch.service, model=None), "rubbish") == ()


def test_a_vllm_that_can_sleep_is_put_to_sleep(tmp_path: Path) -> None:
    old, new = launched(vllm(tmp_path, "mixtral")), vllm(tmp_path, "llama", 18100)
    way, reason, others = choose_way(new, None, (old,))
    assert way is Way.SLEEP
    assert reason == "mixtral is put to sleep, weights in the machine's memory, and llama is started."
    assert "its stack is vllm" in others[0]
    assert choose_way(new, launched(new), (old,))[1].endswith("and llama is woken.")
    stopped = replace(old, name="gone", stack="triton", lifecycle=Lifecycle.EXITED)
    assert choose_way(new, None, (old, stopped))[0] is Way.SLEEP


def test_what_keeps_it_from_sleeping_is_said(tmp_path: Path) -> None:
    old, new = launched(vllm(tmp_path, "mixtral")), vllm(tmp_path, "llama", 18100)

    def why(incoming: Plan, *outgoing: Deployment) -> str:
        way, _, others = choose_way(incoming, None, outgoing)
        assert way is Way.FULL
        return next(sentence for sentence in others if "sleeping" in sentence)

    assert "mixtral runs without `enable_sleep_mode: true`" in why(
        new, launched(vllm(tmp_path, "mixtral", sleeps="false"))
    )
    closed = vllm(tmp_path, "mixtral", env='{VLLM_SERVER_DEV_MODE: "0"}')
    assert any("closes the endpoints" in warning for warning in closed.warnings)
    assert "or without the endpoints that go with it" in why(new, launched(closed))
    assert "mixtral keeps port 18000 while it sleeps" in why(vllm(tmp_path, "llama", 18000), old)
    assert "what mixtral was started with is not known" in why(new, replace(old, launch_facts=""))
    assert "served by triton" in why(new, old, replace(old, name="t", stack="triton"))


def test_the_same_port_does_not_matter_to_one_that_is_woken(tmp_path: Path) -> None:
    old, new = launched(vllm(tmp_path, "mixtral")), vllm(tmp_path, "llama", 18100)
    assert choose_way(vllm(tmp_path, "llama", 18000), launched(new), (old,))[0] is Way.SLEEP


def test_nothing_that_runs_has_to_go(tmp_path: Path) -> None:
    old, new = triton(tmp_path, "mixtral"), triton(tmp_path, "llama")
    for outgoing in ((), (launched(old, Lifecycle.EXITED),)):
        way, reason, others = choose_way(new, None, outgoing)
        assert (way, others) == (Way.FULL, ())
        assert reason == "Nothing that runs has to go: llama is started."
