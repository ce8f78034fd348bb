"""Prompts of wanted lengths, the same again for the same seed and never beginning alike; and those of a file."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.load.plan_check import InvalidLoad, check
from engine.load.prompt_file import read
from engine.load.words import WORDS
from engine.load.workload import POOL, FromFile, Line, Measure, Synthetic, draw
from engine.load_plan import MOST_IN_FLIGHT, MOST_RATE, MOST_TOKENS, Arrival, Lengths, Level, LoadPlan, Workload

EXACT = Measure(1.0, 5.0)
"""A token a word, and five more for each prompt"""


def of(run: int = 7, **options: object) -> Synthetic:
    return Synthetic(Workload(**options), EXACT, run)  # type: ignore[arg-type]


@settings(deadline=None)  # of a busy machine
@given(tokens=st.integers(1, 3000), index=st.integers(0, 10**6), number=st.integers(0, 10**9))
def test_a_prompt_has_as_many_words_as_its_tokens_need(tokens: int, index: int, number: int) -> None:
    words = of(prompt=Lengths(tokens)).text(index, number).prompt.split(" ")
    assert len(words) == max(1, tokens - 5)
    assert set(words) <= set(WORDS)


def test_one_longer_than_all_words_that_there_are() -> None:
    assert len(of(prompt=Lengths(2 * POOL + 105)).text(0, 0).prompt.split()) == 2 * POOL + 100


@settings(deadline=None)
@given(seed=st.integers(), number=st.integers(0, 10**9), other=st.integers(0, 10**9))
def test_no_two_begin_alike(seed: int, number: int, other: int) -> None:
    texts = of(seed=seed)
    first, second, next_one = (texts.text(0, one).prompt.split() for one in (number, other, number + 1))
    assert (first[:4] == second[:4]) == (number == other)
    assert first[0] != next_one[0]


def test_the_same_seed_gives_the_same_but_for_the_beginnings_of_another_run() -> None:
    workload = Workload(prompt=Lengths(60, 20), output=Lengths(30, 9), shared_prefix=12)
    first, again, other_run, other_seed = (
        [Synthetic(asked, EXACT, run).text(index, index) for index in range(50)]
        for asked, run in ((workload, 7), (workload, 7), (workload, 9), (replace(workload, seed=1), 7))
    )
    assert first == again
    assert first != other_run
    for one, other in zip(first, other_run, strict=True):
        mine, theirs = one.prompt.split(), other.prompt.split()
        assert one.max_tokens == other.max_tokens
        assert mine[:7] == theirs[:7], "the shared prefix of 12 tokens, less those that the server adds"
        assert mine[7:11] != theirs[7:11]
        assert mine[11:] == theirs[11:]
    assert [one.max_tokens for one in first] != [one.max_tokens for one in other_seed]
    lengths = [len(one.prompt.split()) + 5 for one in first]
    assert 52 < sum(lengths) / 50 < 68
    assert len(set(lengths)) > 20


def test_a_prefix_as_long_as_the_prompt_leaves_one_word_of_its_own() -> None:
    prompts = {of(prompt=Lengths(20), shared_prefix=20).text(number, number).prompt for number in range(100)}
    assert len(prompts) == 100
    assert {len(prompt.split()) for prompt in prompts} == {16}


@given(st.integers(0, 40), st.floats(0.5, 4.0), st.integers(1, 5000))
def test_what_a_server_counts_is_found_from_two_prompts(overhead: int, per_word: float, wanted: int) -> None:
    few, more = 16, 400
    measure = Measure.of((few, round(few * per_word + overhead)), (more, round(more * per_word + overhead)))
    words = measure.words(wanted)
    real = words * per_word + overhead
    assert words == 1 or abs(real - wanted) <= 2 + 0.02 * wanted + per_word


def test_a_server_that_counts_nothing_sensible_is_guessed_at() -> None:
    assert Measure.of((16, 50), (64, 50)) == Measure()
    assert Measure().words(100) == 75


def test_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffWhat is €?\r\n\n  spaced  \n{not json}".encode())
    assert read(path) == (Line("What is €?"), Line("  spaced  "), Line("{not json}"))
    texts = FromFile(Workload(output=Lengths(9)), read(path))
    assert [texts.text(0, number).prompt for number in (0, 2, 3)] == ["What is €?", "{not json}", "What is €?"]
    assert texts.text(0, 0).max_tokens == 9


def test_a_file_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "two\nlines"}, {"prompt": "x", "system": "be brief", "max_tokens": 3}]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert read(path) == (Line("two\nlines"), Line("x", "be brief", 3))
    text = FromFile(Workload(), read(path)).text(0, 1)
    assert (text.system, text.max_tokens) == ("be brief", 3)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("p.txt", b"", "p.txt has no prompt."),
        ("p.txt", b"good\n\xff\xfe\n", "p.txt, line 2, is not UTF-8."),
        ("p.txt", b"x" * ((1 << 20) + 1), "p.txt, line 1, has more than 1 Mi characters."),
        ("p.jsonl", b'{"prompt": "x"}\n{"prompt": ', "p.jsonl, line 2, is no JSON"),
        ("p.jsonl", b"[" * 100_000, "p.jsonl, line 1, is no JSON"),
        ("p.jsonl", b'"x"', "p.jsonl, line 1, is no JSON object."),
        ("p.jsonl", b'{"promt": "x"}', "p.jsonl, line 1, has the unknown key 'promt'. Did you mean prompt?"),
        ("p.json", b'[{"prompt": "x"}]', "p.json, line 1, is no JSON object."),
        ("p.jsonl", b'{"prompt": ""}', "p.jsonl, line 1: `prompt` is missing or no text."),
        ("p.jsonl", b'{"prompt": "x", "max_tokens": true}', "line 1: `max_tokens` is no whole number above 0."),
        ("p.jsonl", b'{"prompt": "x", "system": 1}', "line 1: `system` is no text."),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EngineError) as caught:
        read(tmp_path / name)
    assert sentence in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EngineError, match="pipe is no plain file"):
        read(tmp_path / "pipe")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b"), Path("~nobody-of-that-name/x")):
        with pytest.raises(EngineError, match="cannot be read"):
            read(path)


CLOSED = Level(Arrival.CLOSED, 2)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (LoadPlan(()), "at least one level"),
        (LoadPlan((Level(Arrival.CLOSED, 0),)), "0 at once cannot be"),
        (LoadPlan((Level(Arrival.CLOSED, 1.5),)), "1.5 at once cannot be"),
        (LoadPlan((Level(Arrival.CLOSED, float("inf")),)), "inf at once cannot be"),
        (
            LoadPlan((Level(Arrival.CLOSED, 99_999_999),)),
            "99,999,999 at once cannot be: a whole number from 1 to 1,024",
        ),
        (LoadPlan((CLOSED, Level(Arrival.POISSON, 0))), "A rate of 0 requests a second cannot be"),
        (LoadPlan((Level(Arrival.CONSTANT, float("nan")),)), "A rate of nan"),
        (
            LoadPlan((Level(Arrival.CONSTANT, 1e9),)),
            "1,000,000,000 requests a second cannot be: more than 0 and at most 10,000",
        ),
        (LoadPlan((CLOSED,), requests=None), "needs an end"),
        (LoadPlan((CLOSED,), requests=0), "0 requests are none"),
        (LoadPlan((CLOSED,), duration_s=0.0), "A duration of 0 s is none."),
        (LoadPlan((CLOSED,), warmup=-1), "-1 warm-up requests"),
        (LoadPlan((CLOSED,), repeats=0), "0 repeats measure nothing"),
        (LoadPlan((CLOSED,), most_in_flight=0), "At least 1 request must be allowed"),
        (LoadPlan((CLOSED,), idle_timeout_s=0), "An idle limit of 0 s"),
        (LoadPlan((CLOSED,), workload=Workload(prompt=Lengths(0.5))), "prompt's mean length of 0.5"),
        (LoadPlan((CLOSED,), workload=Workload(output=Lengths(9, -1))), "answer's spread of -1"),
        (LoadPlan((CLOSED,), workload=Workload(shared_prefix=-1)), "A shared prefix of -1"),
        (
            LoadPlan((CLOSED,), workload=Workload(prompt=Lengths(1e8))),
            "The prompt's mean length of 100,000,000 tokens cannot be: from 1 to 1,048,576",
        ),
        (LoadPlan((CLOSED,), workload=Workload(output=Lengths(2**20 + 1))), "answer's mean length of 1,048,577 tokens"),
        (LoadPlan((CLOSED,), workload=Workload(prompt=Lengths(5, 1e300))), "prompt's spread of 1e+300 tokens"),
        (
            LoadPlan((CLOSED,), workload=Workload(shared_prefix=500)),
            "A shared prefix of 500 tokens leaves nothing of prompts of 128 tokens",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: LoadPlan, sentence: str) -> None:
    with pytest.raises(InvalidLoad) as caught:
        check(plan)
    assert sentence in str(caught.value)


def test_a_plan_that_can_be_is_not() -> None:
    check(LoadPlan((CLOSED, Level(Arrival.POISSON, 0.1)), requests=None, duration_s=1.0, warmup=0))
    longest = Workload(prompt=Lengths(MOST_TOKENS), output=Lengths(MOST_TOKENS), shared_prefix=MOST_TOKENS - 1)
    check(LoadPlan((Level(Arrival.CLOSED, MOST_IN_FLIGHT), Level(Arrival.CONSTANT, MOST_RATE)), workload=longest))


def test_no_length_is_drawn_beyond_what_is_possible() -> None:
    drawn = [draw(random.Random(seed), Lengths(1000, MOST_TOKENS)) for seed in range(50)]
    assert (min(drawn), max(drawn)) == (1, MOST_TOKENS)
