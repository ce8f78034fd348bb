"""What the playground makes of answers: Markdown, copies, timings, gaps, earlier runs and their comparison."""

import re
import time
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style as RichStyle
from textual.pilot import Pilot
from textual.widgets import Button, Static

from engine.errors import OperationFailed
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Timing, Transport
from engine.prompt_record import KeptPrompt
from tests.tui.driving import screen_text
from tests.tui.test_playground_pane import TIMING, Harness, Played, send, until
from tui.screens.prompt_comparison import PromptComparison
from tui.screens.prompt_timings import PromptTimings
from tui.widgets.prompt_answer import PromptAnswer
from tui.widgets.prompt_gaps import GapStrip, squeezed, strip
from tui.widgets.prompt_markdown import MarkdownText, rendered
from tui.widgets.prompt_reasoning import Following, marked, told_apart
from tui.widgets.prompt_status import seconds

PAGE = "# Head\n\nSome *words* and `code`, [a link](http://example.org).\n\n- one\n- two\n\n```python\nx = 1\n```\n\n"


def kept(number: int, prompt: str, text: str, *, deployment: str = "llama", first_s: float = 0.4) -> KeptPrompt:
    timing = Timing(0.001, first_s, first_s, 2.4, 2.5, 4, 11, "server")
    request = PromptRequest(prompt, sampling=Sampling(temperature=0.5))
    result = PromptResult(request, PromptOutcome.DONE, text, "m", Transport.OPENAI, "stop", timing=timing)
    return KeptPrompt(number, 1_000.0 + number, deployment, f"run-{number}", "example:0", result)


async def answered(pilot: Pilot[None], app: Harness, text: str, *pieces: str) -> Played:
    played = await send(pilot, app, text)
    played.say(*pieces)
    played.end()
    await until(pilot, lambda: "done" in app.status)
    return played


async def in_history(pilot: Pilot[None], app: Harness) -> None:
    app.editor.focus()
    await pilot.press("ctrl+r")
    await until(pilot, lambda: app.history.has_focus)


def shown(app: Harness, where: str) -> str:
    return str(app.screen.query_one(where, Static).content)


# -- the answer --------------------------------------------------------------------------------------------------------


async def test_an_answer_is_shown_as_markdown_and_raw_again() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        await answered(pilot, app, "hi", "<think>let me see</think>", PAGE)
        app.query_one("#answer").focus()
        await pilot.press("m")
        markdown = app.query_one(MarkdownText)
        await until(pilot, lambda: "• one" in markdown.text)
        assert "let me see" in markdown.text
        assert "<think>" not in markdown.text
        assert "```" not in markdown.text
        assert markdown.has_focus
        await pilot.press("m")
        assert app.query_one("#answer").has_focus
        assert "```" in app.answer


async def test_a_growing_answer_is_rendered_now_and_then() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        app.query_one(PromptAnswer).raw.focus()
        await pilot.press("m")
        played = await send(pilot, app, "hi")
        markdown = app.query_one(MarkdownText)
        for number in range(20):
            played.say(f"- item {number}\n")
            await pilot.pause(0.02)
        await until(pilot, lambda: "• item 19" in markdown.text)
        played.say("\nthe **end**")
        played.end()
        await until(pilot, lambda: markdown.text.endswith("the end"))


async def test_a_very_long_answer_holds_up_nothing() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        await answered(pilot, app, "hi", PAGE * (100_000 // len(PAGE)))
        app.query_one("#answer").focus()
        await pilot.press("m")
        markdown, slowest = app.query_one(MarkdownText), 0.0
        for _ in range(2_000):
            before = time.monotonic()
            await pilot.pause(0.01)
            slowest = max(slowest, time.monotonic() - before)
            if markdown.text:
                break
        assert markdown.text.count("• one") == 100_000 // len(PAGE)
        assert slowest < 5.0, "the loop ran all the while"


def test_markdown_brings_no_control_characters_or_links_to_the_terminal() -> None:
    evil = "a&#x202e;b [x](http://e\x1b) `c` &#27;[31m"
    lines = rendered([("answer", evil)], 60, {})
    text = "".join(segment.text for line in lines for segment in line)
    assert not set(text) & {"\x1b", "\u202e", "\x07"}
    assert all(not (segment.style or RichStyle()).link for line in lines for segment in line)


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("<think>\nhm\n</think>\n\nyes", ("hm", "yes")),
        ("hm</think>\nyes", ("hm", "yes")),
        ("<think>still at it", ("still at it", "")),
        ("plain", ("", "plain")),
        ("a <think> in passing", ("", "a <think> in passing")),
    ],
)
def test_reasoning_is_told_apart(text: str, apart: tuple[str, str]) -> None:
    assert told_apart(text) == apart


def joined(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(kind, "".join(text for _, text in group)) for kind, group in groupby(pieces, key=itemgetter(0))]


@given(st.lists(st.sampled_from(["<thi", "nk>", "</think>", "<think>", "</", "think>", "\n", " ", "x"]), max_size=12))
def test_reasoning_that_grows_is_told_apart_as_the_whole_is(texts: list[str]) -> None:
    following = Following()
    found: list[tuple[str, str]] = []
    for count, text in enumerate(texts, 1):
        fresh = following.feed(text)
        found = marked("".join(texts[:count])) if fresh is None else [*found, *fresh]
    assert joined(found) == marked("".join(texts))


