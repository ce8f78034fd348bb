"""The list of models narrowed to what matches some words."""

from dataclasses import replace

import pytest
from textual import events

from engine.deployment import State
from engine.snapshot import ProfileProblem
from tests.tui.driving import MODELS, gone, opened, rows, selected, settled, shown
from tests.tui.fake_api import NOW, FakeApi, model, snapshot
from tui import format as write
from tui.app import Console
from tui.screens.main import MainScreen

PROBLEM = ProfileProblem(
    "/home/ann/.config/tritontui/profiles/bad.yaml", 3, "Unknown key `sumary`; did you mean `summary`?"
)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*MODELS))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_the_list_is_narrowed_while_typing_and_never_silently(api: FakeApi, size: tuple[int, int]) -> None:
    api.latest = replace(api.latest, problems=(PROBLEM,))
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"MIX")
        await shown(pilot, "/ MIX", "1 of 5")
        assert rows(pilot) == ["mixtral"]
        assert selected(pilot) == "mixtral"
        await pilot.press("enter", "G")  # the list has the keys again
        await shown(pilot, "/ MIX", "1 of 5")
        assert selected(pilot) == "mixtral"
        await pilot.press("escape")
        await gone(pilot, "/ MIX")
        assert selected(pilot) == "mixtral"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("stopped", ["mixtral"]),
        ("summary llama", ["llama3-70b"]),
        ("invalid", ["bad.yaml"]),
        ("sumary", ["bad.yaml"]),
        ("absent", ["smollm2"]),
        ("triton", ["llama3-70b", "qwen3-30b", "mixtral", "smollm2"]),
        ("no such thing", []),
    ],
)
async def test_name_summary_stack_and_state_count(api: FakeApi, text: str, names: list[str]) -> None:
    api.latest = replace(api.latest, problems=(PROBLEM,))
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *(" " if char == " " else char for char in text))
        await shown(pilot, f"{len(names)} of 5")
        assert rows(pilot) == names
        if not names:
            await shown(pilot, "None of them matches. Escape shows all.")


async def test_the_cursor_stays_on_its_row_as_long_as_it_matches(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("j", "slash", *"3")
        await shown(pilot, "2 of 4")
        assert selected(pilot) == "qwen3-30b"
        await pilot.press("x")
        await shown(pilot, "0 of 4")
        assert selected(pilot) == ""
        await pilot.press("backspace")
        await shown(pilot, "2 of 4")
        assert selected(pilot) == "qwen3-30b"
        api.show(snapshot(model("aya3", State.ABSENT), *MODELS))  # a row comes before it
        await shown(pilot, "3 of 5")
        assert selected(pilot) == "qwen3-30b"
        await pilot.press("up", "enter", "escape")
        await gone(pilot, "/ 3")
        assert rows(pilot) == ["llama3-70b", "qwen3-30b", "aya3", "mixtral"] or len(rows(pilot)) == 5
        assert selected(pilot) == "llama3-70b"


async def test_what_is_selected_shows_in_the_pane_while_the_filter_is_typed(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("6", "escape", "slash", *"smol")
        await shown(pilot, "Summary of smollm2", "profiles/x.yaml")
        assert api.planned[-1] == "smollm2"


async def test_a_filter_without_words_goes_by_itself(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("slash")
        await shown(pilot, "name, stack or state")
        await pilot.press("tab")
        await gone(pilot, "name, stack or state")
        await pilot.press("escape", "slash", *"mix", "tab")
        await shown(pilot, "1 of 4")  # what hides rows stays to be seen
        await pilot.press("shift+tab", "escape")
        await gone(pilot, "1 of 4")
        assert screen.focused is screen.query_one("#model-list")


async def test_a_filter_typed_as_fast_as_a_paste_goes_where_it_was_meant(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        for char in "/mix":
            pilot.app.post_message(events.Key("slash" if char == "/" else char, char))
        pilot.app.post_message(events.Key("enter", "\r"))
        pilot.app.post_message(events.Key("6", "6"))
        await shown(pilot, "/ mix", "1 of 4", "Summary of mixtral", "profiles/x.yaml")
        assert isinstance(pilot.app.screen, MainScreen)
        await pilot.press("escape", "escape")
        await gone(pilot, "/ mix")
        assert selected(pilot) == "mixtral"
        assert screen.focused is screen.query_one("#model-list")


async def test_slash_in_the_log_searches_the_log(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("1")
        await settled(pilot)
        await pilot.press("slash")
        await shown(pilot, "regular expression")
        assert not screen.query("#filter")
