"""Containers that were started by hand, on a real Docker Engine: watched, adopted, and what Docker remembers of it."""

import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from engine.authoring.adoption import plan_adoption
from engine.catalog import CatalogReader
from engine.deployment import Deployment, Lifecycle, Protocol
from engine.errors import NotFound, Refused
from engine.operations.adopt import adopt
from engine.operations.waiting import Waiting
from engine.plan import Adoption
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_claims import VOLUME_PREFIX
from engine.snapshot import StepKind
from tests.real.docker_support import Launches, deployment, free_port, read, settings, texts, wait_until

pytestmark = pytest.mark.docker
DEMO_REPOSITORY = Path(__file__).parents[2] / "profiles" / "repositories" / "demo"
SERVER = "echo up; sleep 600; exec vllm serve facebook/opt-125m --port 8080"
"""Known as vLLM by its words; it only sleeps"""


class ByHand:
    """Containers as a person starts them. All, and the claims on them, are removed whatever the test did."""

    def __init__(self, engine: docker.DockerClient, launches: Launches) -> None:
        self.engine = engine
        self.launches = launches
        self.prefix = launches.prefix

    def __call__(
        self, name: str = "by-hand", image: str = "", command: Any = ("sh", "-c", SERVER), **options: Any
    ) -> str:
        """Returns the container's name."""
        given: dict[str, Any] = {"ports": {"8080/tcp": ("127.0.0.1", free_port())}, "init": True} | options
        image = image or self.launches.image
        self.engine.containers.run(image, list(command), name=f"{self.prefix}-{name}", detach=True, **given)
        return f"{self.prefix}-{name}"

    def volumes(self) -> list[str]:
        return [one.name for one in self.engine.volumes.list(filters={"name": VOLUME_PREFIX + self.prefix})]

    def clean(self) -> None:
        self.launches.clean(self.engine)
        for volume in self.engine.volumes.list(filters={"name": VOLUME_PREFIX + self.prefix}):
            volume.remove()


@pytest.fixture
def by_hand(docker_engine: docker.DockerClient, launches: Launches) -> Iterator[ByHand]:
    made = ByHand(docker_engine, launches)
    yield made
    made.clean()


@contextmanager
def step(_: StepKind) -> Iterator[Waiting]:
    yield Waiting()


def foreign(runtime: DockerRuntime, container: str) -> Deployment | None:
    return next((one for one in runtime.foreign() if one.name == f"docker/{container}"), None)


def names(runtime: DockerRuntime) -> set[str]:
    return {one.name for one in runtime.deployments()}


def planned(runtime: DockerRuntime, container: str, folder: Path) -> Adoption:
    own = settings(folder)
    return plan_adoption(container, {"docker": runtime}, CatalogReader(own).load(), own)


