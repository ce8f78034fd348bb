"""Before an image begins to come: a registry, a credential helper or a configuration that is not as it should be."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.runtimes import docker_pull
from engine.runtimes.docker_client import DockerConnection


class Answers(BaseHTTPRequestHandler):
    """Tells its version, and never how an image is fetched."""

    def address_string(self) -> str:
        return "here"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.41"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        while self.connection.recv(1024):  # until the other side gives up
            pass


class Engine(ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With Docker's config.json."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(docker_pull, "BEGINS_WITHIN_S", 2.0)
    with Engine(f"{tmp_path}/engine", Answers) as engine:
        serving = threading.Thread(target=engine.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield tmp_path
        engine.shutdown()
        serving.join()


def pull(image: str = "models/one:1", cancelled: threading.Event | None = None) -> bool:
    return docker_pull.pull(DockerConnection(), image, lambda _: None, cancelled or threading.Event())


def helper(folder: Path, script: str) -> None:
    (folder / "config.json").write_text('{"credsStore": "test"}')
    program = folder / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("script", ["", "sleep 5"])
def test_what_is_silent_can_be_cancelled(folder: Path, script: str) -> None:
    if script:
        helper(folder, script)
    cancelled = threading.Event()
    timer = threading.Timer(0.2, cancelled.set)
    timer.start()
    began = time.monotonic()
    assert not pull(cancelled=cancelled)
    assert time.monotonic() - began < 3
    timer.join()


def test_a_registry_that_is_silent_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_pull, "BEGINS_WITHIN_S", 0.3)
    with pytest.raises(OperationFailed, match=r"could not fetch the image models/one:1: its registry.* within 0\.3 s"):
        pull()


@pytest.mark.parametrize("said", ["nonsense", "{}", "[]"])
def test_a_helper_that_answers_nonsense(folder: Path, said: str) -> None:
    helper(folder, f"echo '{said}'")
    with pytest.raises(OperationFailed, match=r"The credentials for docker\.io cannot be had"):
        pull()


@pytest.mark.parametrize(
    "config", ["[1]", '{"auths": {"nvcr.io": {"auth": ""}}}', '{"auths": {"nvcr.io": {"auth": 1}}}']
)
def test_a_configuration_that_is_damaged(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(RuntimeUnreachable, match=r"Docker's configuration .*config\.json cannot be read"):
        pull()


def test_an_address_in_place_of_a_name() -> None:
    with pytest.raises(OperationFailed, match=r"https://nvcr\.io/nvidia/tritonserver is no name of an image"):
        pull("https://nvcr.io/nvidia/tritonserver:25.12-py3")
