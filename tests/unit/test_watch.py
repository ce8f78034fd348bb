"""What is told of a deployment that runs: a profile's limits against expositions and answers, by a test's clock."""

import hashlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine import facade
from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.drift import launch_facts
from engine.facade import Engine
from engine.notice import Notice, Rule
from engine.observe.history_file import HistoryFile
from engine.observe.metric_history import History
from engine.observe.one_look import at_a_glance, wants_another
from engine.observe.probe import Health, Probe
from engine.observe.runs import Run
from engine.observe.timeline import STEP_S, Step
from engine.observe.watch import Watches
from engine.plan import Plan
from engine.profile import Canary, Watch
from engine.settings import Settings
from engine.snapshot import Model, Snapshot
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from tests.unit.monitor_bench import PROFILE, Server, Watching, running, server, watching
from tests.unit.test_monitor import operation
from tui.cli import main

__all__ = ["server", "watching"]  # the fixtures

BEGAN = 1_800_000_000.0
SERVICE = Service(
    Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health", metrics="http://127.0.0.1:1/metrics"
)
READY, SILENT = Probe(Health.READY), Probe(Health.SILENT, "it did not answer within 2 s")


def exposition(*, waiting: int = 0, kv: float = 0.1, failed: int = 0, slow: int = 0, fast: int = 0) -> str:
    """As vLLM writes it. `slow` and `fast`: requests whose first token came after 4 s, and 50 ms."""
    return f"""\
vllm:num_requests_running 1
vllm:num_requests_waiting {waiting}
vllm:kv_cache_usage_perc {kv}
vllm:request_success_total{{finished_reason="stop"}} {slow + fast}
vllm:request_success_total{{finished_reason="error"}} {failed}
vllm:time_to_first_token_seconds_bucket{{le="0.1"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="2.5"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="5.0"}} {slow + fast}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {slow + fast}
"""


