"""What a swap would do: what is to go, what that frees, and what is refused before anything is touched."""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.catalog import CatalogReader
from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, NotFound, Refused, RuntimeUnreachable
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuProcess, GpuReading
from engine.machine import DeadlineSampler
from engine.observe.nvml import GpuUse
from engine.operations.swap_plan import SwapPlanner
from engine.plan import Launch, Plan, SwapPlan
from engine.planning import Planning
from engine.request import Way
from engine.settings import Settings
from tests.unit.fit_questions import config_of, folder_of

GIB = 1 << 30
UUIDS = tuple(f"GPU-00000000-0000-0000-0000-{index:012d}" for index in range(4))


class Somewhere:
    """A runtime as far as a plan asks it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: list[Deployment] = []
        self.by_hand: tuple[Deployment, ...] = ()
        self.silent = False

    def deployments(self) -> tuple[Deployment, ...]:
        if self.silent:
            raise RuntimeUnreachable(f"{self.name} does not answer.", "Start it.")
        return tuple(self.held)

    def foreign(self) -> tuple[Deployment, ...]:
        if self.silent:
            raise RuntimeUnreachable(f"{self.name} does not answer.", "Start it.")
        return self.by_hand

    def missing(self, launch: Launch) -> str:
        return ""

    def image_env(self, image: str) -> Mapping[str, str]:
        return {}

    def image_id(self, image: str) -> str:
        return f"sha256:{image}"


class Read(DeadlineSampler):
    """The GPUs as the test has them."""

    def __init__(self, bench: "Bench") -> None:
        super().__init__()
        self._bench = bench

    def sample(self) -> GpuReading | None:
        used = self._bench.used
        gpus = (
            Gpu(index, uuid, "H100", 0, size, 80 * GIB, 30, 70, 700)
            for index, (uuid, size) in enumerate(zip(UUIDS, used, strict=False))
        )
        return GpuReading(time.time(), Freshness.FRESH, tuple(gpus))


class Bench:
    """Real profiles and plans over runtimes in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.docker, self.process = Somewhere("docker"), Somewhere("process")
        self.runtimes: Any = {"docker": self.docker, "process": self.process}
        self.used: list[int] = [0]
        """Of each GPU; how many there are"""
        self.processes: list[tuple[int, str, int | None]] = []
        """GPU, deployment and bytes"""
        self.listed = True
        self.asleep: set[str] = set()
        (folder / "profiles").mkdir()
        folder_of(folder / "model", config_of("llama-3.1-8b"), 16 * GIB)
        settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
        planning = Planning(settings, self.runtimes, CatalogReader(settings))
        planning.sampler = Read(self)
        self.swaps = SwapPlanner(
            planning.plan,
            self.runtimes,
            self.uses,
            self.way,
            lambda service: f"counted at {service.http}",
            lambda service: service.http in self.asleep,
        )

    def way(
        self, plan: Plan, incoming: Deployment | None, outgoing: tuple[Deployment, ...]
    ) -> tuple[Way, str, tuple[str, ...]]:
        """Sleeping, as far as ports allow that."""
        taken = {number for one in outgoing for _, number in one.service.addresses()}
        if taken & {port.host_port for port in plan.launch.ports}:
            return Way.FULL, "It stops.", ("They share a port.",)
        return Way.SLEEP, "It sleeps.", ("Nothing to load.",)

    def uses(self) -> tuple[GpuUse, ...]:
        return tuple(
            GpuUse(
                index,
                UUIDS[index],
                used,
                tuple(GpuProcess(100, size, "python3", name) for gpu, name, size in self.processes if gpu == index)
                if self.listed
                else None,
            )
            for index, used in enumerate(self.used)
        )

    def profile(self, name: str, gpus: Any = 1, port: int | str = "auto", **keys: Any) -> None:
        given = {
            "stack": "vllm",
            "image": "vllm/vllm-openai:v0.11.0",
            "model": "../model",
            "engine": {"gpu_memory_utilization": 0.9, "max_model_len": 4096},
        }
        lines = {"name": name, "gpus": gpus, "expose": {"http": port}, **given, **keys}
        text = "\n".join(f"{key}: {json.dumps(value)}" for key, value in lines.items())
        (self.folder / "profiles" / f"{name}.yaml").write_text(text)

    def runs(
        self, name: str, *gpus: int, port: int = 1, on: str = "docker", held: int | None = 72, **more: Any
    ) -> None:
        """With `held` GiB of each of its GPUs, and the process that has them; None when that is not told."""
        url = f"http://127.0.0.1:{port}"
        given = {"lifecycle": Lifecycle.RUNNING, "gpus": tuple(UUIDS[index] for index in gpus), **more}
        found = Deployment(
            name, on, "vllm", f"id-{name}", "vllm", service=Service(Protocol.OPENAI, url, url), created_at=1.0, **given
        )
        self.runtimes[on].held.append(found)
        for index in gpus:
            self.used[index] += (held or 0) * GIB
            self.processes.append((index, name, None if held is None else held * GIB))

    def plan(self, name: str = "new", *outgoing: str, full: bool = False) -> SwapPlan:
        return self.swaps.plan(name, outgoing, None, full=full)

    def refusal(self, name: str = "new", *outgoing: str, full: bool = False) -> str:
        with pytest.raises(Refused) as caught:
            self.plan(name, *outgoing, full=full)
        return str(caught.value)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def names(plan: SwapPlan) -> list[str]:
    return [outgoing.name for outgoing in plan.outgoing]


