import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.secrets import Masker
from engine.text import COLOUR, clean, clean_but_colours, clean_line, is_plain, mask_secrets

HOSTILE = st.text(st.sampled_from("\x1b[]()PX^_;:?0123m\\ab\x07\x9b\x9d\x9c\x90\t\r\n\u202e\u200b\ud800é模🤖 "))
ANY = HOSTILE | st.text(st.characters())


@given(ANY)
def test_no_control_character_comes_through(text: str) -> None:
    cleaned = clean(text)
    assert not [char for char in cleaned if char != "\n" and unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not [char for char in cleaned if unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF"}]
    cleaned.encode()


@given(ANY)
def test_of_all_sequences_only_whole_colours_can_be_left(text: str) -> None:
    coloured = clean_but_colours(text)
    assert COLOUR.sub("", coloured) == clean(COLOUR.sub("", coloured))
    assert clean_but_colours(coloured) == coloured


@given(ANY)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_plain_text_is_unchanged(text: str) -> None:
    assert clean(text) == text


@given(ANY, st.data())
def test_a_cut_at_any_place_lets_nothing_through(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    assert clean(clean(text[:at]) + clean(text[at:])) == clean(text[:at]) + clean(text[at:])


@given(st.binary())
def test_bytes_called_plain_are_what_clean_leaves_alone(data: bytes) -> None:
    if is_plain(data):
        assert clean(data.decode("ascii")) == data.decode("ascii")
    else:
        assert not data.isascii() or clean(data.decode("ascii")) != data.decode("ascii")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1b]52;c;aGVsbG8=\x07b", "ab"),
        ("a\x1b]52;c;aGVsbG8=\x1b\\b", "ab"),
        ("a\x9d0;title\x9cb", "ab"),
        ("a\x1b]0;never ended\nnext line", "a\nnext line"),
        ("\x1bP1$r0m\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z\x1bXsos\x1b\\.", "xyz."),
        ("\x1b(Bascii", "ascii"),
        ("end\x1b", "end"),
        ("end\x1b[12", "end"),
        ("\x1b\x1b]0;t\x07z", "z"),
        ("a\tb\r\nc\x00\x7f\b", "a    b\nc"),
        ("safe\u202egnp.exe\u2066", "safegnp.exe"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("模型 🤖 naïve", "模型 🤖 naïve"),
    ],
)
def test_sequences_are_removed_whole(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_name_stays_on_one_line() -> None:
    assert clean_line("first\r\nsecond\x1b[2J\rthird") == "first  second third"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token hf_abcdefghijklmnopqrstuvwxyz0123456789 used", "token hf_*** used"),
        ("NGC nvapi-abcDEF_0123456789-xyz", "NGC nvapi-***"),
        ("Authorization: Bearer eyJhbGciOi.J9-_x", "Authorization: Bearer ***"),
        ("api_key='s3cret!', port=8000", "api_key='***', port=8000"),
        ("'api_key': ['s3cret'], 'x': 1", "'api_key': ['***'], 'x': 1"),
        ("vllm serve --api-key s3cret --port 8000", "vllm serve --api-key *** --port 8000"),
        ("OPENAI_API_KEY=sk-123456", "OPENAI_API_KEY=***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': 'Basic ***'}"),
        ("GET /v1/models?token=abcd1234&x=1 200", "GET /v1/models?token=***&x=1 200"),
        ("proxy http://user:pass@10.0.0.1:3128/ used", "proxy http://user:***@10.0.0.1:3128/ used"),
        ("key sk-proj-abcdefghijklmnopqrstuvwxyz used", "key sk-*** used"),
        ("on http://0.0.0.0:8000/v1 (basic settings), max_token=100, task-specific-prefix-cache", None),
        ("api_key=None, hf_overrides={}, hf_config_path=None", "api_key=None, hf_overrides={}, hf_config_path=None"),
        ("bearer of bad news; max_num_batched_tokens=2048", "bearer of bad news; max_num_batched_tokens=2048"),
    ],
)
def test_secrets_are_masked_and_nothing_else(text: str, shown: str | None) -> None:
    shown = shown or text
    assert mask_secrets(text) == shown
    assert mask_secrets(shown) == shown


def test_masking_stays_within_a_line() -> None:
    assert mask_secrets("api_key=\nnext_line_is_whole") == "api_key=\nnext_line_is_whole"


@given(st.lists(st.sampled_from(["x" * 100, "hf_" + "a1b2" * 8, "Bearer abcdef123456", "API_KEY=deadbeef", "é 12"])))
def test_a_long_text_is_masked_as_its_lines_are(lines: list[str]) -> None:
    lines += [f"{number} as busy logs are" for number in range(300)]
    assert mask_secrets("\n".join(lines)) == "\n".join(map(mask_secrets, lines))


class TestMasker:
    def test_values_are_masked_wherever_they_stand(self) -> None:
        masker = Masker(["open sesame", "hf_abcdefghijklmnop$tail", "first line\nsecond line\n"])
        assert masker("say 'open sesame', xopen sesamex") == "say '***', x***x"
        assert masker("hf_abcdefghijklmnop$tail") == "***", "none of it is left"
        assert masker("first line is followed by second line") == "*** is followed by ***"

    def test_a_short_value_is_masked_as_a_word_and_a_shorter_one_is_none(self) -> None:
        assert Masker(["test", "1", ""])("test the latest 1") == "*** the latest 1"

    def test_an_unfinished_line_does_not_tell_how_a_secret_begins(self) -> None:
        masker = Masker(["open sesame"])
        assert masker.unfinished("they said open ses") == "they said ***"
        assert masker.unfinished("they said open") == "they said ***"
        assert masker.unfinished("token hf_abc") == "token hf_***"
        assert masker.unfinished("shards 50 %") == "shards 50 %"

    @given(st.text("abc ", min_size=8, max_size=12).map(str.strip).filter(lambda value: len(value) >= 8), st.data())
    def test_no_value_is_left(self, value: str, data: st.DataObject) -> None:
        text = data.draw(st.lists(st.text("abc ", max_size=5) | st.just(value)).map("".join))
        assert value not in Masker([value])(text)
