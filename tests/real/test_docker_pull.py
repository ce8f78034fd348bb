"""Fetching images: the real Docker Engine, and a registry on loopback."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from engine.errors import OperationFailed, Refused
from engine.lease import Holder
from engine.operations.lease import held
from engine.request import Origin
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_pull import pull
from engine.startup import Phase, PhaseProgress
from tests.real.commands import Commands
from tests.real.docker_support import settings, wait_until
from tests.real.registry import Registry, registry

pytestmark = pytest.mark.docker


@pytest.fixture
def images(docker_engine: docker.DockerClient) -> Iterator[Registry]:
    with registry() as served:
        try:
            yield served
        finally:
            for image in docker_engine.images.list():
                for tag in image.tags:
                    if tag.startswith(served.address):
                        with suppress(APIError):
                            docker_engine.images.remove(tag, force=True)


def fetch(image: str, cancelled: threading.Event | None = None) -> tuple[bool, list[PhaseProgress]]:
    told: list[PhaseProgress] = []
    return pull(DockerConnection(), image, told.append, cancelled or threading.Event()), told


def test_an_image_comes_with_its_layers_bytes_and_rate(images: Registry, docker_engine: docker.DockerClient) -> None:
    image = images.add("models/one", layers=3, layer_bytes=8 << 20)
    images.piece_s = 0.01
    done, told = fetch(image)
    assert done
    assert docker_engine.images.get(image)
    assert {progress.phase for progress in told} == {Phase.PULL}
    fetched = [progress.done or 0 for progress in told]
    assert fetched == sorted(fetched)
    assert fetched[-1] >= 24 << 20
    assert told[-1].total == told[-1].done
    assert any(progress.rate for progress in told)
    assert any(progress.total and progress.total > (progress.done or 0) > 0 for progress in told)
    assert told[-1].detail == "unpacked 3 of 3 layers"


def test_without_a_tag_it_is_the_latest_alone(images: Registry, docker_engine: docker.DockerClient) -> None:
    image = images.add("models/two", layers=1).removesuffix(":latest")
    assert fetch(image)[0]
    assert docker_engine.images.get(f"{image}:latest")


def test_cancelled_it_ends_soon_and_nothing_is_here(images: Registry, docker_engine: docker.DockerClient) -> None:
    image = images.add("models/slow", layers=1, layer_bytes=64 << 20)
    images.piece_s = 0.05
    cancelled = threading.Event()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(fetch(image, cancelled)[0]))
    thread.start()
    wait_until(lambda: any("blobs" in path for path in images.asked), "it is being fetched")
    began = time.monotonic()
    cancelled.set()
    thread.join(20)
    assert ended == [False]
    assert time.monotonic() - began < 5
    with pytest.raises(docker.errors.ImageNotFound):
        docker_engine.images.get(image)


def test_while_it_is_fetched_for_a_start_others_may_change_the_machine(images: Registry, tmp_path: Path) -> None:
    image = images.add("models/large", layers=1, layer_bytes=64 << 20)
    images.piece_s = 0.05
    name = f"m-{secrets.token_hex(3)}"
    run = Commands(tmp_path, docker=True)
    for kind in ("STATE", "CONFIG", "CACHE"):
        run.env[f"TRITONTUI_{kind}_DIR"] = str(tmp_path / kind.lower())
    (tmp_path / "profiles").mkdir()
    (tmp_path / "repo").mkdir()
    profile = f"name: {name}\nstack: triton\nimage: {image}\nrepository: ../repo\nexpose: {{http: auto}}\n"
    (tmp_path / "profiles" / f"{name}.yaml").write_text(profile)
    origin, runtimes = Origin("bob", "box", 1), {"docker": DockerRuntime(settings(tmp_path))}

    def current() -> str:
        operations = run.json("status")["operations"]
        under_way = [step for one in operations for step in one["steps"] if step["outcome"] == "running"]
        return under_way[0]["detail"] if under_way else ""

    def taken() -> bool:
        """Somebody else on this machine may just be changing it."""
        try:
            with held(runtimes, Holder.this_process("stop other", "op", origin), lambda _: None, needed={"docker"}):
                return True
        except Refused:
            return False

    with run.begin("up", name, "--wait") as command:
        run.until(lambda: "image pull" in current())
        run.until(taken)
        run.ok("cancel")
        assert command.wait(60) == 1
    [operation] = run.json("status")["operations"]
    assert (operation["outcome"], operation["message"]) == ("rolled back", "It was cancelled. Nothing was changed.")
    assert [step["title"] for step in operation["steps"]][:3] == ["check", "fetch the image", "check again"]


def test_a_tag_that_is_not_there(images: Registry) -> None:
    image = images.add("models/three").replace("latest", "26.99")
    with pytest.raises(OperationFailed, match=r"26\.99") as failed:
        fetch(image)
    assert "tag" in failed.value.remedy


def test_a_registry_that_wants_a_login(
    images: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_engine: docker.DockerClient
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    image = images.add("models/closed", layers=1)
    images.password = "let-me-in"
    with pytest.raises(OperationFailed) as failed:
        fetch(image)
    assert "docker login" in failed.value.remedy
    key = base64.b64encode(b"user:let-me-in").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {images.address: {"auth": key}}}))
    assert fetch(image)[0]
    assert docker_engine.images.get(image)


def test_a_registry_that_is_not_there() -> None:
    with pytest.raises(OperationFailed) as failed:
        fetch("127.0.0.1:1/models/none:1")
    assert "network" in failed.value.remedy


def test_a_credential_helper_that_is_not_there(
    images: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {images.address: "nowhere-to-be-found"}}))
    with pytest.raises(OperationFailed, match="credentials") as failed:
        fetch(images.add("models/four"))
    assert "credHelpers" in failed.value.remedy
