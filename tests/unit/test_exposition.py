"""Scrapes that are compared with the one before give what each gives by itself."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from engine.observe.exposition import ExpositionError, ExpositionReader

FAMILIES = ("a", "b", "c")
WANTED = frozenset(FAMILIES)
VALUES = st.sampled_from(["0", "1", "7.5", "NaN", "12 1690000000000", "x"])
SERIES = st.sampled_from(
    ["a", "b", 'a{x="1"}', 'b{x="1"}', "c_total", "other", 'a_bucket{le="1"}', 'a_bucket{le="+Inf"}']
)
LINE = st.one_of(
    st.builds(lambda series, value: f"{series} {value}", SERIES, VALUES),
    st.builds(lambda family, words: f"# HELP {family} {words}", st.sampled_from(FAMILIES), st.sampled_from(["x", "y"])),
    st.sampled_from(["# TYPE a counter", "", " a 3", "# HELP"]),
)
Change = Callable[[list[str]], list[str]]


def _changed(place: int, line: str) -> Change:
    return lambda lines: [*lines[:place], line, *lines[place + 1 :]]


CHANGE = st.one_of(
    st.builds(_changed, st.integers(0, 12), LINE),
    st.builds(lambda place: lambda lines: lines[:place] + lines[place + 1 :], st.integers(0, 12)),
    st.just(lambda lines: lines),
)


def _read(reader: ExpositionReader, text: str) -> object:
    """What it found, written down: NaN is not even itself. Of what is no exposition, the line."""
    try:
        now = reader.read(text)
    except ExpositionError as error:
        return error.line
    return sorted(f"{now.slots[number]} {now.values[number]}" for number in now.present), list(reader.lines)


@given(st.lists(LINE, max_size=12), st.lists(CHANGE, max_size=5))
def test_what_changed_is_read_as_if_all_were(lines: list[str], changes: list[Change]) -> None:
    reader, texts = ExpositionReader(WANTED), [lines]
    for change in changes:
        texts.append(change(texts[-1]))
    for text in ("\n".join(one) for one in texts):
        assert _read(reader, text) == _read(ExpositionReader(WANTED), text)
