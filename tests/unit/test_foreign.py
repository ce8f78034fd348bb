"""Containers that were started by hand: how they are known, where they answer, and by which claims they are ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, OperationFailed, Refused, RuntimeUnreachable
from engine.model_server import recognised
from engine.plan import Launch
from engine.runtimes import docker_claims
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_claims import LABEL_CONTAINER, LABEL_RUN, Claim
from engine.runtimes.docker_container import labels
from engine.runtimes.docker_foreign import foreign, of_report
from tests.unit.inspect_reports import AGAIN, BEGAN, TOKEN, TRITON, VLLM, report, seen, settings_in

ALL = {"http": 8000, "grpc": 8001, "metrics": 8002}
FRONTEND = "/opt/tritonserver/python/openai/openai_frontend/main.py"


# -- known by image or command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "words", "server", "ports"),
    [
        (TRITON, ["tritonserver", "--model-repository=/m"], "tritonserver", ALL),
        (TRITON, ["/opt/nvidia/nvidia_entrypoint.sh", "bash"], "tritonserver", ALL),
        (
            "mine",
            ["/opt/tritonserver/bin/tritonserver", "--http-port", "81", "--grpc_port=82"],
            "tritonserver",
            ALL | {"http": 81, "grpc": 82},
        ),
        ("mine", ["tritonserver", "--allow-grpc=false", "--allow-metrics=0"], "tritonserver", {"http": 8000}),
        (VLLM, ["--model", "m", "--port", "81"], "vllm", {"http": 81}),
        ("registry:5000/vllm/vllm-openai@sha256:00", [], "vllm", {"http": 8000}),
        ("mine", ["vllm", "serve", "m", "--port=81"], "vllm", {"http": 81}),
        ("mine", ["python3", "-m", "vllm.entrypoints.openai.api_server"], "vllm", {"http": 8000}),
        ("mine", ["python3", "-m", "vllm.entrypoints.api_server", "--port", "7"], "vllm", {"http": 7}),
        ("mine", ["bash", "-lc", "sleep 1 && exec vllm serve m --port 81 2>&1 | tee /log"], "vllm", {"http": 81}),
        ("mine", ["sh", "-c", "cd /m\nvllm serve m --port $PORT"], "vllm", {"http": 8000}),
        (
            "mine",
            ["sh", "-c", "exec tritonserver --http-port=81 'and a quotation without its end"],
            "tritonserver",
            ALL | {"http": 81},
        ),
        (TRITON, ["python3", FRONTEND, "--openai-port", "91"], "openai_frontend", {"http": 91}),
    ],
)
def test_servers_are_known_by_image_or_command(
    image: str, words: list[str], server: str, ports: dict[str, int]
) -> None:
    found = recognised(image, words)
    assert found
    assert (found.server, found.ports()) == (server, ports)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("postgres:16", ["postgres"]),
        ("nvcr.io/nvidia/tritonserver:25.12-py3-sdk", ["perf_analyzer", "-m", "x"]),
        ("nvcr.io/nvidia/pytorch:25.12-py3", ["python3", "-m", "http.server"]),
        ("mine", ["sh", "-c", "echo serving"]),
        ("mine", []),
    ],
)
def test_other_programs_are_none(image: str, words: list[str]) -> None:
    assert recognised(image, words) is None


# -- where they answer ------------------------------------------------------------------------------------------------


def test_endpoints_are_those_that_are_published() -> None:
    ports = {8000: ("0.0.0.0", 9000), 8001: ("127.0.0.1", 9001), 8002: ("::", 9002)}
    found = seen(report(TRITON, "tritonserver", ports=ports, name="x"))
    assert found.service == Service(
        Protocol.TRITON,
        "http://127.0.0.1:9000",
        "http://127.0.0.1:9000/v2/health/ready",
        "127.0.0.1:9001",
        "http://[::1]:9002/metrics",
    )
    assert (found.name, found.stack, found.foreign, found.adopted, found.error) == (
        *("docker/x", "triton", True, False),
        "",
    )


def test_on_the_machines_own_network_no_port_is_published() -> None:
    found = seen(report("mine", "vllm", "serve", "m", "--port", "81", host={"NetworkMode": "host"}))
    assert found.service == Service(
        Protocol.OPENAI, "http://127.0.0.1:81", "http://127.0.0.1:81/health", metrics="http://127.0.0.1:81/metrics"
    )


def test_what_is_published_nowhere_is_listed_and_says_so() -> None:
    found = seen(report(VLLM, "--model", "m", ports={9: ("127.0.0.1", 9)}))
    assert found.service.http == found.service.health == ""
    assert "8000 is not published" in found.error
    assert "without HTTP" in seen(report(TRITON, "tritonserver", "--allow-http=false")).error


def test_a_key_is_told_by_reference_alone() -> None:
    for one in (
        report(VLLM, "--model", "m", "--api-key", TOKEN, ports={8000: ("", 8000)}),
        report(VLLM, "--model", "m", env=[f"VLLM_API_KEY={TOKEN}"], ports={8000: ("", 8000)}),
    ):
        found = seen(one)
        assert found.service.api_key == "env:VLLM_API_KEY"
        assert TOKEN not in repr(found)


def test_what_the_engine_may_do_with_it_by_itself_is_told() -> None:
    one = report(TRITON, "tritonserver", host={"AutoRemove": True, "RestartPolicy": {"Name": "no"}})
    assert (seen(one).removed_when_stopped, seen(one).restarts_itself) == (True, False)
    one = report(TRITON, "tritonserver", host={"RestartPolicy": {"Name": "unless-stopped"}})
    assert (seen(one).removed_when_stopped, seen(one).restarts_itself) == (False, True)


class FakeConnection:
    """Answers the questions of `foreign`. A report may be an error, or None when the container vanishes meanwhile."""

    is_local = True

    def __init__(self, *reports: dict[str, Any], odd: dict[str, object] | None = None) -> None:
        self.reports: dict[str, object] = {one["Id"]: one for one in reports} | (odd or {})
        self.inspected: list[str] = []
        self.rows = [
            {
                "Id": key,
                "Names": [f"/{key.removeprefix('id-of-')}"],
                "Image": one["Config"]["Image"] if isinstance(one, dict) else VLLM,
                "Command": " ".join(one["Config"]["Cmd"]) if isinstance(one, dict) else "serve",
                "Created": 1,
            }
            for key, one in self.reports.items()
        ]

    @contextmanager
    def session(self, doing: str, *, changes: bool = False) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(containers=lambda: self.rows)

    def inspect(self, container: str) -> object:
        self.inspected.append(container)
        found = self.reports[container]
        if isinstance(found, EngineError):
            raise found
        return found


def listed(connection: FakeConnection, adopted: tuple[str, ...] = ()) -> dict[str, Deployment]:
    return {one.name: one for one in foreign(cast("Any", connection), adopted)}


def test_only_candidates_are_looked_at() -> None:
    connection = FakeConnection(
        report(TRITON, "tritonserver", name="a"), report("postgres", "postgres", name="b"), report(VLLM, name="c")
    )
    assert list(listed(connection, adopted=("id-of-c",))) == ["docker/a"]
    assert connection.inspected == ["id-of-a"]


def test_one_that_cannot_be_looked_at_hides_no_other() -> None:
    odd: dict[str, object] = {
        "id-of-broken": OperationFailed("Docker could not look at it: no such file."),
        "id-of-stuck": RuntimeUnreachable("The Docker Engine did not answer within 5 s."),
        "id-of-gone": None,
        "id-of-strange": {"Config": {"Image": VLLM, "Cmd": ["serve"], "Labels": 7}},
    }
    found = listed(FakeConnection(report(TRITON, "tritonserver", name="good"), odd=odd))
    assert list(found) == ["docker/broken", "docker/good", "docker/strange", "docker/stuck"]
    assert found["docker/broken"].error == "Docker could not look at it: no such file."
    assert found["docker/stuck"].lifecycle is Lifecycle.RUNNING
    assert all(one.foreign for one in found.values())


def test_ours_are_not_foreign_and_copies_of_their_labels_are() -> None:
    made = labels(Launch("x", "triton", "docker", (), Service(Protocol.TRITON, "", "")))
    assert of_report(report(TRITON, "tritonserver", name="tritontui-x", container_labels=made), local=True) is None
    assert seen(report(TRITON, "tritonserver", name="copy", container_labels=made)).name == "docker/copy"


@pytest.mark.parametrize("change", ["start", "remove", "gpus"])
def test_foreign_ones_are_not_changed(change: str, tmp_path: Path) -> None:
    runtime = DockerRuntime(settings_in(tmp_path))
    with pytest.raises(Refused, match=r"started by hand.*tritontui adopt docker/x"):
        getattr(runtime, change)("docker/x")
    with pytest.raises(Refused, match=r"started by hand.*tritontui adopt docker/x"):
        runtime.stop("docker/x", 1.0)


# -- claims -----------------------------------------------------------------------------------------------------------


def claim_on(one: dict[str, Any], name: str, *, run: str = "") -> Claim:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
    said = labels(Launch(name, "vllm", "docker", (), service, profile_digest=f"digest of {name}"))
    return Claim(name, one["Id"], run, {**said, LABEL_CONTAINER: one["Id"], LABEL_RUN: run})


def held(one: dict[str, Any], *claims: Claim) -> dict[str, Deployment]:
    return {
        found.deployment.name: found.deployment for found in docker_claims.held({one["Id"]: one}, claims, local=True)
    }


def test_a_claimed_container_is_the_deployment_and_answers_where_it_is_published_now() -> None:
    one = report(TRITON, "tritonserver", ports={8000: ("127.0.0.1", 32777)})
    assert held(one) == {}
    found = held(one, claim_on(one, "m"))["m"]
    assert (found.adopted, found.foreign, found.id, found.profile_digest) == (True, False, one["Id"], "digest of m")
    assert (found.what, found.service.http) == (TRITON, "http://127.0.0.1:32777")
    ended = {**one, "State": {"Status": "exited", "ExitCode": 0}, "NetworkSettings": {}}
    assert held(ended, claim_on(one, "m"))["m"].service.http == "http://127.0.0.1:1"


def test_a_claim_for_one_run_replaces_the_labels_name_while_it_lasts() -> None:
    made = labels(Launch("a", "triton", "docker", (), Service(Protocol.TRITON, "http://h", "http://h/r")))
    one = report(TRITON, "tritonserver", name="tritontui-a", container_labels=made)
    claim = claim_on(one, "b", run=BEGAN)
    found = held(one, claim)
    assert list(found) == ["b"]
    assert not found["b"].adopted
    ended = {**one, "State": {"Status": "exited", "ExitCode": 1, "StartedAt": BEGAN}}
    both = held(ended, claim)
    assert {name: one.lifecycle for name, one in both.items()} == {"a": Lifecycle.EXITED, "b": Lifecycle.EXITED}
    # Nothing can be started as it was: the container is `a`.
    assert both["b"].profile_digest == ""
    anew = {**one, "State": {"Status": "running", "Running": True, "StartedAt": AGAIN}}
    assert list(held(anew, claim)) == ["a"]


def test_of_an_adopted_server_the_claim_for_its_run_stands_first() -> None:
    one = report(TRITON, "tritonserver")
    lasting, of_run = claim_on(one, "a"), claim_on(one, "b", run=BEGAN)
    assert list(held(one, lasting, of_run)) == ["b"]
    assert held(one, lasting, of_run)["b"].adopted
    anew = {**one, "State": {"Status": "running", "Running": True, "StartedAt": AGAIN}}
    assert list(held(anew, lasting, of_run)) == ["a"]


def test_a_damaged_claim_is_still_ours_to_see() -> None:
    one = report(TRITON, "tritonserver")
    claim = Claim("m", one["Id"], "", {"tritontui.service": "\x1b]52;nonsense"})
    assert "cannot be read" in held(one, claim)["m"].error