async def test_reasoning_looks_like_none_of_the_answer_while_it_comes() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("<think>let me", " see")
        await until(pilot, lambda: "see" in app.answer)
        assert "reasoning" in app.status
        raw = app.query_one(PromptAnswer).raw
        played.say("</think>", "\n\n", "Yes.")
        await until(pilot, lambda: "Yes." in app.answer)
        assert "answering" in app.status
        rows = [("prompt", "hi"), ("reasoning", "<think>let me see</think>"), ("answer", ""), ("answer", "Yes.")]
        assert raw._rows == rows
        played.end()
        await until(pilot, lambda: "done" in app.status)
        app.pane._show_run()
        assert raw._rows == rows


async def test_an_answer_that_never_came_for_reasoning_says_what_to_do() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("<think>hm")
        played.end(reason="length")
        await until(pilot, lambda: "ctrl+o gives it more" in app.status)
        app.query_one("#answer").focus()
        await pilot.press("y")
        assert not app.clipboard


async def test_the_answer_or_the_whole_conversation_is_copied() -> None:
    app = Harness()
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        await answered(pilot, app, "one", "first")
        await answered(pilot, app, "two", "<think>hm</think>second")
        app.query_one("#answer").focus()
        await pilot.press("y")
        assert app.clipboard == "second"
        await pilot.press("Y")
        assert app.clipboard == "user: one\n\nassistant: first\n\nuser: two\n\nassistant: second"


# -- timings -----------------------------------------------------------------------------------------------------------


async def test_the_gaps_are_a_strip_with_the_longest_named() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        result = PromptResult(
            played.request, PromptOutcome.DONE, "x", timing=TIMING, gaps_s=(0.01,) * 60 + (0.5,) + (0.01,) * 60
        )
        played._send([result])
        await until(pilot, lambda: "done" in app.status)
        line = str(app.query_one(GapStrip).render())
        assert line.endswith("p50 10 ms  p99 10 ms  longest 500 ms, 61 of 121")
        assert line.count("█") == 1


def test_what_came_at_once_has_no_gaps() -> None:
    assert strip([0.0] * 1999, 80, growing=False).endswith("all 2,000 pieces came at once")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=400), st.integers(1, 80))
def test_squeezing_a_strip_hides_no_stall(values: list[float], cells: int) -> None:
    shown_values = squeezed(values, cells)
    assert len(shown_values) <= max(cells, 1)
    assert max(shown_values) == max(values)


@pytest.mark.parametrize("width", [20, 60, 76, 200])
@pytest.mark.parametrize("growing", [True, False])
def test_a_strip_keeps_to_its_line(width: int, growing: bool) -> None:
    line = strip([0.01] * 150 + [0.3], width, growing=growing)
    assert "longest 300 ms" in line
    assert len(line) <= max(width, 60)
    assert strip([], width, growing=growing) == ""


async def test_each_figure_is_explained() -> None:
    app = Harness()
    async with app.run_test(size=(120, 40)) as pilot:
        app.select("llama")
        await answered(pilot, app, "hi", "a", "b")
        app.query_one("#answer").focus()
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, PromptTimings))
        text = screen_text(pilot)
        for words in (
            "first token",
            "200 ms",
            "TTFT",
            "between tokens",
            "The server counted them.",
            "ended by",
            "stop",
        ):
            assert words in text
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, PromptTimings))


# -- earlier runs ------------------------------------------------------------------------------------------------------


async def test_earlier_runs_are_listed_once_filtered_and_recalled() -> None:
    app = Harness()
    app.fake.kept = [kept(2, "newer", "about cats"), kept(1, "older", "about dogs")]
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama")
        played = await answered(pilot, app, "mine", "about birds")
        result = PromptResult(played.request, PromptOutcome.DONE, "about birds", timing=TIMING)
        app.fake.kept = [KeptPrompt(3, 1_003.0, "llama", "run-3", "example:1", result), *app.fake.kept]
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 3)
        assert [row.split()[-1] for row in app.rows()] == ["mine", "newer", "older"]
        await pilot.press("slash", *"dogs")
        await until(pilot, lambda: len(app.rows()) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: app.answer == "olderabout dogs")
        await pilot.press("escape")
        await until(pilot, lambda: len(app.rows()) == 3)
        await pilot.press("r")
        await until(pilot, lambda: app.editor.text == "older")
        assert "temperature 0.5" in app.told


async def test_the_history_keeps_the_keys_and_never_the_prompts_room() -> None:
    app = Harness()
    async with app.run_test(size=(80, 10)) as pilot:
        app.query_one(Button).display = False
        app.select("llama")
        await answered(pilot, app, "hi", "yes")
        await in_history(pilot, app)
        app.pane.take_focus()  # as zooming does
        await pilot.pause()
        assert app.history.has_focus
        app.query_one("#answer").focus()
        await until(pilot, lambda: app.query_one("#answer").has_focus and not app.editor.region.area)
        app.pane.take_focus()
        await until(pilot, lambda: app.editor.has_focus and app.editor.region.area)


