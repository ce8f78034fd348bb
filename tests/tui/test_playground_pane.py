"""The playground pane, driven by keys, against an engine that the test plays."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Button, Static

from engine.api import Cancel, EngineApi
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.errors import EngineError, OperationFailed, Refused
from engine.inference.offer import Offer
from engine.inference.prompt import (
    Fault,
    PromptEvent,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Timing,
    Token,
    Transport,
)
from engine.prompt_record import KeptPrompt, SavedPrompt
from engine.snapshot import Model, Snapshot
from tui.widgets.playground_pane import PlaygroundPane
from tui.widgets.prompt_editor import PromptEditor
from tui.widgets.prompt_history import HistoryList
from tui.widgets.streamed_text import StreamedText, wrapped

SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
NOW = Snapshot(at=0, hostname="here", loading=False)
TIMING = Timing(0.001, 0.2, 0.2, 1.2, 1.3, tokens_in=4, tokens_out=11, token_source="server")


class Played:
    """The engine's side of one prompt; its events come from another thread, as the engine's do."""

    def __init__(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> None:
        self.name = name
        self.request = request
        self.cancels = 0
        self._on_event = on_event
        self._text = ""

    def cancel(self) -> None:
        self.cancels += 1

    def say(self, *pieces: str) -> None:
        self._text += "".join(pieces)
        self._send([Token(piece, 0.2) for piece in pieces])

    def end(
        self,
        outcome: PromptOutcome = PromptOutcome.DONE,
        error: str = "",
        reason: str = "stop",
        fault: Fault | None = None,
    ) -> None:
        result = PromptResult(self.request, outcome, self._text, "m", None, reason, error, TIMING, fault=fault)
        self._send([result])

    def _send(self, events: Sequence[PromptEvent]) -> None:
        thread = threading.Thread(target=lambda: [self._on_event(event) for event in events])
        thread.start()
        thread.join()


class FakeApi:
    def __init__(self) -> None:
        self.asked: list[Played] = []
        self.refusal: Refused | None = None
        self.offered: Offer | EngineError = OperationFailed("It does not say what it takes.")
        self.offers_asked: list[tuple[str, Transport | None]] = []
        self.kept: list[KeptPrompt] | EngineError = []
        self.saved: list[SavedPrompt] = []
        self.save_error: EngineError | None = None

    def ask(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> Cancel:
        if self.refusal:
            raise self.refusal
        self.asked.append(Played(name, request, on_event))
        return self.asked[-1].cancel

    def offer(self, name: str, transport: Transport | None = None) -> Offer:
        self.offers_asked.append((name, transport))
        if isinstance(self.offered, EngineError):
            raise self.offered
        return self.offered

    def kept_prompts(self, name: str | None = None, limit: int = 200) -> Sequence[KeptPrompt]:
        if isinstance(self.kept, EngineError):
            raise self.kept
        return [kept for kept in self.kept if name in (None, kept.deployment)]

    def saved_prompts(self) -> Sequence[SavedPrompt]:
        return self.saved

    def save_prompt(self, prompt: SavedPrompt, *, overwrite: bool = False) -> Path:
        if self.save_error and not overwrite:
            raise self.save_error
        self.saved = [*self.saved, prompt]
        return Path(f"{prompt.name}.yaml")


class Harness(App[None]):
    CSS = "PlaygroundPane { height: 1fr; }"
    BINDINGS = [("s", "started", "Start"), ("q", "quit", "Quit"), ("escape", "escaped", "List")]  # noqa: RUF012 (as Textual has it)

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeApi()
        self.keys_leaked = 0
        self.escapes = 0

    def action_escaped(self) -> None:
        self.escapes += 1

    def action_started(self) -> None:
        self.keys_leaked += 1

    def compose(self) -> ComposeResult:
        yield Button("list")
        yield PlaygroundPane(cast("EngineApi", self.fake))

    @property
    def pane(self) -> PlaygroundPane:
        return self.query_one(PlaygroundPane)

    @property
    def answer(self) -> str:
        return self.query_one("#answer", StreamedText).text

    @property
    def status(self) -> str:
        return str(self.query_one("#status", Static).content)

    @property
    def told(self) -> str:
        return str(self.query_one("#told", Static).content)

    @property
    def editor(self) -> PromptEditor:
        return self.query_one(PromptEditor)

    @property
    def history(self) -> HistoryList:
        return self.query_one(HistoryList)

    def rows(self) -> list[str]:
        return [str(option.prompt) for option in self.history.options]

    def select(self, name: str | None, state: State = State.READY, *others: Model) -> None:
        """`others`: models that run besides."""
        deployment = (
            Deployment(name, "docker", "vllm", "id-1", "example:1", Lifecycle.RUNNING, SERVICE, 1.0, 2.0)
            if name
            else None
        )
        model = Model(name, state, deployment=deployment) if name else None
        models = (model, *others) if model else others
        self.pane.show_model(model, replace(NOW, models=models))


async def until(pilot: Pilot[None], condition: Callable[[], Any]) -> None:
    for _ in range(400):
        if condition():
            return
        await pilot.pause(0.01)
    pytest.fail("not within 4 s")


async def send(pilot: Pilot[None], app: Harness, text: str) -> Played:
    asked = len(app.fake.asked)
    app.editor.focus()
    await pilot.press(*text, "enter")
    await until(pilot, lambda: len(app.fake.asked) > asked)
    return app.fake.asked[-1]


async def test_an_answer_arrives_piece_by_piece_with_its_figures() -> None:
    app = Harness()
    async with app.run_test(size=(80, 14)) as pilot:
        app.select("llama")
        app.editor.focus()
        await pilot.press(*"sq", "ctrl+j", *"two", "enter")
        await until(pilot, lambda: app.fake.asked)
        played = app.fake.asked[0]
        assert (played.name, played.request.prompt) == ("llama", "sq\ntwo")
        assert (played.request.sampling.max_tokens, played.request.sampling.temperature, played.request.model) == (
            256,
            None,
            None,
        )
        assert app.keys_leaked == 0
        assert app.editor.text == ""
        assert "waiting for the first token" in app.status

        played.say("Hel", "lo [bold]")
        await until(pilot, lambda: app.answer.endswith("Hello [bold]"))
        assert "answering" in app.status
        assert "2 out (chunks)" in app.status
        played.say(" there")
        played.end()
        await until(pilot, lambda: "done, stop" in app.status)
        assert app.answer == "sq\ntwoHello [bold] there"
        assert "first 200 ms  10.0 tok/s  4 in, 11 out (server)  total 1.30 s" in app.status
        assert "●" in app.rows()[0]
        assert "200 ms   10.0  1.30 s  sq two" in app.rows()[0]


async def test_a_silence_is_said_while_it_lasts() -> None:
    app = Harness()
    async with app.run_test(size=(80, 14)) as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        run = app.pane._session.runs[0]
        run.heard -= 9
        await until(pilot, lambda: "waiting for the first token, nothing for 9 s (given up after 60 s)" in app.status)
        played.say("so")
        await until(pilot, lambda: "answering  " in app.status)
        run.heard -= 20
        await until(pilot, lambda: "answering, nothing for 20 s" in app.status)
        played.end()
        await until(pilot, lambda: "done, stop  " in app.status)


async def test_a_failure_shows_its_sentence_and_what_came_before() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("so far")
        played.end(PromptOutcome.FAILED, "It cut the connection.", reason="")
        await until(pilot, lambda: "failed" in app.status)
        assert app.answer == "hiso farIt cut the connection."
        app.fake.refusal = Refused("There is no deployment.", "Start it.")
        app.editor.focus()
        await pilot.press(*"again", "enter")
        await until(pilot, lambda: "There is no deployment. Start it." in app.answer)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.ABSENT, "llama is not started: start it to send prompts."),
        (State.STOPPED, "llama is stopped: start it to send prompts."),
        (State.STARTING, "llama is starting: it answers prompts when it is ready."),
        (State.UNREACHABLE, "llama is unreachable: its server does not answer."),
    ],
)
async def test_a_model_that_is_not_ready_is_not_asked(state: State, said: str) -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select("llama", state)
        assert app.status == said
        app.editor.focus()
        await pilot.press(*"hi", "enter")
        await pilot.pause()
        assert app.fake.asked == []
        assert app.editor.text == "hi"
        app.select("llama", State.READY)
        await pilot.press("enter")
        await until(pilot, lambda: app.fake.asked)


async def test_nothing_selected() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select(None)
        app.editor.focus()
        await pilot.press(*"hi", "enter")
        assert app.status == "Select a model to send it a prompt."


async def test_each_deployment_keeps_its_draft_its_run_and_its_history() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select("one")
        played = await send(pilot, app, "first")
        played.say("from one")
        await until(pilot, lambda: "from one" in app.answer)
        await pilot.press(*"draft")
        app.select("two")
        assert (app.answer, app.editor.text) == ("", "")
        played.say(" and more")
        played.end()
        other = await send(pilot, app, "second")
        other.say("from two")
        await until(pilot, lambda: app.answer == "secondfrom two")
        app.select("one")
        assert app.editor.text == "draft"
        await until(pilot, lambda: app.answer == "firstfrom one and more")
        await until(pilot, lambda: "●" in app.rows()[0])
        assert len(app.rows()) == 1
        app.editor.text = ""
        again = await send(pilot, app, "x")
        assert (again.name, other.name) == ("one", "two")


async def test_the_history_shows_earlier_prompts_and_recalls_them() -> None:
    app = Harness()
    async with app.run_test(size=(80, 14)) as pilot:
        app.select("llama")
        assert not app.history.region.area
        for text in ("older", "newer"):
            played = await send(pilot, app, text)
            played.say(f"answer to {text}")
            played.end()
            await until(pilot, lambda: "done" in app.status)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: app.history.has_focus)
        assert [row.split()[-1] for row in app.rows()] == ["newer", "older"]
        await pilot.press("down")
        await until(pilot, lambda: app.answer == "olderanswer to older")
        await pilot.press("r")
        await until(pilot, lambda: app.editor.has_focus)
        assert app.editor.text == "older"
        assert app.answer == "olderanswer to older"
        await until(pilot, lambda: not app.history.region.area)
        app.editor.text = ""
        await pilot.press("up")
        await until(pilot, lambda: app.editor.text == "newer")


async def test_a_wide_pane_has_the_history_beside_the_answer() -> None:
    app = Harness()
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app.history.region.area)
        answer = app.query_one("#answer").region
        assert app.history.region.x >= answer.right
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: not app.history.region.area)


@pytest.mark.parametrize(("size"), [(80, 12), (60, 9)])
async def test_everything_is_in_view_in_a_small_pane(size: tuple[int, int]) -> None:
    app = Harness()
    async with app.run_test(size=size) as pilot:
        app.query_one(Button).display = False
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say(*("word " for _ in range(200)), "END")
        await until(pilot, lambda: app.answer.endswith("END"))
        await pilot.pause()
        answer = app.query_one("#answer", StreamedText)
        assert answer.region.height >= 3
        assert answer.scroll_offset.y == answer.max_scroll_y > 0
        for widget in (app.editor, app.query_one("#told"), app.query_one("#status")):
            assert app.screen.region.contains_region(widget.region)
            assert widget.region.area


async def test_scrolling_up_stops_following() -> None:
    app = Harness()
    async with app.run_test(size=(80, 16)) as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("line\n" * 50)
        answer = app.query_one("#answer", StreamedText)
        await until(pilot, lambda: answer.max_scroll_y > 0 and answer.scroll_offset.y == answer.max_scroll_y)
        answer.focus()
        await pilot.press("g")
        await until(pilot, lambda: answer.scroll_offset.y == 0)
        played.say("more\n" * 50)
        await until(pilot, lambda: app.answer.endswith("more\n"))
        await pilot.pause()
        assert answer.scroll_offset.y == 0


async def test_what_comes_after_the_pane_is_gone_harms_nobody() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("x")
    assert played.cancels == 1
    played.say("late")
    played.end(PromptOutcome.CANCELLED)


class Sheet(App[None]):
    def compose(self) -> ComposeResult:
        yield StreamedText()


async def test_text_that_streams_wraps_as_the_same_text_at_once() -> None:
    whole = "The quick  brown fox   — 日本語のテキスト jumps\n\n    indented overtheverylonglazydogthatdoesnotend. " * 5
    app = Sheet()
    async with app.run_test(size=(24, 10)) as pilot:
        sheet = app.query_one(StreamedText)
        await pilot.pause()
        for start in range(0, len(whole), 3):
            sheet.append(whole[start : start + 3])
        streamed = [text for _, text in sheet._rows]
        sheet.clear()
        sheet.append(whole)
        assert streamed == [text for _, text in sheet._rows]
        await pilot.resize_terminal(40, 10)
        await pilot.pause()
        assert "".join(text for _, text in sheet._rows) == whole.replace("\n", "")


@given(st.text(st.sampled_from("ab 本—"), max_size=60), st.integers(2, 20))
def test_wrapping_loses_nothing_and_fits(line: str, width: int) -> None:
    from rich.cells import cell_len

    rows = wrapped(line, width)
    assert "".join(rows) == line
    assert all(cell_len(row.rstrip()) <= width for row in rows)
