"""Operations in the console: asked for, followed, cancelled, recovered and looked up, all by keys."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from engine.errors import NotFound, OperationFailed, Refused
from engine.fit.result import Verdict
from engine.log_line import LogLine
from engine.plan import SwapPlan
from engine.request import Action, Way
from engine.snapshot import Estimate, Outcome, Snapshot
from tests.tui import operations_at_hand as at_hand
from tests.tui.driving import (
    gone,
    on_main,
    opened,
    screen_text,
    selected,
    settled,
    shown,
    still,
    told,
    top,
    until,
)
from tests.tui.fake_api import NOW, FakeApi, large_plan, snapshot
from tests.tui.operations_at_hand import DURING, INTERRUPTED, LEASE, OTHERS, ROLLED_BACK, ROLLING_BACK, SWAP
from tui.app import Console
from tui.screens.swap import ConfirmSwap

SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]
TAKEN = "GPU 1 is used by phi-4: stop it, or set `share_gpus: true`."


# -- asked for ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confirm", ["y", "enter"])
async def test_a_swap_is_two_keys(api: FakeApi, confirm: str) -> None:
    async with Console(lambda: api, drain_s=90.0).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "s")
        await shown(
            pilot,
            "llama3-70b: holds GPU 0, 1 and port 8000; ready for 2m11s; frees 132.0 GiB of GPU memory.",
            "Its requests under way get up to 1m30s to end.",
            "mixtral on docker",
            "full: They are two containers",
            "llama3-70b has no sleep mode.",
            "usually 11m02s, 9m01s to 14m03s of 6 starts",
            "mixtral: create → llama3-70b: drain, stop → mixtral: start, wait until ready",
            "llama3-70b is brought back",
        )
        assert not api.requests
        await pilot.press(confirm)
        await until(pilot, lambda: bool(api.requests))
        [request] = api.requests
        assert (request.action, request.name, request.outgoing) == (Action.SWAP, "mixtral", ("llama3-70b",))
        assert (request.force, request.full, request.drain_s, request.origin.via) == (False, False, 90.0, "console")


@pytest.mark.parametrize("size", SIZES)
async def test_a_swap_that_would_be_refused_is_not_begun_by_enter(api: FakeApi, size: tuple[int, int]) -> None:
    api.change_plan = lambda plan: large_plan(plan, Verdict.TIGHT, TAKEN)
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "s")
        await shown(pilot, "The swap would be refused:", "▲ GPU 1 is used by phi-4", "Swap anyway (y)", "Cancel (n)")
        await pilot.press("enter")
        await on_main(pilot)
        assert not api.requests
        await pilot.press("s")
        await shown(pilot, "Swap anyway (y)")
        await pilot.press("y")
        await until(pilot, lambda: bool(api.requests))
        assert api.forced == ["mixtral"]


async def test_what_is_to_go_is_chosen_where_that_is_unclear(api: FakeApi) -> None:
    api.swap_error = Refused("Each of llama3-70b, phi-4 would make room by itself.", "Say which with `--from`.")
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "s")
        await shown(pilot, "Each of llama3-70b, phi-4 would make room", "[ ] llama3-70b", "[ ] phi-4")
        assert "--from" not in screen_text(pilot)
        assert "vllm-by-hand  " not in screen_text(pilot).split("What is to go?")[1]  # it is not ours to stop
        await pilot.press("enter", "y")  # there is nothing to confirm yet
        await pilot.pause()
        assert isinstance(pilot.app.screen, ConfirmSwap)
        await pilot.press("j", "space")
        await shown(pilot, "[x] phi-4", "phi-4: holds GPU 0, 1")
        await gone(pilot, "would make room")
        await until(pilot, lambda: pilot.app.screen.query_one("#yes").has_focus)
        await pilot.press("enter")
        await until(pilot, lambda: bool(api.requests))
        assert api.requests[0].outgoing == ("phi-4",)


async def test_a_swap_that_cannot_be_planned_says_why(api: FakeApi) -> None:
    api.swap_error = NotFound("There is no profile mixtral any more.", "Look at the list.")
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "s")
        await shown(pilot, "▲ There is no profile mixtral any more. Look at the list.")
        assert "What is to go?" not in screen_text(pilot)
        await pilot.press("y", "enter")
        await on_main(pilot)
        assert not api.requests


async def test_the_full_way_can_be_had_in_place_of_a_faster_one(api: FakeApi) -> None:
    def asleep(plan: SwapPlan) -> SwapPlan:
        full = api.swaps_planned[-1][2]
        return replace(plan, way=Way.FULL if full else Way.SLEEP, reason="Asked for." if full else "It can sleep.")

    api.change_swap = asleep
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press(*"jjjjj", "s")
        await shown(pilot, "sleep: It can sleep.", "w  the full way instead")
        assert "usually 11m02s" not in screen_text(pilot)  # that is what a start takes
        await pilot.press("w")
        await shown(pilot, "full: Asked for.", "w  a faster way")
        await until(pilot, lambda: pilot.app.screen.query_one("#yes").has_focus)
        await pilot.press("y")
        await until(pilot, lambda: bool(api.requests))
        assert api.requests[0].full


async def test_swapping_to_what_runs_is_refused(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("s")
        await told(pilot, "It runs already: put the cursor on what should come instead.")
        await pilot.press("escape", "j")
        assert selected(pilot) == "phi-4"  # asleep: it is woken
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmSwap))


async def test_what_cannot_be_begun_is_told(api: FakeApi) -> None:
    api.submit_error = OperationFailed("No process could be started for the operation: out of memory.")
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("x")
        await shown(pilot, "has been ready")
        await pilot.press("y")
        await told(pilot, "No process could be started for the operation: out of memory.")


async def test_its_steps_are_shown_unless_the_operator_is_at_something_else(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("x", "y")
        await shown(pilot, "answers at")
        assert screen.focused is screen.query_one("#model-list")
        await pilot.press("3")
        await until(pilot, lambda: getattr(screen.focused, "id", "") == "prompt")
        await pilot.press("ctrl+p", *"stop llama")
        await shown(pilot, "stop llama3-70b")
        await pilot.press("enter")
        await shown(pilot, "has been ready")
        await pilot.press("y")
        await until(pilot, lambda: len(api.requests) == 2)
        await on_main(pilot)
        assert getattr(screen.focused, "id", "") == "prompt"
        assert "answers at" not in screen_text(pilot)


# -- followed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_an_operation_under_way_is_followed_from_both_its_models(api: FakeApi, size: tuple[int, int]) -> None:
    api.latest = replace(snapshot(*DURING), operations=(SWAP,))
    api.log = [f"line {number}" for number in range(40)]
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("5", "escape")
        for key, name in (("g", "llama3-70b"), ("j", "mixtral")):
            await pilot.press(key)
            assert selected(pilot) == name
            await shown(
                pilot,
                "◐ swap mixtral → llama3-70b  3m12s, ~9m left",
                "◐ wait until ready",
                "2m02s  loading weights 61 %",
                "answer a prompt",
                "log of llama3-70b",
                "line 39",
            )
        assert all(len(line) <= size[0] for line in screen_text(pilot).splitlines())
        every = "They are two containers"
        if size == (80, 24):  # what is done stands on a line
            assert "✓ check, create, drain, stop, wait for GPU memory, start, check GPUs" in screen_text(pilot)
            assert every not in screen_text(pilot)
            await pilot.press("z")
        await shown(pilot, every)


async def test_the_log_is_read_only_while_it_is_looked_at(api: FakeApi) -> None:
    api.latest = replace(snapshot(*DURING), operations=(SWAP,))
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        logs = len(api.feeds)
        await pilot.press("5")
        await until(pilot, lambda: len(api.feeds) == logs + 1)
        await settled(pilot)
        await pilot.press("6")
        await until(pilot, lambda: api.feeds[logs].closed)
        await settled(pilot)
        await pilot.press("5")
        await until(pilot, lambda: len(api.feeds) == logs + 2)
        assert not api.feeds[-1].closed
        api.show(replace(api.latest, operations=(replace(SWAP, outcome=Outcome.DONE, ended_at=NOW, message="Done."),)))
        await until(pilot, lambda: api.feeds[-1].closed)
        await gone(pilot, "log of llama3-70b")


async def test_what_is_late_is_said_to_be(api: FakeApi) -> None:
    api.latest = replace(snapshot(*DURING), operations=(replace(SWAP, estimate=Estimate(61.0, 40.0, 92.0, 6)),))
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("5")
        await shown(pilot, "3m12s, late: usually 1m01s, nine in ten within 1m32s of 6 starts")
        assert top(pilot).endswith("3m12s, late ")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_way_back_stands_apart_with_its_cause(api: FakeApi, size: tuple[int, int]) -> None:
    api.latest = replace(snapshot(*DURING), operations=(ROLLING_BACK,))
    async with Console(lambda: api).run_test(size=size, notifications=True) as pilot:
        screen = await opened(pilot)
        await pilot.press("5", "escape")
        await shown(pilot, "▲ wait until ready", "rolling back: llama3-70b ended by itself", "log of mixtral")
        text = screen_text(pilot)
        assert text.index("▲ wait until ready") < text.index("rolling back: llama3") < text.index("◐ wait until ready")
        assert "rolling back: wait until ready  3m12s" in top(pilot)
        assert screen.check_action("cancel_operation", ()) is None
        assert "C cancel" not in text
        await pilot.press("C")
        await told(pilot, "is being rolled back already.")
        api.show(replace(api.latest, operations=(ROLLED_BACK,)))
        await told(pilot, "mixtral serves again, and answers.")
        assert [notice.severity for notice in pilot.app._notifications if "rolled back" in notice.title] == ["warning"]
        await until(pilot, lambda: "↺ swap mixtral → llama3-70b rolled back" in top(pilot))
        await pilot.press("escape")  # the notice may cover it
        await shown(pilot, "↺ swap mixtral → llama3-70b: rolled back", "is kept in")


async def test_a_refusal_is_called_one(api: FakeApi) -> None:
    refused = replace(SWAP, outcome=Outcome.FAILED, exit_code=3, steps=(), ended_at=NOW, message="bob swaps already.")
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        api.show(replace(api.latest, operations=(refused,)))
        await shown(pilot, "swap mixtral → llama3-70b: refused", "bob swaps already.")


# -- cancelled and recovered ----------------------------------------------------------------------------------------


async def test_cancelling_asks_first(api: FakeApi) -> None:
    api.latest = replace(snapshot(*DURING), operations=(SWAP,))
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await shown(pilot, "C cancel")
        await pilot.press("G", "C")  # whatever is selected: it is the only one
        await shown(pilot, "cancel swap mixtral → llama3-70b?", "is rolled back", "mixtral serves again.")
        await pilot.press("n")
        await on_main(pilot)
        assert not api.cancelled
        await pilot.press("C")
        await shown(pilot, "Cancel it (y)")
        await pilot.press("y")
        await until(pilot, lambda: api.cancelled == [SWAP.id])
        api.cancel_error = Refused("It is carried out by bob.", "Only they or root can cancel it.")
        await pilot.press("C")
        await shown(pilot, "Cancel it (y)")
        await pilot.press("y")
        await told(pilot, "It is carried out by bob. Only they or root can cancel it.")
        api.show(replace(api.latest, operations=(replace(SWAP, cancelled=True),)))
        await gone(pilot, "C cancel")


@pytest.mark.parametrize(
    ("key", "action"), [("f", Action.FINISH), ("r", Action.ROLL_BACK), ("n", None), ("escape", None), ("enter", None)]
)
async def test_what_was_interrupted_is_finished_rolled_back_or_left(
    api: FakeApi, key: str, action: Action | None
) -> None:
    api.latest = replace(api.latest, operations=(INTERRUPTED,))
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await shown(pilot, "u finishes it or rolls it back.", "u recover")
        assert "▲ swap mixtral → llama3-70b was interrupted: press u" in top(pilot)
        await pilot.press("u")
        await shown(
            pilot,
            "llama3-70b: check, llama3-70b: create, mixtral: drain",
            "mixtral: stop",
            "llama3-70b: wait for GPU memory",
            "llama3-70b serves, and mixtral is let go.",
            "llama3-70b is taken away, and mixtral serves again.",
        )
        await pilot.press("y")  # is the answer to neither
        await pilot.pause()
        await pilot.press(key)
        await on_main(pilot)
        if action:
            await until(pilot, lambda: bool(api.requests))
        assert api.submitted == ([(action, INTERRUPTED.id, None)] if action else [])


async def test_while_it_is_settled_it_is_not_offered_again(api: FakeApi) -> None:
    api.latest = replace(snapshot(*DURING), operations=(at_hand.SETTLING, INTERRUPTED))
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("5")
        await shown(pilot, "◐ roll back mixtral → llama3-70b  20s", "✓ look what is left of it", "◐ wait until ready")
        assert top(pilot).endswith("◐ roll back mixtral → llama3-70b  3/4 wait until ready  20s ")
        assert "u finishes it" not in screen_text(pilot)
        assert INTERRUPTED.id not in screen_text(pilot)
        await pilot.press("escape", "u")
        await told(pilot, "roll back mixtral → llama3-70b is under way: wait for its end, or cancel it.")


async def test_there_is_nothing_to_recover_or_to_cancel(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("u")
        await told(pilot, "No operation was interrupted")
        await pilot.press("C")
        await told(pilot, "No operation is under way.")
        api.show(replace(api.latest, lease=LEASE))
        await pilot.press("C")
        await told(pilot, "bob@gpu-box-3 from 10.1.2.9's: only they can cancel it.")


# -- pictures -------------------------------------------------------------------------------------------------------

LOG: list[str | LogLine] = [
    f"I0115 08:00:{i:02} 1 model_lifecycle.cc:469] loading: llama3-70b, shard {i} of 30" for i in range(30)
]
READY, LOADING = snapshot(*OTHERS), snapshot(*DURING)
PICTURES: dict[str, tuple[Snapshot, list[str], str]] = {
    "list": (READY, [], "differs from its profile"),
    "swap": (READY, [*"jjjjj", "s"], "if it fails"),
    "followed": (replace(LOADING, operations=(SWAP,)), ["5", "escape"], "log of"),
    "rolling-back": (replace(LOADING, operations=(ROLLING_BACK,)), ["5", "escape"], "log of"),
    "rolled-back": (replace(LOADING, operations=(ROLLED_BACK,)), ["5", "escape"], ": rolled back"),
    "cancel": (replace(LOADING, operations=(SWAP,)), ["C"], "serves again"),
    "recover": (replace(READY, operations=(INTERRUPTED,)), ["u"], "Roll back (r)"),
    "adopt": (READY, [*"jjj", "a"], "is written"),
    "read-only": (replace(READY, read_only="--read-only", lease=LEASE), [], "read-only"),
    "history": (READY, ["H"], "start mixtral"),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    api.latest, keys, awaited = PICTURES[name]
    api.entries, api.log = at_hand.ENTRIES, LOG
    api.change_plan = lambda plan: large_plan(plan, Verdict.FITS)

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await shown(pilot, "shard 29 of 30")
        await pilot.press(*keys)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