def test_what_holds_its_gpus_goes_and_its_memory_is_credited(bench: Bench) -> None:
    bench.used = [GIB, 0, GIB]
    bench.profile("new", gpus=[0])
    bench.runs("old", 0)
    bench.runs("beside", 1)
    plan = bench.plan()
    (old,) = plan.outgoing
    assert (old.name, old.runtime, old.id, old.running) == ("old", "docker", "id-old", True)
    assert (old.why, old.frees_bytes, old.drained_by) == (
        "GPU 0",
        {UUIDS[0]: 72 * GIB},
        "counted at http://127.0.0.1:1",
    )
    assert not plan.obstacles
    (gpu,) = plan.incoming.placement
    assert (gpu.memory_used, gpu.used_by) == (GIB, ())
    assert plan.incoming.needs_bytes == {UUIDS[0]: 72 * GIB}
    assert (plan.way, plan.reason, plan.other_ways) == (Way.SLEEP, "It sleeps.", ("Nothing to load.",))
    assert not plan.warnings


def test_what_holds_its_port_goes(bench: Bench, taken: int) -> None:
    bench.used = [0, 0]
    bench.profile("new", port=taken)
    bench.runs("old", 1, port=taken)
    plan = bench.plan()
    assert names(plan) == ["old"]
    assert plan.outgoing[0].why == f"GPU 1 and port {taken}", "it takes the place of what goes"
    assert not [warning for warning in plan.incoming.warnings if "in use" in warning]