async def test_the_newest_is_first_wherever_it_was_sent_from() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama")
        await answered(pilot, app, "mine", "x")
        later = kept(1, "elsewhere", "y")
        app.fake.kept = [replace(later, at=app.pane._session.runs[0].at + 5)]
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 2)
        assert [row.split()[-1] for row in app.rows()] == ["elsewhere", "mine"]
        app.editor.focus()
        await pilot.press("ctrl+n")
        assert "ctrl+r goes to the earlier ones" in app.status
        await pilot.press("ctrl+r")
        await until(pilot, lambda: app.answer == "elsewherey")


async def test_runs_of_all_deployments() -> None:
    app = Harness()
    app.fake.kept = [kept(2, "here", "x"), kept(1, "there", "y", deployment="mixtral")]
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama")
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 1)
        assert "here" in app.rows()[0]
        await pilot.press("a")
        await until(pilot, lambda: len(app.rows()) == 2)
        assert "mixtral" in app.rows()[1]


async def test_earlier_runs_that_cannot_be_read_are_said_to_be_missing() -> None:
    app = Harness()
    app.fake.kept = OperationFailed("The file is damaged.")
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama")
        await in_history(pilot, app)
        await until(pilot, lambda: "The file is damaged." in shown(app, "#history-note"))
        assert "No prompts yet" in app.rows()[0]


async def test_two_runs_side_by_side_with_the_change() -> None:
    app = Harness()
    app.fake.kept = [kept(1, "hi", "the old answer", first_s=0.4)]
    async with app.run_test(size=(120, 40)) as pilot:
        app.select("llama")
        await answered(pilot, app, "hi", "the new answer")
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 2)
        await pilot.press("c")
        assert any("Mark the other prompt" in notice.message for notice in app._notifications)
        await pilot.press("space", "down", "c")  # the newer one is marked: what was before is on the left all the same
        await until(pilot, lambda: isinstance(app.screen, PromptComparison))
        text = screen_text(pilot)
        row = next(line for line in text.splitlines() if "first token" in line)
        assert row.split("first token")[1].split("│")[0].split() == ["400", "ms", "200", "ms", "-50", "%"]
        for words in (
            "the old answer",
            "the new answer",
            "differ from character 5",
            "the start of llama",
            "temperature 0.5",
        ):
            assert words in " ".join(text.split())


async def test_figures_that_may_be_late_are_not_compared_without_a_word() -> None:
    app = Harness()
    late = kept(1, "hi", "the old answer")
    late = replace(late, result=replace(late.result, timing=replace(late.result.timing, waited_s=0.3)))
    app.fake.kept = [kept(2, "hi", "the new answer"), late]
    async with app.run_test(size=(120, 40)) as pilot:
        app.select("llama")
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 2)
        assert [re.findall(r"\S+ ms", row) for row in app.rows()] == [["400 ms"], ["~400 ms"]]
        await pilot.press("space", "down", "c")
        await until(pilot, lambda: isinstance(app.screen, PromptComparison))
        assert "up to 300 ms late" in " ".join(screen_text(pilot).split())


async def test_a_comparison_keeps_to_a_small_screen() -> None:
    app = Harness()
    app.fake.kept = [replace(kept(1, "hi", "one"), what="/a/very/long/path/to/a/program/named/first-server")]
    async with app.run_test(size=(80, 24)) as pilot:
        app.select("llama")
        await answered(pilot, app, "hi", "two")
        await in_history(pilot, app)
        await until(pilot, lambda: len(app.rows()) == 2)
        await pilot.press("space", "down", "c")
        await until(pilot, lambda: isinstance(app.screen, PromptComparison))
        text = screen_text(pilot)
        for words in ("-50 %", "inter-token, mean", "/first-server"):
            assert words in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0 ms"),
        (0.00026, "0.3 ms"),
        (0.00994, "9.9 ms"),
        (0.00996, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (99.96, "100 s"),
    ],
)
def test_times_have_the_digits_that_matter(value: float | None, text: str) -> None:
    assert seconds(value) == text


async def test_an_earlier_turn_is_shown_from_its_prompt_on() -> None:
    app = Harness()
    async with app.run_test(size=(80, 16)) as pilot:
        app.select("llama")
        await answered(pilot, app, "first", *(f"{number}\n" for number in range(40)))
        await answered(pilot, app, "second", *(f"{number}\n" for number in range(100, 140)))
        await answered(pilot, app, "third", "x")
        await in_history(pilot, app)
        await pilot.press("down")
        lines = ["second", "100"]
        await until(pilot, lambda: [line.strip() for line in screen_text(pilot).splitlines()[3:5]] == lines)
        long = "".join(f"line {number}\n" for number in range(60))
        app.fake.kept = [kept(1, long, "the answer to that")]
        await pilot.press("escape", "ctrl+r")
        await until(pilot, lambda: len(app.rows()) == 4)
        await pilot.press("end")
        await until(pilot, lambda: "the answer to that" in screen_text(pilot))
