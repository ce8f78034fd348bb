"""What the doctor makes of Docker: its setting up, its socket, what gives containers GPUs, its images."""

import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.diagnose.doctor import CHECKS
from engine.diagnose.doctor.check import carry_out
from engine.diagnose.doctor.daemon import Image, Stock
from engine.diagnose.doctor.host import Space
from engine.diagnose.doctor.needs import Needs
from engine.finding import Severity
from tests.unit.doctor_facts import (
    BIG,
    DAEMON,
    GIB,
    IMAGE,
    NO_DOCKER,
    NO_DRIVER,
    SMALL,
    facts,
    look,
    machine,
    worst,
)

ERROR, WARNING, INFO, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN


def test_docker_that_does_not_answer(tmp_path: Path) -> None:
    found = carry_out(CHECKS, facts(machine(tmp_path), daemon=NO_DOCKER, stock=NO_DOCKER))
    assert [one.title for one in found if one.severity is ERROR] == ["Docker is not here"]
    (hidden,) = [one for one in found if one.severity is UNKNOWN]
    assert hidden.title == "Not looked at: the container toolkit, images"
    assert hidden.evidence == NO_DOCKER.what
    local = carry_out(CHECKS, facts(machine(tmp_path), daemon=NO_DOCKER, stock=NO_DOCKER, needs=Needs((SMALL,))))
    assert (INFO, "Docker is not here") in worst(local)


@pytest.mark.parametrize(
    ("changes", "texts", "expected"),
    [
        ({"storage": "vfs"}, {}, (WARNING, "Docker's storage driver is vfs")),
        ({"live_restore": False}, {}, (INFO, "A restart of Docker stops every model")),
        ({"security": ("name=rootless",)}, {}, (INFO, "Docker runs without root")),
        (
            {"warnings": ("WARNING: API is accessible on http://0.0.0.0:2375 without encryption.",)},
            {},
            (WARNING, "Docker's API is open to the network"),
        ),
        ({"warnings": ("WARNING: No swap limit support",)}, {}, (INFO, "Docker's own warning")),
        ({"log_driver": "json-file"}, {}, (INFO, "Logs of containers grow without limit")),
        ({}, {"/etc/docker/daemon.json": "{"}, (WARNING, "Docker's configuration is no JSON")),
        (
            {},
            {"/etc/docker/daemon.json": '{"runtimes": {"nvidia": {"path": "/gone"}}}'},
            (WARNING, "Docker's runtime nvidia has no program"),
        ),
    ],
)
def test_docker_that_is_set_up_badly(
    tmp_path: Path, changes: dict[str, Any], texts: dict[str, str], expected: tuple[Severity, str]
) -> None:
    well = replace(DAEMON, live_restore=True, log_driver="local")
    assert worst(look("docker", tmp_path, {"files": texts}, daemon=replace(well, **changes))) == [expected]


def test_logs_that_rotate_are_no_finding(tmp_path: Path) -> None:
    daemon = replace(DAEMON, live_restore=True, log_driver="json-file")
    rotated = {"files": {"/etc/docker/daemon.json": '{"log-opts": {"max-size": "50m"}}'}}
    assert worst(look("docker", tmp_path, rotated, daemon=daemon)) == []


def test_who_may_use_the_socket(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        path = Path(name) / "docker.sock"
        path.parent.chmod(0o755)  # its own folder: those of tests are for one user
        listener.bind(str(path))
        seen = replace(machine(tmp_path / "root"), root=Path("/"), environ={"DOCKER_HOST": f"unix://{path}"})
        check = [one for one in CHECKS if one.id == "docker-socket"]
        path.chmod(0o666)
        (found,) = carry_out(check, facts(seen))
        assert (found.severity, found.command) == (WARNING, f"sudo chmod o-rw {path}")
        assert "0666" in found.evidence
        path.parent.chmod(0o700)
        assert worst(carry_out(check, facts(seen))) == []
        path.parent.chmod(0o755)
        path.chmod(0o660)
        (found,) = carry_out(check, facts(seen))
        assert found.severity is Severity.OK
    plain = replace(seen, environ={"DOCKER_HOST": "tcp://127.0.0.1:2375"})
    assert worst(carry_out(check, facts(plain))) == [(WARNING, "Docker by plain tcp")]
    secured = replace(seen, environ={"DOCKER_HOST": "tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY": "1"})
    assert carry_out(check, facts(secured)) == ()


def test_the_container_toolkit(tmp_path: Path) -> None:
    none = {"which": lambda _: None}
    assert worst(look("container-toolkit", tmp_path, none)) == [(ERROR, "No NVIDIA container toolkit")]
    # Where there is no GPU, it is not what is missing.
    assert worst(look("container-toolkit", tmp_path, none, driver=NO_DRIVER)) == [(INFO, "No NVIDIA container toolkit")]
    assert worst(look("container-toolkit", tmp_path, none, needs=Needs((SMALL,)))) == [
        (INFO, "No NVIDIA container toolkit")
    ]
    cdi = replace(DAEMON, cdi_devices=("nvidia.com/gpu=all",))
    assert worst(look("container-toolkit", tmp_path, none, daemon=cdi)) == [
        (UNKNOWN, "GPUs for containers only by CDI")
    ]
    hook = {"which": lambda name: "/usr/bin/x" if name.endswith("hook") else None}
    assert worst(look("container-toolkit", tmp_path, hook)) == [(ERROR, "The container toolkit is not whole")]
    old = {"output": lambda _: "NVIDIA Container Toolkit CLI version 1.16.1\ncommit: 1\n"}
    (found,) = look("container-toolkit", tmp_path, old)
    assert (found.severity, "1.16.1" in found.evidence) == (WARNING, True)
    reloads = {"files": {"/dev/nvidia0": "", "/dev/nvidiactl": ""}}
    systemd = replace(DAEMON, cgroup_driver="systemd")
    assert worst(look("container-toolkit", tmp_path, reloads, daemon=systemd)) == [
        (WARNING, "Containers may lose their GPUs while they run")
    ]
    linked = {"files": {"/dev/char/195:0": ""}}
    assert worst(look("container-toolkit", tmp_path, linked, daemon=systemd)) == []


def test_images_that_are_missing_or_unused(tmp_path: Path) -> None:
    images = (
        Image("sha256:1", (IMAGE,), 20 * GIB, used=False),
        Image("sha256:2" + "0" * 20, (), 30 * GIB, used=False),
        Image("sha256:3", ("old/vllm:1",), 25 * GIB, used=False),
        Image("sha256:4", ("running:1",), 90 * GIB, used=True),
    )
    (unused, _) = look("images", tmp_path, stock=Stock(images, {IMAGE: {}}))
    assert unused.severity is INFO
    assert unused.command == "docker image rm 200000000000 old/vllm:1"
    named = look("images", tmp_path, stock=Stock(images, {IMAGE: {}}), needs=Needs((BIG,), named=True))
    assert worst(named) == [], "what other profiles name is not known then"
    tight = {"space": lambda _: Space(1, 200 * GIB, 20 * GIB)}
    assert worst(look("images", tmp_path, tight, stock=Stock(images, {IMAGE: {}})))[0][0] is WARNING
    (missing,) = look("images", tmp_path, stock=Stock(env={IMAGE: None}))
    assert (missing.severity, missing.command) == (WARNING, f"docker pull {IMAGE}")
    assert look("images", tmp_path, stock=Stock(env={IMAGE: None}), needs=Needs((BIG,), wanted=False)) == ()
