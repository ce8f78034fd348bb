"""What is told of a deployment that runs: a profile's limits against expositions and answers, by a test's clock."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.catalog import CatalogEntry, read_profile
from engine.deployment import State
from engine.drift import launch_facts
from engine.notice import Rule
from engine.observe.runs import Run
from engine.plan import Plan
from engine.profile import Canary, Watch
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from tests.unit.monitor_bench import PROFILE, Server, Watching, running, server, watching
from tests.unit.test_monitor import operation
from tests.unit.watch_bench import BEGAN, READY, SILENT, Bench, exposition

__all__ = ["server", "watching"]  # the fixtures


@pytest.fixture
def bench() -> Bench:
    one = Bench()
    one.pass_by(3)
    assert one.told == ()
    return one


def test_what_waits_is_told_when_it_has_for_long_enough_and_ends_when_it_has_settled(bench: Bench) -> None:
    bench.watch = Watch(waiting=20, hold=10)
    bench.text = exposition(waiting=20)
    bench.pass_by(20)
    assert not bench.told  # that many may
    bench.text = exposition(waiting=31)
    bench.pass_by(10)
    assert not bench.told
    bench.pass_by(1)
    [notice] = bench.told
    assert (notice.rule, notice.since, notice.short) == (Rule.WAITING, BEGAN + 24, "31 wait")
    assert notice.text.startswith("31 requests wait, more than 20: ")
    # It falls for a moment, and that is no end and no beginning.
    bench.text = exposition(waiting=3)
    bench.pass_by(4)
    bench.text = exposition(waiting=25)
    bench.pass_by(1)
    assert [(one.since, one.short) for one in bench.told] == [(BEGAN + 24, "25 wait")]
    bench.text = exposition(waiting=3)
    bench.pass_by(6)
    assert not bench.told
    # Anew, it must hold anew.
    bench.text = exposition(waiting=40)
    bench.pass_by(9)
    assert not bench.told


def test_before_it_is_told_one_look_below_the_limit_begins_anew(bench: Bench) -> None:
    bench.watch = Watch(waiting=20, hold=10)
    for _ in range(4):
        bench.text = exposition(waiting=31)
        bench.pass_by(8)
        bench.text = exposition(waiting=1)
        bench.pass_by(1)
    assert not bench.told


def test_a_full_kv_cache_is_told_without_asking_for_it(bench: Bench) -> None:
    bench.text = exposition(kv=0.972)
    bench.pass_by(31)
    [notice] = bench.told
    assert notice.text.startswith("Its KV cache is 97.2 % full, more than 95 %")
    assert (notice.rule, notice.short) == (Rule.KV_CACHE, "KV 97 %")
    bench.watch = Watch(kv_cache=None)
    bench.pass_by(6)
    assert not bench.told


def test_failures_are_told_at_once_for_a_minute_and_those_of_an_earlier_run_are_not(bench: Bench) -> None:
    bench.text = exposition(failed=2)
    bench.pass_by(1)
    [notice] = bench.told
    assert (notice.rule, notice.short) == (Rule.FAILURES, "2 failed")
    assert notice.text.startswith("2 requests failed in the last minute: ")
    bench.pass_by(58)
    assert bench.rules == [Rule.FAILURES]
    bench.pass_by(8)
    assert not bench.told
    bench.watch = Watch(failures=3)
    bench.text = exposition(failed=5)
    bench.pass_by(10)
    assert not bench.told  # three more are not more than three
    bench.text = exposition(failed=6)
    bench.pass_by(1)
    assert bench.told[0].text.startswith("4 requests failed in the last minute, more than 3: ")
    bench.deployment = bench.run.deployment = replace(bench.deployment, started_at=bench.now)
    bench.pass_by(6)
    assert not bench.told


def test_slow_first_tokens_are_told_over_a_minute(bench: Bench) -> None:
    bench.watch = Watch(ttft_p99=2, hold=5)
    bench.text = exposition(fast=500)
    bench.pass_by(10)
    assert not bench.told
    bench.text = exposition(fast=500, slow=50)
    bench.pass_by(6)
    [notice] = bench.told
    assert notice.rule is Rule.TTFT_P99
    assert "is 4.72 s over the last minute, longer than 2 s" in notice.text
    assert len(notice.short) <= 8
    bench.pass_by(70)  # nobody asks for anything
    assert not bench.told


def test_metrics_that_are_stale_pass_no_threshold_but_their_silence_is_told(bench: Bench) -> None:
    bench.watch = Watch(waiting=20, hold=3)
    bench.text = exposition(waiting=31)
    bench.pass_by(5)
    assert bench.rules == [Rule.WAITING]
    bench.text = None
    bench.pass_by(14)
    assert not bench.told
    bench.pass_by(2)
    [notice] = bench.told
    assert notice.rule is Rule.NO_ANSWER
    assert "says that it is ready, and its metrics have not answered since" in notice.text
    bench.text = exposition()
    bench.pass_by(7)
    assert not bench.told


def test_a_server_that_does_not_answer(bench: Bench) -> None:
    answered_at = bench.now
    bench.run.probe, bench.text, bench.state = SILENT, None, State.UNREACHABLE
    bench.pass_by(14)
    assert not bench.told
    bench.pass_by(1)
    [notice] = bench.told
    assert (notice.rule, notice.since, notice.short) == (Rule.NO_ANSWER, answered_at, "silent")
    assert "for more than 15 s: it did not answer within 2 s." in notice.text
    # It answers once, and is silent again: that is no end.
    bench.run.probe, bench.state = READY, State.READY
    bench.pass_by(1)
    bench.run.probe, bench.state = SILENT, State.UNREACHABLE
    bench.pass_by(3)
    assert [one.since for one in bench.told] == [answered_at]
    bench.run.probe, bench.state, bench.text = READY, State.READY, exposition()
    bench.pass_by(6)
    assert not bench.told


@pytest.mark.parametrize("state", [State.STARTING, State.STOPPING, State.ASLEEP, None], ids=str)
def test_nothing_is_told_of_what_is_not_to_answer(bench: Bench, state: State | None) -> None:
    """None: an operation is under way."""
    bench.watch = Watch(waiting=20, hold=3)
    bench.text = exposition(waiting=31, failed=1)
    bench.pass_by(5)
    assert bench.rules == [Rule.FAILURES, Rule.WAITING]
    bench.run.probe, bench.text = SILENT, None
    if state:
        bench.state = state
    else:
        bench.busy = {"m"}
    bench.pass_by(60)
    assert not bench.told
    # Its silence counts from the end of that.
    bench.state, bench.busy = State.UNREACHABLE, set()
    bench.pass_by(15)
    assert not bench.told
    bench.pass_by(1)
    assert bench.rules == [Rule.NO_ANSWER]


def test_what_was_not_heard_while_the_console_was_suspended_was_not_silent(bench: Bench) -> None:
    bench.run.probe, bench.text = SILENT, None
    bench.pass_by(2)
    bench.now += 600
    bench.pass_by(15)
    assert not bench.told
    bench.pass_by(1)
    assert bench.rules == [Rule.NO_ANSWER]


def test_each_can_be_switched_off(bench: Bench) -> None:
    bench.watch = Watch(no_answer=None, failures=None, kv_cache=None)
    bench.text = exposition(kv=1.0, failed=9, waiting=99)
    bench.pass_by(60)
    bench.run.probe, bench.text = SILENT, None
    bench.pass_by(60)
    assert not bench.told


def test_what_a_server_does_not_report_is_no_notice(bench: Bench) -> None:
    bench.watch = Watch(waiting=0, ttft_p99=0.001, hold=1)
    bench.run = Run(bench.deployment)
    bench.run.probe = READY
    bench.text = "nv_inference_request_success 7\n"
    bench.pass_by(60)
    assert not bench.told
    bench.text = 'nv_inference_pending_request_count{model="a"} 2\nnv_inference_request_failure{reason="OTHER"} 1\n'
    bench.pass_by(3)
    assert bench.rules == [Rule.FAILURES, Rule.WAITING]


# -- with the monitor -------------------------------------------------------------------------------------------------


def test_a_change_of_the_profile_holds_at_once_and_an_operation_silences(watching: Watching, server: Server) -> None:
    server.metrics = exposition(waiting=7)
    watching.profile.write_text(f"{PROFILE}watch: {{waiting: 9, hold: 1s}}\n")
    watching.docker.held = (running(server.service),)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY)
    assert watching.model("m").notices == ()
    watching.profile.write_text(f"{PROFILE}watch: {{waiting: 6, hold: 1s}}\n")
    watching.see(lambda model: [one.rule for one in model.notices] == [Rule.WAITING])
    assert watching.model("m").notices[0].short == "7 wait"
    server.metrics = exposition(waiting=8)
    watching.see(lambda model: model.notices[0].short == "8 wait")
    watching.monitor.operation_changed(operation())
    watching.see(lambda model: model.notices == ())


# -- a profile's `watch` is no part of what runs ----------------------------------------------------------------------


def planned(tmp_path: Path, text: str) -> tuple[CatalogEntry, Plan]:
    (tmp_path / "repo" / "m" / "1").mkdir(parents=True, exist_ok=True)
    (tmp_path / "repo" / "m" / "1" / "model.py").touch()
    path = tmp_path / "m.yaml"
    path.write_text(text)
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    return entry, STACKS[entry.profile.stack](PlanContext(entry.profile, path, entry.digest, "docker", settings))


def test_a_change_of_watch_changes_nothing_of_what_is_launched(tmp_path: Path) -> None:
    entry, plan = planned(tmp_path, PROFILE)
    watched, same = planned(tmp_path, f"{PROFILE}watch: {{waiting: 3, kv_cache: null, canary: {{every: 10s}}}}\n")
    assert watched.profile.watch == Watch(waiting=3, kv_cache=None, canary=Canary(every=10))
    assert watched.digest == entry.digest
    assert launch_facts(same.launch) == launch_facts(plan.launch)
    digests = [(one.digest, one.launch.profile_digest, one.launch.source_digest) for one in (plan, same)]
    assert digests[0] == digests[1]
    other, another = planned(tmp_path, PROFILE.replace("log_verbose: 1", "log_verbose: 2"))
    assert other.digest != entry.digest
    assert another.digest != plan.digest


@pytest.mark.parametrize(
    ("profile", "warned"),
    [
        ("watch: {kv_cache: 90, waiting: 3}", ""),
        (
            "watch: {waiting: 3, ttft_p99: null}\nexpose: {http: 18000}",
            "`watch.waiting` cannot be told without metrics",
        ),
        ("expose: {http: 18000}", ""),
    ],
)
def test_a_limit_that_can_never_be_passed_is_warned_of(tmp_path: Path, profile: str, warned: str) -> None:
    _, plan = planned(tmp_path, f"{PROFILE}{profile}\n")
    found = [warning for warning in plan.warnings if "watch" in warning]
    assert len(found) == bool(warned)
    assert not warned or found[0].startswith(warned)


def test_the_kv_cache_of_triton_s_vllm_backend_is_not_told(tmp_path: Path) -> None:
    text = "name: v\nstack: triton-vllm\nimage: example/triton:1\nmodel: org/m\n"
    _, plan = planned(tmp_path, f"{text}watch: {{kv_cache: 90}}\n")
    assert [one for one in plan.warnings if "never told: Triton's vLLM backend" in one]
    _, plan = planned(tmp_path, text)  # what nobody asked for is not missed
    assert not [one for one in plan.warnings if "watch" in one]


def test_what_was_made_before_profiles_had_a_watch_is_the_same(tmp_path: Path) -> None:
    """The digest as it was computed then, over all that a profile had."""
    entry, _ = planned(tmp_path, PROFILE)
    data = entry.profile.model_dump(mode="json")
    del data["watch"]
    meaning = json.dumps([str(tmp_path), data], sort_keys=True)
    assert entry.digest == hashlib.sha256(meaning.encode()).hexdigest()[:16]
