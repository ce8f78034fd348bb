"""Model output made fit to be shown: new text told from whole text, and no control sequence however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inference.output import Output
from engine.inference.triton_model import Deltas
from engine.text import clean


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (["ha", "ha", "ha"], "hahaha"),
        (["a", "ab", "c"], "aabc"),
        (["a", "ab", "abc", "abcd"], "abcd"),
        (["a", "ab", "", "abc"], "abc"),
        (["a", "ab"], "ab"),
        (["", "a", "b"], "ab"),
    ],
)
def test_whole_text_is_told_from_new_text(chunks: list[str], expected: str) -> None:
    deltas = Deltas()
    assert (b"".join(deltas.feed(chunk.encode()) for chunk in chunks) + deltas.end()).decode() == expected


@given(st.lists(st.text(st.sampled_from("ab\n \x07\x1b\x9b\x9c\x9d[]0;1mPX\\€")), max_size=8), st.data())
def test_output_never_lets_a_control_through_however_it_is_cut(parts: list[str], data: st.DataObject) -> None:
    whole = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    output = Output()
    shown = [output.feed(whole[start:end]) for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    shown.append(output.end())
    assert "".join(shown) == output.text == clean(whole.decode())
