"""The machine's lease between real processes with state folders of their own, on a real Docker Engine."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound

from engine.errors import Refused
from engine.lease import LEASE, Holder
from engine.operations.lease import held
from engine.request import Origin
from engine.runtimes.docker import DockerRuntime
from tests.real.docker_support import PrivateEngine, settings

pytestmark = pytest.mark.docker

TAKER = """
import os, sys
from pathlib import Path
from engine.errors import EngineError
from engine.lease import Holder
from engine.operations.lease import held
from engine.request import Origin
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings

record, user, uid, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
settings = Settings(folder, folder / "state", folder)
runtimes = {"docker": DockerRuntime(settings)}
def holder():
    return Holder.this_process("swap a → b", "op", Origin(user, "box", 1))

# All is imported by then: another user may not be able to read where it comes from.
with held(runtimes, holder(), print, name=f"{record}-{os.getpid()}"):
    pass
if uid:
    os.setgroups([os.stat("/var/run/docker.sock").st_gid])
    os.setgid(uid)
    os.setuid(uid)
    runtimes = {"docker": DockerRuntime(settings)}
else:
    runtimes["process"] = ProcessRuntime(settings)

def say(kind, text=""):
    print(kind, text, flush=True)

say("prepared")
sys.stdin.readline()
try:
    with held(runtimes, holder(), lambda note: say("note", note), name=record) as lease:
        lease.confirm()
        say("held")
        sys.stdin.readline()
        lease.confirm()
    say("ended")
except EngineError as error:
    say("refused", error)
"""


class Taker:
    """A process that takes the lease when told to, and gives it back when told to."""

    def __init__(self, record: str, folder: Path, user: str, uid: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKER, record, user, str(uid), str(folder / user)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "DOCKER_CONFIG": "/nonexistent", "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.notes: list[str] = []

    def hear(self) -> tuple[str, str]:
        """What it says next, notes apart; empty when it has ended."""
        assert self.process.stdout
        while True:
            kind, _, text = self.process.stdout.readline().strip().partition(" ")
            if kind != "note":
                return kind, text
            self.notes.append(text)

    def tell(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")

    def take(self) -> tuple[str, str]:
        assert self.hear()[0] == "prepared"
        self.tell()
        return self.hear()

    def give_back(self) -> tuple[str, str]:
        self.tell()
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


@dataclass
class Takers:
    folder: Path
    record: str = field(default_factory=lambda: f"tritontui-test-{secrets.token_hex(4)}")
    all: list[Taker] = field(default_factory=list)

    def __call__(self, user: str, uid: int = 0) -> Taker:
        self.all.append(Taker(self.record, self.folder, user, uid))
        return self.all[-1]


def volumes(engine: docker.DockerClient, record: str) -> list[str]:
    return sorted(volume.name for volume in engine.volumes.list(filters={"name": record}))


@pytest.fixture
def takers(docker_engine: docker.DockerClient, tmp_path: Path) -> Iterator[Takers]:
    made = Takers(tmp_path)
    yield made
    for taker in made.all:
        taker.kill()
    for name in volumes(docker_engine, made.record):
        docker_engine.volumes.get(name).remove()


def test_of_eight_at_once_exactly_one_has_it(takers: Takers, docker_engine: docker.DockerClient) -> None:
    """With a dead one's lease to be taken over, too, for which all of them try."""
    dead = takers("alice")
    assert dead.take() == ("held", "")
    assert volumes(docker_engine, takers.record) == [takers.record]
    dead.kill()
    several = [takers(f"user{n}") for n in range(8)]
    for taker in several:
        assert taker.hear() == ("prepared", "")
    for taker in several:
        taker.tell()
    said = [taker.hear() for taker in several]
    assert sorted(kind for kind, _ in said) == ["held"] + ["refused"] * 7, said
    winner = next(taker for taker, (kind, _) in zip(several, said, strict=True) if kind == "held")
    refusals = [text for kind, text in said if kind == "refused"]
    assert all("swap a → b" in text for text in refusals)
    notes = [note for taker in several for note in taker.notes]
    assert any("The lease of alice's swap a → b" in note for note in notes)
    assert volumes(docker_engine, takers.record) == [takers.record]
    assert winner.give_back() == ("ended", "")
    assert volumes(docker_engine, takers.record) == []


