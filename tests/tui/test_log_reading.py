"""How a log reads: levels, folds, filters, times and jumps."""

import re
from datetime import UTC, datetime

import pytest
from textual.color import Color

from engine.log_line import Level, LineKind, LogLine, LogMark, MarkKind, Styled
from tests.tui.log_driving import FakeFeed, Screen, at, console, traceback
from tui.widgets.log_filter import FilteredLines, LogFilter
from tui.widgets.log_look import style_of

VLLM = "(EngineCore_DP0 pid=272) ERROR 11-20 23:54:23 [core.py:708] "


def colours(screen: Screen, y: int) -> dict[str, str]:
    """Of each piece of a row: its colour."""
    row = screen.view.render_line(y)
    return {piece.text: str(piece.style.color.name) for piece in row if piece.style and piece.style.color}


async def test_levels_have_a_letter_and_a_line_on_stderr_is_no_error() -> None:
    async with console() as screen:
        await screen.add(
            at("I1120 23:44:48.551677 5040 server.cc:1] fine", Level.INFO),
            at("W1120 23:44:48.551677 5040 server.cc:1] hm", Level.WARNING),
            at("E1120 23:44:48.551677 5040 server.cc:1] bad", Level.ERROR),
            at("CRITICAL worse", Level.FATAL),
            at("DEBUG little", Level.DEBUG),
            at("a plain line of standard error"),
        )
        assert "".join(row[0] if row else " " for row in screen.whole_rows)[:6] == " WEFD "
        error, plain = colours(screen, 2), colours(screen, 5)
        assert error["E"] == error["bad"] != error["E1120 23:44:48.551677 5040 server.cc:1] "]
        assert error["bad"] not in plain.values()


def test_a_writers_colours_are_the_themes() -> None:
    hues = {"red": style_of("bold", {}, Color(0, 0, 0))}
    assert style_of("bright_red underline", hues, Color(0, 0, 0)).bold
    assert style_of("#000010", {}, Color(0, 0, 0)).color is None
    assert style_of("#ffffff", {}, Color(0, 0, 0)).color is not None
    assert style_of("rubbish bright_black", {}, Color(0, 0, 0)).color is None


async def test_coloured_parts_lie_below_matches() -> None:
    async with console() as screen:
        await screen.add(at("all green here", styled=(Styled(4, 9, "green"),)))
        shown = colours(screen, 0)
        assert shown["green"] != shown[" here"]
        await screen.press("slash", *"een h")
        matched = [piece.text for piece in screen.view.render_line(0) if piece.style and piece.style.reverse]
        assert "".join(matched) == "een h"


# Folding


async def test_a_traceback_is_one_row_until_it_is_unfolded() -> None:
    async with console() as screen:
        await screen.add("before", *traceback(10), "after")
        assert screen.whole_rows[:4] == ["  before", "E ▸ Traceback (11 lines)", "E ValueError: no", "  after"]
        await screen.press("o")
        assert screen.whole_rows[1] == "E▌Traceback (most recent call last):"
        assert screen.rows[11:13] == ['  File "a.py", line 9, in call', "ValueError: no"]
        await screen.press("j", "o")
        assert screen.rows[:2] == ["before", "▸ Traceback (11 lines)"]


async def test_the_traceback_below_an_error_is_unfolded_and_not_the_last_on_the_screen() -> None:
    async with console() as screen:
        await screen.add("failed to start", *traceback(5), "again", *traceback(7), "after")
        screen.feed.marks = [LogMark(0, MarkKind.ERROR)]
        await screen.press("E", "o")
        assert screen.rows[:3] == [
            "failed to start",
            "Traceback (most recent call last):",
            '  File "a.py", line 0, in call',
        ]
        assert "▸ Traceback (8 lines)" in screen.rows


async def test_all_are_unfolded_and_banners_are_folded_too() -> None:
    banner = [at(text, kind=LineKind.BANNER) for text in ("=====", "== Triton Inference Server ==", "=====")]
    vllm = [
        at(f"{VLLM}Traceback (most recent call last):", Level.ERROR, LineKind.TRACEBACK),
        at(f'{VLLM}  File "a.py", line 1, in x', Level.ERROR, LineKind.FRAME),
        at(f"{VLLM}    x()", Level.ERROR, LineKind.FRAME),
        at(f"{VLLM}RuntimeError: no", Level.ERROR),
    ]
    async with console(size=(110, 40)) as screen:
        await screen.add("", *banner, "", "between", *vllm)
        assert screen.rows[:4] == [
            "▸ Triton Inference Server (5 lines)",
            "between",
            f"{VLLM}▸ Traceback (3 lines)",
            f"{VLLM}RuntimeError: no",
        ]
        await screen.press("O")
        assert screen.rows[2] == "== Triton Inference Server =="
        assert "▾" in screen.whole_rows[0]
        await screen.press("O")
        assert screen.rows[1] == "between"


