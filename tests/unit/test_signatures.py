"""Every signature knows what it should, and not what looks alike; the samples lie beside it as data."""

import tomllib
from pathlib import Path

import pytest

from engine.diagnose import catalogue as module
from engine.diagnose import first_error
from engine.diagnose.catalogue import Signature, Unsound, catalogue, read
from engine.diagnose.causes import cause_of
from engine.diagnose.marks import MARKS
from engine.diagnose.matcher import Scan, captured
from engine.diagnose.needles import Needles
from engine.diagnose.prefix import prefix_of
from engine.diagnose.run import Found

SAMPLES = Path(__file__).parent.parent / "samples/signatures"
TABLE = {name: entry for file in SAMPLES.glob("*.toml") for name, entry in tomllib.loads(file.read_text()).items()}
FILES = Path(module.__file__).parent / "signatures"
YES = [(name, text) for name, entry in TABLE.items() for text in entry["yes"]]
NO = [(name, text) for name, entry in TABLE.items() for text in entry["no"]]


def known(signature: Signature, text: str) -> dict[str, str] | None:
    first, *following = (line[prefix_of(line).length :] for line in text.split("\n"))
    return captured(signature, first, following[: signature.within])


def test_each_has_samples_of_both_kinds() -> None:
    assert set(TABLE) == set(catalogue())
    assert all(entry["yes"] and entry["no"] for entry in TABLE.values())
    for group in FILES.glob("*.toml"):
        ids = [entry["id"] for entry in tomllib.loads(group.read_text())["signature"]]
        assert list(tomllib.loads((SAMPLES / group.name).read_text())) == ids


def test_each_hint_is_in_a_sample() -> None:
    """A hint that no line has, or that the expression does not need, finds nothing."""
    missing = [
        (name, hint)
        for name, signature in catalogue().items()
        for hint in signature.hints
        if not any(hint in text for text in TABLE[name]["yes"])
    ]
    assert missing == []


@pytest.mark.parametrize(
    "line",
    [
        "(APIServer pid=1) INFO 11-20 23:52:19 [loggers.py:195] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg "
        "generation throughput: 12.0 tokens/s, Running: 3 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.1%, Prefix "
        "cache hit rate: 44.0%, MM cache hit rate: 0.0%",
        '(APIServer pid=1) INFO:     172.17.0.1:51234 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        "(APIServer pid=1) INFO 11-20 23:52:19 [logger.py:39] Received request chatcmpl-0: prompt: None, params: "
        "SamplingParams(n=1, temperature=0.7, top_p=0.95, max_tokens=512), lora_request: None.",
        "(EngineCore_DP0 pid=9) INFO 11-20 23:52:19 [metrics.py:100] SpecDecoding metrics: Mean acceptance length: 2",
        "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:04,  1.47s/it]",
        '    File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/core.py", line 699, in run_engine_core',
    ],
)
def test_ordinary_lines_cost_nothing(line: str) -> None:
    """A log may have millions of them: one anchor of the needles in each would make it ten times as slow."""
    strings = {hint for signature in catalogue().values() for hint in signature.hints}
    needles = Needles(strings | {mark.hint for mark in MARKS} | set(first_error.HINTS))
    text = f"\n{line}\n".encode()
    assert needles.search(text, 0, len(text)) is None


@pytest.mark.parametrize(("name", "text"), YES, ids=[name for name, _ in YES])
def test_it_is_known(name: str, text: str) -> None:
    """By the expression, through the whole of the matcher, and with sentences that have all their values."""
    signature = catalogue()[name]
    values = known(signature, text)
    assert values is not None
    told = cause_of(Found(signature, 1, values, signature.weight))
    assert told.cause
    assert told.remedy
    scan = Scan()
    scan.feed(text.encode())
    scan.close()
    assert name in scan.run.found


@pytest.mark.parametrize(("name", "text"), NO, ids=[name for name, _ in NO])
def test_what_looks_alike_is_not_known(name: str, text: str) -> None:
    assert all(known(catalogue()[name], line) is None for line in (text, *text.split("\n")))


def test_sentences_and_titles() -> None:
    for signature in catalogue().values():
        assert 2 <= len(signature.title.split()) <= 5, signature.id
        assert all(sentence.endswith((".", "}")) for sentence in signature.cause + signature.remedy), signature.id


def test_fixes_exist() -> None:
    from engine.diagnose.remedies import REMEDIES

    assert {signature.fix for signature in catalogue().values() if signature.fix} <= set(REMEDIES)


def test_what_they_name_exists() -> None:
    from engine.profile import Profile

    every = catalogue()
    assert {other for signature in every.values() for other in signature.follows} <= set(every)
    paths = {path for one in every.values() for path in (*one.drop, *(path for path, _ in one.change))}
    assert {path.partition(".")[0] for path in paths} <= set(Profile.model_fields)


@pytest.mark.parametrize(
    "wrong",
    [
        "id = 'A'",
        "match = '('",
        "hints = []",
        "hints = ['x']",
        "cause = 'What {nobody} captured.'",
        "cause = 'What {port.real} is.'",
        "weight = 'heavy'",
        "colour = 'red'",
    ],
)
def test_an_unsound_entry_is_refused(wrong: str) -> None:
    sound = {"id": "'a-b'", "title": "'a b'", "hints": "['hint']", "match": "'m'", "cause": "'C.'", "remedy": "'R.'"}
    key, _, value = wrong.partition(" = ")
    entry = "\n".join(f"{one} = {other}" for one, other in (sound | {key: value}).items())
    with pytest.raises(Unsound, match=r"x\.toml"):
        read(f"[[signature]]\n{entry}\n", "x.toml")
    assert read("[[signature]]\n" + "\n".join(f"{one} = {other}" for one, other in sound.items()), "x.toml")
