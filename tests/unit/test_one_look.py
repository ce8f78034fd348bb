"""What `status` and `ls` tell of a deployment that they have looked at for a moment."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine import facade
from engine.facade import Engine
from engine.notice import Notice, Rule
from engine.observe.history_file import HistoryFile
from engine.observe.metric_history import History
from engine.observe.one_look import at_a_glance, wants_another
from engine.observe.timeline import STEP_S, Step
from engine.profile import Watch
from engine.settings import Settings
from engine.snapshot import Snapshot
from tests.unit.monitor_bench import PROFILE, Server, Watching, running, server, watching
from tests.unit.watch_bench import Bench, exposition
from tui.cli import main

__all__ = ["server", "watching"]  # the fixtures


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
    assert re.search(r"over the last (second|\d s), longer than 2 s", model["notices"][1]["text"])
    assert scrapes >= 2
    watching.profile.write_text(f"{PROFILE}watch: {{failures: null}}\n")
    assert main(["ls"], lambda _: looking) == 0
    assert "ready (" not in capsys.readouterr().out