class Bench:
    """One deployment, looked at once a second."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.deployment = Deployment(
            "m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, SERVICE, BEGAN - 100, BEGAN - 100
        )
        self.run = Run(self.deployment)
        self.run.probe = READY
        self.watches = Watches()
        self.watch = Watch()
        self.text: str | None = exposition()
        self.state = State.READY
        self.busy: set[str] = set()

    @property
    def model(self) -> Model:
        return Model("m", self.state, deployment=self.deployment)

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            if self.run.probe is READY:
                self.run.answered_at = self.now
            if self.text is not None:
                self.run.metrics.update(self.text, self.now)
            self.watches.look((self.model,), {"m": self.watch}, lambda _: self.run, self.busy, self.now)

    @property
    def told(self) -> tuple[Notice, ...]:
        return self.watches.of(self.run)

    @property
    def rules(self) -> list[Rule]:
        return [notice.rule for notice in self.told]


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


# -- one look ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> History:
    return History(tmp_path / "metrics.sqlite")


def one_look(bench: Bench, kept: History, busy: tuple[str, ...] = ()) -> tuple[Notice, ...]:
    look = Snapshot(time.time(), "box", loading=False, models=(bench.model,))
    return at_a_glance(look, {"m": bench.watch}, lambda _: bench.run, busy, kept).models[0].notices


def just_seen(*texts: str) -> Bench:
    """By one that has scraped it now and, if there are more texts, a second apart before that."""
    bench = Bench()
    bench.deployment = bench.run.deployment = replace(bench.deployment, started_at=time.time() - 500)
    for back, text in zip(range(len(texts) - 1, -1, -1), texts, strict=True):
        bench.run.metrics.update(text, time.time() - back)
        bench.run.reads += 1
    return bench


def measured_by_a_console(kept: History, ago: int, **means: float) -> None:
    """Three steps, the last of which ended so many seconds ago, or a few more."""
    last = int((time.time() - ago) // STEP_S) - 1
    steps = [Step(last - back, 10, means) for back in (2, 1, 0)]
    assert HistoryFile(kept._file._database._path).write({"m": (list(means), steps)}, {})


def test_one_look_tells_what_holds_now(kept: History) -> None:
    bench = just_seen(exposition(kv=0.99))
    assert [one.rule for one in one_look(bench, kept)] == [Rule.KV_CACHE]
    assert one_look(bench, kept, busy=("m",)) == ()
    assert not kept._file._database._path.exists()


def test_one_look_tells_what_came_between_its_two_scrapes(kept: History) -> None:
    bench = just_seen(exposition(failed=7, fast=9), exposition(failed=9, fast=9, slow=3))
    bench.watch = Watch(ttft_p99=0.25)
    failed, slow = one_look(bench, kept)
    assert failed.text.startswith("At least 2 requests failed in the last minute: ")
    assert "is more than" not in slow.text
    assert "is 4.97 s over the last second, longer than 250 ms: " in slow.text
    assert slow.short == "TTFT 5s"
    # What was before this look nobody knows.
    bench = just_seen(exposition(failed=9, slow=3), exposition(failed=9, slow=3))
    bench.watch = Watch(ttft_p99=0.25)
    assert one_look(bench, kept) == ()


@pytest.mark.parametrize(
    ("watch", "text", "wanted"),
    [
        (Watch(), exposition(slow=4), False),
        (Watch(), exposition(failed=1), True),
        (Watch(failures=None), exposition(failed=1, slow=4), False),
        (Watch(ttft_p99=1), exposition(slow=4), True),
        (Watch(ttft_p99=1), exposition(), False),
        (Watch(ttft_p99=1), "nv_inference_request_success 7\n", False),
    ],
)
def test_a_second_scrape_is_made_only_where_it_can_tell_more(watch: Watch, text: str, wanted: bool) -> None:
    assert wants_another(watch, just_seen(text).run) is wanted
    assert not wants_another(watch, just_seen(text, text).run)


def test_where_tokens_are_computed_a_first_one_is_waited_for() -> None:
    tokens, watch = "vllm:generation_tokens_total {}\n", Watch(ttft_p99=1)
    busy = [exposition(slow=4) + tokens.format(count) for count in (10, 20)]
    assert wants_another(watch, just_seen(*busy).run)
    assert not wants_another(Watch(failures=None), just_seen(*busy).run)
    assert not wants_another(watch, just_seen(*busy, exposition(slow=5) + tokens.format(30)).run)


def test_one_look_tells_what_an_open_console_has_measured_of_the_last_minute(kept: History) -> None:
    bench = just_seen(exposition(failed=9, slow=3), exposition(failed=9, slow=3))
    bench.watch = Watch(ttft_p99=0.25)
    measured_by_a_console(kept, 2, failures=0.2, ttft_p99=0.4)
    failed, slow = one_look(bench, kept)
    assert failed.text.startswith("At least 6 requests failed in the last minute: ")
    assert re.search(r"is 400 ms over the minute until \d\d:\d\d:\d\d, longer than 250 ms", slow.text)
    assert slow.short == "TTFT .4s"
    # What was measured of a run before this one is not its.
    bench.deployment = bench.run.deployment = replace(bench.deployment, started_at=time.time() - 1)
    assert one_look(bench, kept) == ()


@pytest.mark.parametrize(
    ("ago", "means"),
    [(2, {"ttft_p99": 0.4, "<ttft_p99": 1.0}), (55, {"ttft_p99": 0.4}), (2, {"ttft_p99": 0.2})],
    ids=["below a bound", "old", "within the limit"],
)
def test_what_a_console_has_measured_and_passes_no_limit(kept: History, ago: int, means: dict[str, float]) -> None:
    bench = just_seen(exposition(slow=3), exposition(slow=3))
    bench.watch = Watch(ttft_p99=0.25)
    measured_by_a_console(kept, ago, **means)
    assert one_look(bench, kept) == ()


@pytest.mark.parametrize(
    ("seconds", "short"),
    [(0.003, "TTFT 3ms"), (0.049, "TTFT49ms"), (0.4, "TTFT .4s"), (2.4, "TTFT 2s"), (31, "TTFT 31s"), (130, "TTFT 2m")],
)
def test_a_time_to_first_token_has_its_figure_in_the_list(kept: History, seconds: float, short: str) -> None:
    bench = just_seen(exposition())
    bench.watch = Watch(ttft_p99=0.002)
    measured_by_a_console(kept, 2, ttft_p99=seconds)
    assert [one.short for one in one_look(bench, kept)] == [short]


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


def test_a_look_at_everything_tells_what_holds_and_the_commands_print_it(
    watching: Watching, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "current", lambda _: None)  # the bench's runtime keeps no lease
    server.metrics = exposition(waiting=7, kv=0.99)
    watching.profile.write_text(f"{PROFILE}watch: {{waiting: 6}}\n")
    watching.docker.held = (running(server.service),)
    folder = watching.profile.parent.parent
    settings = Settings(folder, folder / "state", folder / "cache", (), folder)
    looking = Engine(settings, {"docker": watching.docker})  # type: ignore[dict-item]
    assert main(["status", "m"], lambda _: looking) == 0
    told = capsys.readouterr().out
    assert "notice      7 requests wait, more than 6: " in told
    assert "notice      Its KV cache is 99 % full" in told
    assert main(["ls"], lambda _: looking) == 0
    assert "ready (7 wait, KV 99 %)" in capsys.readouterr().out
    assert main(["status", "--json"], lambda _: looking) == 0
    [model] = [one for one in json.loads(capsys.readouterr().out)["models"] if one["name"] == "m"]
    assert [one["rule"] for one in model["notices"]] == ["waiting", "kv_cache"]
    assert model["notices"][0].keys() == {"rule", "since", "text", "short"}


def test_status_looks_twice_where_a_limit_is_of_what_is_counted(
    watching: Watching, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade, "current", lambda _: None)
    scrapes = 0

    def metrics(_: Server) -> str:
        nonlocal scrapes
        scrapes += 1
        return exposition(failed=scrapes, slow=scrapes * 4)

    monkeypatch.setattr(Server, "metrics", property(metrics), raising=False)
    watching.docker.held = (running(server.service),)
    folder = watching.profile.parent.parent
    settings = Settings(folder, folder / "state", folder / "cache", (), folder)
    looking = Engine(settings, {"docker": watching.docker})  # type: ignore[dict-item]
    watching.profile.write_text(f"{PROFILE}watch: {{ttft_p99: 2s, failures: 0, hold: 1h}}\n")
    assert main(["status", "--json"], lambda _: looking) == 0
    [model] = [one for one in json.loads(capsys.readouterr().out)["models"] if one["name"] == "m"]
    assert [one["rule"] for one in model["notices"]] == ["failures", "ttft_p99"]
    assert "over the last second, longer than 2 s" in model["notices"][1]["text"]
    assert scrapes == 2
    watching.profile.write_text(f"{PROFILE}watch: {{failures: null}}\n")
    assert main(["ls"], lambda _: looking) == 0
    assert "ready (" not in capsys.readouterr().out
    assert scrapes == 3


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
