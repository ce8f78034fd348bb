"""The console as its user sees it, by keys, against an engine that the test holds."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from textual import events
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Static

from engine.deployment import State
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, ProfileProblem, RuntimeStatus, Step, StepKind
from tests.tui.driving import MODELS, opened, screen_text, settled, shown, still, until
from tests.tui.fake_api import INVALID, NOW, FakeApi, model, snapshot
from tui import format as write
from tui.app import Console
from tui.panes import PANES
from tui.screens.confirm import Confirm
from tui.screens.help import Help
from tui.screens.main import MainScreen
from tui.widgets.top_line import TopLine


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "now", lambda: NOW)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(snapshot(*MODELS))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (60, 20)])
async def test_every_state_shows_as_symbol_and_word(api: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        text = screen_text(pilot)
        for row in ("● llama3-70b", "■ mixtral", "▲ qwen3-30b"):
            assert row in text
        for word in ("ready", "stopped", "failed", "2m11s", "gpu-box-3"):
            assert word in text
        assert all(len(line) <= size[0] for line in text.splitlines())


async def test_start_shows_the_plan_and_does_nothing_until_confirmed(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("j", "j", "enter")
        await shown(pilot, "docker run")
        assert not api.submitted
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert not api.submitted
        await pilot.press("enter")
        await shown(pilot, "docker run")
        await pilot.press("r")
        await shown(pilot, "triton on process")
        await pilot.press("y")
        await until(pilot, lambda: bool(api.submitted))
        assert api.submitted == [(Action.START, "mixtral", "process")]


async def test_enter_on_the_default_button_confirms(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("x")
        await shown(pilot, "has been ready for 2m11s")
        await pilot.press("enter")
        await until(pilot, lambda: bool(api.submitted))
        assert api.submitted == [(Action.STOP, "llama3-70b", None)]


async def test_a_plan_that_cannot_be_made_says_why_and_cannot_be_confirmed(api: FakeApi) -> None:
    api.plan_error = INVALID
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("j", "j", "enter")
        await shown(pilot, "`image` is missing")
        await pilot.press("y", "enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert not api.submitted


async def test_what_cannot_be_done_is_refused_with_a_sentence(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        screen = await opened(pilot)
        assert screen.check_action("start", ()) is None
        assert screen.check_action("stop", ()) is True
        await pilot.press("j", "j")
        assert screen.check_action("stop", ()) is None
        await pilot.press("x")
        await shown(pilot, "mixtral is not running.")
        assert not isinstance(pilot.app.screen, Confirm)
        await pilot.press("escape")
        await until(pilot, lambda: "mixtral is not running." not in screen_text(pilot))


async def test_tab_goes_round_the_list_and_what_takes_keys_in_the_pane(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)

        def focused() -> str:
            return getattr(screen.focused, "id", None) or type(screen.focused).__name__

        await pilot.press("3")
        await until(pilot, lambda: focused() == "prompt")
        visited = []
        for _ in range(3):
            await pilot.press("tab")
            visited.append(focused())
        assert visited == ["answer", "model-list", "prompt"]
        await pilot.press("shift+tab", "escape")
        assert focused() == "model-list"
        await pilot.press("1", "tab")
        assert focused() == "model-list"
        assert not screen.query_one("#logs-search").display


async def test_the_mouse_picks_rows_tabs_and_keys(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        models = screen.query_one("#models").region
        await pilot.click(offset=(models.x + 6, models.y + 2))
        assert screen.selected == MODELS[2]
        tabs = screen.query_one("#tabs").region
        await pilot.click(offset=(tabs.x + 12, tabs.y))
        await shown(pilot, "Its metrics show here while it runs")
        keys = next(line for line in screen_text(pilot).splitlines() if "? help" in line)
        await pilot.click(offset=(keys.index("? help"), 39))
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_the_last_line_names_the_keys_of_the_focused_area(api: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await shown(pilot, " x stop ")
        assert "enter start" not in screen_text(pilot)  # it runs
        await pilot.press("j")
        await shown(pilot, " enter start ")
        await pilot.press("1")
        await shown(pilot, " f follow ")
        await shown(pilot, " escape list  ? help  q quit ")
        await pilot.press("3")
        await shown(pilot, " enter send ")
        await shown(pilot, " escape list ")


async def test_another_size_is_laid_out_at_once(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        for size in ((80, 24), (60, 20), (120, 40)):
            await pilot.resize_terminal(*size)
            await shown(pilot, "GPUs ─")
            await shown(pilot, "1 Logs")


@pytest.mark.parametrize(
    ("keys", "action", "name"),
    [
        ("R", Action.RESTART, "llama3-70b"),
        ("d", Action.REMOVE, "llama3-70b"),
        ("jd", Action.REMOVE, "qwen3-30b"),
        ("jjd", Action.REMOVE, "mixtral"),
    ],
)
async def test_restart_and_remove_ask_first(api: FakeApi, keys: str, action: Action, name: str) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press(*keys)
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert not api.submitted
        await pilot.press("y")
        await until(pilot, lambda: bool(api.submitted))
        assert api.submitted == [(action, name, None)]


async def test_each_pane_follows_the_cursor(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        await pilot.press("2")
        await shown(pilot, "Requests")
        await pilot.press("escape", "5", "escape")
        await shown(pilot, "answers at")
        await pilot.press("6", "escape")
        await shown(pilot, "profiles/x.yaml")
        await pilot.press("j", "j", "j")
        await shown(pilot, "Summary of smollm2")
        await pilot.press("1", "escape")
        await shown(pilot, "Not started yet")


async def test_a_prompt_from_the_playground(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("3")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "prompt")
        await pilot.press("q", "u", "i", "t", "enter")
        await shown(pilot, "Hello, world.")
        assert [request.prompt for request in api.asked] == ["quit"]


async def test_keys_typed_ahead_for_a_pane_change_nothing(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        for key in ("3", "d", "x", "q", "y"):  # as fast as a paste: nothing is waited for between them
            pilot.app.post_message(events.Key(key, key))
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "prompt")
        await pilot.pause(0.5)
        assert isinstance(pilot.app.screen, MainScreen)
        assert not api.submitted
        await pilot.press("escape", "x")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))


async def test_an_operation_is_on_the_top_line_and_its_end_is_told_once(api: FakeApi) -> None:
    steps = (Step(StepKind.CHECK, "check", Outcome.DONE), Step(StepKind.START, "start", Outcome.RUNNING, began_at=NOW))
    running = OperationStatus("1", "start", "mixtral", steps, NOW - 12, Outcome.RUNNING, "ann@gpu-box-3, pid 7")
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        api.show(replace(api.latest, operations=(running,)))
        await shown(pilot, "start mixtral  2/2 start  12s")
        ended = replace(running, outcome=Outcome.FAILED, ended_at=NOW, message="Port 8000 is [red]taken.")
        api.show(replace(api.latest, operations=(ended,)))
        await shown(pilot, "Port 8000 is [red]taken.")
        api.show(replace(api.latest, operations=(ended,), at=NOW + 1))
        await pilot.pause()
        assert len(pilot.app._notifications) == 1


async def test_an_unreachable_runtime_says_so_and_keeps_what_was_known(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        away = RuntimeStatus(
            "docker", reachable=False, detail="The Docker daemon does not answer. Start it.", since=NOW
        )
        stale = tuple(replace(row, stale_since=NOW) for row in MODELS)
        api.show(replace(api.latest, runtimes=(away,), models=stale))
        await shown(pilot, "docker unreachable")
        await shown(pilot, "The Docker daemon does not answer. Start it.")
        await shown(pilot, "ready?")
        api.show(snapshot(*MODELS))
        await until(pilot, lambda: "does not answer" not in screen_text(pilot))


async def test_an_invalid_profile_is_a_row_with_its_sentence(api: FakeApi) -> None:
    problem = ProfileProblem("profiles/bad.yaml", 3, "Unknown key `modle`; did you mean `model`?")
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        api.show(replace(api.latest, problems=(problem,)))
        await shown(pilot, "▲ bad.yaml")
        await pilot.press("G")
        await shown(pilot, "profiles/bad.yaml:3: Unknown key `modle`; did you mean `model`?")
        assert "No model selected" not in screen_text(pilot)
        api.show(replace(snapshot(*MODELS, model("zephyr", State.ABSENT)), problems=(problem,)))
        await shown(pilot, "zephyr")
        assert "profiles/bad.yaml:3" in screen_text(pilot)  # the cursor stays on it when rows come
        await pilot.press("k", "k")
        await shown(pilot, "Not started yet")


async def test_help_explains_every_key_of_every_pane(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 400)) as pilot:
        await opened(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        await shown(pilot, "Stop the selected model")
        text = screen_text(pilot)
        for title in ("List of models", "Logs", "Metrics", "Playground", "Launch", "Plan", "Questions", "States"):
            assert title in text
        for pane in PANES.values():
            for part in (kind := pane.load(), *kind.PARTS):
                for binding in part.BINDINGS:
                    assert isinstance(binding, Binding)
                    assert binding.tooltip, binding
                    assert binding.tooltip in text
                    assert binding.tooltip.lower() != binding.description == binding.description.lower()
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


@pytest.mark.parametrize(
    ("keys", "first", "key"),
    [
        ((), "Model", "enter"),
        (("1",), "Logs", "f"),
        (("2",), "Metrics", "enter"),
        (("3", "ctrl+r"), "Playground", "r"),
        (("ctrl+g",), "GPUs", "escape  q  ctrl+g"),
    ],
)
async def test_help_begins_with_the_keys_of_the_place_where_one_is(
    api: FakeApi, keys: Sequence[str], first: str, key: str
) -> None:
    async with Console(lambda: api).run_test(size=(120, 400)) as pilot:
        await opened(pilot)
        for one in keys:
            await pilot.press(one)
            await settled(pilot)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        await shown(pilot, "States")
        box = pilot.app.screen.query_one("#help-body").region
        lines = [line[box.x : box.right] for line in screen_text(pilot).splitlines()[box.y : box.bottom]]
        assert lines[0].strip() == first
        assert lines[1].split("   ")[0].strip() == key
        assert {"}", "{", "[", "/"} <= {line[: line.find("  ")] for line in lines}
        assert not any("_bracket" in line for line in lines)


async def test_the_palette_finds_actions_on_models(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(100, 30)) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+p", *"stop llama")
        await shown(pilot, "stop llama3-70b")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))


async def test_zoom_and_back(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("z")
        await until(pilot, lambda: "mixtral" not in screen_text(pilot))
        await pilot.press("escape")
        await shown(pilot, "mixtral")


async def test_names_and_details_from_outside_are_no_markup(api: FakeApi) -> None:
    hostile = replace(MODELS[2], detail="[bold red]oops[/] [/nope]")
    api.latest = snapshot(*MODELS[:2], hostile)
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("j")
        await shown(pilot, "[bold red]oops[/] [/nope]")


async def test_two_hundred_profiles_scroll_and_follow_the_cursor(api: FakeApi) -> None:
    api.latest = snapshot(*MODELS, *(model(f"profile-{i:03}", State.ABSENT) for i in range(200)))
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("G")
        await shown(pilot, "profile-199")
        await pilot.press("g")
        await shown(pilot, "llama3-70b")


async def test_an_empty_machine_says_what_to_do(api: FakeApi) -> None:
    api.latest = replace(snapshot(), models=())
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "No profiles were found.")
        assert pilot.app.screen.query_one("#notice", Static)


PICTURES = {
    "logs": ([], "server.cc:1] started"),
    "metrics": (["2"], "req/s"),
    "launch": (["5"], "answers at"),
    "help": (["question_mark"], "Stop the selected model"),
    "start": (["j", "j", "enter"], "docker run"),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    keys, awaited = PICTURES[name]

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        await pilot.press(*keys)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)


async def test_a_snapshot_that_comes_before_the_screen_stands() -> None:
    """The engine may be faster than the first layout."""
    stop = OperationStatus("1", "stop", "mixtral", (), NOW - 2, Outcome.DONE, "ann@gpu-box-3, pid 7", ended_at=NOW - 1)
    screen = MainScreen()
    screen.take(replace(snapshot(model("mixtral", State.STOPPED)), operations=(stop,)))
    app: App[None] = App()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.push_screen(screen)
        await pilot.pause()
        line = screen.query_one(TopLine).render()
        assert "stop mixtral done" in str(line)