async def test_a_search_unfolds_what_it_finds() -> None:
    async with console() as screen:
        await screen.add(*traceback(40), *(f"line {number}" for number in range(100)), *traceback(40))
        await screen.press("slash", *"line 39", "enter")
        await screen.until(lambda: "match 3 of 3" in screen.status)
        assert '  File "a.py", line 39, in call' in screen.rows
        await screen.press("n")
        assert '  File "a.py", line 39, in call' in screen.rows
        assert "match 1 of 3" in screen.status


async def test_folds_scroll_by_rows_both_ways() -> None:
    lines: list[str | LogLine] = []
    for number in range(60):
        lines += [f"step {number}", *traceback(5 + number % 7)]
    async with console(size=(60, 20)) as screen:
        await screen.add(*lines)
        await screen.press("g")
        down = [screen.rows[0]]
        while not screen.view.follow:
            screen.view.action_rows(1)
            down.append(screen.rows[0])
        end = screen.rows
        up = [screen.rows[0]]
        while screen.rows[0] != "step 0":
            screen.view.action_rows(-1)
            up.append(screen.rows[0])
        assert up == down[::-1]
        assert len([*down[:-1], *end]) == 180


async def test_a_traceback_that_grows_stays_one_row_and_one_that_is_endless_is_bounded() -> None:
    async with console(size=(60, 20)) as screen:
        await screen.add("x", *traceback(10)[:5])
        assert screen.rows[1] == "▸ Traceback (5 lines)"
        await screen.add(*traceback(10)[5:])
        assert screen.rows[1] == "▸ Traceback (11 lines)"
        await screen.add(*traceback(20_000))
        await screen.until(lambda: screen.rows[0:1] == ["x"])
        assert len([row for row in screen.rows if row.startswith("▸")]) == 6


async def test_a_gap_is_a_divider() -> None:
    async with console(size=(60, 20)) as screen:
        await screen.add("before", at("1,234 lines are missing here", kind=LineKind.GAP), "after")
        assert screen.whole_rows[1] == "╌╌╌ 1,234 lines are missing here ".ljust(60, "╌")


# Filtering


async def test_levels_filter_and_say_how_many_of_how_many() -> None:
    async with console(lines=500) as screen:
        await screen.add(at("careful", Level.WARNING), at("broken", Level.ERROR), *traceback(4), "fine")
        await screen.press("l")
        await screen.until(lambda: "8 of 509 lines: warnings and worse" in screen.status)
        assert screen.rows[:5] == ["careful", "broken", "▸ Traceback (5 lines)", "ValueError: no", ""]
        await screen.press("l")
        await screen.until(lambda: "7 of 509 lines: errors" in screen.status)
        assert screen.rows[0] == "broken"
        await screen.press("l")
        await screen.until(lambda: "509 lines  follow" in screen.status)
        assert screen.rows[-1] == "fine"


async def test_what_is_indented_below_an_error_belongs_to_it() -> None:
    async with console() as screen:
        await screen.add(
            at("ValidationError: 1 error", Level.ERROR), "  max_model_len too large", "plain", "  of the plain one"
        )
        await screen.press("l")
        await screen.until(lambda: "2 of 4" in screen.status)
        assert screen.rows[:2] == ["ValidationError: 1 error", "  max_model_len too large"]


async def test_a_filter_follows_and_keeps_the_place() -> None:
    async with console(lines=2000) as screen:
        await screen.press("F", *"7$", "enter")
        await screen.until(lambda: "200 of 2,000 lines: with 7$" in screen.status)
        assert screen.rows[-1] == "line 1997"
        await screen.add("line 2007", "line 2008")
        await screen.until(lambda: screen.rows[-1] == "line 2007")
        await screen.press("pageup", "pageup")
        place = screen.rows[0]
        assert "follow off" in screen.status
        await screen.press("escape")
        await screen.until(lambda: " of " not in screen.status)
        assert screen.rows[0] == place
        assert int(screen.rows[1].removeprefix("line ")) == int(place.removeprefix("line ")) + 1
        await screen.press("F", *"!7$", "enter")
        await screen.until(lambda: "1,801 of 2,002 lines: without 7$" in screen.status)
        assert int(screen.rows[0].removeprefix("line ")) == int(place.removeprefix("line ")) + 1


async def test_a_filter_that_lets_nothing_through_says_so_and_a_wrong_one_is_a_message() -> None:
    async with console(lines=50) as screen:
        await screen.press("F", *"no such", "enter")
        await screen.until(lambda: "The filter lets no line through." in "".join(screen.rows))
        assert "0 of 50 lines: with no such" in screen.status
        await screen.press("F", "(")
        await screen.until(lambda: "Not a regular expression" in screen.trouble)
        assert "with no such" in screen.status
        await screen.press("escape")
        await screen.until(lambda: screen.rows[-1] == "line 49")


