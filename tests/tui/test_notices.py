"""Notices in the console: where they stand, and when they ring."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets._toast import Toast

from engine.deployment import State
from engine.notice import Notice, Rule
from engine.snapshot import Model
from tests.tui.driving import MODELS, gone, on_main, opened, screen_text, settled, shown, told, top, until
from tests.tui.fake_api import NOW, FakeApi, model, snapshot
from tui import format as write
from tui.app import Console
from tui.screens.notice_desk import ENDINGS
from tui.widgets.model_rows import matches
from tui.widgets.prompt_editor import PromptEditor

SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]
WAITING = Notice(Rule.WAITING, NOW + 60, "31 requests wait, more than 20: more is asked than it answers.", "31 wait")
SILENT = Notice(Rule.NO_ANSWER, NOW + 70, "It has not answered since 14:03:22, for more than 15 s.", "silent")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*MODELS))


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []
    monkeypatch.setattr(Console, "bell", lambda _: rung.append("bell"))
    return rung


def ready(*notices: Notice, **changes: object) -> Model:
    return replace(MODELS[0], notices=notices, **changes)  # type: ignore[arg-type]


def toasts(pilot: Pilot[None]) -> list[str]:
    return [f"{one.title}: {one.message}" for one in pilot.app._notifications]


@pytest.mark.parametrize("size", SIZES)
async def test_one_that_begins_is_told_once_with_the_bell_and_stands_where_the_model_does(
    api: FakeApi, bells: list[str], size: tuple[int, int]
) -> None:
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        api.change(ready(WAITING))
        await shown(pilot, "ready !", "31 wait", "! 31 requests wait, more than 20", "! 1 notice")
        await told(pilot, WAITING.text)
        assert bells == ["bell"]
        # Its figure changes, and that is no other.
        api.change(ready(replace(WAITING, text="32 requests wait, more than 20.", short="32 wait")))
        await shown(pilot, "32 wait")
        api.change(ready(SILENT, WAITING))
        await shown(pilot, "silent, 31 wait" if size[0] > 60 else "silent", "! 2 notices")
        await told(pilot, SILENT.text)
        # The gravest in a sentence, the others in short: the pane below needs its room.
        await shown(pilot, SILENT.text, "Also: 31 wait")
        assert bells == ["bell", "bell"]
        assert len(toasts(pilot)) == 2


async def test_one_that_ends_is_told_quietly_unless_its_model_was_stopped(api: FakeApi, bells: list[str]) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        api.change(ready(WAITING, SILENT))
        await until(pilot, lambda: bells == ["bell"])  # one for both
        api.show(replace(api.latest, at=NOW + 130))
        api.change(ready(WAITING))
        await told(pilot, f"{ENDINGS[Rule.NO_ANSWER]} It lasted 1m00s.")
        assert "! 1 notice" in top(pilot)
        count = len(toasts(pilot))
        api.change(ready(state=State.STOPPING))
        await gone(pilot, "1 notice")
        assert len(toasts(pilot)) == count
        assert bells == ["bell"]


async def test_what_held_before_the_console_was_opened_is_shown_and_does_not_ring(
    api: FakeApi, bells: list[str]
) -> None:
    api.latest = snapshot(ready(replace(WAITING, since=NOW - 600)), *MODELS[1:])
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await shown(pilot, "ready !", "31 wait", "! 1 notice")
        # It needed a while to be sure of this one, which has held all the time.
        api.change(ready(replace(WAITING, since=NOW - 600), replace(SILENT, since=NOW + 2)))
        await shown(pilot, "! 2 notices")
        assert (bells, toasts(pilot)) == ([], [])
        api.change(ready())
        await told(pilot, ENDINGS[Rule.WAITING])
        assert not bells


async def test_the_bell_can_be_switched_off(api: FakeApi, bells: list[str]) -> None:
    async with Console(lambda: api, bell=False).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        api.change(ready(WAITING))
        await told(pilot, WAITING.text)
        assert not bells


@pytest.mark.parametrize("size", SIZES)
async def test_a_model_that_does_not_answer_says_since_when(api: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        api.change(ready(SILENT, state=State.UNREACHABLE, detail="nothing listens on its port"))
        await shown(pilot, "unreachable", "silent", "is unreachable: It has not answered since")


async def test_launch_lists_them_and_a_filter_finds_them(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        api.change(ready(WAITING, SILENT))
        await pilot.press("5")
        await shown(pilot, "! notice", "more is asked than it answers.")
        assert screen_text(pilot).count("! notice") == 2
    assert matches(ready(WAITING), ["notice"])
    assert not matches(ready(), ["notice"])


async def test_where_the_list_is_narrow_what_a_deployment_does_comes_before_its_age_and_after_its_notices(
    api: FakeApi,
) -> None:
    others = (*MODELS[1:], model("a-profile-with-a-long-name", State.ABSENT))
    api.latest = snapshot(ready(), *others)
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await shown(pilot, "ready       ▆▆███▃▅▅")
        assert "2m11s" not in screen_text(pilot)
        api.change(ready(WAITING))
        await shown(pilot, "ready !     31 wait")


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_told_leaves_the_place_free_that_has_the_keys(api: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: api).run_test(size=size, notifications=True) as pilot:
        screen = await opened(pilot)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(screen.focused, PromptEditor))
        api.change(ready(SILENT))
        await until(pilot, lambda: bool(screen.query(Toast)) and screen.query_one(Toast).region.height > 0)
        toast = screen.query_one(Toast).region
        assert not toast.overlaps(screen.query_one(PromptEditor).region)
        assert not toast.overlaps(screen.query_one("#told").region)
        assert toast.height <= 3
        assert screen.region.contains_region(toast)


async def test_the_same_told_twice_is_one_and_lies_on_a_frame(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        screen = await opened(pilot)
        for _ in range(3):
            await pilot.press("ctrl+c")
            await told(pilot, "ctrl+q leaves the console")
        await until(pilot, lambda: len(screen.query(Toast)) == 1 and screen.query_one(Toast).region.height == 1)
        assert len(toasts(pilot)) == 1
        assert screen.query_one(Toast).region.y == screen.query_one("#detail").region.bottom - 1
        pilot.app.notify("Something else.")
        await until(pilot, lambda: len(screen.query(Toast)) == 2)


async def test_what_is_told_stands_once_when_a_dialog_opens_and_still_when_it_closes(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("2")
        await settled(pilot)
        pilot.app.notify("Of some length.", timeout=60)
        await shown(pilot, "Of some length.")
        await pilot.press("x")
        await shown(pilot, "stop llama3-70b?", "Of some length.")
        assert screen_text(pilot).count("Of some length.") == 1
        await pilot.press("escape")
        await on_main(pilot)
        await shown(pilot, "Of some length.")


async def test_a_pane_that_a_notice_leaves_too_low_for_a_chart_says_which_key_makes_room(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        api.change(ready(replace(SILENT, text=f"{SILENT.text[:-1]}: it did not answer within 2 s.")))
        await pilot.press("2")
        await shown(pilot, "no room for a chart: z zooms", "z zoom ")
        await pilot.press("z")
        await gone(pilot, "no room")
        await shown(pilot, "-5m")
