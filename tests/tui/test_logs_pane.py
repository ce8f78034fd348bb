import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

import tui.app
from engine.freshness import Freshness
from engine.log_line import Level, LineKind, Styled
from tests.tui.driving import opened, shown, still
from tests.tui.fake_api import FakeApi
from tests.tui.log_driving import SNAPSHOT, FakeFeed, at, console, model
from tui.widgets.log_pattern import compile_pattern
from tui.widgets.log_prompt import LogPrompt
from tui.widgets.log_search import LogSearch
from tui.widgets.log_view import LogView
from tui.widgets.logs_pane import NO_MODEL, NOT_STARTED


async def test_it_follows_the_end() -> None:
    async with console(lines=100) as screen:
        assert screen.rows[-1] == "line 99"
        await screen.add("line 100", "line 101")
        assert screen.rows[-2:] == ["line 100", "line 101"]
        assert screen.status == "● live  102 lines  follow"


async def test_scrolling_up_stays_put_while_lines_come_and_go() -> None:
    async with console(lines=100) as screen:
        await screen.press("pageup", "up")
        seen = screen.rows
        await screen.add(*["more"] * 1000)
        screen.feed.drop(50)
        await screen.pilot.pause()
        assert screen.rows == seen
        below = 1100 - 1 - int(seen[-1].removeprefix("line "))
        assert f"follow off · {below:,} lines below" in screen.status
        await screen.press("G")
        assert screen.rows[-1] == "more"
        assert screen.status.endswith("follow")


async def test_scrolling_down_to_the_end_follows_again() -> None:
    async with console(lines=100) as screen:
        await screen.press("k", "k")
        assert "follow off · 2 lines below" in screen.status
        await screen.press("j", "j")
        await screen.add("line 100")
        assert screen.rows[-1] == "line 100"


async def test_dropped_lines_are_counted_above_the_oldest() -> None:
    async with console(lines=200) as screen:
        screen.feed.first = 12_345
        await screen.press("g")
        assert screen.rows[:2] == ["12,345 older lines dropped", "line 0"]


async def test_what_is_read_goes_on_from_the_oldest_line_when_it_is_dropped() -> None:
    async with console(lines=200) as screen:
        await screen.press("g")
        screen.feed.drop(150)
        await screen.pilot.pause()
        assert screen.rows[1:3] == ["line 150", "line 151"]


async def test_a_pause_freezes_even_what_is_dropped() -> None:
    async with console(lines=100) as screen:
        await screen.press("space")
        seen = screen.rows
        await screen.add("line 100")
        screen.feed.drop(100)
        await screen.pilot.pause()
        assert screen.rows == seen
        assert "paused · 1 line below" in screen.status
        await screen.press("space")
        assert screen.rows[:2] == ["100 older lines dropped", "line 100"]


async def test_wrapped_rows_show_all_of_a_line_and_wide_characters_fit() -> None:
    text = "模型加载中 🤖 loading " * 20
    async with console(size=(60, 20)) as screen:
        await screen.add("before", text, "after")
        assert cell_len(screen.rows[1]) <= 60
        await screen.press("W")
        assert "".join(screen.rows).count("模型加载中") >= 18
        assert all(screen.view.render_line(y).cell_length == 60 for y in range(5))
        assert screen.rows[0] == "before"
        assert "after" in screen.rows
        assert "wrap" in screen.status


async def test_a_wrapped_line_taller_than_the_screen_can_be_read_through() -> None:
    pieces = [f"{number:04}" for number in range(600)]
    async with console(size=(60, 20)) as screen:
        await screen.add("first", "".join(pieces), "last")
        await screen.press("W")
        seen = ""
        await screen.press("g")
        for _ in range(200):
            seen += screen.rows[0]
            if screen.rows[-1] == "last":
                break
            await screen.press("down")
        assert "".join([seen.removeprefix("first"), *screen.rows[1:]]) == "".join(pieces) + "last"


async def test_sideways_shows_the_rest_of_long_lines() -> None:
    async with console(size=(60, 20)) as screen:
        await screen.add("0123456789" * 12)
        await screen.press("right")
        assert screen.rows[0] == ("0123456789" * 12)[16:74]
        await screen.press("left", "left")
        assert screen.rows[0].startswith("01234")


async def test_times_are_local() -> None:
    async with console(lines=1) as screen:
        await screen.press("t")
        local = datetime(2025, 11, 20, 23, 44, 48, tzinfo=UTC).astimezone()
        assert screen.whole_rows[0] == f"{local:%H:%M:%S}.551   line 0"


async def test_search_counts_marks_and_goes_from_match_to_match() -> None:
    async with console(lines=5000) as screen:
        await screen.press("slash", *"e 4.99$")
        await screen.until(lambda: "10 match" in screen.status)
        await screen.press("enter")
        await screen.until(lambda: "match 10 of 10" in screen.status)
        assert "line 4999" in screen.rows
        await screen.press("N")
        assert "match 9 of 10" in screen.status
        assert "line 4899" in screen.rows
        row = screen.rows.index("line 4899")
        marked = [segment.text for segment in screen.view.render_line(row) if segment.style and segment.style.reverse]
        assert marked == ["e 4899"]
        await screen.press("n", "n")
        assert "match 1 of 10" in screen.status
        await screen.add("the e 4399")
        await screen.until(lambda: "match 1 of 11" in screen.status)
        await screen.press("escape")
        assert "match" not in screen.status


async def test_a_pattern_that_is_none_is_a_message() -> None:
    async with console(lines=10) as screen:
        await screen.press("slash", "(")
        await screen.until(lambda: screen.trouble)
        assert screen.trouble.startswith("Not a regular expression: missing ), unterminated subpattern")
        await screen.press("escape")
        await screen.until(lambda: not screen.trouble)
        assert not screen.app.query_one(LogPrompt).display
        assert screen.app.focused is screen.view