async def test_a_search_looks_only_at_what_is_shown() -> None:
    async with console(lines=1000) as screen:
        await screen.press("slash", *"line 9", "enter")
        await screen.until(lambda: "of 111" in screen.status)
        await screen.press("F", *"7$", "enter")
        await screen.until(lambda: "  11 match" in screen.status)


def test_a_full_log_is_filtered_in_slices_and_goes_on() -> None:
    feed = FakeFeed(lambda: None)
    feed.kept = [f"line {number}" for number in range(100_000)]
    lines = FilteredLines(feed, LogFilter(pattern=re.compile("7$")))
    slices = 1
    while lines.scan.advance():
        slices += 1
    assert slices > 3
    assert lines.count == 10_000
    assert [line.seq for line in lines.up_to(100_000, 2)] == [99_987, 99_997]
    assert [line.seq for line in lines.from_on(55_500, 2)] == [55_507, 55_517]
    feed.drop(99_990)
    feed.add("at 17", "at 18")
    lines.scan.look_again_at_last()
    assert not lines.scan.advance()
    assert (lines.count, lines.below(99_997)) == (2, 1)


@pytest.mark.parametrize("keys", [("slash",), ("F",)], ids=["search", "filter"])
async def test_no_pattern_holds_the_console(keys: tuple[str, ...]) -> None:
    async with console(lines=50) as screen:
        await screen.add("a" * 8000 + "b")
        begun = datetime.now(UTC)
        await screen.press(*keys, *"(a+)+$")
        await screen.until(lambda: "takes too long" in screen.trouble)
        assert (datetime.now(UTC) - begun).total_seconds() < 5
        await screen.until(lambda: screen.rows[-1].startswith("aaaa"))
        await screen.press("escape")
        await screen.until(lambda: not screen.trouble)
        assert "of" not in screen.status.split()


# Times and jumps


async def test_times_go_round_and_a_run_has_its_own() -> None:
    async with console() as screen:
        line = at("x")
        screen.feed.marks = [LogMark(1, MarkKind.RUN)]
        times = ("2025-11-20T23:44:48.5Z", "2025-11-20T23:50:00.000000000Z", "2025-11-21T01:00:01.250000000Z")
        await screen.add(*(type(line)(0, stamp, "x") for stamp in (times[0], *times[1:])), type(line)(0, "", "no time"))
        await screen.press("t")
        assert "local time" in screen.status
        await screen.press("t")
        assert screen.whole_rows[1] == "23:50:00.000Z   x"
        await screen.press("t")
        assert screen.whole_rows[1:4] == ["+0:00:00.000    x", "+1:10:01.250    x", f"{'':16}no time"]
        screen.feed.drop(2)
        await screen.until(lambda: screen.whole_rows[1:2] == ["+1:10:01.250    x"])
        await screen.press("t")
        assert "time" not in screen.status


async def test_jumps_to_errors_and_phases() -> None:
    async with console(lines=300) as screen:
        errors = [LogMark(seq, MarkKind.ERROR) for seq in (50, 150, 250)]
        phases = [LogMark(20, MarkKind.PHASE, "weights"), LogMark(120, MarkKind.PHASE, "KV cache")]
        screen.feed.marks = sorted([*errors, *phases], key=lambda mark: mark.seq)
        await screen.press("E")
        assert "error 1 of 3" in screen.status
        assert "line 50" in screen.rows
        await screen.press("E")
        assert "error 2 of 3" in screen.status
        await screen.press("right_curly_bracket", "left_curly_bracket")
        assert "error 2 of 3" in screen.status
        assert "line 150" in screen.rows
        await screen.press("left_square_bracket")
        assert "phase: KV cache" in screen.status
        assert "line 120" in screen.rows
        await screen.press("left_square_bracket")
        assert "phase: weights" in screen.status
        await screen.press("right_square_bracket", "right_square_bracket")
        assert "phase: KV cache" in screen.status
        assert [notice.message for notice in screen.app._notifications] == ["There is no later phase in this log."]
        await screen.press("G", "E")
        assert "error 1 of 3" in screen.status


async def test_a_jump_to_what_a_filter_hides_says_so() -> None:
    async with console(lines=100) as screen:
        screen.feed.marks = [LogMark(33, MarkKind.PHASE, "weights")]
        await screen.press("F", *"7$", "enter")
        await screen.until(lambda: "10 of 100" in screen.status)
        await screen.press("left_square_bracket")
        assert ["hides" in notice.message for notice in screen.app._notifications] == [True]
        assert screen.rows[0] == "line 7"
