"""The pane `Load`, by keys: what its events look like, what it measured, and what was measured before."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.deployment import State
from engine.errors import EngineError
from engine.inference.prompt import Fault
from engine.load_plan import Arrival, Level, Objectives
from engine.load_result import Digest, Doubt, Generator, LoadOutcome, LoadProgress, LoadResult
from engine.request import Action
from tests.tui.driving import MODELS, gone, on_main, opened, screen_text, settled, shown, still, told, until
from tests.tui.fake_api import NOW, model, snapshot
from tests.tui.load_driving import OTHER, IdleApi, at, begin, says, tell, under_way
from tests.tui.loads_at_hand import FOUR, LEVELS, ONE, PLAN, REFUSED, digest, level, progress, result
from tui import format as write
from tui.app import Console
from tui.screens.load_export import LoadExport
from tui.screens.question import Question
from tui.widgets import load_pane, load_run
from tui.widgets.load_words import amounts


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> IdleApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    monkeypatch.setattr(load_run, "SILENT_S", 1e9)
    return IdleApi(snapshot(*MODELS, OTHER))


async def test_figures_as_they_come(api: IdleApi) -> None:
    async with at(api, "n", size=(80, 24)) as pilot:
        await begin(pilot, api)
        await shown(pilot, "Waiting for its first figures", "Load◐")
        await tell(api, progress())
        await shown(pilot, "46 %", "2 of 3: 4 at once", "38 done  0 failed  4 in flight", "3.14 req/s  198 tok/s")
        lines = screen_text(pilot).splitlines()
        ttft = next(line for line in lines if "TTFT ms" in line)
        assert ttft[1:42].split() == ["TTFT", "ms", "66.1", "132", "–", "38"], "no p99 of 38 values"
        assert any("p50" in line and "p95" in line and "p99" in line for line in lines)


async def test_failures_and_doubts_are_told_while_it_goes_on(api: IdleApi) -> None:
    async with at(api, "n", size=(80, 24)) as pilot:
        await begin(pilot, api)
        await tell(api, progress(failed=3, failures=(REFUSED,), doubts=(Doubt.CLIENT_SLOW,)))
        await shown(pilot, "▲ 3 × refused: The server answered", "503: [busy].", "! the client was too slow", "TTFT ms")


async def test_throughput_and_ttft_over_time_with_where_the_levels_began(
    api: IdleApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [NOW]
    monkeypatch.setattr(write, "now", lambda: clock[0])
    async with at(api, "n", size=(160, 50)) as pilot:
        await begin(pilot, api)
        for second in range(40):
            clock[0] += 1
            await tell(api, progress(number=1 + second // 20, level=ONE if second < 20 else FOUR))
            await pilot.pause(0.01)
        await shown(pilot, "Output", "TTFT", "p50 / p95", "1 at once", "│4 at once", "198 tok/s")


async def test_one_that_tells_nothing_any_more_is_stale(api: IdleApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress())
        await shown(pilot, "left")
        monkeypatch.setattr(load_run, "SILENT_S", 0.1)
        await shown(pilot, "! nothing heard of it for")


async def test_it_goes_on_while_another_model_is_looked_at_and_its_end_is_told(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await pilot.press("escape", "j", "1")
        await shown(pilot, "Load ◐")
        await tell(api, progress())
        await settled(pilot)
        await pilot.press("4")
        await shown(pilot, "A load test of llama3-70b is under way, and two at once would measure each other")
        await settled(pilot)
        assert "new test" not in screen_text(pilot)
        await tell(api, result())
        await gone(pilot, "Load ◐")
        await gone(pilot, "is under way")
        await shown(pilot, "n new test ")
        await pilot.press("escape", "1")
        await settled(pilot)
        await pilot.press("escape", "g", "4")
        await shown(pilot, "● done", "16 !")


async def test_the_end_is_told_to_who_looks_elsewhere(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await pilot.press("escape", "1")
        await settled(pilot)
        await tell(api, result())
        await told(pilot, "Its results are in Load.")


async def test_stopping_asks_the_engine_once_and_shows_what_was_measured(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress())
        await shown(pilot, "2 of 3")
        await pilot.press("X", "X")
        await shown(pilot, "stopping: what was measured is kept")
        assert api.loads_stopped == ["llama3-70b"]
        await tell(api, replace(result(levels=LEVELS[:1]), outcome=LoadOutcome.STOPPED, message="It was stopped."))
        await shown(pilot, "■ stopped", "It was stopped.", "41.2/124 ms")


async def test_leaving_the_console_says_that_it_ends_and_ends_it(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await shown(pilot, "The load test of llama3-70b ends with the console")
        await pilot.press("n")
        await on_main(pilot)
        assert not api.loads_stopped
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("y")
    assert api.loads_stopped == ["llama3-70b"]


async def test_ctrl_q_asks_too_and_once_more_leaves(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("n")
        await on_main(pilot)
        assert not api.loads_stopped
        await pilot.press("ctrl+q")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await pilot.press("ctrl+q")
    assert api.loads_stopped == ["llama3-70b"]


async def test_it_is_not_in_the_way_of_who_stops_its_model(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress())
        await shown(pilot, "2 of 3")
        api.show(replace(api.latest, operations=(under_way(Action.SWAP, "mixtral", outgoing=("mistral",)),)))
        await settled(pilot)
        assert not api.loads_stopped, "another model's is none of its business"
        swap = under_way(Action.SWAP, "mixtral", outgoing=("llama3-70b",))
        api.show(replace(api.latest, operations=(swap,)))
        api.show(replace(api.latest, operations=(swap,)))
        await told(pilot, "“swap llama3-70b → mixtral” has begun. What was measured until then is kept.")
        await shown(pilot, "stopping: “swap llama3-70b → mixtral” has begun.")
        assert api.loads_stopped == ["llama3-70b"]
        stopped = replace(result(levels=LEVELS[:1]), outcome=LoadOutcome.STOPPED, message="It was stopped.")
        await tell(api, stopped)
        await shown(pilot, "■ “swap llama3-70b → mixtral” has begun. It was stopped.")


async def test_it_ends_with_its_model(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress())
        api.change(model("llama3-70b", State.UNREACHABLE))
        await settled(pilot)
        assert not api.loads_stopped, "one that is too busy to say that it is well is still measured"
        api.change(model("llama3-70b", State.FAILED, detail="exit code 1"))
        await told(pilot, "llama3-70b has failed.")
        assert api.loads_stopped == ["llama3-70b"]


async def test_a_server_that_answers_nothing_any_more_is_told(api: IdleApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_run, "WAITING_S", 0.2)
    slow = progress(e2e=Digest(2, most=0.05))
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, slow)
        await shown(pilot, "! no answer has ended for")
        await tell(api, replace(slow, done=slow.done + 1))
        await gone(pilot, "no answer has ended for")


async def test_what_is_awaited_after_the_last_was_sent(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress(elapsed_s=16.0, in_flight=92, requests_per_s=4.6))
        await shown(pilot, "92 answers are awaited, about 20s")


async def test_nothing_is_known_before_the_first_answer_of_a_level(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, progress(done=0, requests_per_s=0.0, output_tokens_per_s=0.0, ttft=Digest()))
        await shown(pilot, "– req/s  – tok/s  ended in 5s")


def test_the_course_of_ttft_is_of_the_last_seconds() -> None:
    run = load_run.LoadRun("llama3-70b", PLAN)
    for recent in (digest(0.5), Digest()):
        run.receive(progress(ttft=digest(0.1), ttft_recent=recent))
        run.take()
    assert run.series()[1].values == (0.5, None)


def test_one_straggler_leaves_the_usual_figures_readable() -> None:
    assert amounts(Digest(500, p50=0.0252, p99=0.24, most=4.49), "p50", "p99", "most") == ("25.2", "240", "4490", "ms")
    assert amounts(Digest(500, p50=0.81, p99=2.43), "p50", "p99") == ("0.81", "2.43", "s")


async def test_the_next_result_takes_the_place_of_the_last(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        await tell(api, result())
        await shown(pilot, "● done", "16 !")
        api.loads_asked.clear()
        await pilot.press("n")
        await shown(pilot, "each level")
        await begin(pilot, api)
        await tell(api, replace(result("2", LEVELS[:1]), outcome=LoadOutcome.STOPPED))
        await shown(pilot, "■ stopped")
        assert "16 !" not in screen_text(pilot)


# What it measured


async def test_a_row_a_level_with_what_speaks_against_it(api: IdleApi) -> None:
    async with at(api, "n", size=(120, 60)) as pilot:
        await begin(pilot, api)
        await tell(api, progress(), result())
        await shown(pilot, "● done", "! 16 at once: the client was too slow", "▲ 3 × refused", "output, tok/s")
        lines = screen_text(pilot).splitlines()
        four = next(line for line in lines if line[1:].startswith(" 4   "))
        cells = ["4", "100", "0", "3.17", "203", "66/198", "ms", "12.1/36.3", "ms", "0.81/2.43", "s", "72.6/40.1", "ms"]
        assert four.strip("┃ ").split() == cells
        assert "311/– ms" in screen_text(pilot), "97 values have no p99"


async def test_every_distribution_of_a_level_and_what_they_mean(api: IdleApi) -> None:
    objectives = replace(PLAN, objectives=Objectives(ttft_s=0.2), levels=(Level(Arrival.POISSON, 2.0),))
    open_loop = replace(level(objectives.levels[0]), good=88, goodput_per_s=1.7, ttft_intended=digest(0.52))
    async with at(api, "n", size=(120, 60)) as pilot:
        await begin(pilot, api)
        await tell(api, result(levels=(open_loop,), plan=objectives))
        await shown(
            pilot,
            "0.52/1.56 s",
            "goodput/s",
            "88 of 100 good",
            "TTFT from sending",
            "server TTFT",
            "client woke late by",
        )
        await pilot.press("i")
        await shown(pilot, "time to first token", "inter-token latency", "nearest ranks")
        await pilot.press("escape")
        await shown(pilot, "88 of 100 good")


async def test_in_a_narrow_window_fewer_figures_are_shown_and_none_is_cut(api: IdleApi) -> None:
    async with at(api, "n", size=(60, 50)) as pilot:
        await begin(pilot, api)
        await tell(api, result(levels=LEVELS[:1]))
        await shown(pilot, "client woke late by")
        gap = next(line for line in screen_text(pilot).splitlines() if line.strip("┃ ").startswith("gap"))
        assert gap.strip("┃ ").split() == ["gap", "12.2", "24.4", "36.6", "48.8", "ms", "6,300"]


async def test_a_test_that_failed_says_why(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await begin(pilot, api)
        message = "llama3-70b has no model `prose`. Name one that it has."
        await tell(api, replace(result(levels=()), outcome=LoadOutcome.FAILED, message=message))
        await shown(pilot, "▲ failed", message, "Nothing was measured")


async def test_what_made_it_late_is_told_with_the_figures(api: IdleApi) -> None:
    late = replace(
        level(), doubts=(Doubt.CLIENT_SLOW,), generator=Generator(digest(0.032), Digest(50, p95=0.0961), 0.04)
    )
    async with at(api, "n", size=(160, 60)) as pilot:
        await begin(pilot, api)
        await tell(api, result(levels=(late,)))
        await shown(
            pilot,
            "! 1 at once: the client was too slow (it woke 96.0 ms late, it sent 96.1 ms late, it used 4 % of a core):",
            "others on this machine had the processor, ",
        )


# Earlier ones


async def test_earlier_tests_are_listed_opened_and_left(api: IdleApi) -> None:
    api.kept_loads = [result(), result("2", LEVELS[:1], ago=4000)]
    async with at(api, "ctrl+r") as pilot:
        await shown(pilot, "best 488 tok/s", "● ! 2027", "best 61 tok/s", "! the client was too slow")
        await pilot.press("j", "enter")
        await shown(pilot, "prose by openai")
        assert "16 !" not in screen_text(pilot)
        await pilot.press("escape")
        await shown(pilot, "best 488 tok/s")
        await pilot.press("escape")
        await shown(pilot, "2 tests are kept")


async def test_the_list_tells_tests_apart_and_says_why_one_measured_nothing(api: IdleApi) -> None:
    refused = replace(
        result("9be1774d", ()), outcome=LoadOutcome.FAILED, message="prose has no LoRA adapter sql. It has fr, de."
    )
    api.kept_loads = [refused, result("3fa0b2c1")]
    async with at(api, "ctrl+r") as pilot:
        await shown(pilot, "9be1774d  1, 4, 16 at once  prose has no LoRA adapter sql. It has fr, de.", "3fa0b2c1  1")
        await pilot.resize_terminal(80, 24)
        await gone(pilot, "9be1774d")
        await shown(pilot, "at once  prose has no LoRA adapter sql. It h…")


async def test_one_that_others_made_is_there_when_the_pane_is_looked_at_again(api: IdleApi) -> None:
    async with at(api) as pilot:
        await shown(pilot, "No test of it is kept yet.")
        await pilot.press("1")
        await settled(pilot)
        api.kept_loads = [result()]
        await pilot.press("4")
        await shown(pilot, "1 test is kept")


async def test_one_that_others_make_meanwhile_shows(api: IdleApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_pane, "LOOK_S", 0.05)
    async with at(api) as pilot:
        await shown(pilot, "No test of it is kept yet.")
        api.kept_loads = [result()]
        await shown(pilot, "1 test is kept")


async def test_two_are_compared_the_older_first_with_what_exceeds_the_noise(api: IdleApi) -> None:
    newer = result(levels=(level(ttft=0.06), level(ttft=0.061, repeat=1), level(FOUR)))
    older = result("2", (level(ttft=0.04), level(ttft=0.041, repeat=1), level(FOUR)), ago=4000)
    api.kept_loads = [newer, replace(older, machine="laptop")]
    async with at(api, "ctrl+r") as pilot:
        await shown(pilot, "space marks two")
        await pilot.press("b")
        await told(pilot, "Mark two load tests")
        await pilot.press("space", "j", "b")
        await shown(pilot, "! client: laptop → gpu-box-3", "within noise", "noise not known")
        row = next(line for line in screen_text(pilot).splitlines() if "TTFT p50" in line).strip("┃ ").split()
        assert row[2:9] == ["40.5", "ms", "60.5", "ms", "+49.4", "%", "±7.5"]
        assert row[-1] == "worse"
        await pilot.press("escape")
        await shown(pilot, "space marks two")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "No load test of llama3-70b is kept yet: n begins one."),
        (
            EngineError("The store cannot be read.", "Look at its disk."),
            "▲ The store cannot be read. Look at its disk.",
        ),
    ],
)
async def test_no_earlier_tests(api: IdleApi, error: EngineError | None, said: str) -> None:
    api.loads_error = error
    async with at(api, "ctrl+r") as pilot:
        await shown(pilot, said)


async def test_one_is_written_to_a_file(api: IdleApi, tmp_path: Path) -> None:
    api.kept_loads = [result("7")]
    async with at(api, "ctrl+r") as pilot:
        await shown(pilot, "best 488 tok/s")
        await pilot.press("enter", "S")
        await until(pilot, lambda: isinstance(pilot.app.screen, LoadExport))
        await shown(pilot, "load-llama3-70b-", ".html", "a page with tables and pictures")
        await pilot.press("down", "down")
        await shown(pilot, ".csv", "a line a request")
        name = pilot.app.screen.query_one("#export-name")
        name.value = str(tmp_path / "x.doc")  # type: ignore[attr-defined]
        await shown(pilot, "▲ The name ends with .html, .json, .csv, .svg")
        taken = tmp_path / "taken.json"
        taken.write_text("mine")
        name.value = str(taken)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await says(pilot, "export-says", "exists already, and is left as it is.")
        api.export_error = EngineError("The folder cannot be written.")
        name.value = str(tmp_path / "x.json")  # type: ignore[attr-defined]
        await pilot.press("enter")
        await says(pilot, "export-says", "▲ The folder cannot be written.")
        api.export_error, api.export_lacks = None, 7
        await pilot.press("enter")
        await told(pilot, "x.json. 7 of its requests are not kept any more, and not in it.")
        assert api.exported == [("7", tmp_path / "x.json")]


def test_hostile_text_is_cleaned() -> None:
    from tui.widgets.load_table import failure_lines

    evil = replace(REFUSED, example="\x1b]52;c;eA==\x07 no\nline", fault=Fault.ERROR)
    assert not any(sign in failure_lines([evil])[0] for sign in "\x1b\x07\n")


PICTURES: dict[str, tuple[list[str], Sequence[LoadProgress | LoadResult], str]] = {
    "form": (["n"], (), "At most 300 requests"),
    "live": (
        ["n"],
        [progress(number=1, level=ONE, done=12 + n, ttft=Digest(12, p50=0.04, p95=0.06)) for n in range(3)]
        + [progress(failed=3, failures=(REFUSED,))],
        "3 failed",
    ),
    "result": (["n"], [result()], "● done"),
    "earlier": (["ctrl+r"], (), "best 488 tok/s"),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: IdleApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    keys, events, awaited = PICTURES[name]
    api.kept_loads = [result(), result("2", LEVELS[:1], ago=4000)] if name == "earlier" else []

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press(*keys)
        if events:
            await begin(pilot, api)
            await tell(api, *events)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
