"""Prompts in files: what they say, where they are found, how blanks are filled in, and how they are saved."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.errors import Exit, NotFound, OperationFailed, Refused
from engine.facade import Engine
from engine.inference.prompt import PromptRequest, Role, Sampling, Style, Transport, Turn
from engine.prompt_record import SavedPrompt
from engine.prompts import prompt_file, saved
from engine.prompts.options import OPTIONS
from engine.prompts.prompt_file import InvalidPrompt, read_text
from engine.prompts.prompt_text import changed_text, new_text
from engine.settings import Settings
from engine.text import clean

WHOLE = """
# Ours
name: whole
summary: All of it
system: Be brief.
history:
  - user: a
  - assistant: |
      b
      c
prompt: Say {{what}}
style: chat
lora: adapter
options: {max_tokens: 7, temperature: 0, top_k: -1, stop: [x, "y: z"], ignore_eos: true}
tensors: {INPUT0: [[1, 2.5]], INPUT1: [text]}
"""
ALL_OF_IT = PromptRequest(
    "Say {{what}}",
    system="Be brief.",
    history=(Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "b\nc\n")),
    style=Style.CHAT,
    sampling=Sampling(7, 0.0, top_k=-1, stop=("x", "y: z"), ignore_eos=True),
    lora="adapter",
    tensors='{"INPUT0": [[1, 2.5]], "INPUT1": ["text"]}',
)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path / "work")


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# -- one file ---------------------------------------------------------------------------------------------------------


def test_a_file_says_all_that_a_request_can() -> None:
    found = read_text(Path("whole.yaml"), WHOLE)
    assert found == SavedPrompt("whole", ALL_OF_IT, "All of it", Path("whole.yaml"))


def test_the_table_of_options_is_that_of_sampling() -> None:
    assert {option.name for option in OPTIONS} == {field.name for field in fields(Sampling)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("promt: hi", ":1: Unknown key `promt`; did you mean `prompt`?"),
        ("services:\n  web: {}", ":1: This is no prompt: it has neither `prompt` nor `tensors`."),
        ("prompt: hi\noptions:\n  max_tokns: 3", ":3: Unknown key `options.max_tokns`; did you mean `max_tokens`?"),
        ("prompt: hi\noptions: {max_tokens: 0}", ":2: `options.max_tokens` is 0: it must be at least 1."),
        ("prompt: hi\noptions: {temperature: .nan}", ":2: `options.temperature` is .nan: it must be a finite number."),
        ("prompt: hi\noptions: {stop: x}", ":2: `options.stop` is 'x': it must be a list."),
        (
            "prompt: hi\noptions: 3",
            ":2: `options` is 3: it must be a mapping of keys to values; valid keys: max_tokens, ",
        ),
        ("prompt: 42", ":1: `prompt` is 42: it must be text; put it in quotes."),
        ("prompt: hi\nhistory:\n- who: a", ":3: `history.0.who`: a turn is `user: TEXT` or `assistant: TEXT`."),
        ("prompt: hi\nhistory:\n- {user: a, assistant: b}", ":3: `history.0`: a turn is `user: TEXT` or"),
        ("prompt:", ":1: `prompt` is empty: it must be text."),
        ("prompt: hi\nsystem: true", ":2: `system` is true: it must be text; put it in quotes."),
        ("prompt: hi\noptions: {ignore_eos: 1}", ":2: `options.ignore_eos` is 1: it must be true or false."),
        ("prompt: hi\nstyle: poem", ":2: `style` is 'poem': it must be 'chat' or 'completion'."),
        ("prompt: hi\nname: other", ":2: `name` is other, and the file is called mine."),
        ("tensors: '[1]'", ":1: `tensors`: a mapping from the tensors' names to their values is wanted."),
        ("tensors: '{'", ":1: `tensors`: this is no JSON: "),
        ("tensors: {a: 2020-01-01}", ":1: `tensors`: not all of it can be said in JSON: "),
        ("prompt: hi\nprompt: ho", ":2: The key `prompt` stands twice."),
        ('prompt: "a\\e[31mb"', ":1: It contains a control or invisible character."),
        ("prompt: a\u200bb", ":1: It contains a control or invisible character."),
        ("prompt: a\x07b", ":1: It contains a control character."),
        ("- prompt", ":1: A prompt is a mapping of keys to values; valid keys: name, summary, system, history, "),
        ("", ":1: A prompt is a mapping"),
        ("prompt: ]", ":1: Not valid YAML:"),
        ("prompt: " + "[" * 500, ":1: It is nested more than 64 levels deep."),
        (
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 8)}]\n" for n in range(9))
            + "prompt: x",
            "Its aliases make too much of it",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidPrompt) as caught:
        read_text(Path("mine.yaml"), text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("mine.yaml:")
    assert caught.value.exit_code is Exit.INVALID


def test_what_is_no_prompts_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, words in (
        (tmp_path, "regular file"),
        (put(tmp_path, "No Name.yaml", "prompt: hi"), "Its name cannot be a prompt's."),
        (tmp_path / "gone.yaml", "regular file"),
    ):
        with pytest.raises(InvalidPrompt, match=words):
            prompt_file.read(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"prompt: caf\xe9")
    with pytest.raises(InvalidPrompt, match="not UTF-8 text"):
        prompt_file.read(latin)
    monkeypatch.setattr(prompt_file, "MAX_BYTES", 3)
    with pytest.raises(InvalidPrompt, match="larger than"):
        prompt_file.read(latin)


# -- folders ----------------------------------------------------------------------------------------------------------


def test_the_first_folder_wins_and_wrong_files_are_left_out_and_told(here: Settings) -> None:
    put(here.working_dir / "prompts", "hello.yaml", "prompt: ours")
    put(here.working_dir / "prompts", "compose.yml", "services: {}")
    put(here.working_dir / "prompts", "twice.yaml", "prompt: first")
    put(here.working_dir / "prompts", "twice.yml", "prompt: second")
    put(here.config_dir / "prompts", "hello.yaml", "prompt: mine")
    put(here.config_dir / "prompts", "own.yaml", "prompt: own")
    found = saved.load(here)
    assert {"hello", "own", "twice", "latency"} <= set(found.entries)
    assert list(found.entries) == sorted(found.entries)
    assert [found.entries[name].request.prompt for name in ("hello", "own", "twice")] == ["ours", "own", "first"]
    assert found.entries["latency"].shipped
    assert not found.entries["own"].shipped
    assert len(found.problems) == 2
    assert any("compose.yml:1: This is no prompt" in problem for problem in found.problems)
    assert any("twice.yml: twice.yaml beside it has the same name." in problem for problem in found.problems)
    assert [one.name for one in Engine(here, {}).saved_prompts()] == list(found.entries)


def test_one_is_found_by_name_or_path(here: Settings, tmp_path: Path) -> None:
    put(here.working_dir / "prompts", "broken.yml", "promt: x")
    elsewhere = put(tmp_path / "elsewhere", "other.yaml", "prompt: other")
    assert saved.find(here, "hello").shipped
    assert saved.find(here, str(elsewhere)).request.prompt == "other"
    assert saved.find(here, "../elsewhere/other.yaml").name == "other"
    with pytest.raises(InvalidPrompt, match="did you mean `prompt`"):
        saved.find(here, "broken")
    with pytest.raises(NotFound, match="Did you mean hello"):
        saved.find(here, "helo")
    with pytest.raises(NotFound, match="There is no file"):
        saved.find(here, "./none.yaml")
    with pytest.raises(NotFound, match="There is no file"):
        saved.find(here, "~nobody-of-that-name/" + "long" * 2000 + ".yaml")


def test_what_ships_can_be_read_and_is_not_large(here: Settings) -> None:
    found = saved.load(here)
    assert found.problems == ()
    assert set(found.entries) == {"hello", "latency", "retrieval", "code", "json", "summarise"}
    assert all(one.shipped and one.summary for one in found.entries.values())
    latency = found.entries["latency"].request.sampling
    assert (latency.max_tokens, latency.ignore_eos) == (128, True)
    assert {name for name, one in found.entries.items() if None in saved.blanks(one.request).values()} == {"summarise"}
    text = saved.fill(found.entries["retrieval"], {}).prompt
    lines = [line for line in text.splitlines() if line.startswith("Crate ")]
    asked = text.rpartition("crate ")[2].split()[0]
    place = [line.split()[1] for line in lines].index(asked)
    assert len(lines) == len({line.split()[1] for line in lines}) == 150
    assert 60 < place < 90, "the default stands in the middle"


# -- blanks -----------------------------------------------------------------------------------------------------------

BLANKS = SavedPrompt(
    "greet",
    PromptRequest(
        "Say {{word=hello}} to {{who}}, {{who}}. Not {{ who }}, {{Who}} or {{}}.",
        system="In {{language=English}}{{end=}}",
        history=(Turn(Role.USER, "{{word}}"),),
    ),
)


def test_blanks_are_filled_in() -> None:
    assert saved.blanks(BLANKS.request) == {"language": "English", "end": "", "word": "hello", "who": None}
    filled = saved.fill(BLANKS, {"who": "{{word}} \\1", "language": "French"})
    assert filled.prompt == "Say hello to {{word}} \\1, {{word}} \\1. Not {{ who }}, {{Who}} or {{}}."
    assert filled.system == "In French"
    assert filled.history == (Turn(Role.USER, "hello"),), "a default is for each blank of its name"


def test_blanks_that_are_left_and_values_without_one_are_named() -> None:
    with pytest.raises(InvalidPrompt, match="greet has blanks that are not filled in: who"):
        saved.fill(BLANKS, {})
    with pytest.raises(InvalidPrompt, match=r"no blank wrd\. Did you mean word\?"):
        saved.fill(BLANKS, {"who": "a", "wrd": "b"})
    with pytest.raises(InvalidPrompt, match=r"no blank x\. It has none\."):
        saved.fill(SavedPrompt("plain", PromptRequest("hi")), {"x": "y"})


# -- saving -----------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_found_without_model_and_transport(here: Settings) -> None:
    request = replace(ALL_OF_IT, model="m", transport=Transport.OPENAI, idle_timeout_s=1.0, prompt="a\r\nb\tc\n")
    path = saved.save(here, SavedPrompt("mine", request, "All of it"))
    assert path == here.config_dir / "prompts" / "mine.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["mine.yaml"], "nothing is left beside it"
    found = saved.find(here, "mine")
    assert found.request == replace(ALL_OF_IT, prompt="a\nb\tc\n")
    assert (found.summary, found.path, found.shipped) == ("All of it", path, False)
    assert "\nprompt: |" in saved.save(here, SavedPrompt("lines", PromptRequest("a\nb"))).read_text("utf-8")


def test_writing_over_keeps_comments_and_what_stays_as_it_was_written(here: Settings) -> None:
    path = put(
        here.config_dir / "prompts",
        "mine.yaml",
        "# Ours, for the release test\n\nname: mine\nprompt: >-\n  folded\n  # no comment\n\n  text\n\n"
        "# why so few\noptions: {max_tokens: 4}  # four\n\n# how\nsystem: 'Be brief.'\n# the end\n",
    )
    before = saved.find(here, "mine")
    saved.save(here, before, overwrite=True)
    text = path.read_text("utf-8")
    saved.save(here, before, overwrite=True)
    assert path.read_text("utf-8") == text
    changed = replace(before.request, sampling=Sampling(9), history=(Turn(Role.USER, "a"),))
    saved.save(here, SavedPrompt("mine", changed), overwrite=True)
    assert path.read_text("utf-8") == (
        "# Ours, for the release test\n\nname: mine\nprompt: >-\n  folded\n  # no comment\n\n  text\n\n"
        "# why so few\noptions: {max_tokens: 9}\n\n# how\nsystem: 'Be brief.'\nhistory:\n- user: a\n# the end\n"
    )
    saved.save(here, SavedPrompt("mine", PromptRequest("new\nlines\n")), overwrite=True)
    assert path.read_text("utf-8") == (
        "# Ours, for the release test\n\nname: mine\nprompt: |\n  new\n  lines\n# the end\n"
    )


def test_what_is_taken_is_not_written_over(here: Settings) -> None:
    put(here.working_dir / "prompts", "team.yml", "prompt: x")
    mine = SavedPrompt("mine", PromptRequest("hi"))
    path = saved.save(here, mine)
    for name in ("mine", "team", "hello"):
        with pytest.raises(Refused, match=f"The name {name} is taken by .*{name}.ya?ml"):
            saved.save(here, replace(mine, name=name))
    for name in ("team", "hello"):
        with pytest.raises(Refused):
            saved.save(here, replace(mine, name=name), overwrite=True)
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    with pytest.raises(Refused, match="link to another file"):
        saved.save(here, mine, overwrite=True)
    path.unlink()
    put(path.parent, "mine.yaml", "promt: typo")
    with pytest.raises(InvalidPrompt, match="did you mean"):
        saved.save(here, mine, overwrite=True)
    assert path.read_text("utf-8") == "promt: typo", "what somebody wrote is not lost"


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(here: Settings, tmp_path: Path) -> None:
    for prompt, words in (
        (SavedPrompt("../up", PromptRequest("hi")), "cannot be a prompt's name"),
        (SavedPrompt("mine", PromptRequest("a\x1b[31mb")), "control"),
        (SavedPrompt("mine", PromptRequest("", tensors="[1]")), "tensors of mine cannot be saved"),
    ):
        with pytest.raises(InvalidPrompt, match=words):
            saved.save(here, prompt)
    with pytest.raises(Refused, match="read-only"):
        Engine(replace(here, read_only="--read-only"), {}).save_prompt(SavedPrompt("mine", PromptRequest("hi")))
    assert not here.config_dir.exists()
    (tmp_path / "config").write_text("in the way")
    with pytest.raises(OperationFailed, match="cannot be written"):
        saved.save(here, SavedPrompt("mine", PromptRequest("hi")))


TEXTS = st.text(st.sampled_from("ab #:\n\n\n  -'\"{}[]|>&*!%@`?,=~\\é漢🙂\x85\xa0"), max_size=30).map(clean)


@hypothesis_settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_text_is_written_so_that_it_reads_back(prompt: str, system: str, said: str, summary: str) -> None:
    first = SavedPrompt("a", PromptRequest(prompt or "x", system=system, history=(Turn(Role.USER, said),)), summary)
    second = SavedPrompt("a", PromptRequest(said or "x", system=prompt, sampling=Sampling(stop=(said,))), system)
    path = Path("a.yaml")
    text = new_text(first)
    read = read_text(path, text)
    assert (read.request, read.summary) == (first.request, first.summary)
    changed = read_text(path, changed_text("# ours\n" + text, read, second))
    assert (changed.request, changed.summary) == (second.request, second.summary)
