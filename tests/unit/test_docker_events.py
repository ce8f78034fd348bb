"""Docker's events, cut anywhere: those about containers of ours are told, and no others."""

import json

import pytest

from engine.runtimes.docker_events import Events

LABEL = "tritontui.schema"


def event(container: str, **labels: str) -> bytes:
    actor = {"ID": container, "Attributes": {"name": container, **labels}}
    return json.dumps({"Type": "container", "Action": "die", "Actor": actor}).encode() + b"\n"


def test_ours_by_label_and_by_adoption() -> None:
    adopted = {"b"}
    events = Events(LABEL, lambda: adopted)
    assert events.any_of_ours(event("a", **{LABEL: "1"}))
    assert events.any_of_ours(event("b"))
    assert not events.any_of_ours(event("c") + event("d", other="1"))
    assert events.any_of_ours(event("c") + event("b") + event("d"))
    adopted.clear()
    assert not events.any_of_ours(event("b"))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_event_that_comes_in_pieces(size: int) -> None:
    events = Events(LABEL, lambda: ())
    whole = event("a") + event("b", **{LABEL: "1"}) + event("c")
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert sum(events.any_of_ours(piece) for piece in pieces) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"rubbish\n",
        b"[]\n",
        b"{}\n",
        b'{"Actor": 3}\n',
        b'{"Actor": {"ID": [], "Attributes": 3}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
    ids=repr,
)
def test_what_cannot_be_read_hurries_a_look(line: bytes) -> None:
    assert Events(LABEL, lambda: ()).any_of_ours(line)


def test_what_never_ends_is_not_kept() -> None:
    events = Events(LABEL, lambda: ())
    for _ in range(40):
        assert not events.any_of_ours(b"x" * (1 << 16))
    assert len(events._rest) <= 1 << 20
