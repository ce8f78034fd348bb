"""What a plan says on the screen, and what may be confirmed when something speaks against it."""

from collections.abc import Callable
from functools import partial

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from engine.fit.result import Verdict
from engine.plan import Plan
from engine.request import Action
from tests.tui.driving import MODELS, gone, opened, screen_text, settled, shown, still, until
from tests.tui.fake_api import INVALID, NOW, FakeApi, large_plan, snapshot
from tui import format as write
from tui.app import Console
from tui.screens.confirm import Confirm
from tui.screens.main import MainScreen

TAKEN = "GPU 1 is used by mixtral: stop it, or set `share_gpus: true`."
TOO_BIG = "91.0 GiB are needed on each GPU, and 80.0 GiB are there."


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*MODELS))


def refused(plan: Plan) -> Plan:
    return large_plan(plan, Verdict.DOES_NOT_FIT, TAKEN, TOO_BIG)


def tight(plan: Plan) -> Plan:
    return large_plan(plan, Verdict.TIGHT)


def label(pilot: Pilot[None], button: str) -> str:
    return str(pilot.app.screen.query_one(f"#{button}", Button).label)


async def to_end(pilot: Pilot[None], text: str) -> None:
    """Down to it, page by page."""
    for _ in range(20):
        if text in screen_text(pilot):
            return
        await pilot.press("pagedown")
        await pilot.pause(0.05)
    raise AssertionError(f"{text!r} is nowhere:\n{screen_text(pilot)}")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_what_speaks_against_a_start_is_seen_first_and_the_start_is_not_the_default(
    api: FakeApi, size: tuple[int, int]
) -> None:
    api.change_plan = refused
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("j", "j", "enter")
        await shown(pilot, "A start would be refused:", "▲ GPU 1 is used by mixtral", "▲ does not fit: 91.0 GiB")
        await shown(pilot, "Start anyway (y)", "Cancel (n)")
        assert screen_text(pilot).count("91.0 GiB are needed") == 1
        yes = pilot.app.screen.query_one("#yes", Button)
        assert yes.variant == "warning"
        assert not yes.has_focus
        await pilot.press(*["pagedown"] * 5)
        await shown(pilot, "▲ does not fit", "Start anyway (y)")  # however far the rest is scrolled
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert not api.submitted
        await pilot.press("enter")
        await shown(pilot, "Start anyway (y)")
        await pilot.press("y")
        await until(pilot, lambda: bool(api.submitted))
        assert (api.submitted, api.forced) == ([(Action.START, "mixtral", "docker")], ["mixtral"])


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_the_whole_plan_can_be_read_before_it_is_confirmed(api: FakeApi, size: tuple[int, int]) -> None:
    api.change_plan = tight
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("j", "j", "enter")
        await shown(pilot, "◐ tight: 91.0 GiB", "Start (y)")
        for text in (
            "→ Set `max_model_len: 2048`",
            "! Port 8000 (http) is in use",
            "activations and graphs",
            "2.0–5.0",
            "-11.0 to -8.0",
            "GPU-11c80f4e-5ea0-4f3a-9d3b-6c1f7d0a9b11",
            "NVIDIA H100 80GB HBM3",
            " used",
            "example/triton:1",
            "/tritontui/models/llama/config.pbtxt",
            "docker create",
        ):
            await to_end(pilot, text)
        assert all(len(line) <= size[0] for line in screen_text(pilot).splitlines())
        await pilot.press("enter")
        await until(pilot, lambda: bool(api.submitted))
        assert (api.submitted, api.forced) == ([(Action.START, "mixtral", "docker")], [])


@pytest.mark.parametrize(("verdict", "word"), [(Verdict.FITS, "● fits:"), (Verdict.UNKNOWN, "? unknown:")])
async def test_a_verdict_is_a_symbol_and_a_word(api: FakeApi, verdict: Verdict, word: str) -> None:
    api.change_plan = partial(large_plan, verdict=verdict)
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await shown(pilot, word)


async def test_long_files_are_folded_until_they_are_asked_for(api: FakeApi) -> None:
    api.change_plan = tight
    async with Console(lambda: api).run_test(size=(120, 60)) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await settled(pilot)
        await pilot.press("z", "G")
        await shown(pilot, "config.pbtxt  23 lines", "… 11 more: f shows all", '"max_model_len": 8192')
        assert "option_19" not in screen_text(pilot)
        await pilot.press("f", "G")
        await shown(pilot, "option_19")
        assert "f shows all" not in screen_text(pilot)
        await pilot.press("f", "G")
        await shown(pilot, "f shows all")


async def test_the_command_line_is_copied_whole(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await shown(pilot, "profiles/x.yaml")
        await pilot.press("y")
        await shown(pilot, "Copied the command line.")
        assert pilot.app.clipboard.startswith("docker run -d --init --name tritontui-llama3-70b")
        assert pilot.app.clipboard.endswith("--model-repository=/models")


async def test_a_restart_that_would_be_refused_says_why(api: FakeApi) -> None:
    api.change_plan = refused
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("R")
        await shown(pilot, "A start would be refused:", "has been ready for 2m11s", "Restart anyway (y)")
        assert not pilot.app.screen.query_one("#yes").has_focus
        await pilot.press("y")
        await until(pilot, lambda: bool(api.submitted))
        assert (api.submitted, api.forced) == ([(Action.RESTART, "llama3-70b", None)], ["llama3-70b"])


async def test_a_restart_by_a_profile_that_is_wrong_now_is_not_offered(api: FakeApi) -> None:
    api.plan_error = INVALID
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("R")
        await shown(pilot, "`image` is missing")
        await pilot.press("y")
        await pilot.pause()
        assert isinstance(pilot.app.screen, Confirm)
        assert not api.submitted


async def test_the_other_runtime_is_judged_anew(api: FakeApi) -> None:
    def on_docker_only(plan: Plan) -> Plan:
        return refused(plan) if plan.launch.runtime == "docker" else plan

    api.change_plan = on_docker_only
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("j", "j", "enter")
        await shown(pilot, "Start anyway (y)")
        await pilot.press("r")
        await shown(pilot, "triton on process", "Start (y)")
        await gone(pilot, "would be refused")
        assert pilot.app.screen.query_one("#yes").has_focus
        await pilot.press("r")
        await shown(pilot, "Start anyway (y)", "would be refused")


async def test_a_plan_follows_its_profile(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await shown(pilot, "profiles/x.yaml")
        assert api.planned == ["llama3-70b"]
        api.shipped = {"llama3-70b"}  # the source is another than it was
        await until(pilot, lambda: len(api.planned) == 2)
        await pilot.press("r")
        await until(pilot, lambda: len(api.planned) == 3)


async def test_what_plans_say_is_no_markup(api: FakeApi) -> None:
    api.change_plan = lambda plan: large_plan(plan, Verdict.TIGHT, "[red]Not[/] this [/nope]")
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await shown(pilot, "▲ [red]Not[/] this [/nope]")


PICTURES: dict[str, tuple[list[str], str, Callable[[Plan], Plan]]] = {
    "plan": (["6"], "tight", tight),
    "refused": (["j", "j", "enter"], "Start anyway", refused),
    "restart": (["R"], "Restart anyway", refused),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    keys, awaited, api.change_plan = PICTURES[name]

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        await pilot.press(*keys)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
