"""What is set aside until another of its name serves: whoever looks, on each runtime, finds it, and never twice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import NotFound, Refused
from engine.plan import GeneratedFile, Launch
from engine.runtimes.base import Runtime
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_aside import RECORD_PREFIX
from engine.runtimes.process import ProcessRuntime
from tests.real.docker_support import Launches, deployment, settings, wait_until
from tests.real.triton_support import kill_all, settings_in


@dataclass
class Kept:
    """A deployment that has ended, and has another look at each question."""

    new_runtime: Callable[[], Runtime]
    launch: Launch

    @property
    def runtime(self) -> Runtime:
        return self.new_runtime()

    @property
    def name(self) -> str:
        return self.launch.name

    @property
    def now(self) -> Deployment | None:
        """Never two of the name."""
        found = [one for one in self.runtime.deployments() if one.name == self.name]
        assert len(found) <= 1
        return found[0] if found else None

    def there(self) -> Deployment:
        assert self.now
        return self.now

    def text(self) -> bytes:
        return b"".join(self.runtime.logs(self.name, tail=None, follow=False))

    def run(self) -> str:
        """Until it has said its word, and is stopped; its id."""
        self.runtime.start(self.name)
        wait_until(lambda: b"word" in self.text(), "it to say its word")
        self.runtime.stop(self.name, 10.0)
        return self.there().id


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "docker":
        launches: Launches = request.getfixturevalue("launches")
        one = Kept(lambda: DockerRuntime(settings(tmp_path)), launches("echo word; exec sleep 600"))
        one.runtime.create(one.launch)
        yield one
        return
    own = settings_in(tmp_path)
    files = (GeneratedFile("said", "word"),)
    root = own.deployment_files("m")
    service = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")
    command = ("sh", "-c", f"cat {root}/said; echo; exec sleep 600")
    launch = Launch("m", "triton", "process", command, service, files=files, files_root=str(root))
    one = Kept(lambda: ProcessRuntime(own), launch)
    one.runtime.create(launch)
    yield one
    kill_all(own)


def test_alone_it_goes_on_being_the_deployment(kept: Kept) -> None:
    first = kept.run()
    kept.runtime.set_aside(kept.name)
    kept.runtime.set_aside(kept.name)
    assert (kept.there().id, kept.there().lifecycle, kept.there().replaces) == (first, Lifecycle.EXITED, "")
    assert b"word" in kept.text()
    kept.runtime.drop_aside(kept.name)  # nothing has its place
    kept.runtime.start(kept.name)
    assert (kept.there().id, kept.there().lifecycle) == (first, Lifecycle.RUNNING)
    wait_until(lambda: kept.text().count(b"word") == 2, "it to run as it did before")
    with pytest.raises(Refused, match="running"):
        kept.runtime.set_aside(kept.name)
    kept.runtime.stop(kept.name, 10.0)
    kept.runtime.set_aside(kept.name)
    kept.runtime.remove(kept.name)
    assert kept.now is None
    with pytest.raises(NotFound):
        kept.runtime.set_aside(kept.name)
    for nothing in (kept.runtime.bring_back, kept.runtime.drop_aside):
        nothing(kept.name)


def test_another_has_its_place_until_that_is_removed(kept: Kept) -> None:
    first = kept.run()
    kept.runtime.set_aside(kept.name)
    kept.runtime.create(replace(kept.launch, profile_digest="new"))
    new = kept.there()
    assert (new.profile_digest, new.lifecycle, new.replaces) == ("new", Lifecycle.CREATED, first)
    assert new.id != first
    with pytest.raises(Refused):
        kept.runtime.create(kept.launch)
    kept.runtime.bring_back(kept.name)  # its place is taken
    assert kept.there().id == new.id
    assert kept.run() == new.id
    kept.runtime.remove(kept.name)
    assert (kept.there().id, kept.there().replaces) == (first, "")
    kept.runtime.bring_back(kept.name)
    assert kept.run() == first
    with pytest.raises(Refused):
        kept.runtime.create(kept.launch)


def test_it_goes_when_the_other_one_serves(kept: Kept) -> None:
    kept.run()
    kept.runtime.set_aside(kept.name)
    kept.runtime.create(kept.launch)
    new = kept.run()
    kept.runtime.drop_aside(kept.name)
    assert (kept.there().id, kept.there().replaces) == (new, "")
    kept.runtime.remove(kept.name)
    assert kept.now is None


@pytest.mark.docker
def test_its_container_has_another_name_meanwhile(
    docker_engine: docker.DockerClient, launches: Launches, tmp_path: Path
) -> None:
    runtime, launch = DockerRuntime(settings(tmp_path)), launches()
    runtime.create(launch)
    runtime.set_aside(launch.name)
    assert docker_engine.containers.get(f"{launch.container_name}_set-aside").status == "created"
    assert not runtime.missing(launch)
    runtime.bring_back(launch.name)
    assert docker_engine.containers.get(launch.container_name).status == "created"


@pytest.mark.docker
def test_one_that_was_adopted_keeps_the_name_that_it_was_given_by_hand(
    docker_engine: docker.DockerClient, launches: Launches, tmp_path: Path
) -> None:
    runtime, launch = DockerRuntime(settings(tmp_path)), launches()
    name = f"{launches.prefix}-by-hand"
    docker_engine.containers.run(launches.image, ["sleep", "600"], name=name, detach=True, init=True)
    container = docker_engine.api.inspect_container(name)["Id"]
    try:
        runtime.claim(container, launch, this_run_only=False)
        runtime.stop(launch.name, 10.0)
        runtime.set_aside(launch.name)
        assert (deployment(runtime, launch.name).id, deployment(runtime, launch.name).adopted) == (container, True)
        runtime.create(launch)
        new = deployment(runtime, launch.name)
        assert (new.replaces, new.adopted, new.lifecycle) == (container, False, Lifecycle.CREATED)
        runtime.remove(launch.name)
        runtime.start(launch.name)
        assert (deployment(runtime, launch.name).id, deployment(runtime, launch.name).adopted) == (container, True)
        assert docker_engine.containers.get(container).name == name
        runtime.stop(launch.name, 10.0)
        runtime.set_aside(launch.name)
        runtime.create(launch)
        runtime.drop_aside(launch.name)
        assert not docker_engine.containers.list(all=True, filters={"id": container})
        assert deployment(runtime, launch.name).replaces == ""
    finally:
        runtime.unclaim(launch.name)
    assert not docker_engine.volumes.list(filters={"name": launch.name})


@pytest.mark.docker
@pytest.mark.parametrize("policy", [{"Name": "always"}, {"Name": "on-failure", "MaximumRetryCount": 3}])
def test_one_that_restarts_itself_stays_down_while_it_is_set_aside(
    docker_engine: docker.DockerClient, launches: Launches, tmp_path: Path, policy: Any
) -> None:
    runtime, launch = DockerRuntime(settings(tmp_path)), launches()

    def restarts() -> object:
        now = docker_engine.api.inspect_container(container)["HostConfig"]["RestartPolicy"]
        return {key: value for key, value in now.items() if value}

    name = f"{launches.prefix}-by-hand"
    docker_engine.containers.run(
        launches.image, ["sleep", "600"], name=name, detach=True, init=True, restart_policy=policy
    )
    container = docker_engine.api.inspect_container(name)["Id"]
    record = f"{RECORD_PREFIX}{container[:12]}"
    try:
        runtime.claim(container, launch, this_run_only=False)
        runtime.stop(launch.name, 10.0)
        for _ in range(2):
            runtime.set_aside(launch.name)
            assert restarts() == {"Name": "no"}
        runtime.create(launch)
        runtime.remove(launch.name)
        runtime.bring_back(launch.name)
        assert restarts() == policy
        assert deployment(runtime, launch.name).restarts_itself
        assert not docker_engine.volumes.list(filters={"name": record})
        runtime.set_aside(launch.name)
        runtime.start(launch.name)  # nothing has its place
        assert restarts() == policy
        runtime.stop(launch.name, 10.0)
        runtime.set_aside(launch.name)
        runtime.create(launch)
        runtime.drop_aside(launch.name)
        assert not docker_engine.volumes.list(filters={"name": record})
    finally:
        runtime.unclaim(launch.name)
        DockerRuntime(settings(tmp_path)).drop_record(record)
