"""The form of a load test: what is typed, the plan that it comes to, and what is asked before it begins."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.deployment import State
from engine.errors import EngineError, Refused
from engine.inference.offer import Parameter
from engine.inference.prompt import Sampling, Style, Transport
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Objectives, Workload
from tests.tui.driving import MODELS, gone, on_main, opened, screen_text, settled, shown, told, until
from tests.tui.fake_api import NOW, OFFER, FakeApi, snapshot
from tests.tui.load_driving import OTHER, IdleApi, at, begin, field, says
from tests.tui.loads_at_hand import FOUR, ONE, PLAN, result
from tui import format as write
from tui.app import Console
from tui.screens.load_confirm import LoadConfirm
from tui.widgets import load_run
from tui.widgets.load_fields import DEFAULTS, FieldError, plan_of, values_of
from tui.widgets.load_offer import caution, to_whom
from tui.widgets.load_words import what_is_sent


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> IdleApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    monkeypatch.setattr(load_run, "SILENT_S", 1e9)
    return IdleApi(snapshot(*MODELS, OTHER))


def test_what_is_typed_and_the_plan_that_it_comes_to_are_the_same_either_way() -> None:
    assert plan_of(DEFAULTS) == PLAN
    typed = {
        **DEFAULTS,
        "load": "rate, Poisson",
        "amounts": "0.5, 2",
        "requests": "",
        "seconds": "30",
        "tokens-in": "512",
        "spread-in": "64",
        "end": "or until it ends",
        "ttft": "250",
        "e2e": "2.5",
        "repeats": "3",
        "seed": "7",
        "prefix": "100",
        "file": "/tmp/prompts.jsonl",
        "model": "prose",
        "lora": "french",
        "transport": "triton-grpc",
        "style": "chat",
        "temperature": "0.7",
        "others": "top_k=40, seed=3",
    }
    plan = plan_of(typed)
    assert plan.levels == (Level(Arrival.POISSON, 0.5), Level(Arrival.POISSON, 2.0))
    assert (plan.requests, plan.duration_s, plan.repeats) == (None, 30.0, 3)
    file = Path("/tmp/prompts.jsonl")
    assert plan.workload == Workload(Lengths(512, 64), Lengths(64), shared_prefix=100, seed=7, file=file)
    assert plan.objectives == Objectives(ttft_s=0.25, e2e_s=2.5)
    assert (plan.model, plan.lora, plan.transport) == ("prose", "french", Transport.TRITON_GRPC)
    assert plan.style is Style.CHAT
    assert plan.sampling == Sampling(temperature=0.7, top_k=40, seed=3)
    assert plan_of(values_of(plan)) == plan
    insisting = replace(plan, sampling=Sampling(ignore_eos=True, min_p=0.1), insists_on_ignore_eos=True)
    assert plan_of(values_of(insisting)) == insisting


@pytest.mark.parametrize(
    ("key", "typed", "sentence"),
    [
        ("amounts", "", "Give one amount of load or several, such as 1,4,16."),
        ("amounts", "1,2.5", "At once is a whole number from 1 to 1,024: 2.5 is not."),
        ("amounts", "4,4", "At once: 4 is there twice. For the same again, give repeats."),
        ("amounts", "5000", "At once is a whole number from 1 to 1,024: 5000 is not."),
        ("requests", "0", "Requests is a whole number from 1 to 100,000: 0 is not."),
        ("seconds", "nan", "Seconds is a number from 1 to 86,400: nan is not."),
        ("tokens-out", "", "Tokens out is a number from 1 to 1,048,576."),
        ("spread-in", "-1", "Tokens in ± is a number from 0"),
        ("ttft", "[x]", "TTFT is a number from 0.001"),
        ("seed", "1e3", "Seed is a whole number from 0"),
        ("prefix", "500", "A shared prefix of 500 tokens leaves nothing of prompts of 128 tokens: give fewer."),
        ("temperature", "warm", "temperature is a number from 0: 'warm' is not."),
        ("others", "top_k", "Others are top_k, min_p, presence_penalty"),
        ("others", "stop=x", "Others are top_k"),
        ("others", "seed=1.5", "seed is a whole number: '1.5' is not."),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence_with_its_field(key: str, typed: str, sentence: str) -> None:
    with pytest.raises(FieldError) as refused:
        plan_of({**DEFAULTS, key: typed})
    assert refused.value.field == key
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("key", "typed", "sentence"),
    [
        ("temperature", "3", "temperature is 0 to 2: 3 is not."),
        ("others", "top_k=40", "prose takes no top_k: leave it out."),
    ],
)
def test_what_the_server_takes_sets_the_limits(key: str, typed: str, sentence: str) -> None:
    with pytest.raises(FieldError) as refused:
        plan_of({**DEFAULTS, key: typed}, OFFER.models[0])
    assert (refused.value.field, str(refused.value)) == (key, sentence)


def test_a_model_that_takes_no_text_cannot_be_tested() -> None:
    with pytest.raises(FieldError, match="tiny takes tensors only, and a load test sends text"):
        plan_of(DEFAULTS, OFFER.models[1])


@pytest.mark.parametrize(
    ("changes", "whom", "against"),
    [
        ({}, "to prose by openai as chat", ""),
        (
            {"lora": "sql", "style": Style.COMPLETION, "sampling": Sampling(temperature=0.5, ignore_eos=True)},
            "to prose with LoRA sql by openai as completion; temperature 0.5",
            "",
        ),
        ({"lora": "none"}, "to prose with LoRA none by openai as chat", "prose tells of no LoRA adapter none."),
        ({"model": "verse"}, "to verse by openai", "The server tells of no model verse."),
        (
            {"workload": Workload(Lengths(8000), Lengths(500))},
            "to prose by openai as chat",
            "8,500 tokens a request are more than the 8,192 that prose takes.",
        ),
    ],
)
def test_to_whom_it_goes_and_what_speaks_against_it(changes: dict[str, Any], whom: str, against: str) -> None:
    plan = replace(PLAN, **changes)
    assert to_whom(plan, OFFER) == whom
    assert caution(plan, OFFER) == against
    assert caution(plan, None) == ""


def test_a_test_needs_an_end() -> None:
    with pytest.raises(FieldError, match="otherwise it would not end"):
        plan_of({**DEFAULTS, "requests": "", "seconds": " "})


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (LoadPlan((ONE, FOUR), requests=10, warmup=0), "20 requests of ~128 tokens in, 64 out, at 1, 4 at once"),
        (
            LoadPlan((ONE,), requests=10, warmup=0, workload=Workload(output=Lengths(20, 5))),
            "10 requests of ~128 tokens in, ~20 out, at 1 at once",
        ),
        (
            LoadPlan(
                *((ONE,), 10, None, 0),
                workload=Workload(output=Lengths(20, 5)),
                sampling=Sampling(),
            ),
            "10 requests of ~128 tokens in, up to ~20 out, at 1 at once",
        ),
        (
            LoadPlan((ONE,), requests=None, duration_s=30, warmup=0),
            "Requests of ~128 tokens in, 64 out, at 1 at once, for 30s",
        ),
        (
            LoadPlan((Level(Arrival.CONSTANT, 2.5),), requests=None, duration_s=60, repeats=2),
            "300 requests of ~128 tokens in, 64 out, at 2.5/s constant, 2 times over, for 1m00s each, and 2 to warm up",
        ),
    ],
)
def test_what_will_be_sent_is_said_in_a_line(plan: LoadPlan, said: str) -> None:
    assert what_is_sent(plan) == said


async def test_nothing_is_sent_before_it_was_asked(api: IdleApi) -> None:
    async with at(api, size=(80, 24)) as pilot:
        await shown(pilot, "A load test tells what llama3-70b holds", "new test", "No test of it is kept yet.")
        await pilot.press("n")
        await shown(pilot, "At most 300 requests of ~128 tokens in, 64 out, at 1, 4, 16 at once")
        await pilot.press("enter")
        await shown(pilot, "Others who use llama3-70b")
        await pilot.press("n")
        await on_main(pilot)
        assert not api.loads_asked
        await pilot.press("escape")
        await shown(pilot, "A load test tells what llama3-70b holds")


async def test_keys_make_the_plan(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await shown(pilot, "closed loop")
        await pilot.press(*["backspace"] * 6, *"2,8", "up", "shift+tab", "tab", "tab", *["backspace"] * 3, *"20", "tab")
        await pilot.press(*["backspace"] * 2)
        await shown(pilot, "40 requests of ~128 tokens in, 64 out, at 2, 8 at once")
        await begin(pilot, api)
        levels = (Level(Arrival.CLOSED, 2.0), Level(Arrival.CLOSED, 8.0))
        assert api.loads_asked == [("llama3-70b", replace(PLAN, levels=levels, requests=20, duration_s=None))]


async def test_what_the_server_has_is_chosen_by_keys(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        await shown(pilot, "‹ automatic: prose", "‹ none", "‹ automatic: openai", "‹ automatic: chat")
        await says(pilot, "load-says", "to prose by openai as chat.")
        assert "others" not in screen_text(pilot), "it takes none of them"
        await pilot.press(*["down"] * 5, "tab", "space", "tab", "space", "space")
        await says(pilot, "load-says", "to prose with LoRA sql by triton-grpc as chat.")
        await begin(pilot, api)
        [(_, plan)] = api.loads_asked
        assert (plan.model, plan.lora, plan.transport) == (None, "sql", Transport.TRITON_GRPC)


async def test_what_a_model_does_not_take_is_left_out(api: IdleApi) -> None:
    free = replace(OFFER.models[0], parameters=(Parameter("max_tokens"), Parameter("top_k")), loras=())
    api.offered = replace(OFFER, models=(free,))
    async with at(api, "n") as pilot:
        await shown(pilot, "or until it ends", "! It takes no ignore_eos: answers may end before", "others")
        assert not any(word in screen_text(pilot) for word in ("exactly", "LoRA", "temperature", "top_p"))
        await begin(pilot, api)
        assert not api.loads_asked[0][1].sampling.ignore_eos


async def test_names_are_typed_where_the_server_does_not_say_what_it_has(api: IdleApi) -> None:
    api.offered = EngineError("It does not answer.")
    async with at(api, "n") as pilot:
        await shown(pilot, "what it takes is not known")
        field(pilot, "lora", "french")
        field(pilot, "temperature", "0.5")
        await says(pilot, "load-says", "with LoRA french; temperature 0.5.")
        await begin(pilot, api)
        assert (api.loads_asked[0][1].lora, api.loads_asked[0][1].sampling.temperature) == ("french", 0.5)


async def test_a_test_that_is_repeated_drops_nothing_of_the_earlier_plan(api: IdleApi) -> None:
    sampling = Sampling(ignore_eos=True, temperature=0.9, top_p=0.8)
    plan = replace(PLAN, style=Style.COMPLETION, sampling=sampling, model="gone", lora="older")
    api.kept_loads = [result(plan=plan)]
    async with at(api) as pilot:
        await shown(pilot, "1 test is kept")
        await pilot.press("n")
        await shown(pilot, "gone (not offered)", "older (not offered)", "! The server tells of no model gone.")
        await begin(pilot, api)
        assert api.loads_asked == [("llama3-70b", plan)]


async def test_what_is_typed_on_a_choice_is_no_command(api: IdleApi) -> None:
    async with at(api, "n", "up") as pilot:
        await pilot.press("shift+tab", "x", "d", "q")
        await shown(pilot, "‹ closed loop", "each level")
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("space")
        await shown(pilot, "rate, Poisson")


async def test_a_wrong_field_is_gone_to_and_nothing_is_begun(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        field(pilot, "itl", "soon")
        await shown(pilot, "▲ ITL is a number")
        await pilot.press("enter")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "load-itl")
        assert not isinstance(pilot.app.screen, LoadConfirm)


async def test_what_was_typed_stays_with_its_deployment(api: IdleApi) -> None:
    async with at(api, "n") as pilot:
        field(pilot, "amounts", "3")
        await shown(pilot, "at 3 at once")
        await pilot.app.screen.run_action("leave")
        await pilot.press("j", "4")
        await shown(pilot, "what mistral holds")
        await settled(pilot)
        await pilot.press("n")
        await shown(pilot, "at 1, 4, 16 at once")
        await pilot.app.screen.run_action("leave")
        await pilot.press("g")
        await shown(pilot, "at 3 at once")


async def test_the_form_begins_with_the_last_test_of_the_deployment(api: IdleApi) -> None:
    api.kept_loads = [result(plan=replace(PLAN, levels=(Level(Arrival.CLOSED, 32.0),), requests=50))]
    async with at(api) as pilot:
        await shown(pilot, "1 test is kept")
        await pilot.press("n")
        await shown(pilot, "50 requests of ~128 tokens in, 64 out, at 32 at once")


async def test_who_else_is_served_now_is_told_and_enter_does_not_begin(api: IdleApi) -> None:
    busy = FakeApi(api.latest)
    async with at(busy, "n") as pilot:
        await pilot.press("enter")
        await shown(pilot, "▲ llama3-70b is in use: 2 requests are being answered right now.", "Begin anyway")
        await pilot.press("enter")
        await on_main(pilot)
        assert not busy.loads_asked


async def test_a_file_of_prompts_that_cannot_be_read_is_told(api: IdleApi, tmp_path: Path) -> None:
    async with at(api, "n") as pilot:
        field(pilot, "file", str(tmp_path / "none.jsonl"))
        await shown(pilot, "from none.jsonl")
        await pilot.press("enter")
        await says(pilot, "dialog-trouble", "cannot be read: No such file or directory.")
        await pilot.press("n")
        await on_main(pilot)
        broken = tmp_path / "broken.jsonl"
        broken.write_text('{"prompt": "x"}\n{\n')
        field(pilot, "file", str(broken))
        await shown(pilot, "from broken.jsonl")
        await pilot.press("enter")
        await says(pilot, "dialog-trouble", "broken.jsonl, line 2, is no JSON")
        await pilot.press("y", "n")
        await on_main(pilot)
        assert not api.loads_asked


@pytest.mark.parametrize(
    ("keys", "read_only", "sentence"),
    [
        (tuple("jjj"), "", "mixtral is stopped: it can be tested when it is ready."),
        ((), "TRITONTUI_READ_ONLY", "No load test may begin from here: tritontui is read-only (TRITONTUI_READ_ONLY)."),
    ],
)
async def test_why_none_can_begin(api: IdleApi, keys: Sequence[str], read_only: str, sentence: str) -> None:
    api.latest = replace(api.latest, read_only=read_only)
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press(*keys, "4")
        await shown(pilot, sentence, "ctrl+r earlier tests")
        await settled(pilot)
        assert "new test" not in screen_text(pilot), "a key that would only refuse is not offered"
        await pilot.press("n", "ctrl+r")
        await shown(pilot, "is kept yet.")
        assert "each level" not in screen_text(pilot)


async def test_one_can_begin_once_its_model_answers(api: IdleApi) -> None:
    lost = replace(MODELS[0], state=State.UNREACHABLE)
    api.change(lost)
    async with at(api) as pilot:
        await shown(pilot, "llama3-70b is unreachable: it can be tested when it is ready.")
        assert "new test" not in screen_text(pilot)
        api.change(MODELS[0])
        await shown(pilot, "n new test ")
        api.change(lost)
        await gone(pilot, "new test")


async def test_what_the_engine_refuses_is_told_and_the_form_stays(api: IdleApi) -> None:
    api.load_error = Refused("Another load test of llama3-70b is under way.", "Wait for its end.")
    async with at(api, "n", "enter") as pilot:
        await shown(pilot, "Begin")
        await pilot.press("y")
        await told(pilot, "Another load test of llama3-70b is under way. Wait for its end.")
        await shown(pilot, "each level")
