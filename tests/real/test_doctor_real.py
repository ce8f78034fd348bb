"""The doctor on this machine, with a real Docker Engine."""

import os
import signal
import socket
from pathlib import Path

import docker
import pytest

from engine.catalog import CatalogReader
from engine.diagnose.doctor import examine
from engine.diagnose.doctor.daemon import read_daemon, read_stock
from engine.finding import Finding, Severity
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_client import DockerConnection
from tests.real.docker_support import PrivateEngine, settings

PROFILE = """
name: mine
stack: vllm
version: 0.11.0
image: {image}
model: a/b
expose: {{http: {port}}}
"""

pytestmark = pytest.mark.docker


def of(found: tuple[Finding, ...], check: str) -> list[Finding]:
    return [one for one in found if one.check == check]


def test_what_the_engine_tells_of_itself(docker_engine: docker.DockerClient, shell_image: str) -> None:
    daemon = read_daemon(DockerConnection())
    info = docker_engine.info()
    assert daemon.version == info["ServerVersion"]
    assert (daemon.storage, daemon.root, daemon.default_runtime) == (
        info["Driver"],
        info["DockerRootDir"],
        info["DefaultRuntime"],
    )
    assert Path(daemon.url.removeprefix("unix://")).is_socket()
    stock = read_stock(DockerConnection(), [shell_image, "nobody/has:this"])
    assert isinstance(stock.env[shell_image], dict)
    assert stock.env["nobody/has:this"] is None
    (image,) = [one for one in stock.images if shell_image in one.names]
    assert (image.used, image.size > 0) == (False, True)


def test_a_profile_on_this_machine(
    docker_engine: docker.DockerClient, shell_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    ours = settings(tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        text = PROFILE.format(image=shell_image, port=port)
        (tmp_path / "profiles/mine.yaml").write_text(text, encoding="utf-8")
        found = examine(ours, CatalogReader(ours).load(), {"docker": DockerRuntime(ours)}, lambda: (), profile="mine")
    assert not [one for one in found if one.evidence.startswith("Unexpected")]
    assert of(found, "docker")[0].severity in (Severity.OK, Severity.INFO)
    assert any(one.title.startswith(f"Docker {docker_engine.version()['Version']}") for one in of(found, "docker"))
    (taken,) = of(found, "ports")
    assert (taken.severity, taken.title) == (Severity.ERROR, f"Port {port} is taken")
    assert "(pid " in taken.evidence
    images = [one for one in of(found, "images") if one.severity is Severity.OK]
    assert shell_image in images[0].evidence
    assert any(str(Path(docker_engine.info()["DockerRootDir"])) in one.evidence for one in of(found, "disk"))


def test_a_socket_for_everybody_and_an_engine_that_hangs(
    private_engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_engine.start()
    monkeypatch.setenv("DOCKER_HOST", private_engine.url)
    ours = settings(tmp_path)

    def look() -> tuple[Finding, ...]:
        runtimes = {"docker": DockerRuntime(ours)}
        return examine(ours, CatalogReader(ours).load(), runtimes, lambda: (), profile="llama3-70b")

    path = Path(private_engine.url.removeprefix("unix://"))
    path.parent.chmod(0o755)
    path.chmod(0o666)
    found = look()
    (socket_found,) = of(found, "docker-socket")
    assert (socket_found.severity, socket_found.command) == (Severity.WARNING, f"sudo chmod o-rw {path}")
    assert not [one for one in of(found, "docker") if one.title.startswith("A restart")], "it has live-restore"
    assert f"{private_engine.folder}/data" in str(of(found, "disk"))
    assert [one.severity for one in of(found, "images")] == [Severity.WARNING]

    path.chmod(0o660)
    pid = int((private_engine.folder / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        found = look()
    finally:
        os.kill(pid, signal.SIGCONT)
    (answer,) = of(found, "docker")
    assert (answer.severity, "did not answer within 5 s" in answer.evidence) == (Severity.ERROR, True)
    assert not [one for one in found if one.evidence.startswith("Unexpected")]
    (hidden,) = [one for one in found if one.severity is Severity.UNKNOWN]
    assert hidden.title == "Not looked at: the container toolkit, images"
    assert {"memory", "disk", "tokens", "docker-socket"} <= {one.check for one in found}
