"""Saved prompts in the playground."""

from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import OptionList

from engine.errors import Refused
from engine.inference.offer import ModelOffer, Offer
from engine.inference.prompt import PromptRequest, Role, Sampling, Style, Transport, Turn
from engine.prompt_record import SavedPrompt
from tests.tui.playground_at_hand import ready, said
from tests.tui.test_playground_pane import Harness, until
from tui.screens.prompt_blanks import PromptBlanks
from tui.screens.prompt_library import PromptLibrary
from tui.screens.prompt_saving import PromptSaving


async def library(pilot: Pilot[None], app: Harness) -> PromptLibrary:
    await pilot.press("ctrl+l")
    await until(pilot, lambda: isinstance(app.screen, PromptLibrary) and said(app, "#library-says") != "Reading …")
    assert isinstance(app.screen, PromptLibrary)
    return app.screen


async def test_a_saved_prompt_asks_for_its_blanks() -> None:
    app = Harness()
    app.fake.saved = [
        SavedPrompt("explain", PromptRequest("Explain {{thing}} to {{who=all}}.", sampling=Sampling(9)), "Explains")
    ]
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await library(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PromptBlanks))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "thing" in said(app, "#blanks-says"))
        app.post_message(Paste("MoE:\nall of it"))  # a text of several lines, as from a file
        await pilot.press("enter", "enter")
        await until(pilot, lambda: app.editor.text == "Explain MoE:\nall of it to all.")
        assert "max_tokens 9" in app.told


async def test_what_a_model_cannot_take_of_a_saved_prompt_is_said() -> None:
    app = Harness()
    app.fake.saved = [SavedPrompt("talk", PromptRequest("And?", history=(Turn(Role.USER, "Hm"),)))]
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app, Offer((ModelOffer("tiny", (Style.COMPLETION,)),), (Transport.OPENAI,)))
        await library(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: app.editor.text == "And?")
        assert any("earlier turns are not sent" in notice.message for notice in app._notifications)


async def test_the_present_prompt_is_saved_and_written_over_only_when_asked_twice() -> None:
    app = Harness()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await library(pilot, app)
        assert "No prompt is saved yet" in said(app, "#library-says")
        await pilot.press("s")
        await until(pilot, lambda: "nothing to save" in said(app, "#library-says"))
        await pilot.press("escape")
        await pilot.press(*"hello")
        app.fake.saved = [SavedPrompt("greet", PromptRequest("old"))]
        app.fake.save_error = Refused("The name greet is taken.", "Choose another.")
        await library(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, PromptSaving))
        await pilot.press(*"greet", "enter")
        await until(pilot, lambda: "is taken" in said(app, "#saving-says"))
        assert len(app.fake.saved) == 1
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PromptLibrary))
        assert (app.fake.saved[-1].name, app.fake.saved[-1].request.prompt) == ("greet", "hello")
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 2)


async def test_nothing_is_written_over_where_nothing_may_be_written() -> None:
    app = Harness()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await pilot.press(*"hello")
        app.fake.save_error = Refused("tritontui is read-only.")
        await library(pilot, app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, PromptSaving))
        await pilot.press(*"greet", "enter")
        await until(pilot, lambda: said(app, "#saving-says") == "▲ tritontui is read-only.")
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert app.fake.saved == []