async def test_a_full_log_is_searched_in_slices() -> None:
    feed = FakeFeed(lambda: None)
    feed.kept = [f"line {number}" for number in range(100_000)]
    search = LogSearch(feed, compile_pattern("line 9999."))
    slices = 1
    while search.advance():
        slices += 1
    assert slices > 3
    assert search.count == 10
    feed.drop(99_995)
    assert (search.count, search.after(0), search.before(0)) == (5, 99_995, 99_999)


async def test_copy_takes_the_selected_line_or_the_screen() -> None:
    async with console(lines=100) as screen:
        await screen.press("y")
        assert screen.app.clipboard == "\n".join(screen.rows)
        await screen.pilot.click(LogView, offset=(3, 5))
        await screen.press("y")
        assert screen.app.clipboard == screen.rows[5]


async def test_a_log_opens_for_a_deployment_and_closes_with_it() -> None:
    async with console(lines=3) as screen:
        first = screen.feed
        screen.pane.show_model(model(), SNAPSHOT)
        assert screen.api.opened == ["qwen"]
        screen.pane.show_model(model("llama"), SNAPSHOT)
        assert first.closed
        assert screen.api.opened == ["qwen", "llama"]
        screen.pane.show_model(model("llama", deployed=False), SNAPSHOT)
        assert screen.api.feeds["llama"].closed
        await screen.until(lambda: NOT_STARTED in "".join(screen.rows))
        screen.pane.show_model(None, SNAPSHOT)
        await screen.until(lambda: NO_MODEL in "".join(screen.rows))
        screen.pane.show_model(model("third"), SNAPSHOT)
    assert screen.api.feeds["third"].closed


async def test_a_hidden_pane_opens_nothing() -> None:
    async with console() as screen:
        screen.pane.display = False
        screen.pane.show_model(model("llama"), SNAPSHOT)
        assert screen.feed.closed
        assert screen.api.opened == ["qwen"]
        screen.pane.display = True
        screen.pane.show_model(model("llama"), SNAPSHOT)
        assert screen.api.opened == ["qwen", "llama"]


async def test_trouble_says_since_when_and_why_and_keeps_the_lines() -> None:
    async with console(lines=3) as screen:
        screen.feed.freshness = Freshness.STALE
        screen.feed.message = "Docker does not answer. Start it."
        screen.feed.changed()
        await screen.until(lambda: screen.trouble == "Docker does not answer. Start it.")
        assert screen.status.startswith("▲ stale since ")
        assert "line 2" in screen.rows
        screen.feed.freshness, screen.feed.message = Freshness.FRESH, "ended"
        screen.feed.changed()
        await screen.until(lambda: screen.status.startswith("■ ended"))
        assert not screen.trouble


async def test_markup_in_a_log_is_only_text() -> None:
    async with console() as screen:
        await screen.add("[bold]not markup[/] [link=x]")
        assert screen.rows[0] == "[bold]not markup[/] [link=x]"


async def test_changes_told_from_another_thread_arrive() -> None:
    async with console() as screen:
        screen.feed.kept = ["from elsewhere"]
        await asyncio.to_thread(screen.feed.changed)
        await screen.until(lambda: screen.rows[0] == "from elsewhere")


async def test_the_footer_names_the_keys() -> None:
    async with console(lines=1) as screen:
        shown = {binding.binding.key for binding in screen.app.screen.active_bindings.values() if binding.binding.show}
        assert {"f", "space", "W", "t", "slash", "y"} <= shown
        assert not {"n", "escape"} & shown
        await screen.press("slash", "l", "enter")
        shown = {binding.binding.key for binding in screen.app.screen.active_bindings.values() if binding.binding.show}
        assert {"n", "N", "escape"} <= shown


PICTURES = {
    "folded": (),
    "marked": ("t", "t", "t", "v", "up", "up"),
    "errors": ("l", "l", "F", "c", "o", "r", "e"),
    "unfolded": ("O", "slash", "c", "o", "r", "e", "enter"),
}
TRITON = ("== Triton Inference Server ==", "", "NVIDIA Release 25.12 (build 240866489)", "Triton Server Version 2.63.0")
CORE = "(EngineCore_DP0 pid=272)"
CORE_ERROR = f"{CORE} ERROR 11-20 23:54:23 [core.py:708]"
SAMPLE = [
    *(at(text, kind=LineKind.BANNER) for text in TRITON),
    at(f"{CORE} INFO 11-20 23:50:02 [core.py:93] Initializing", Level.INFO, styled=(Styled(0, 24, "cyan"),)),
    at(f"{CORE} WARNING 11-20 23:50:04 [cuda.py:217] Capture sizes are large", Level.WARNING),
    at("Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:07<00:08,  4.13s/it]", kind=LineKind.PROGRESS),
    at("1,234 lines are missing here", kind=LineKind.GAP),
    at(f"{CORE_ERROR} Traceback (most recent call last):", Level.ERROR, LineKind.TRACEBACK),
    *(at(f'{CORE_ERROR}   File "core.py", line {line}, in run', Level.ERROR, LineKind.FRAME) for line in range(6)),
    at(f"{CORE_ERROR} ValueError: No available memory for the cache blocks.", Level.ERROR),
]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    api.log = list(SAMPLE)

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await shown(pilot, "ValueErr")
        await pilot.press("1", *PICTURES[name])
        await still(pilot)

    assert snap_compare(tui.app.Console(lambda: api), run_before=prepare, terminal_size=size)
