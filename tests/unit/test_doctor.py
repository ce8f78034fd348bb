"""What the doctor makes of a machine: nothing of one that is well, and what is wrong of one that is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.diagnose.doctor import CHECKS
from engine.diagnose.doctor.check import carry_out
from engine.diagnose.doctor.daemon import Stock
from engine.diagnose.doctor.host import Limit, Space
from engine.diagnose.doctor.needs import Need, Needs
from engine.finding import Severity
from engine.plan import PortBinding
from tests.unit.doctor_facts import (
    BIG,
    DAEMON,
    GIB,
    IMAGE,
    NO_DOCKER,
    SMALL,
    facts,
    look,
    machine,
    own_cache,
    worst,
)

ERROR, WARNING, INFO, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN
TOKEN = "hf_" + "a" * 34


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(tmp_path, monkeypatch)


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    well = replace(DAEMON, live_restore=True, log_driver="local")
    found = carry_out(CHECKS, facts(machine(tmp_path), daemon=well, needs=Needs((replace(BIG, secrets={}), SMALL))))
    assert worst(found) == [(INFO, "No Hugging Face token")]
    assert {one.check for one in found} == {check.id for check in CHECKS} - {"docker-socket", "registry", "ports"}


def test_shared_memory(tmp_path: Path) -> None:
    none_set = replace(BIG, shm_bytes=None)
    (found, _) = look("shared-memory", tmp_path, needs=Needs((none_set,)))
    assert (found.severity, "big 64 MiB" in found.evidence) == (ERROR, True)
    assert worst(look("shared-memory", tmp_path, needs=Needs((replace(none_set, ranks=1),)))) == []
    hosts = replace(BIG, shm_bytes=None, host_ipc=True)
    small = {"space": lambda _: Space(1, 64 << 20, 64 << 20)}
    assert worst(look("shared-memory", tmp_path, small, needs=Needs((hosts,)))) == [
        (ERROR, "Too little shared memory on the machine")
    ]
    assert worst(look("shared-memory", tmp_path, small, needs=Needs((BIG,)))) == []
    full = {"space": lambda _: Space(1, 64 * GIB, 4 * GIB)}
    assert worst(look("shared-memory", tmp_path, full)) == [(WARNING, "/dev/shm is nearly full")]
    disk = {"files": {"/proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"}}
    assert worst(look("shared-memory", tmp_path, disk)) == [(ERROR, "/dev/shm is no memory")]


def test_room_on_the_disk(tmp_path: Path) -> None:
    def with_free(free: int) -> dict[str, Any]:
        return {"space": lambda _: Space(1, 1000 * GIB, free, 0.5)}

    missing = Stock(env={IMAGE: None})
    (found,) = look("disk", tmp_path, with_free(25 * GIB), stock=missing)
    assert (found.severity, found.title) == (ERROR, "Too little room on the disk")
    assert "about 32 GiB are to come" in found.evidence
    cached = Needs((replace(BIG, cached=True),))
    (found,) = look("disk", tmp_path, with_free(25 * GIB), needs=cached)
    assert (found.severity, found.title) == (WARNING, "The disk is nearly full")
    assert worst(look("disk", tmp_path, with_free(100 * GIB), stock=missing)) == []
    examples = Needs((BIG,), wanted=False)
    assert worst(look("disk", tmp_path, with_free(60 * GIB), stock=missing, needs=examples)) == []
    inodes = {"space": lambda _: Space(1, 1000 * GIB, 500 * GIB, 0.001)}
    assert worst(look("disk", tmp_path, inodes)) == [(WARNING, "The disk has nearly no inodes left")]
    apart = {"space": lambda path: Space(len(str(path)), 1000 * GIB, 500 * GIB)}
    assert len(look("disk", tmp_path, apart)) == 3


def test_the_folders(tmp_path: Path) -> None:
    hub = tmp_path / "hf/hub"
    closed = {"can_write": lambda path: path != hub}
    local = Needs((replace(SMALL, model="a/b"),))
    assert worst(look("cache", tmp_path, closed, needs=local)) == [(ERROR, "The Hugging Face cache cannot be written")]
    assert worst(look("cache", tmp_path, closed)) == [(WARNING, "The Hugging Face cache cannot be written")]
    state = {"can_write": lambda path: path == hub}
    assert worst(look("cache", tmp_path, state)) == [(ERROR, "tritontui's folder of state cannot be written")]
    network = {
        "files": {"/proc/self/mountinfo": f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {tmp_path} rw - nfs4 s:/x rw\n"}
    }
    assert worst(look("cache", tmp_path, network)) == [
        (WARNING, "tritontui's folder of state is on the network"),
        (INFO, "The Hugging Face cache is on the network"),
    ]
    hub.rmdir()
    assert (INFO, "No Hugging Face cache yet") in worst(look("cache", tmp_path))


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (TOKEN, ""),
        (f" {TOKEN}", "spaces"),
        (f'"{TOKEN}"', "quotation marks"),
        (f"Bearer {TOKEN}", "spaces"),
        ("sk-0123456789abcdef", "19 characters"),
    ],
)
def test_the_form_of_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, wrong: str) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    (found,) = look("tokens", tmp_path, needs=Needs((replace(BIG, secrets={"HF_TOKEN": "env"}),)))
    assert found.severity is (WARNING if wrong else Severity.OK)
    assert wrong in found.evidence
    assert not any(part and part in str(found) for part in (value.strip(), TOKEN, value[4:14]))


def test_secrets_that_are_missing_or_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    need = replace(BIG, secrets={"HF_TOKEN": "env"})
    assert worst(look("tokens", tmp_path, needs=Needs((need,)))) == [(ERROR, "The secret HF_TOKEN is missing")]
    assert worst(look("tokens", tmp_path, needs=Needs((need,), wanted=False)))[0][0] is INFO
    file = tmp_path / "my token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    in_file = Needs((replace(BIG, secrets={"HF_TOKEN": f"file:{file}"}),))
    (found, told) = look("tokens", tmp_path, needs=in_file)
    assert (found.severity, found.command) == (WARNING, f"chmod 600 '{file}'")
    assert told.severity is Severity.OK
    file.chmod(0o600)
    assert worst(look("tokens", tmp_path, needs=in_file)) == []


def test_logins_to_registries(tmp_path: Path) -> None:
    closed = replace(BIG, image="nvcr.io/nim/meta/llama:1")
    needs, stock = Needs((closed,)), Stock(env={closed.image: None})
    assert worst(look("registry", tmp_path, needs=needs, stock=stock)) == [(ERROR, "No login to nvcr.io")]
    assert look("registry", tmp_path) == ()  # the public ones need none
    config = tmp_path / "home/.docker/config.json"
    config.parent.mkdir(parents=True)
    secret = "JG9hdXRodG9rZW46bnZhcGk="
    config.write_text(f'{{"auths": {{"nvcr.io": {{"auth": "{secret}"}}}}, "credsStore": "desktop"}}')
    config.chmod(0o644)
    found = look("registry", tmp_path, needs=needs, stock=stock)
    assert worst(found) == [
        (WARNING, "Docker's helper for passwords is missing"),
        (WARNING, "Others can read the passwords of registries"),
    ]
    assert secret not in str(found)
    config.write_text("{")
    assert worst(look("registry", tmp_path)) == [(WARNING, "Docker's configuration of this user cannot be read")]


def test_ports(tmp_path: Path) -> None:
    http = PortBinding("http", "127.0.0.1", 8000, 8000)
    needs = Needs((replace(BIG, ports=(http,)), Need("other", ports=(replace(http, host_port=8001),))))
    taken = {"is_free": lambda _, port: port != 8000}
    (found, _) = look("ports", tmp_path, {**taken, "listener": lambda _: "python3 (pid 7)"}, needs=needs)
    assert (found.severity, found.title) == (ERROR, "Port 8000 is taken")
    assert "big wants 127.0.0.1:8000, where python3 (pid 7) listens." in found.evidence
    (found, _) = look("ports", tmp_path, taken, needs=needs, stock=Stock(ports={8000: "web"}))
    assert "the container web listens" in found.evidence
    (found, _) = look("ports", tmp_path, taken, needs=needs, stock=NO_DOCKER)
    assert "somebody listens" in found.evidence
    service = Service(Protocol.TRITON, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
    ours = Deployment("big", "docker", "vllm", "id", IMAGE, Lifecycle.RUNNING, service, 1.0)
    found_ours = look("ports", tmp_path, taken, needs=needs, deployments=(ours,))
    assert worst(found_ours) == [(INFO, "Ports of running models")]


def test_memory_and_limits(tmp_path: Path) -> None:
    little = {"files": {"/proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n"}}
    assert worst(look("memory", tmp_path, little)) == [(WARNING, "Less memory than the largest model's weights")]
    assert worst(look("memory", tmp_path, little, needs=Needs((BIG,), wanted=False))) == []
    swapped = {
        "files": {
            "/proc/meminfo": "MemTotal: 99000000 kB\nMemAvailable: 60000000 kB\nSwapTotal: 9000000 kB\nSwapFree: 9 kB\n"
        }
    }
    assert worst(look("memory", tmp_path, swapped)) == [(WARNING, "Much of memory is swapped out")]
    strict = {"files": {"/proc/sys/vm/overcommit_memory": "2\n"}}
    assert worst(look("memory", tmp_path, strict)) == [(WARNING, "The kernel promises no more memory than it has")]
    few = {"limit": lambda _: Limit(1024, 4096)}
    assert worst(look("limits", tmp_path, few)) == [(WARNING, "Few open files allowed")]
    assert worst(look("limits", tmp_path, few, needs=Needs((BIG,)))) == [(INFO, "Few open files allowed")]
    endless = {"limit": lambda _: Limit(1024, None)}
    assert worst(look("limits", tmp_path, endless)) == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ("LANG=C.UTF-8 TERM=xterm", []),
        ("LC_ALL=de_DE.utf8@euro LANG=C TERM=xterm", []),
        ("LANG=de_DE.ISO-8859-1 TERM=xterm", [(WARNING, "The locale is not UTF-8")]),
        ("LC_ALL=C LANG=C.UTF-8", [(INFO, "The locale does not say UTF-8")]),
        ("LANG=C.UTF-8 TERM=dumb", [(WARNING, "The terminal cannot show a console")]),
    ],
)
def test_the_terminal(tmp_path: Path, environ: str, expected: list[tuple[Severity, str]]) -> None:
    texts = {"/proc/self/environ": environ.replace(" ", "\0") + "\0"}
    assert worst(look("terminal", tmp_path, {"files": texts})) == expected


def test_the_clock(tmp_path: Path) -> None:
    assert worst(look("clock", tmp_path, {"is_synchronised": lambda: False})) == [
        (INFO, "Nothing keeps the clock right")
    ]
    assert worst(look("clock", tmp_path, {"is_synchronised": lambda: None})) == [(UNKNOWN, "Clock")]
