"""Drift on a real Docker Engine: the profile is changed, or its image's name comes to mean another image."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from engine.catalog import CatalogReader
from engine.deployment import Lifecycle, State
from engine.drift import differences, launch_facts
from engine.observe import plans_asked
from engine.observe.gpus import GpuSampler
from engine.observe.monitor import Monitor
from engine.planning import Planning
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from engine.store import Journal
from tests.real.docker_support import Launches, deployment, free_port, wait_until

SERVER = f"#!{shutil.which('sh')}\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n".encode()
"""Stands for Triton: it only runs, and ends when it is told to"""


@dataclass
class Watched:
    """A deployment of a profile, and a monitor that looks at it."""

    engine: docker.DockerClient
    runtime: DockerRuntime
    planning: Planning
    monitor: Monitor
    profile: Path
    name: str
    image: str

    def drift(self) -> tuple[str, ...]:
        model = self.monitor.latest.model(self.name)
        return model.drift if model else ()

    def state(self) -> State | None:
        model = self.monitor.latest.model(self.name)
        return model.state if model and not self.monitor.latest.loading else None

    def change(self, old: str, new: str) -> None:
        text = self.profile.read_text()
        assert old in text
        self.profile.write_text(text.replace(old, new))


@pytest.fixture
def watched(
    docker_engine: docker.DockerClient,
    runtime: DockerRuntime,
    launches: Launches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Watched]:
    monkeypatch.setattr(plans_asked, "IMAGES_EVERY_S", 0.5)
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    name = f"{launches.prefix}-drift"
    (tmp_path / "repo" / "m" / "1").mkdir(parents=True)
    (tmp_path / "repo" / "m" / "1" / "model.py").touch()
    image = f"tritontui-test/{name}"
    base = docker_engine.containers.create(launches.image, "sh", name=f"{launches.prefix}-base")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("bin/tritonserver")
        entry.size, entry.mode = len(SERVER), 0o755
        tar.addfile(entry, io.BytesIO(SERVER))
    base.put_archive("/", archive.getvalue())
    first = base.commit(image, "1")
    profile = tmp_path / "profiles" / f"{name}.yaml"
    profile.parent.mkdir()
    profile.write_text(
        f"name: {name}\nstack: triton\nimage: {image}:1\nrepository: {tmp_path}/repo\nmodel: m\n"
        f"engine: {{log_verbose: 1}}\nexpose: {{http: {free_port()}}}\n"
    )
    catalog = CatalogReader(settings)
    planning = Planning(settings, {"docker": runtime}, catalog)
    journal = Journal(settings.state_dir / "history.sqlite")
    monitor = Monitor({"docker": runtime}, catalog, journal, GpuSampler(), plan=planning.plan)
    try:
        runtime.create(planning.plan(name, "docker").launch)
        monitor.open()
        yield Watched(docker_engine, runtime, planning, monitor, profile, name, image)
    finally:
        monitor.close()
        launches.clean(docker_engine)
        docker_engine.images.remove(f"{image}:1", force=True)
        if first.id in {one.id for one in docker_engine.images.list(all=True)}:
            docker_engine.images.remove(str(first.id), force=True)


@pytest.mark.docker
def test_a_changed_profile_shows_while_it_runs_and_while_it_is_kept(watched: Watched) -> None:
    watched.runtime.start(watched.name)
    wait_until(lambda: watched.state() is State.STARTING, "it to run")
    assert watched.drift() == ()
    watched.change("log_verbose: 1", "log_verbose: 2")
    line = "log-verbose: 1, the profile now says 2"
    wait_until(lambda: watched.drift() == (line,), "the change to show")

    watched.runtime.stop(watched.name, 5.0)
    wait_until(lambda: watched.state() is State.STOPPED, "its end to show")
    assert watched.drift() == (line,)
    watched.change("log_verbose: 2", "log_verbose: 1")
    wait_until(lambda: watched.drift() == (), "nothing to differ any more")
    watched.change("stack: triton", "stack: triton\nenv: {LANG: C}")
    wait_until(lambda: watched.drift() == ("LANG is not set, the profile now sets C",), "the variable to differ")

    # Made anew from the profile as it is, it is what the profile says.
    watched.runtime.remove(watched.name)
    watched.runtime.create(watched.planning.plan(watched.name, "docker").launch)
    wait_until(lambda: watched.state() is State.STOPPED and watched.drift() == (), "the new one to be as it should")


@pytest.mark.docker
def test_a_name_that_means_another_image_now(watched: Watched, launches: Launches) -> None:
    watched.runtime.start(watched.name)
    wait_until(lambda: watched.state() is State.STARTING, "it to run")
    runs = deployment(watched.runtime, watched.name).image_id
    other = watched.engine.images.get(launches.image)
    assert runs not in ("", other.id)
    other.tag(watched.image, "1")
    then, now = runs[:19], str(other.id)[:19]
    line = f"image {watched.image}:1 is another one now: {then} runs, the tag is {now}"
    wait_until(lambda: watched.drift() == (line,), "the other image to show")

    watched.runtime.stop(watched.name, 5.0)
    kept = line.replace(f"{then} runs", f"it was made from {then}")
    wait_until(lambda: watched.drift() == (kept,), "the other image to show on what is kept")
    watched.engine.images.get(runs).tag(watched.image, "1")
    wait_until(lambda: watched.drift() == (), "the name to mean the first image again")


@pytest.mark.docker
def test_docker_keeps_what_a_container_was_launched_with(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches("echo '\x1b[2J'; sleep 600", env={"A": "1", "UMLAUT": "ä\n\x1b"}, gpus_wanted="2")
    runtime.create(launch)
    made = deployment(runtime, launch.name)
    assert made.lifecycle is Lifecycle.CREATED
    assert made.launch_facts == launch_facts(launch)
    assert made.image_id == runtime.image_id(launch.image or "") != ""
    assert differences(made.launch_facts, launch_facts(launch)) == ()


def test_so_does_the_process_runtime(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    runtime = ProcessRuntime(settings)
    launch = Launches("")("exit 0", name="local", runtime="process", image=None, env={"A": "1"})
    runtime.create(launch)
    (made,) = runtime.deployments()
    assert (made.launch_facts, made.image_id) == (launch_facts(launch), "")
