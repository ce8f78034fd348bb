"""Markdown that is drawn as it grows reads as the same text drawn at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual.strip import Strip

from tui.widgets import prompt_blocks
from tui.widgets.prompt_blocks import GrowingMarkdown
from tui.widgets.prompt_markdown import Piece, rendered

WIDTH = 40
PARTS = (
    "# Head\n\n",
    "text",
    " *of* some `words`, ",
    "\n",
    "\n\n",
    "> quoted\n",
    "lazy\n",
    "***\n",
    "===\n",
    "- one\n",
    "  more\n",
    "* other\n",
    "1. first\n\n",
    "    indented\n",
    "```python\n",
    "x = 1\n\n",
    "```\n",
    "~~~\n",
    "|a|b|\n",
    "|-|-|\n",
    "<div>\n",
    "[a link](http://a.example) ",
    "![a picture](p.png)\n\n",
    "[one][ref] ",
    "\n[ref]: http://b.example\n",
    "line\u2028break\n",
)


def segments(strips: list[Strip]) -> list[list[Segment]]:
    return [list(strip) for strip in strips]


def drawn_as_it_grows(tokens: list[str], *before: Piece) -> None:
    growing, text = GrowingMarkdown(), ""
    for token in tokens:
        text += token
        pieces = [*before, ("answer", text)]
        assert segments(growing.rendered(pieces, WIDTH, {})) == segments(rendered(pieces, WIDTH, {}))


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_it_reads_at_each_step_as_the_whole(tokens: list[str]) -> None:
    drawn_as_it_grows(tokens)


def test_it_follows_earlier_turns_that_begin_alike() -> None:
    drawn_as_it_grows(["same\n\n", "also", " the same\n\n", "but not\n\n", "this"], ("answer", "same\n\nalso"))


def test_it_is_drawn_anew_for_another_width_and_for_another_answer() -> None:
    growing = GrowingMarkdown()
    for text, width in (("one two\n\nthree", 40), ("one two\n\nthree", 5), ("one\n\nfour", 5), ("", 5), ("one", 40)):
        pieces = [("answer", text)]
        assert segments(growing.rendered(pieces, width, {})) == segments(rendered(pieces, width, {}))


def test_what_cannot_change_any_more_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[str]()

    def noted(pieces: list[Piece], width: int, styles: dict[str, object]) -> list[Strip]:
        drawn.extend(text for _, text in pieces)
        return []

    monkeypatch.setattr(prompt_blocks, "rendered", noted)
    growing = GrowingMarkdown()
    growing.rendered([("answer", "one\n\ntwo\n\nthr")], WIDTH, {})
    growing.rendered([], WIDTH, {})  # the cursor was on another model meanwhile
    drawn.clear()
    growing.rendered([("answer", "one\n\ntwo\n\nthree")], WIDTH, {})
    assert len(drawn) == 1
    assert drawn[0].endswith("three")
    assert "two" not in drawn[0]
