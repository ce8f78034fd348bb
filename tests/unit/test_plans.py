"""From a profile to what will be done, for each stack on each runtime."""

import socket
import stat
from pathlib import Path

import pytest

from engine.by_hand import command_line
from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Service
from engine.errors import InvalidProfile
from engine.plan import Plan
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.stacks.placement import Machine


def plan(tmp_path: Path, text: str, runtime: str) -> Plan:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    return STACKS[entry.profile.stack](PlanContext(entry.profile, path, entry.digest, runtime, settings))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Something that may stand for a server's program: plans are made, not carried out."""
    path = tmp_path / "server"
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


TRITON = """\
name: t
stack: triton
image: example/triton:1
repository: repo
model: m
engine: {log_verbose: 1, model_control_mode: explicit, load_model: [a, b], strict_readiness: false}
secrets: {HF_TOKEN: env}
expose: {http: 18000, metrics: 18002}
gpus: [0, GPU-abc]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("a", "b", "m"):
        (tmp_path / "repo" / name / "1").mkdir(parents=True)
        (tmp_path / "repo" / name / "1/model.py").touch()
    return tmp_path / "repo"


def test_triton_on_docker(tmp_path: Path, repository: Path) -> None:
    made = plan(tmp_path, TRITON, "docker")
    launch = made.launch
    assert launch.command == (
        "tritonserver",
        "--model-repository=/models",
        "--allow-grpc=false",
        "--log-verbose=1",
        "--model-control-mode=explicit",
        "--load-model=a",
        "--load-model=b",
        "--strict-readiness=false",
    )
    assert [(p.purpose, p.host_ip, p.host_port, p.container_port) for p in launch.ports] == [
        ("http", "127.0.0.1", 18000, 8000),
        ("metrics", "127.0.0.1", 18002, 8002),
    ]
    assert launch.service.health == "http://127.0.0.1:18000/v2/models/m/ready"
    assert launch.service.metrics == "http://127.0.0.1:18002/metrics"
    assert launch.service.grpc is None
    (mount,) = launch.mounts
    assert (mount.source, mount.target, mount.read_only) == (str(repository), "/models", True)
    assert launch.gpus == ("0", "GPU-abc")
    line = command_line(made.launch)
    assert "-p 127.0.0.1:18000:8000" in line
    assert "-e HF_TOKEN " in line
    assert "privileged" not in line
    assert Service.from_json(launch.service.to_json()) == launch.service


def test_triton_as_a_process_binds_to_loopback(tmp_path: Path, program: Path, repository: Path) -> None:
    text = TRITON.replace("image: example/triton:1", f"program: {program}")
    launch = plan(tmp_path, text, "process").launch
    assert launch.command[0] == str(program)
    assert f"--model-repository={repository}" in launch.command
    assert {"--http-port=18000", "--http-address=127.0.0.1", "--allow-grpc=false"} <= set(launch.command)
    assert launch.mounts == ()


VLLM = """\
name: v
stack: vllm
image: vllm/vllm-openai:v0.11.0
model: org/model
"""


def test_auto_takes_a_free_port_and_a_taken_one_is_warned_of(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fixed = plan(tmp_path, VLLM + f"expose: {{http: {port}}}\n", "docker")
        assert any(str(port) in warning for warning in fixed.warnings)
        with socket.socket() as standard:
            standard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                standard.bind(("127.0.0.1", 8000))
                standard.listen()
            except OSError:
                pass  # somebody else holds it, which serves as well
            automatic = plan(tmp_path, VLLM + "expose: {http: auto}\n", "docker")
    assert automatic.launch.ports[0].host_port != 8000
    assert not automatic.warnings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nstack: triton\nimage: i\n", "`repository` is missing"),
        ("name: a\nstack: triton\nimage: i\nrepository: nowhere\n", "not a folder"),
        ("name: a\nstack: triton\nrepository: .\n", "`image` is missing"),
        ("name: a\nstack: triton\nimage: i\nrepository: .\nexpose: {grpc: 1234}\n", "leaves out http"),
        ("name: a\nstack: triton\nimage: i\nrepository: .\nexpose: {http: 18000, grpc: 18000}\n", "two purposes"),
        (
            "name: a\nstack: triton\nimage: i\nrepository: .\nengine: {http_port: 1}\n",
            "`http_port` is no option .*`expose`",
        ),
        ("name: a\nstack: triton\nimage: i\nrepository: .\nengine: {load_model: m}\n", "needs explicit model control"),
        ("name: a\nstack: triton\nimage: i\nrepository: .\nengine: {a-b: 1, a_b: 1}\n", "stands twice"),
        (
            "name: a\nstack: triton\nimage: i\nrepository: .\nbind: 0.0.0.0\nengine: {model-control-mode: explicit}\n",
            "lets whoever reaches 0.0.0.0 change what is loaded",
        ),
        ("name: a\nstack: vllm\nimage: i\n", "`model` is missing"),
        ("name: a\nstack: vllm\nimage: i\nmodel: m\nexpose: {grpc: 18001}\n", "does not have"),
        ("name: a\nstack: vllm\nimage: i\nmodel: ./nowhere\n", "not a folder"),
        ("name: a\nstack: vllm\nimage: i\nmodel: m\nengine: {seed: }\n", "`seed` has no value"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidProfile, match=words):
        plan(tmp_path, text, "docker")


def test_an_open_address_is_warned_of(tmp_path: Path) -> None:
    made = plan(tmp_path, VLLM + "bind: 0.0.0.0\nexpose: {http: auto}\n", "docker")
    assert any("others on the network" in warning for warning in made.warnings)
    assert made.launch.service.http.startswith("http://127.0.0.1:")


def test_a_port_that_somebody_will_take_is_not_given_away_and_one_that_is_freed_is_free(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    path = tmp_path / "p.yaml"
    settings = Settings(tmp_path, tmp_path, tmp_path, (), tmp_path)

    def made(port: int | str, machine: Machine) -> Plan:
        path.write_text(
            f"name: t\nstack: triton\nimage: example/triton:1\nrepository: repo\nexpose: {{http: {port}}}\n"
        )
        entry = read_profile(path)
        assert isinstance(entry, CatalogEntry), entry
        context = PlanContext(entry.profile, path, entry.digest, "docker", settings, machine)
        return STACKS["triton"](context)

    claimed, freed = frozenset(range(8000, 8010)), frozenset({8003})
    for machine in (Machine(claimed_ports=claimed), Machine(claimed_ports=claimed, freed_ports=freed)):
        assert made("auto", machine).launch.ports[0].host_port >= 8010
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert "is in use" in " ".join(made(taken, Machine()).warnings)
        assert "is in use" not in " ".join(made(taken, Machine(freed_ports=frozenset({taken}))).warnings)
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = {"http": server.getsockname()[1]}
        assert made("auto", Machine(own_ports=own, own_runs=True)).launch.ports[0].host_port == own["http"]
        assert made("auto", Machine(own_ports=own)).launch.ports[0].host_port != own["http"], "somebody else has it"
    assert made("auto", Machine(own_ports=own)).launch.ports[0].host_port == own["http"], "it is free, and was its own"
