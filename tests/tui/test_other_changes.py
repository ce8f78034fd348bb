"""What others do, what was started by hand, the order of the list, and the history."""

import re
from dataclasses import replace
from functools import partial

import pytest
from textual.pilot import Pilot

from engine.deployment import State
from engine.errors import OperationFailed, Refused
from engine.request import Action
from tests.tui import operations_at_hand as at_hand
from tests.tui.driving import gone, on_main, opened, rows, screen_text, selected, shown, told, top, until
from tests.tui.fake_api import NOW, FakeApi, model, snapshot
from tests.tui.operations_at_hand import DURING, LEASE, OTHERS, SWAP
from tui.app import Console
from tui.screens.main import MainScreen
from tui.widgets.state import LOOKS

SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]


# -- by others, by hand, and nothing at all -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_somebody_elses_operation_is_on_the_top_line(api: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        api.show(replace(api.latest, lease=LEASE))
        await until(pilot, lambda: "◐ swap qwen3-30b → smollm2 by bob@gpu-box-3 from 10.1.2.9, 3m12s" in top(pilot))
        assert top(pilot).startswith(" gpu-box-3")
        api.show(replace(api.latest, lease=replace(LEASE, alive=False)))
        await until(pilot, lambda: "its process is gone" in top(pilot) and "▲ swap qwen3-30b → smollm2" in top(pilot))
        api.show(replace(api.latest, lease=replace(LEASE, operation=SWAP.id), operations=(SWAP,)))
        await until(pilot, lambda: "swap mixtral → llama3-70b" in top(pilot))


async def test_what_was_started_by_hand_is_watched_and_adopted(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        screen = await opened(pilot)
        await pilot.press(*"jjj")
        assert selected(pilot) == "docker/vllm-by-hand"
        await shown(pilot, "◇ docker/vllm-by-hand foreign", "server.cc:1] started", "a adopt")
        await pilot.press("2", "escape")
        await shown(pilot, "req/s")
        for key in ("enter", "s", "x", "R", "d"):
            await pilot.press(key)
            await told(pilot, "docker/vllm-by-hand was started by hand, and is only watched: a adopts it.")
            assert isinstance(pilot.app.screen, MainScreen)
            await pilot.press("escape")
            await until(pilot, lambda: not pilot.app._notifications)
        await pilot.press("a")
        await shown(
            pilot,
            "Nothing about the container changes; from then on it",
            "! Its restart policy is `always`",
            "/home/ann/.config/tritontui/profiles/vllm-by-hand.yaml",
            "name: vllm-by-hand",
        )
        await pilot.press("y")
        await until(pilot, lambda: api.submitted == [(Action.ADOPT, "docker/vllm-by-hand", None)])
        await pilot.press("k")
        assert screen.check_action("adopt", ()) is None


async def test_what_cannot_be_adopted_says_why(api: FakeApi) -> None:
    api.adoption_error = Refused("It publishes no port.", "Start it again with -p.")
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"jjj", "a")
        await shown(pilot, "▲ It publishes no port. Start it again with -p.")
        await pilot.press("y", "enter")
        await on_main(pilot)
        assert not api.requests


