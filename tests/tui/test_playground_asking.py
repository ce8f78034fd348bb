"""How the playground puts prompts: conversations, options, tensors, and two deployments at a time."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select, TextArea

from engine.deployment import State
from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import Fault, PromptOutcome, PromptRequest, Role, Sampling, Style, Transport, Turn
from tests.tui.driving import screen_text
from tests.tui.playground_at_hand import CHAT, MIXTRAL, OFFER, TENSORS, ready, said
from tests.tui.test_playground_answers import kept
from tests.tui.test_playground_pane import NOW, Harness, Played, send, until
from tui.screens.prompt_comparison import PromptComparison
from tui.screens.prompt_options import PromptOptions
from tui.screens.prompt_timings import PromptTimings
from tui.widgets.prompt_settings import read, written


async def answered(pilot: Pilot[None], app: Harness, text: str, answer: str) -> Played:
    played = await send(pilot, app, text)
    played.say(answer)
    played.end()
    await until(pilot, lambda: "done" in app.status)
    return played


async def options(pilot: Pilot[None], app: Harness) -> PromptOptions:
    await pilot.press("ctrl+o")
    await until(pilot, lambda: isinstance(app.screen, PromptOptions) and app.screen.query("#option-transport"))
    assert isinstance(app.screen, PromptOptions)
    return app.screen


def offered(app: Harness) -> set[str]:
    """Keys that can be pressed here and now."""
    return {key for key, active in app.screen.active_bindings.items() if active.enabled}


async def test_a_chat_has_its_turns_until_a_new_one_begins() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        assert app.told == "chat · new conversation · max_tokens 256"
        first = await answered(pilot, app, "one", "<think>hm</think>\n\nfirst")
        assert (first.request.history, first.request.style) == ((), Style.CHAT)
        assert "after 1 turn" in app.told
        second = await answered(pilot, app, "two", "second")
        turns = (Turn(Role.USER, "one"), Turn(Role.ASSISTANT, "first"))
        assert second.request.history == turns, "what it said to itself is no part of the conversation"
        assert app.answer == "onefirst\ntwosecond"
        failing = await send(pilot, app, "three")
        failing.end(PromptOutcome.FAILED, "It cut.", reason="")
        await until(pilot, lambda: "failed" in app.status)
        assert "after 2 turns" in app.told, "a turn without an answer is none"
        await pilot.press("ctrl+n")
        assert (app.answer, app.told) == ("", "chat · new conversation · max_tokens 256")
        assert (await send(pilot, app, "four")).request.history == ()


async def test_single_prompts_and_completions_stand_alone() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        await answered(pilot, app, "one", "first")
        await pilot.press("ctrl+t")
        assert app.told.startswith("single · ")
        single = await answered(pilot, app, "two", "second")
        assert (single.request.history, single.request.style) == ((), Style.CHAT)
        await pilot.press("ctrl+t")
        completion = await answered(pilot, app, "three", "third")
        assert (completion.request.history, completion.request.style) == ((), Style.COMPLETION)
        await pilot.press("ctrl+t")
        assert app.told.startswith("chat · after 1 turn"), "the conversation was not lost meanwhile"


async def test_keys_that_would_only_refuse_are_not_offered() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        app.select("llama", State.STARTING)
        app.editor.focus()
        await pilot.pause()
        assert {"ctrl+t", "ctrl+n"} <= offered(app), "it is not known yet how it can be asked"
        await ready(pilot, app, replace(OFFER, models=(OFFER.models[1], CHAT)))
        await until(pilot, lambda: not {"ctrl+t", "ctrl+n"} & offered(app))
        await pilot.press("ctrl+t", "ctrl+n")
        assert not app._notifications
        await choose_model(pilot, app, "prose")
        await until(pilot, lambda: {"ctrl+t", "ctrl+n"} <= offered(app))
        played = await send(pilot, app, "one")
        await until(pilot, lambda: "ctrl+n" not in offered(app))
        played.end()
        await until(pilot, lambda: "ctrl+n" in offered(app))


async def test_a_conversation_that_is_too_long_says_what_to_do() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        await answered(pilot, app, "one", "first")
        played = await send(pilot, app, "two")
        played.end(PromptOutcome.FAILED, "It refused: the maximum context length is 300.", "", Fault.REFUSED)
        await until(pilot, lambda: "ctrl+n begins a new one" in app.status)


async def test_the_last_turn_is_put_in_another_way() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        await answered(pilot, app, "one", "first")
        await answered(pilot, app, "two", "second")
        await pilot.press("up")
        await until(pilot, lambda: app.editor.text == "two")
        assert "in place of the last turn" in app.told
        await pilot.press("escape")
        assert "after 2 turns" in app.told
        assert app.editor.text == ""
        await pilot.press("up")
        await until(pilot, lambda: app.editor.text == "two")
        again = await answered(pilot, app, "!", "another")
        assert again.request.prompt == "two!"
        assert [turn.text for turn in again.request.history] == ["one", "first"]
        assert "after 2 turns" in app.told


async def test_the_last_prompt_of_an_earlier_console_is_brought_back_too() -> None:
    app = Harness()
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        await pilot.press("up")
        await until(pilot, lambda: any("Nothing was sent" in one.message for one in app._notifications))
    app = Harness()
    app.fake.kept = [kept(2, "newer", "b"), kept(1, "older", "a")]
    async with app.run_test(size=(100, 24)) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: "earlier" in app.status)
        await pilot.press("up")
        await until(pilot, lambda: app.editor.text == "newer")
        assert "new conversation" in app.told


async def test_options_are_offered_sent_and_told() -> None:
    app = Harness()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        form = await options(pilot, app)
        assert not form.query("#option-top_p"), "the model does not take it"
        assert "top_p" in said(app, "#options-missing")
        form.query_one("#option-temperature", Input).value = "0.2"
        form.query_one("#option-system", TextArea).text = "Be terse."
        form.query_one("#option-lora", Select).value = "sql"
        form.query_one("#option-max_tokens", Input).value = "301"
        form.query_one("#option-max_tokens").focus()
        await pilot.press("enter")
        await until(pilot, lambda: "301 is not" in said(app, "#options-says"))
        assert said(app, "#options-says") == "▲ max_tokens is 1 to 300 (max_model_len 300): 301 is not."
        form.query_one("#option-max_tokens", Input).value = "16"
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is not form)
        assert app.told == ("chat · new conversation · max_tokens 16 · temperature 0.2 · lora sql · system “Be terse.”")
        request = (await send(pilot, app, "hi")).request
        assert request == PromptRequest("hi", None, "Be terse.", (), Style.CHAT, Sampling(16, temperature=0.2), "sql")


async def test_leaving_the_options_changes_nothing() -> None:
    app = Harness()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        form = await options(pilot, app)
        form.query_one("#option-temperature", Input).value = "0.2"
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not form)
        assert (await send(pilot, app, "hi")).request.sampling == Sampling()


async def test_another_model_and_transport_are_asked_what_they_take() -> None:
    app = Harness()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        form = await options(pilot, app)
        form.query_one("#option-model", Select).value = "tiny"
        await until(pilot, lambda: not form.query("#option-lora") and form.query("#options-missing"))
        await pilot.pause()
        form.query_one("#option-transport", Select).value = "triton-grpc"
        await until(pilot, lambda: ("llama", Transport.TRITON_GRPC) in app.fake.offers_asked)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: app.screen is not form)
        assert app.told == "completion · model tiny · by triton-grpc · max_tokens 256"
        form = await options(pilot, app)
        form.query_one("#option-system", TextArea).text = "Be terse."
        await pilot.press("ctrl+o")
        await until(pilot, lambda: app.screen is not form)
        assert "system “Be terse.”" in app.told
        request = (await send(pilot, app, "hi")).request
        assert request.system == "Be terse.", "what can be typed is sent"
        assert (request.model, request.transport, request.style) == ("tiny", Transport.TRITON_GRPC, Style.COMPLETION)


async def test_the_playground_works_while_nobody_knows_what_the_server_takes() -> None:
    app = Harness()
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot, app, None)
        assert "what it takes is not known" in app.told
        form = await options(pilot, app)
        await until(pilot, lambda: "It does not say what it takes." in said(app, "#options-note"))
        form.query_one("#option-model", Input).value = "mine"
        form.query_one("#option-seed", Input).value = "x"
        await pilot.press("enter")
        await until(pilot, lambda: "seed is a whole number" in said(app, "#options-says"))
        form.query_one("#option-seed", Input).value = "7"
        app.fake.offered = replace(OFFER, models=(CHAT, ModelOffer("mine", (Style.CHAT,))))
        await pilot.press("enter")
        await until(pilot, lambda: "not known" not in app.told)
        request = (await send(pilot, app, "hi")).request
        assert (request.model, request.sampling.seed, request.style) == ("mine", 7, Style.CHAT)


async def test_a_restarted_deployment_is_asked_again() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.pause()
        assert len(app.fake.offers_asked) == 1
        model = app.pane._model
        assert model is not None
        assert model.deployment is not None
        app.pane.show_model(replace(model, deployment=replace(model.deployment, started_at=9.0)), NOW)
        await until(pilot, lambda: len(app.fake.offers_asked) == 2)


async def test_a_model_without_text_is_asked_with_tensors() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        await ready(pilot, app, TENSORS)
        assert app.told == "tensors"
        assert app.editor.text == '{"INPUT0": [1, 2]}'
        await pilot.press("backspace", "enter")
        await pilot.pause()
        assert app.fake.asked == []
        assert any("The inputs are JSON" in notice.message for notice in app._notifications)
        await pilot.press("}", "enter")
        await until(pilot, lambda: app.fake.asked)
        request = app.fake.asked[0].request
        assert (request.prompt, request.tensors) == ("", '{"INPUT0": [1, 2]}')
        app.fake.asked[0].say('{"OUTPUT0": [3]}')
        app.fake.asked[0].end()
        await until(pilot, lambda: app.answer == '{"INPUT0": [1, 2]}{"OUTPUT0": [3]}')
        assert "11 responses" in app.status
        assert "the inputs as JSON" in str(app.editor.placeholder)
        assert "tok" not in app.status, "there are no tokens"
        app.query_one("#answer").focus()
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, PromptTimings))
        text = screen_text(pilot)
        assert "responses" in text
        assert "token" not in text.replace("max_tokens", "")


async def test_another_model_without_text_brings_its_own_example() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        await ready(pilot, app, replace(TENSORS, models=(*TENSORS.models, ModelOffer("sub", example='{"X": [5]}'))))
        await choose_model(pilot, app, "sub")
        assert app.editor.text == '{"X": [5]}'
        app.editor.text = '{"MINE": 1}'
        await choose_model(pilot, app, "add")
        assert app.editor.text == '{"MINE": 1}', "what was typed stays"


async def choose_model(pilot: Pilot[None], app: Harness, name: str) -> None:
    form = await options(pilot, app)
    form.query_one("#option-model", Select).value = name
    await pilot.pause()
    await pilot.press("ctrl+o")
    await until(pilot, lambda: app.screen is not form)


async def test_our_own_limit_of_tokens_gives_way_to_the_models() -> None:
    app = Harness()
    small = ModelOffer("small", (Style.CHAT,), 64, (Parameter("max_tokens", 1, 64),))
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app, Offer((small,), (Transport.OPENAI,)))
        assert "max_tokens 64" in app.told
        assert (await send(pilot, app, "hi")).request.sampling.max_tokens == 64


# -- two deployments ---------------------------------------------------------------------------------------------------


async def both(pilot: Pilot[None], app: Harness, how: str) -> None:
    await ready(pilot, app, OFFER, MIXTRAL)
    form = await options(pilot, app)
    form.query_one("#option-also", Select).value = f"{how} mixtral"
    await pilot.press("ctrl+o")
    await until(pilot, lambda: app.screen is not form)
    assert f"also to mixtral, {how}" in app.told
    await pilot.press(*"hi", "enter")
    await until(pilot, lambda: isinstance(app.screen, PromptComparison))


async def test_the_same_prompt_to_two_one_after_the_other() -> None:
    app = Harness()
    async with app.run_test(size=(100, 40)) as pilot:
        await both(pilot, app, "after it")
        assert [played.name for played in app.fake.asked] == ["llama"]
        waiting = app.pane.session_of("mixtral").runs[0]
        assert (waiting.timing.tokens_out, waiting.timing.total_s) == (None, None), "it has not begun"
        waiting.at -= 60
        first = app.fake.asked[0]
        first.say("same words")
        first.end()
        await until(pilot, lambda: len(app.fake.asked) == 2)
        second = app.fake.asked[1]
        assert waiting.at >= app.pane.session_of("llama").runs[0].at, "it is sent when the first was answered"
        assert (second.name, second.request.prompt) == ("mixtral", "hi")
        assert (first.request.style, second.request.style) == (Style.CHAT, None), "the other may have no template"
        second.say("same wares")
        second.end()
        await until(pilot, lambda: "differ from character 7" in said(app, "#comparison-words"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, PromptComparison))
        assert "done" in app.status


@pytest.mark.parametrize("how", ["at once", "after it"])
async def test_escape_cancels_both(how: str) -> None:
    app = Harness()
    async with app.run_test(size=(100, 40)) as pilot:
        await both(pilot, app, how)
        await pilot.press("escape")
        assert [played.cancels for played in app.fake.asked] == [1] * (2 if how == "at once" else 1)
        for played in app.fake.asked:
            played.end(PromptOutcome.CANCELLED, reason="")
        await until(pilot, lambda: "cancelled" in app.status)
        await until(pilot, lambda: said(app, "#comparison-words").startswith("There is no answer."))
        assert len(app.fake.asked) == (2 if how == "at once" else 1), "what waited is not sent any more"


# -- what is typed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.5", 0.5),
        ("temperature", "", None),
        ("seed", "-3", -3),
        ("stop", "END|\\n\\n", ("END", "\n\n")),
        ("stop", "", ()),
    ],
)
def test_a_value_is_read_as_it_is_written(name: str, text: str, value: object) -> None:
    assert read(text, Parameter(name)) == value
    assert read(written(value), Parameter(name)) == value


@pytest.mark.parametrize(
    ("name", "text"), [("temperature", "nan"), ("temperature", "inf"), ("temperature", "-1"), ("max_tokens", "")]
)
def test_what_is_no_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        read(text, Parameter(name, 0))
