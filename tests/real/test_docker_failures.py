"""A Docker Engine that is absent, forbidden, stuck, elsewhere or restarted: one clear sentence, and recovery."""

import contextlib
import hashlib
import http.server
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.deployment import Lifecycle, Protocol, Service
from engine.errors import Exit, RuntimeUnreachable
from engine.plan import Launch
from engine.runtimes import docker_client
from engine.runtimes.docker import DockerRuntime
from tests.real.docker_support import (
    Launches,
    PrivateEngine,
    deployment,
    free_port,
    import_shell_image,
    settings,
    wait_until,
)

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")
LAUNCH = Launch("any", "triton", "docker", (), SERVICE, image="image:1")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path, and open to every user."""
    made = Path(tempfile.mkdtemp(prefix="tritontui-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DockerRuntime:
    """A runtime that reaches no engine but the one a test names."""
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return DockerRuntime(settings(tmp_path))


def failure(runtime: DockerRuntime) -> str:
    """Every call must end in the same way."""
    calls = (
        runtime.check,
        runtime.deployments,
        lambda: runtime.start("any"),
        lambda: runtime.stop("any", 1.0),
        lambda: runtime.logs("any", tail=None, follow=True),
        lambda: runtime.watch(lambda: None, threading.Event()),
        lambda: runtime.missing(LAUNCH),
        lambda: runtime.image_env("image:1"),
        lambda: runtime.gpus("any"),
    )
    said = set()
    for call in calls:
        with pytest.raises(RuntimeUnreachable) as caught:
            call()
        assert caught.value.exit_code is Exit.UNREACHABLE
        assert "\n" not in str(caught.value)
        said.add(str(caught.value))
    assert len(said) == 1
    return said.pop()


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    """Accepts, and never answers."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(64)
        yield


def test_no_engine(lonely: DockerRuntime, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none.sock")
    assert f"{folder}/none.sock does not exist" in failure(lonely)


def test_a_stopped_engine_whose_socket_is_left(
    lonely: DockerRuntime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/left.sock")
    with listening(folder / "left.sock"):
        pass
    said = failure(lonely)
    assert "is stopped" in said
    assert "systemctl start docker" in said


def test_an_engine_that_accepts_and_never_answers(
    lonely: DockerRuntime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_client, "QUERY_S", 1.0)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/stuck.sock")
    began = time.monotonic()
    with listening(folder / "stuck.sock"):
        assert "did not answer within 1 s" in failure(lonely)
    assert time.monotonic() - began < 20


def test_a_forbidden_socket_names_the_group_that_may(
    lonely: DockerRuntime, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "closed.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with listening(path), contextlib.ExitStack() as after:
        path.chmod(0o660)
        if os.geteuid() == 0:
            os.chown(path, 0, 1)
            after.callback(os.seteuid, 0)
            os.seteuid(65534)
        else:
            path.chmod(0o060)
        said = failure(lonely)
    assert "may not use Docker's socket" in said
    assert "sudo usermod -aG" in said
    assert "log in again" in said


def test_something_else_than_docker_answers(lonely: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>\x1b]52;c;Zm9v\x07 not docker</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        said = failure(lonely)
        server.shutdown()
        serving.join()
    assert "Docker cannot be used" in said
    assert "\x1b" not in said


def test_nothing_listens_on_a_port(lonely: DockerRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    assert "nothing answers" in failure(lonely)


@pytest.mark.parametrize(
    "host", ["tcp://192.0.2.1:2375", "ssh://ada@gpu-box", "tcp://gpu-box.example:2376", "nonsense"]
)
def test_an_engine_on_another_machine_is_not_used(
    lonely: DockerRuntime, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    said = failure(lonely)
    assert f"DOCKER_HOST names {host}" in said


def test_the_chosen_context_is_followed_and_one_that_is_gone_is_named(lonely: DockerRuntime, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    assert "The Docker context rootless cannot be read" in failure(lonely)
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"rootless").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(f'{{"Endpoints": {{"docker": {{"Host": "unix://{tmp_path}/x"}}}}}}')
    assert f"{tmp_path}/x does not exist" in failure(lonely)


def test_bad_tls_settings(lonely: DockerRuntime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2376")
    assert "Docker cannot be used" in failure(lonely)


@pytest.mark.docker
def test_a_restart_is_noticed_and_the_same_runtime_recovers(
    private_engine: PrivateEngine, lonely: DockerRuntime, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", private_engine.url)
    import_shell_image(private_engine.start())
    launch = launches("i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done")
    lonely.create(launch)
    lonely.start(launch.name)
    before = deployment(lonely, launch.name)
    blocks: list[bytes] = []
    log = lonely.logs(launch.name, tail=None, follow=True)
    with ThreadPoolExecutor() as pool:
        events: list[None] = []
        watching = pool.submit(lonely.watch, lambda: events.append(None), threading.Event())
        reading = pool.submit(blocks.extend, log)
        wait_until(lambda: blocks, "the log to be followed")

        def an_event_is_seen() -> bool:
            another = launches()
            lonely.create(another)
            lonely.remove(another.name)
            return bool(events)

        wait_until(an_event_is_seen, "the events to be watched")

        private_engine.stop()
        with pytest.raises(RuntimeUnreachable, match="broke off"):
            watching.result(10)
        # The container runs on, so the end of the stream must not pass for the end of the log.
        with pytest.raises(RuntimeUnreachable):
            reading.result(10)
        with pytest.raises(RuntimeUnreachable, match=r"systemctl start docker"):
            lonely.deployments()

    private_engine.start()
    after = deployment(lonely, launch.name)
    assert (after.id, after.lifecycle, after.started_at) == (before.id, Lifecycle.RUNNING, before.started_at)
    again = lonely.logs(launch.name, tail=1, follow=True)
    assert b"tick" in next(iter(again))
    again.close()
    lonely.stop(launch.name, timeout_s=0)
    lonely.remove(launch.name)