def test_a_local_server_that_still_loads_holds_its_port(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    bench.profile("new", gpus=0, port=port)
    bench.runs("loading", port=port, on="process")
    assert bench.plan().outgoing[0].why == f"port {port}"


def test_a_port_of_another_address_is_not_held(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    bench.profile("new", gpus=0, port=port)
    bench.runs("old", port=port)
    assert "Nothing holds what new needs: `tritontui up new` starts it beside old." in bench.refusal()


def test_an_automatic_port_is_that_of_what_goes_unless_that_goes_on_listening(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", 8000))
        except OSError:
            pytest.skip("needs the port 8000")
        server.listen()
        bench.runs("old", 0, port=8000)
        full = bench.plan(full=True)
        assert (full.way, full.incoming.launch.ports[0].host_port) == (Way.FULL, 8000)
        asleep = bench.plan()
        assert (asleep.way, asleep.incoming.launch.ports[0].host_port > 8000) == (Way.SLEEP, True)


def test_of_several_that_would_do_none_is_chosen(bench: Bench) -> None:
    bench.used = [0, 0]
    bench.profile("new", gpus=1)
    bench.runs("a", 0)
    bench.runs("b", 1)
    assert bench.refusal() == ("Each of a, b would make room for new by itself. Say which is to go with `--from`.")
    assert names(bench.plan("new", "b")) == ["b"]


def test_the_one_that_makes_enough_room_goes(bench: Bench) -> None:
    bench.used = [0, 0, 0]
    bench.profile("new", gpus=2)
    bench.runs("large", 0, 1)
    bench.runs("small", 2)
    assert names(bench.plan()) == ["large"]


def test_all_that_hold_the_gpus_that_it_names_go(bench: Bench) -> None:
    bench.used = [0, 0, 0, 0]
    bench.profile("new", gpus=[0, 1], engine={"tensor_parallel_size": 2})
    for index, name in enumerate("abcd"):
        bench.runs(name, index)
    assert names(bench.plan()) == ["a", "b"]
    bench.profile("wide", gpus=2, engine={"tensor_parallel_size": 2})
    assert "Name what is to go with `--from`." in bench.refusal("wide"), "any two would do"
    bench.profile("widest", gpus="all", engine={"tensor_parallel_size": 4})
    assert names(bench.plan("widest")) == ["a", "b", "c", "d"]
    bench.profile("odd", gpus=3, engine={"tensor_parallel_size": 3})
    assert bench.refusal("odd").startswith("No swap makes room for odd. tensor_parallel_size 3 does not divide")


def test_where_gpus_are_shared_those_go_without_which_there_is_no_room(bench: Bench) -> None:
    bench.profile("new", gpus=[0], share_gpus=True)
    bench.runs("a", 0, held=30)
    bench.runs("b", 0, held=30)
    bench.runs("tiny", 0, held=2)
    assert names(bench.plan()) == ["a", "b"]
    bench.profile("half", gpus=[0], share_gpus=True, engine={"gpu_memory_utilization": 0.5, "max_model_len": 4096})
    assert "Each of a, b would make room for half" in bench.refusal("half")


def test_memory_that_no_swap_frees_is_refused_with_who_holds_it(bench: Bench) -> None:
    bench.used = [60 * GIB]
    bench.processes = [(0, "", 59 * GIB)]
    bench.profile("new", gpus=[0])
    bench.runs("old", 0, held=10)
    refusal = bench.refusal()
    assert refusal.startswith("No swap makes room for new.")
    assert refusal.endswith("held by python3 (pid 100, 59.0 GiB), which a swap does not end.")
    forced = bench.plan("new", "old")
    assert "20.0 GiB are free" in " ".join(forced.obstacles)
    assert forced.incoming.placement[0].memory_used == 60 * GIB


def test_nothing_in_its_way_is_no_swap_unless_one_is_named(bench: Bench) -> None:
    bench.used = [0, 0]
    bench.profile("new", gpus=1)
    assert bench.refusal() == "Nothing holds what new needs: `tritontui up new` starts it."
    bench.runs("old", 0)
    assert bench.refusal() == (
        "Nothing holds what new needs: `tritontui up new` starts it beside old."
        " Name what is to go all the same with `--from`."
    )
    plan = bench.plan("new", "old", "old")
    assert names(plan) == ["old"]
    assert plan.incoming.launch.gpus == (UUIDS[0],)


def test_one_that_is_named_and_does_not_run_is_only_kept(bench: Bench) -> None:
    bench.profile("new")
    bench.runs("old", held=0, lifecycle=Lifecycle.EXITED)
    plan = bench.plan("new", "old")
    (old,) = plan.outgoing
    assert (old.running, old.frees_bytes, old.why, old.drained_by) == (False, {}, "it was named", "")
    assert plan.warnings == ("old does not run: it is only kept.",)


@pytest.mark.parametrize(
    ("listed", "held", "told"), [(True, None, 72), (False, 72, 72), (True, 72, 72)], ids=["no bytes", "no list", "both"]
)
def test_all_that_is_used_is_that_of_the_only_one(bench: Bench, listed: bool, held: int | None, told: int) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("old", 0, held=held)
    bench.used, bench.listed = [72 * GIB], listed
    assert bench.plan().outgoing[0].frees_bytes == {UUIDS[0]: told * GIB}


def test_what_it_holds_is_not_guessed_when_others_are_there(bench: Bench) -> None:
    bench.profile("new", gpus=[0], share_gpus=True)
    bench.runs("old", 0, held=None)
    bench.processes.append((0, "", 3 * GIB))
    bench.used = [72 * GIB]
    plan = bench.plan("new", "old")
    assert plan.outgoing[0].frees_bytes == {}
    assert plan.incoming.placement[0].memory_used is None
    assert plan.warnings == (
        "How much memory of its GPUs old holds is not told: the plan counts all that is in use there as free.",
    )


def test_what_several_hold_together_is_known_when_all_of_them_go(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("a", 0)
    bench.runs("b", 0)
    bench.used, bench.listed = [70 * GIB], False
    plan = bench.plan()
    assert [outgoing.frees_bytes for outgoing in plan.outgoing] == [{}, {}]
    assert plan.incoming.placement[0].memory_used == 0


def test_what_is_not_ours_is_adopted_first(bench: Bench, taken: int) -> None:
    bench.profile("new", gpus=0, port=taken)
    assert "`ss -ltnp sport = :" in bench.refusal()
    url = f"http://127.0.0.1:{taken}"
    foreign = Deployment(
        "docker/mine", "docker", "vllm", "x", "vllm", Lifecycle.RUNNING, Service(Protocol.OPENAI, url, url), 1.0
    )
    bench.docker.by_hand = (replace(foreign, foreign=True),)
    for refusal in (bench.refusal(), bench.refusal("new", "docker/mine"), bench.refusal("new", "mine")):
        assert "docker/mine" in refusal
        assert "started by hand" in refusal
        assert "`tritontui adopt docker/mine`" in refusal


def test_a_port_of_one_that_stays_is_refused(bench: Bench, taken: int) -> None:
    bench.profile("new", gpus=[0], port=taken)
    bench.runs("old", 0)
    bench.runs("other", port=taken)
    refusal = bench.refusal("new", "old")
    assert refusal == (
        f"Port {taken} (http), which new needs, is held by other, which is not to go. Name that too with `--from`."
    )
    assert names(bench.plan()) == ["other", "old"]


def test_what_cannot_be_swapped(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("old", 0)
    assert "`tritontui restart new`" in bench.refusal("new", "old", "new")
    with pytest.raises(NotFound, match="nobody has not been started"):
        bench.plan("new", "nobody")
    with pytest.raises(NotFound, match="ghost"):
        bench.plan("ghost", "old")
    bench.runs("new")
    assert "new runs already. To end the other one, stop it with `tritontui down`." in bench.refusal("new", "old")


def test_one_that_sleeps_is_woken_and_not_started_anew(bench: Bench, taken: int) -> None:
    bench.profile("new", gpus=[0], port=taken)
    bench.runs("old", 0)
    bench.runs("new", 0, port=taken, held=2)
    bench.asleep = {f"http://127.0.0.1:{taken}"}
    assert names(bench.plan()) == ["old"]
    assert "sleeps" in bench.refusal("new", "old", full=True)


def test_the_full_way_when_asked_for(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("old", 0)
    plan = bench.plan(full=True)
    assert (plan.way, plan.reason, plan.other_ways) == (Way.FULL, "The full way was asked for.", ())
    assert plan.digest == bench.plan(full=True).digest != bench.plan().digest


def test_the_digest_is_that_of_what_would_be_done(bench: Bench) -> None:
    bench.used = [0, 0]
    bench.profile("new", gpus=[0])
    bench.runs("old", 0)
    first = bench.plan()
    assert bench.plan().digest == first.digest
    bench.docker.held[0] = replace(bench.docker.held[0], id="made anew")
    assert bench.plan().digest != first.digest
    bench.profile("new", gpus=[0], engine={"max_model_len": 2048})
    assert bench.plan().incoming.digest != first.incoming.digest
    bench.profile("new", gpus=1)
    here, there = bench.plan("new", "old"), Bench.plan
    bench.docker.held[0] = replace(bench.docker.held[0], gpus=(UUIDS[1],))
    assert there(bench, "new", "old").incoming.digest != here.incoming.digest, "on another GPU"


def test_what_may_come_back_or_go_for_good_is_told(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("old", 0, restarts_itself=True, removed_when_stopped=True)
    once, again = bench.plan().warnings
    assert "--rm" in once
    assert "restart policy" in again


def test_a_silent_runtime_is_told_and_hinders_only_what_lives_there(bench: Bench) -> None:
    bench.profile("new", gpus=[0])
    bench.runs("old", 0)
    bench.process.silent = True
    assert bench.plan().warnings == ("What runs on process is not counted: process does not answer.",)
    with pytest.raises(EngineError, match="process does not answer") as caught:
        bench.plan("new", "local")
    assert isinstance(caught.value, RuntimeUnreachable)
