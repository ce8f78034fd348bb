"""What a plan is told of the machine: GPUs with a deadline, who runs on them, and what cannot be asked."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine import machine as machine_module
from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import OperationFailed, RuntimeUnreachable
from engine.freshness import Freshness
from engine.gpu_reading import GpuReading
from engine.machine import DeadlineSampler, Surroundings
from engine.observe.gpus import GpuSampler
from engine.plan import Launch
from engine.stacks.placement import NO_CREDIT, Credit
from tests.unit.test_placement import GPUS, UUIDS, profile

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")


class Somewhere:
    """A runtime as far as a plan asks it."""

    def __init__(self, name: str, *deployments: Deployment, error: Exception | None = None) -> None:
        self.name = name
        self.held = deployments
        self.error = error
        self.asked = 0
        self.images = {"x:1": "sha256:1"}

    def _answer(self, answer: Any) -> Any:
        self.asked += 1
        if self.error:
            raise self.error
        return answer

    def deployments(self) -> tuple[Deployment, ...]:
        return self._answer(self.held)  # type: ignore[no-any-return]

    def missing(self, launch: Launch) -> str:
        return self._answer("" if launch.command else f"{launch.name} has no program.")  # type: ignore[no-any-return]

    def image_env(self, image: str) -> dict[str, str]:
        return self._answer({"VERSION": image})  # type: ignore[no-any-return]

    def image_id(self, image: str) -> str:
        return self._answer(self.images.get(image, ""))  # type: ignore[no-any-return]


def deployment(name: str, runtime: str, *gpus: str, lifecycle: Lifecycle = Lifecycle.RUNNING) -> Deployment:
    return Deployment(name, runtime, "triton", "id", "what", lifecycle, SERVICE, 1.0, gpus=gpus)


def around(docker: Somewhere, process: Somewhere, chosen: str = "docker", credit: Credit = NO_CREDIT) -> Surroundings:
    runtimes: Any = {"docker": docker, "process": process}
    return Surroundings(runtimes, chosen, credit)


def reading(freshness: Freshness = Freshness.FRESH, **more: Any) -> GpuReading:
    return GpuReading(time.time(), freshness, GPUS if freshness is Freshness.FRESH else (), **more)


class Unasked(DeadlineSampler):
    def sample(self) -> GpuReading | None:
        pytest.fail("there was a fresh reading")


class Answering(DeadlineSampler):
    def __init__(self, answer: GpuReading | None) -> None:
        super().__init__()
        self.answer = answer

    def sample(self) -> GpuReading | None:
        return self.answer


def test_those_that_run_hold_their_gpus_wherever_they_run() -> None:
    docker = Somewhere(
        "docker", deployment("a", "docker", UUIDS[0]), deployment("m", "docker", UUIDS[1], lifecycle=Lifecycle.EXITED)
    )
    process = Somewhere("process", deployment("b", "process", UUIDS[0], UUIDS[2]))
    surroundings = around(docker, process)
    machine = surroundings.machine(profile(1), reading(), Unasked())
    assert machine.gpus == GPUS
    assert machine.holders == {UUIDS[0]: ("a", "b"), UUIDS[2]: ("b",)}
    assert machine.kept == (UUIDS[1],)
    assert machine.image_env("x:1") == {"VERSION": "x:1"}
    assert not surroundings.warnings


def test_a_runtime_that_is_silent_is_waited_for_once_and_told_when_it_is_the_plans_own() -> None:
    docker = Somewhere("docker", error=RuntimeUnreachable("Docker does not answer.", "Start it."))
    process = Somewhere("process", deployment("b", "process", UUIDS[0]))
    surroundings = around(docker, process)
    machine = surroundings.machine(profile(1), reading(), Unasked())
    assert machine.holders == {UUIDS[0]: ("b",)}
    assert machine.image_env("x:1") == {}
    surroundings.look_for(Launch("m", "triton", "docker", (), SERVICE, image="x:1"))
    assert surroundings.warnings == ["Docker does not answer. Start it."]
    assert docker.asked == 1

    elsewhere = around(docker, process, "process")
    elsewhere.machine(profile(1), reading(), Unasked())
    assert not elsewhere.warnings


def test_what_is_not_here_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "s3cret")
    monkeypatch.delenv("NOT_HERE", raising=False)
    surroundings = around(Somewhere("docker"), Somewhere("process"))
    secrets = {"A": "env:HERE", "B": "env:NOT_HERE", "C": "file:/no/such/token"}
    surroundings.look_for(Launch("m", "triton", "docker", (), SERVICE, image="x:2", secrets=secrets))
    unset, missing, program, image = surroundings.warnings
    assert ("NOT_HERE, which is not set" in unset, "/no/such/token, which cannot be read" in missing) == (True, True)
    assert program == "m has no program."
    assert image == "The image x:2 is not on this machine: it is fetched first."

    all_here = around(Somewhere("docker"), Somewhere("process"))
    all_here.look_for(Launch("m", "triton", "docker", ("tritonserver",), SERVICE, image="x:1"))
    assert not all_here.warnings


def test_a_profile_without_gpus_asks_for_none() -> None:
    docker = Somewhere("docker", error=OperationFailed("no"))
    surroundings = around(docker, Somewhere("process"))
    assert surroundings.machine(profile(0), None, Unasked()).gpus == ()
    assert docker.asked == 0


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        (None, "did not answer within 5 s: which GPUs it gets"),
        (reading(Freshness.FAILED, message="Versions differ."), "Versions differ: which GPUs it gets"),
        (reading(Freshness.NONE, message="the host is shown"), "No GPU is known on this machine: which GPUs it gets"),
    ],
)
@pytest.mark.parametrize("observed", [None, replace(reading(), at=0.0)])
def test_gpus_that_cannot_be_read_are_a_warning(
    observed: GpuReading | None, answer: GpuReading | None, warning: str
) -> None:
    surroundings = around(Somewhere("docker"), Somewhere("process"))
    assert surroundings.machine(profile(1), observed, Answering(answer)).gpus == ()
    assert len(surroundings.warnings) == 1
    assert warning in surroundings.warnings[0]


@pytest.fixture
def held() -> Iterator[Callable[[GpuSampler], GpuReading]]:
    """A driver that hangs until the test is over."""
    over = threading.Event()

    def sample(_: GpuSampler) -> GpuReading:
        over.wait(30)
        return reading()

    yield sample
    over.set()


def test_a_driver_that_hangs_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, held: Callable[[GpuSampler], GpuReading]
) -> None:
    monkeypatch.setattr(GpuSampler, "sample", held)
    monkeypatch.setattr(machine_module, "GPUS_S", 0.2)
    sampler = DeadlineSampler()
    began = time.monotonic()
    assert sampler.sample() is None
    assert 0.2 <= time.monotonic() - began < 5
    began = time.monotonic()
    assert [sampler.sample() for _ in range(50)] == [None] * 50
    assert time.monotonic() - began < 1, "it is known to hang"


def test_a_driver_that_answers_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read = iter([reading(), replace(reading(), driver="2")])
    monkeypatch.setattr(GpuSampler, "sample", lambda _: next(read))
    sampler = DeadlineSampler()
    first, second = sampler.sample(), sampler.sample()
    assert first is not None
    assert second is not None
    assert (first.driver, second.driver) == ("", "2")


def test_ports_of_local_servers_that_still_load_are_theirs() -> None:
    """A local server takes its port only when it has loaded."""
    docker, process = Somewhere("docker"), Somewhere("process", deployment("loading", "process"))
    surroundings = around(docker, process, "process")
    other = surroundings.machine(profile(0, name="other"), reading(), Unasked())
    assert other.claimed_ports == {1}
    own = surroundings.machine(profile(0, name="loading"), reading(), Unasked())
    assert not own.claimed_ports


def test_one_that_runs_keeps_its_automatic_ports() -> None:
    here = replace(deployment("m", "docker"), service=replace(SERVICE, grpc="127.0.0.1:2"))
    elsewhere = replace(deployment("m", "process"), service=replace(SERVICE, http="http://127.0.0.1:9"))
    surroundings = around(Somewhere("docker", here), Somewhere("process", elsewhere))
    automatic = profile(0, name="m", expose={"http": "auto"})
    machine = surroundings.machine(automatic, reading(), Unasked())
    assert (machine.own_ports, machine.own_runs) == ({"http": 1, "grpc": 2}, True)
    other = surroundings.machine(profile(0, name="other", expose={"http": "auto"}), reading(), Unasked())
    assert (other.own_ports, other.own_runs) == ({}, False)


def test_what_goes_leaves_its_ports() -> None:
    ended = replace(deployment("ended", "docker", lifecycle=Lifecycle.EXITED), service=replace(SERVICE, grpc="[::1]:2"))
    docker, process = Somewhere("docker", ended), Somewhere("process", deployment("old", "process", UUIDS[0]))
    credit = Credit(frozenset({"old", "ended"}), {UUIDS[0]: GPUS[0].memory_used or 0})
    for gpus in (0, 1):
        machine = around(docker, process, credit=credit).machine(profile(gpus), reading(), Unasked())
        assert not machine.claimed_ports
        assert machine.freed_ports == {1}
    assert machine.credit is credit
    listening = around(docker, process, credit=replace(credit, keep_ports=True)).machine(
        profile(1), reading(), Unasked()
    )
    assert (listening.claimed_ports == {1}, listening.freed_ports) == (True, frozenset())