def test_of_eight_at_a_free_one_exactly_one_has_it(takers: Takers, docker_engine: docker.DockerClient) -> None:
    several = [takers(f"user{n}") for n in range(8)]
    for taker in several:
        assert taker.hear() == ("prepared", "")
    for taker in several:
        taker.tell()
    said = [taker.hear() for taker in several]
    assert sorted(kind for kind, _ in said) == ["held"] + ["refused"] * 7, said
    winner = next(taker for taker, (kind, _) in zip(several, said, strict=True) if kind == "held")
    assert winner.give_back() == ("ended", "")
    assert volumes(docker_engine, takers.record) == []


def test_after_kill_9_the_next_one_takes_over_and_says_whose(
    takers: Takers, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    first, refused, second = takers("alice"), takers("bob"), takers("bob")
    assert first.take() == ("held", "")
    kind, text = refused.take()
    assert kind == "refused"
    assert "alice@box, swap a → b" in text
    first.kill()
    assert second.take() == ("held", "")
    assert len(second.notes) == 1
    assert "The lease of alice's swap a → b" in second.notes[0]
    assert second.give_back() == ("ended", "")
    assert volumes(docker_engine, takers.record) == []
    # Alice's own folder still has the killed one's file; who uses it next takes that over.
    assert len(list((tmp_path / "alice/state/records").iterdir())) == 1
    third = takers("alice")
    assert third.take() == ("held", "")
    assert len(third.notes) == 1
    assert third.give_back() == ("ended", "")
    assert not any((tmp_path / "alice/state/records").iterdir())


def test_another_users_lease_counts_in_both_directions(takers: Takers, docker_engine: docker.DockerClient) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process as another user")
    nobody = 65534
    root, refused, other, late = takers("root"), takers("nobody", nobody), takers("nobody", nobody), takers("root")
    assert root.take() == ("held", "")
    assert refused.take()[0] == "refused"
    root.kill()
    assert other.take() == ("held", "")
    assert len(other.notes) == 1
    assert late.take()[0] == "refused"
    assert other.give_back() == ("ended", "")
    assert volumes(docker_engine, takers.record) == []


def test_a_volume_of_somebody_else_is_left_alone(
    docker_engine: docker.DockerClient, runtime: DockerRuntime, takers: Takers
) -> None:
    docker_engine.volumes.create(takers.record, labels={"theirs": "1"})
    assert runtime.record(takers.record) is None
    with pytest.raises(Refused, match=takers.record):
        runtime.keep_record(takers.record, {"token": "1"})
    runtime.drop_record(takers.record)
    assert volumes(docker_engine, takers.record) == [takers.record]
    assert takers("bob").take()[0] == "refused"


def test_a_pruned_lease_is_made_again(
    docker_engine: docker.DockerClient, runtime: DockerRuntime, takers: Takers
) -> None:
    notes: list[str] = []
    holder = Holder.this_process("start m", "op", Origin("bob", "box", 1))
    with held({"docker": runtime}, holder, notes.append, name=takers.record) as lease:
        lease.confirm()
        docker_engine.volumes.get(takers.record).remove()
        lease.confirm()
        assert runtime.record(takers.record) == holder.to_facts()
    with pytest.raises(NotFound):
        docker_engine.volumes.get(takers.record)
    assert len(notes) == 1
    runtime.drop_record(takers.record)


def test_it_survives_the_daemons_restart_and_is_given_back_after_it(
    private_engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_engine.start()
    monkeypatch.setenv("DOCKER_HOST", private_engine.url)
    runtime, notes = DockerRuntime(settings(tmp_path)), list[str]()
    holder = Holder.this_process("start m", "op", Origin("bob", "box", 1))
    with held({"docker": runtime}, holder, notes.append) as lease:
        private_engine.stop()
        lease.confirm()
        private_engine.start()
        lease.confirm()
        assert runtime.record(LEASE) == holder.to_facts()
        private_engine.stop()
        began = time.monotonic()
        starter = threading.Thread(target=private_engine.start)
        starter.start()
    starter.join(60)
    assert time.monotonic() - began < 60
    assert runtime.record(LEASE) is None
    assert notes == []
