"""A swap by commands, as an operator does it: real Triton servers on the Docker Engine, the installed program.

Every test begins with one of two models that share their ports serving, whichever test came before it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.real.docker_support import wait_until
from tests.real.swap_support import Bench

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, docker_engine: docker.DockerClient, triton_image: str
) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("swaps"), docker_engine, triton_image)
    try:
        made.begin()
        yield made
    finally:
        made.clean()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    shared.wait_for_others()
    yield shared
    shared.remove_by_hand()


def test_the_plan_then_the_swap_and_back(bench: Bench) -> None:
    bench.serving(bench.a)
    before = bench.states()
    plan = bench.run.json("plan", bench.b, "--swap")
    assert [(one["name"], one["running"]) for one in plan["outgoing"]] == [(bench.a, True)]
    assert plan["way"] == "full"
    assert plan["digest"]
    assert bench.states() == before, "a plan does nothing"

    beside = bench.run("up", bench.b)
    assert beside.returncode == 3, beside.stderr
    assert f"tritontui swap {bench.b}" in beside.stderr

    with bench.swapping(bench.b) as (command, which):
        assert bench.run("--read-only", "cancel", which).returncode == 3
        other = bench.operator("another")("swap", bench.a, "--wait")
        assert other.returncode == 3, other.stderr
        assert f"swap {bench.b}" in other.stderr
        assert bench.operation(which)["owner"] in other.stderr
        assert "since" in other.stderr
        # As when an SSH connection drops; the swap goes on.
        command.kill()
        command.wait(30)
    attached = bench.run("attach", which, "--json")
    assert attached.returncode == 0, attached.stderr
    assert json.loads(attached.stdout)["plan_digest"] == plan["digest"], "what was shown is what was done"
    assert bench.states() == {bench.a: "stopped", bench.b: "ready"}

    back = bench.run("swap", bench.a, "--wait", "--json")
    assert back.returncode == 0, back.stderr
    status = json.loads(back.stdout)
    assert (status["outcome"], status["outgoing"], status["exit_code"]) == ("done", [bench.b], 0)
    assert bench.states() == {bench.a: "ready", bench.b: "stopped"}
    assert bench.answers(bench.a)

    entries = [one for one in bench.run.json("history")["entries"] if one["event"] == "done"]
    assert [one["what"] for one in entries[:2]] == [f"swap {bench.b} → {bench.a}", f"swap {bench.a} → {bench.b}"]
    assert entries[0]["plan_digest"] == status["plan_digest"]
    assert entries[1]["plan_digest"] == plan["digest"]


def test_a_swap_to_one_that_cannot_load_brings_the_earlier_one_back(bench: Bench) -> None:
    bench.serving(bench.a)
    before = bench.container(bench.a).id
    done = bench.run("swap", bench.c, "--wait", "--json")
    assert done.returncode == 1, done.stderr
    status = json.loads(done.stdout)
    assert (status["outcome"], status["exit_code"]) == ("rolled back", 1)
    assert "no weights here" in Path(status["log_path"]).read_text()
    assert status["log_path"] in done.stderr
    assert bench.container(bench.c) is None
    assert bench.container(bench.a).id == before
    assert bench.answers(bench.a)


def test_a_cancelled_swap_leaves_the_earlier_one_serving(bench: Bench) -> None:
    bench.serving(bench.a)
    before = bench.states()
    with bench.swapping(bench.b) as (command, which):
        cancelled = bench.run("cancel")
        assert cancelled.returncode == 0, cancelled.stderr
        assert command.wait(30) == 1
    status = bench.operation(which)
    assert (status["outcome"], status["cancelled"]) == ("rolled back", True)
    assert bench.states() == before
    assert bench.answers(bench.a)


@pytest.mark.parametrize("how", ["--roll-back", "--finish"])
def test_an_interrupted_swap_is_settled_on_request(bench: Bench, how: str) -> None:
    bench.serving(bench.a)
    with bench.swapping(bench.b) as (command, which):
        bench.kill_worker()
        assert command.wait(30) == 1
        assert command.stderr
        assert "tritontui recover" in command.stderr.read()
    assert "interrupted" in bench.run.ok("status")
    listed = bench.run.ok("recover")
    assert which in listed
    assert "--finish" in listed
    assert "--roll-back" in listed
    assert bench.run("--read-only", "recover", which, how).returncode == 3
    settled = bench.run("recover", which, how)
    assert settled.returncode == 0, settled.stderr
    assert bench.run.json("recover")["interrupted"] == []
    serves = bench.b if how == "--finish" else bench.a
    assert bench.answers(serves)
    assert [name for name, state in bench.states().items() if state == "ready"] == [serves]


def test_read_only_refuses_changes_and_shows_facts(bench: Bench) -> None:
    bench.serving(bench.a)
    before = bench.states()
    for change in (("up", bench.b), ("down", bench.a), ("restart", bench.a), ("swap", bench.b), ("rm", bench.a)):
        refused = bench.run("--read-only", *change)
        assert refused.returncode == 3, change
        assert "read-only" in refused.stderr
    facts: list[tuple[str, ...]] = [("ls",), ("status",), ("plan", bench.b), ("plan", bench.b, "--swap")]
    facts += [("logs", bench.a), ("ask", bench.a, "ping", "--max-tokens", "4"), ("history",)]
    for words in facts:
        shown = bench.run("--read-only", *words)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout, words
    assert bench.states() == before


def test_one_started_by_hand_is_watched_adopted_and_swapped(bench: Bench) -> None:
    bench.clean()
    bench.start_by_hand()
    foreign = f"docker/{bench.by_hand}"
    found = wait_until(
        lambda: [one for one in bench.run.json("ls")["models"] if one["name"] == foreign and one["state"] == "ready"],
        "the container to be listed as ready",
        60,
    )
    assert found[0]["foreign"]
    assert "Started" in bench.run.ok("logs", foreign)
    for words in (("down", foreign), ("rm", foreign), ("swap", bench.a, "--from", foreign)):
        refused = bench.run(*words)
        assert refused.returncode == 3, refused.stderr
        assert f"tritontui adopt {foreign}" in refused.stderr
    in_the_way = bench.run("up", bench.a)
    assert in_the_way.returncode == 3, in_the_way.stderr
    assert f"tritontui adopt {foreign}" in in_the_way.stderr
    assert bench.run("adopt", bench.by_hand).returncode == 3, "nobody can be asked"
    assert bench.run("--read-only", "adopt", bench.by_hand, "--yes").returncode == 3

    before = bench.container(bench.by_hand).id
    bench.run.ok("adopt", bench.by_hand, "--yes")
    adopted = bench.run.model(bench.by_hand)
    assert adopted["deployment"]["adopted"]
    assert adopted["has_profile"]
    assert bench.container(bench.by_hand).id == before, "it was not stopped for it"
    bench.run.ok("swap", bench.a, "--wait")
    assert bench.run.model(bench.by_hand)["state"] == "stopped"
    bench.run.ok("swap", bench.by_hand, "--wait")
    assert bench.container(bench.by_hand).id == before
    assert bench.answers(bench.by_hand)

    for name in bench.states():
        bench.run.ok("rm", name)
    assert not bench.states()
    assert not bench.engine.containers.list(all=True, filters={"name": bench.word})
    assert not [one.name for one in bench.engine.volumes.list() if bench.word in one.name]
    lease = bench.run.json("status")["lease"]
    ours = [one["id"] for one in bench.run.json("status")["operations"]]
    assert lease is None or lease["operation"] not in ours