def answer(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bytes(response.read()) or b"ready"
    except OSError:
        return None


def test_it_is_watched_adopted_and_then_worked_with_by_its_own_name(
    runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path
) -> None:
    port = free_port()
    container = by_hand(ports={"8080/tcp": ("127.0.0.1", port)})
    found = foreign(runtime, container)
    assert found
    assert (found.service.protocol, found.service.http) == (Protocol.OPENAI, f"http://127.0.0.1:{port}")
    assert (found.lifecycle, found.foreign, found.stack) == (Lifecycle.RUNNING, True, "vllm")
    assert container not in names(runtime)
    wait_until(lambda: texts(read(runtime, found.name)) == [b"up"], "its log to be read")
    with pytest.raises(Refused, match="tritontui adopt"):
        runtime.stop(found.name, 1.0)

    adopt(planned(runtime, container, tmp_path), runtime, step)
    assert foreign(runtime, container) is None
    with pytest.raises(NotFound):
        runtime.logs(found.name, tail=None, follow=False)
    # Another user, with folders of their own, sees the same.
    other = DockerRuntime(settings(tmp_path / "other"))
    adopted = deployment(other, container)
    assert (adopted.id, adopted.adopted, adopted.foreign, adopted.lifecycle) == (
        found.id,
        True,
        False,
        Lifecycle.RUNNING,
    )
    assert adopted.service.http == f"http://127.0.0.1:{port}"
    assert adopted.profile_digest == CatalogReader(settings(tmp_path)).load().get(container).digest
    assert texts(read(other, container)) == [b"up"]
    with pytest.raises(Refused, match="is running"):
        other.remove(container)

    other.stop(container, 5.0)
    assert deployment(runtime, container).lifecycle is Lifecycle.EXITED
    runtime.start(container)
    assert deployment(other, container).lifecycle is Lifecycle.RUNNING
    assert deployment(other, container).service.http == f"http://127.0.0.1:{port}"
    other.stop(container, 5.0)
    with pytest.raises(Refused, match="exists already"):
        runtime.create(replace(by_hand.launches(), name=container))
    runtime.remove(container)
    assert container not in names(other)
    assert by_hand.volumes() == []
    assert by_hand.engine.containers.list(all=True, filters={"name": container}) == []


def test_the_end_of_what_was_adopted_is_told_at_once(runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path) -> None:
    container, other = by_hand(), by_hand("other")
    adopt(planned(runtime, container, tmp_path), runtime, step)
    assert deployment(runtime, container).lifecycle is Lifecycle.RUNNING
    told, closing = threading.Event(), threading.Event()
    watcher = threading.Thread(target=runtime.watch, args=(told.set, closing))
    watcher.start()
    try:
        # The watch may have begun after one of these; those that follow it must see.
        paused = by_hand.engine.containers.get(container)
        wait_until(lambda: _told_of_a_pause(paused, told), "the events to begin")
        wait_until(lambda: not _told_again(told), "the events to pause")
        by_hand.engine.containers.get(other).kill()
        assert not told.wait(0.5), "what is not ours hurries nothing"
        paused.kill()
        assert told.wait(1.0)
    finally:
        closing.set()
        watcher.join(timeout=5)
    assert deployment(runtime, container).exit_code == 137


def _told_of_a_pause(container: Any, told: threading.Event) -> bool:
    container.pause()
    container.unpause()
    return told.wait(0.2)


def _told_again(told: threading.Event) -> bool:
    told.clear()
    return told.wait(0.5)


@pytest.mark.triton
def test_a_real_triton_that_was_started_by_hand(
    runtime: DockerRuntime, by_hand: ByHand, triton_image: str, tmp_path: Path
) -> None:
    ports = {f"{inside}/tcp": ("127.0.0.1", free_port()) for inside in (8000, 8001, 8002)}
    container = by_hand(
        "triton",
        triton_image,
        ["tritonserver", "--model-repository=/models"],
        volumes={str(DEMO_REPOSITORY): {"bind": "/models", "mode": "ro"}},
        ports=ports,
        shm_size=256 << 20,
        stop_signal="SIGTERM",
    )
    found = foreign(runtime, container)
    assert found
    assert found.service.grpc == f"127.0.0.1:{ports['8001/tcp'][1]}"
    wait_until(lambda: answer(found.service.health), "Triton to be ready", timeout_s=90)
    assert b"nv_inference" in (answer(found.service.metrics or "") or b"")

    plan = planned(runtime, container, tmp_path)
    adopt(plan, runtime, step)
    adopted = deployment(runtime, container)
    assert (adopted.service.http, adopted.stack) == (found.service.http, "triton")
    assert adopted.launch_facts
    # It was not touched: it serves as it did.
    assert (adopted.id, adopted.started_at) == (found.id, found.started_at)
    assert answer(adopted.service.health)

    runtime.stop(container, 45.0)
    assert deployment(runtime, container).exit_code == 0
    assert answer(found.service.health) is None
    runtime.start(container)
    wait_until(lambda: answer(found.service.health), "Triton to be ready again", timeout_s=90)
    runtime.stop(container, 45.0)
    runtime.remove(container)
    # Made anew from its profile, it is where it was.
    runtime.create(plan.launch)
    runtime.start(container)
    try:
        wait_until(lambda: answer(found.service.health), "the profile's own container to be ready", timeout_s=90)
        assert not deployment(runtime, container).adopted
    finally:
        runtime.stop(container, 45.0)
        runtime.remove(container)


def test_a_port_that_docker_chose_is_found_again_after_each_start(
    runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path
) -> None:
    container = by_hand(ports={"8080/tcp": ("127.0.0.1", None)})

    def port() -> str:
        return str(by_hand.engine.api.port(container, 8080)[0]["HostPort"])

    plan = planned(runtime, container, tmp_path)
    assert f"expose: {{http: {port()}}}" in plan.profile_text
    adopt(plan, runtime, step)
    runtime.stop(container, 5.0)
    runtime.start(container)
    assert deployment(runtime, container).service.http == f"http://127.0.0.1:{port()}"


def test_what_is_not_published_is_listed_and_cannot_be_adopted(
    runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path
) -> None:
    container = by_hand(ports={})
    found = foreign(runtime, container)
    assert found
    assert "8080 is not published" in found.error
    with pytest.raises(Refused, match=r"cannot be adopted.*not published"):
        planned(runtime, container, tmp_path)
    other = by_hand("other", command=["sh", "-c", "exec sleep 600"])
    assert foreign(runtime, other) is None
    with pytest.raises(NotFound, match="started by hand"):
        planned(runtime, other, tmp_path)


def test_one_that_is_removed_by_its_stop_is_no_deployment_any_more(
    runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path
) -> None:
    container = by_hand(auto_remove=True)
    plan = planned(runtime, container, tmp_path)
    assert any("`--rm`" in note for note in plan.notes)
    adopt(plan, runtime, step)
    assert deployment(runtime, container).removed_when_stopped
    runtime.stop(container, 5.0)
    wait_until(lambda: container not in names(runtime), "it to be gone with its container")
    # The claim on it is void: the next of that name clears it away.
    assert by_hand.volumes()
    runtime.create(replace(by_hand.launches(), name=container))
    assert by_hand.volumes() == []
    assert not deployment(runtime, container).adopted
    runtime.remove(container)


def test_a_replaced_container_is_neither_adopted_nor_taken_for_the_adopted_one(
    runtime: DockerRuntime, by_hand: ByHand, tmp_path: Path
) -> None:
    container = by_hand()
    plan = planned(runtime, container, tmp_path)
    by_hand.engine.containers.get(container).remove(force=True)
    by_hand()
    with pytest.raises(Refused, match="not as it was"):
        adopt(plan, runtime, step)
    assert not Path(plan.profile_path).exists()

    adopt(planned(runtime, container, tmp_path), runtime, step)
    by_hand.engine.containers.get(container).remove(force=True)
    by_hand()
    assert container not in names(runtime)
    assert foreign(runtime, container)
    with pytest.raises(NotFound):
        runtime.remove(container)
    assert by_hand.volumes() == []


def test_two_deployments_never_get_one_name(
    runtime: DockerRuntime, by_hand: ByHand, launches: Launches, tmp_path: Path
) -> None:
    first, second = by_hand("a"), by_hand("b")
    ids = {name: (foreign(runtime, name) or pytest.fail(f"{name} is not listed")).id for name in (first, second)}
    launch = launches()
    runtime.claim(ids[first], launch, this_run_only=False)
    with pytest.raises(Refused, match="exists already"):
        runtime.claim(ids[second], launch, this_run_only=False)
    with pytest.raises(Refused, match=f"adopted already, as {launch.name}"):
        runtime.claim(ids[first], launches(), this_run_only=False)
    runtime.claim(ids[first], launch, this_run_only=False)
    made = launches()
    runtime.create(made)
    with pytest.raises(Refused, match="There is a container"):
        runtime.claim(ids[second], made, this_run_only=False)
    assert [one.adopted for one in runtime.deployments() if one.id in ids.values()] == [True]
    runtime.unclaim(launch.name)
    assert foreign(runtime, first)
    runtime.unclaim(launch.name)
    with pytest.raises(Refused, match="started by hand"):
        runtime.claim(ids[first], launches(), this_run_only=True)
    with pytest.raises(NotFound, match="not there any more"):
        runtime.claim("0" * 64, launches(), this_run_only=False)


def test_a_server_serves_another_profiles_model_for_one_run(
    runtime: DockerRuntime, launches: Launches, by_hand: ByHand
) -> None:
    own, loaded, third = launches(), launches(), launches()
    runtime.create(own)
    with pytest.raises(Refused, match="does not run"):
        runtime.claim(deployment(runtime, own.name).id, loaded, this_run_only=True)
    runtime.start(own.name)
    container = deployment(runtime, own.name).id
    runtime.claim(container, loaded, this_run_only=True)
    assert own.name not in names(runtime)
    now = deployment(runtime, loaded.name)
    assert (now.id, now.adopted, now.lifecycle) == (container, False, Lifecycle.RUNNING)
    with pytest.raises(NotFound):
        runtime.stop(own.name, 1.0)
    with pytest.raises(Refused, match=f"is the deployment {loaded.name} at present"):
        runtime.create(own)

    # One model after another: each claim takes the place of the one before.
    runtime.claim(container, third, this_run_only=True)
    assert loaded.name not in names(runtime)
    runtime.claim(container, own, this_run_only=True)
    assert by_hand.volumes() == []
    assert deployment(runtime, own.name).id == container

    runtime.claim(container, loaded, this_run_only=True)
    runtime.stop(loaded.name, 5.0)
    ended = {one.name: one for one in runtime.deployments() if one.id == container}
    assert {name: one.lifecycle for name, one in ended.items()} == dict.fromkeys(
        (own.name, loaded.name), Lifecycle.EXITED
    )
    assert (ended[own.name].profile_digest, ended[loaded.name].profile_digest) == ("digest", "")
    with pytest.raises(Refused, match="loaded into a running server"):
        runtime.start(loaded.name)
    runtime.remove(loaded.name)
    assert deployment(runtime, own.name).id == container
    assert by_hand.volumes() == []


def test_a_run_that_is_begun_anew_voids_the_claim_for_it(
    runtime: DockerRuntime, launches: Launches, by_hand: ByHand
) -> None:
    own, loaded = launches(), launches()
    runtime.create(own)
    runtime.start(own.name)
    container = deployment(runtime, own.name).id
    runtime.claim(container, loaded, this_run_only=True)
    by_hand.engine.containers.get(container).restart(timeout=5)
    assert loaded.name not in names(runtime)
    assert deployment(runtime, own.name).lifecycle is Lifecycle.RUNNING
    assert by_hand.volumes()
    runtime.create(loaded)
    assert by_hand.volumes() == []


def test_of_many_at_once_one_gets_the_name(
    runtime: DockerRuntime, by_hand: ByHand, launches: Launches, tmp_path: Path
) -> None:
    launch = launches()
    ids = [(foreign(runtime, by_hand(f"c{number}")) or pytest.fail("not listed")).id for number in range(4)]

    def claim(container: str) -> bool:
        try:
            DockerRuntime(settings(tmp_path)).claim(container, launch, this_run_only=False)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(claim, ids))
    assert won.count(True) == 1
    assert deployment(runtime, launch.name).id == ids[won.index(True)]


def test_a_volume_of_somebody_elses_is_left_alone(runtime: DockerRuntime, by_hand: ByHand, launches: Launches) -> None:
    launch = launches()
    volume = by_hand.engine.volumes.create(VOLUME_PREFIX + launch.name)
    container = (foreign(runtime, by_hand()) or pytest.fail("not listed")).id
    with pytest.raises(Refused, match=f"the volume {VOLUME_PREFIX}{launch.name} exists"):
        runtime.claim(container, launch, this_run_only=False)
    runtime.unclaim(launch.name)
    volume.reload()


def test_the_image_that_a_reference_means_now(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    assert runtime.image_id(launches.image) == docker_engine.images.get(launches.image).id
    assert runtime.image_id("tritontui-test/none:9") == runtime.image_id("") == ""
