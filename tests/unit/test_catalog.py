"""A wrong profile is one clear sentence with its place; the others go on working."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from engine.catalog import CatalogEntry, CatalogReader, read, read_profile, read_text
from engine.errors import InvalidProfile, NotFound
from engine.profile import Profile
from engine.settings import Settings
from engine.snapshot import ProfileProblem

ALIASES = "  a0: &a0 [x, x]\n" + "".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
"""A few lines that mean more than fits in memory"""
GOOD = "name: good\nstack: triton\nrepository: .\n"


def reader(tmp_path: Path, *folders: Path) -> CatalogReader:
    return CatalogReader(
        Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", folders, tmp_path / "cwd")
    )


def problem_of(tmp_path: Path, text: str) -> ProfileProblem:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    result = read_profile(path)
    assert isinstance(result, ProfileProblem), result
    return result


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: a\nstack: triton\nrepositry: x\n", 3, ["Unknown key `repositry`", "`repository`"]),
        ("name: a\nstack: triton\nexpose:\n  htp: 1\n", 4, ["Unknown key `expose.htp`", "`http`"]),
        ("name: a\nstack: triton\nexpose:\n  http: 70000\n", 4, ["expose.http", "65535"]),
        ("name: a\nstack: triton\nexpose: {http: 0}\n", 3, ["expose"]),
        ("name: Bad Name\nstack: triton\n", 1, ["`name`", "lower-case"]),
        ("name: a\nstack: tritn\n", 2, ["did you mean `triton`"]),
        ("name: a\nstack: triton\nname: b\n", 3, ["`name` stands twice"]),
        ("name: " + "[" * 50_000, 1, ["nested"]),
        ("name: a\nstack: triton\nengine: &a\n  x: *a\n", 4, ["aliases"]),
        ("name: a\nstack: triton\nengine:\n" + ALIASES, 4, ["aliases"]),
        ('name: a\nstack: triton\nsummary: "\\e]52;c;aGk=\\a"\n', 3, ["control"]),
        ("name: a\nstack: triton\nshm_size: " + "9" * 400 + "g\n", 3, ["shm_size"]),
        ("name: a\nstack: triton\nengine:\n  x: 2026-01-01\n", 4, ["`engine.x`", "quote what looks like a date"]),
        ("name: a\nstack: triton\nengine: {x: !!binary gIGC}\n", 3, ["`engine.x`"]),
        ("name: a\nstack: triton\nengine:\n  a: 1\n  x: .nan\n", 5, ["`engine.x`", "no text, number"]),
        ("name: a\nstack: vllm\nversion: 0.11\n", 3, ["`version` is 0.11", "put it in quotes"]),
        ("name: a\nstack: triton\nengine:\n  a: 1\n  5: 1\n", 5, ["`engine.5`", "no name"]),
        (
            "name: a\nstack: vllm\nfit:\n  model: {num_hidden_layers: 1, num_attention_heads: 1,\n    hiden_size: 1}\n",
            5,
            ["fit.model.hiden_size", "`hidden_size`"],
        ),
        (
            "name: a\nstack: triton\nfit:\n  model:\n    hidden_size: 1\n",
            4,
            ["`fit.model.num_hidden_layers` is missing"],
        ),
        ("name: a\nstack: triton\nenv:\n  A: b\n  MY_API_KEY: sesame\n", 5, ["`env.MY_API_KEY`", "`secrets`"]),
        ("name: a\nstack: triton\nenv:\n  HF_TOKEN: ab\n", 4, ["`env.HF_TOKEN`", "never in a profile"]),
        ("name: a\nstack: triton\nenv: {X: hf_aaaaaaaaaaaaaaaaaaaa}\n", 3, ["`env.X`", "`secrets`"]),
        ("name: a\nstack: triton\ngpus: [0, 1.5]\n", 3, ["`gpus.1` is 1.5"]),
        ("name: a\nstack: triton\ngpus: some\n", 3, ["`gpus` is 'some'", "'all'"]),
        ("name: a\nstack: triton\nlora:\n  a/b: x\n", 4, ["`lora.a/b`"]),
        ("name: a\nstack: triton\nreserve: 1.5\n", 3, ["`reserve` is 1.5", "'balanced'"]),
        ("name: a\nstack: triton\nready: {timeout: .inf}\n", 3, ["ready.timeout"]),
        ("name: a\nstack: triton\nbind: ''\n", 3, ["IP address"]),
        ("name: a\nstack: triton\nbind: 127.example.org\n", 3, ["IP address"]),
        ("name: a\nstack: triton\nready:\n  timeout: soon\n", 4, ["ready.timeout", "30m"]),
        ("name: a\nstack: triton\nsecrets:\n  HF_TOKEN: hf_abc\n", 4, ["secrets.HF_TOKEN", "reference"]),
        ("name: a\nstack: [\n", 3, ["Not valid YAML"]),
        ("name: a\n\tstack: b\n", 2, ["Not valid YAML"]),
        ("stack: triton\n", 1, ["`name` is missing"]),
        ("- a\n", 1, ["mapping"]),
        ("", 1, ["mapping"]),
        ("name: 5\nstack: triton\n", 1, ["name"]),
    ],
)
def test_a_wrong_profile_says_where_and_what(tmp_path: Path, text: str, line: int, words: list[str]) -> None:
    problem = problem_of(tmp_path, text)
    assert problem.line == line, problem
    for word in words:
        assert word in problem.message, problem


def test_every_problem_of_a_file_is_told_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: Bad\nstak: triton\nengine: {1: 2}\nenv:\n  A_TOKEN: sesame\n  B_PASSWORD: hush-hush\ngpus: some\n"
    )
    problems = read(path)
    assert isinstance(problems, tuple)
    assert [problem.line for problem in problems] == [1, 1, 2, 3, 5, 6, 7]
    assert not any(word in str(problem) for problem in problems for word in ("sesame", "hush-hush"))
    first = read_profile(path)
    assert isinstance(first, ProfileProblem)
    assert first.message.endswith("(5 more after it.)")
    catalog = reader(tmp_path, tmp_path).load()
    assert catalog.details == problems
    assert catalog.problems == (first,)


# As YAML writes them; each is wrong for most kinds of keys.
WRONG_VALUES = (
    *("", "~", "true", "3", "-1", "1.5", ".nan", "-.inf", "1" + "0" * 30, "1" + "0" * 400, "0x" + "f" * 5000),
    *("''", "abc xyz", "x" * 200, "100d", "2024-01-01", "!!binary aGk=", "!!set {a}"),
    *("[1]", "[null]", "[true]", "[[1]]", "{a: 1}", "{a: null}", "{true: x}", "{3: x}", "{2024-01-01: x}"),
)
FOREIGN = re.compile(
    r"\b(dictionary|instance|None|True|False|NoneType|BaseModel|datetime|literal|pattern|[Ss]tring|[Vv]alue error"
    r"|[Ii]nput should|[Kk]eys should|valid (string|integer|number|boolean|list))\b|(?<![.\w])(nan|inf)\b"
)


def _keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        for kind in get_args(field.annotation) or (field.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _keys(kind, (*above, name))


def _with(place: tuple[str, ...], value: str) -> str:
    """A profile that has the value at that place."""
    needed = "".join(line for line in ("name: p\n", "stack: vllm\n") if not line.startswith(f"{place[0]}:"))
    above = "".join(f"{'  ' * depth}{key}:\n" for depth, key in enumerate(place[:-1]))
    return f"{needed}{above}{'  ' * (len(place) - 1)}{place[-1]}: {value}\n"


@pytest.mark.parametrize("place", list(_keys(Profile)), ids=".".join)
def test_a_wrong_value_is_told_in_the_words_of_yaml(place: tuple[str, ...], tmp_path: Path) -> None:
    told = 0
    for value in WRONG_VALUES:
        found = read_text(tmp_path / "p.yaml", _with(place, value))
        for problem in found if isinstance(found, tuple) else ():
            told += 1
            assert not (foreign := FOREIGN.search(problem.message)), (value, foreign, problem)
            assert problem.message.endswith(".")
            assert len(problem.message) < 400
    assert told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "watch: {canary: true}",
            "`watch.canary` is true: it must be a mapping of keys to values; valid keys: every, prompt, timeout.",
        ),
        ("ready:", "`ready` is empty: it must be a mapping of keys to values; valid keys: timeout, prompt."),
        ("watch: {kv_cache: .nan}", "`watch.kv_cache` is .nan: it must be a finite number."),
        ("watch: {kv_cache: 101}", "`watch.kv_cache` is 101: it must be at most 100."),
        (
            "watch: {no_answer: 100d}",
            "`watch.no_answer`: a duration is a number with ms, s, m or h, e.g. 300ms or 30m. A day is 24h.",
        ),
        (
            "watch: {hold: }",
            "`watch.hold`: a duration is a number with ms, s, m or h, e.g. 300ms or 30m. A day is 24h.",
        ),
        ("shm_size: 1.5", "`shm_size`: a size is a whole number of bytes, or a number with k, m or g, e.g. 1g."),
        ("gpus: [0, true]", "`gpus.1` is true: it must be a whole number, or text; put it in quotes."),
        ("share_gpus: 'yes'", "`share_gpus` is 'yes': it must be true or false."),
        ("env: {A: 1}", "`env.A`: it must be text; put it in quotes."),
        (
            "env: {1A: x}",
            "`env.1A` is no name of a variable, which takes letters, digits and underscores, and does not begin "
            "with a digit.",
        ),
        (
            "watch: {true: 1}",
            "Unknown key `watch.true`; valid keys: no_answer, failures, waiting, kv_cache, ttft_p99, ",
        ),
        ("engine: {null: 1}", "`engine.empty` is a key that is no name; quote it if it is meant so."),
        ("<<: {lora: {a/b: x}}", "`lora.a/b` is no name of an adapter, which takes letters, digits, dots, hyphens and"),
        ("<<: {secrets: {A: [hush]}}", "`secrets.A`: it must be text."),
        ("runtime: [docker]", "`runtime` is [docker]: it must be 'docker' or 'process'."),
    ],
)
def test_what_is_wanted_is_said(text: str, said: str, tmp_path: Path) -> None:
    problem = problem_of(tmp_path, GOOD + text + "\n")
    assert problem.message.startswith(said)


@pytest.mark.parametrize("value", ["postgres://me:hush@host/db", "sk-proj-" + "hush" * 5, "ghp_" + "hush" * 6])
def test_a_secret_is_known_by_its_value_and_not_told(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"name: a\nstack: vllm\nenv: {{X: '{value}'}}\n")
    problem = read_profile(path)
    assert isinstance(problem, ProfileProblem)
    assert "put it under `secrets`" in problem.message
    assert "hush" not in problem.message
    path.write_text("name: a\nstack: vllm\nenv: {X: 'http://host:80/task-list@1', Y: disk-of-a-long-name-here}\n")
    assert not isinstance(read_profile(path), ProfileProblem)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("services:\n  vllm: {image: i}\nversion: 3\n", 1, "neither `name` nor `stack`"),
        ("name: é\nsummary: \x1b[31m\n", 2, "control character"),
        (f"name: a\nstack: vllm\n{'k' * 900}: 1\n", 3, "Unknown key `kkk"),
    ],
    ids=["of Docker", "coloured", "long"],
)
def test_a_file_that_is_something_else_is_told_in_one_sentence(
    text: str, line: int, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    (problem,) = CatalogReader(Settings(tmp_path, tmp_path, tmp_path, (tmp_path,))).load().details
    assert (problem.line, words in problem.message, len(problem.message) < 500) == (line, True, True)


def test_a_switch_with_the_name_of_a_secret_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD + "env: {HF_HUB_DISABLE_IMPLICIT_TOKEN: '1', TOKENIZERS_PARALLELISM: 'false', A_TOKEN: ''}\n")
    assert isinstance(read_profile(path), CatalogEntry)


def test_binary_and_huge_and_unreadable_files_are_problems(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (2 << 20))
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "good.yaml").write_text(GOOD)
    catalog = reader(tmp_path, tmp_path).load()
    assert {Path(problem.path).name for problem in catalog.problems} == {
        "binary.yaml",
        "huge.yaml",
        "folder.yaml",
        "gone.yaml",
    }
    assert catalog.get("good").profile.stack == "triton"


def test_first_folder_wins_and_one_folder_has_no_name_twice(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a.yaml").write_text(GOOD + f"summary: {folder.name}\n")
    (first / "b.yaml").write_text(GOOD)
    catalog = reader(tmp_path, first, second).load()
    assert catalog.get("good").profile.summary == "first"
    (problem,) = [problem for problem in catalog.problems if problem.path.startswith(str(first))]
    assert "already taken by a.yaml" in problem.message


def test_a_changed_file_is_read_again_and_its_digest_follows_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    catalog = reader(tmp_path, tmp_path)
    digest = catalog.load().get("good").digest
    path.write_text("# a comment\n" + GOOD)
    assert catalog.load().get("good").digest == digest
    path.write_text(GOOD + "model: other\n")
    assert catalog.load().get("good").digest != digest


def test_an_unknown_name_gets_the_nearest_and_a_broken_file_its_problem(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "broken.yaml").write_text("name: [")
    catalog = reader(tmp_path, tmp_path).load()
    with pytest.raises(NotFound, match="Did you mean good"):
        catalog.get("goood")
    with pytest.raises(InvalidProfile, match=r"broken\.yaml"):
        catalog.get("broken")


def test_aliases_that_multiply_do_not_take_forever(tmp_path: Path) -> None:
    lines = ["name: a", "stack: triton", "env: &e0 {A: b}"]
    bomb = "engine:\n  a0: &a0 [x]\n" + "".join(f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 12))
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines) + "\n" + bomb)
    assert isinstance(read_profile(path), CatalogEntry)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_nothing_that_a_file_holds_raises(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    assert isinstance(read_profile(path), CatalogEntry | ProfileProblem)


def test_every_shipped_profile_is_valid() -> None:
    shipped = Settings.load().shipped_profiles
    files = sorted(shipped.glob("*.yaml"))
    assert files
    for path in files:
        assert isinstance(read_profile(path), CatalogEntry), read_profile(path)


def test_hostile_names_of_files_and_folders_are_told_cleaned(tmp_path: Path) -> None:
    folder = tmp_path / "cwd" / "profiles"
    folder.mkdir(parents=True)
    (folder / "\x1b]52;c;aGk=\x07.yaml").write_text("nothing")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "profiles").symlink_to("profiles")
    problems = reader(tmp_path).load().problems
    assert len(problems) == 2
    assert not any("\x1b" in str(problem) for problem in problems)
    assert any("Symlink loop" in problem.message for problem in problems)