async def test_drift_is_marked_and_told(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await shown(pilot, "ready ≠", "≠ llama3-70b differs from its profile or image in 2 ways: see 4 Launch.")
        await pilot.press("5")
        await shown(pilot, *(f"≠ differs  {line}" for line in at_hand.DRIFT))
        api.change(replace(OTHERS[2], drift=at_hand.DRIFT[1:]))
        await shown(pilot, f"differs from its profile or image: {at_hand.DRIFT[1]}.")


@pytest.mark.parametrize("size", SIZES)
async def test_a_read_only_console_changes_nothing(api: FakeApi, size: tuple[int, int]) -> None:
    api.latest = replace(api.latest, read_only="--read-only", operations=(SWAP,))
    async with Console(lambda: api).run_test(size=size, notifications=True) as pilot:
        screen = await opened(pilot)
        await until(pilot, lambda: "gpu-box-3 · read-only" in top(pilot))
        await shown(pilot, " x stop ")  # greyed
        for key in ("enter", "s", "x", "R", "d", "a", "e", "c", "C", "u"):
            await pilot.press(key)
            await told(pilot, "tritontui is read-only (--read-only)")
            assert pilot.app.screen is screen
            await pilot.press("escape")
            await until(pilot, lambda: not pilot.app._notifications)
        assert [api.requests, api.cancelled, api.duplicated] == [[], [], []]
        assert screen.check_action("history", ()) is True


async def test_the_palette_offers_no_change_in_a_read_only_console(api: FakeApi) -> None:
    api.latest = replace(api.latest, read_only="--read-only")
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+p", *"llama")
        await shown(pilot, "go to llama3-70b")
        assert "stop llama3-70b" not in screen_text(pilot)


# -- the order of the list ------------------------------------------------------------------------------------------


async def test_what_runs_or_has_failed_comes_first_and_the_cursor_stays_with_its_model(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        ours = ["llama3-70b", "phi-4", "qwen3-30b"]
        assert rows(pilot) == [*ours, "docker/vllm-by-hand", "aya-8b", "mixtral", "smollm2"]
        await pilot.press("G")
        assert selected(pilot) == "smollm2"
        api.change(model("aya-8b", State.STARTING, since=NOW))
        await until(pilot, lambda: rows(pilot)[0] == "aya-8b")
        assert selected(pilot) == "smollm2"
        api.change(model("smollm2", State.STARTING, since=NOW))
        await until(pilot, lambda: rows(pilot)[-2:] == ["docker/vllm-by-hand", "mixtral"])
        assert selected(pilot) == "smollm2"


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_what_runs_is_in_sight_however_many_are_kept_stopped(api: FakeApi, size: tuple[int, int]) -> None:
    kept = [model(f"kept-{number:02}", State.STOPPED) for number in range(60)]
    api.latest = snapshot(*OTHERS, *kept, model("zephyr", State.READY, since=NOW - 9))
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        first = ["llama3-70b", "phi-4", "qwen3-30b", "zephyr"]
        assert rows(pilot)[:4] == first
        for state in (State.STOPPING, State.UNREACHABLE, State.FAILED, State.STARTING, State.READY, State.ASLEEP):
            api.change(model("zephyr", state, since=NOW))
            row = re.compile(f"{re.escape(LOOKS[state].symbol)} zephyr +{LOOKS[state].word}")
            await until(pilot, partial(_stands, pilot, row))
            assert rows(pilot)[:4] == first, "nothing jumps while one starts, stops or fails"
        await pilot.press("j", "j", "j")
        assert selected(pilot) == "zephyr"
        api.change(model("zephyr", State.STOPPED))
        await until(pilot, lambda: rows(pilot)[-2:] == ["smollm2", "zephyr"])
        assert selected(pilot) == "zephyr"


def _stands(pilot: Pilot[None], row: re.Pattern[str]) -> bool:
    return row.search(screen_text(pilot)) is not None


async def test_until_the_list_is_complete_the_cursor_is_on_its_first_row(api: FakeApi) -> None:
    profiles = [replace(model(one.name, State.ABSENT), profile_path=f"{one.name}.yaml") for one in DURING]
    api.latest = replace(snapshot(*profiles), loading=True)
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        assert selected(pilot) == "llama3-70b"
        # The row that it was on is there, too, and no longer the first.
        there = [replace(one, profile_path=f"{one.name}.yaml") for one in OTHERS]
        api.show(replace(snapshot(*there, model("aa", State.READY)), loading=False))
        await until(pilot, lambda: selected(pilot) == "aa")
        api.show(snapshot(*OTHERS, model("aa", State.ABSENT)))
        await until(pilot, lambda: rows(pilot)[0] == "llama3-70b")
        assert selected(pilot) == "aa"


# -- history --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_history_says_who_did_what_and_how_it_ended(api: FakeApi, size: tuple[int, int]) -> None:
    api.entries = at_hand.ENTRIES
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "H")
        await shown(
            pilot,
            "◐  swap mixtral → llama3-70b  began",
            "↺  swap llama3-70b → qwen3-30b  rolled back in 11m42s",
            "start smollm2  refused in 0.2s",
            "bob@gpu-box-3 from 10.1.2.3, by console",
            "f shows only mixtral",
        )
        assert screen_text(pilot).count("→ qwen3-30b") == 1  # its beginning says nothing more
        await pilot.press("f")
        await gone(pilot, "smollm2  refused")
        await shown(pilot, "History of mixtral", "◐  swap mixtral → llama3-70b", "✓  start mixtral  done in 10m11s")
        await pilot.press("escape")
        await on_main(pilot)


async def test_a_history_that_is_empty_or_cannot_be_read_says_so(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("H")
        await shown(pilot, "Nothing is recorded yet.")
        api.history_error = OperationFailed("audit.jsonl cannot be read.", "Mend its mode.")
        await pilot.press("r")
        await shown(pilot, "▲ audit.jsonl cannot be read. Mend its mode.")
        api.history_error, api.entries = None, at_hand.ENTRIES
        await pilot.press("r")
        await shown(pilot, "start smollm2")
