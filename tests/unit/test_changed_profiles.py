"""Values of a profile's file changed where they stand: all other lines stay as they were."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.changed import changed, with_changes, write_changed
from engine.authoring.yaml_edit import Scalar
from engine.catalog import Catalog, CatalogEntry, CatalogReader, read_profile
from engine.diagnosis import Change
from engine.errors import InvalidProfile, NotFound, Refused
from engine.facade import Engine
from engine.profile_text import parse
from engine.settings import Settings

PROFILE = """\
# ünser own 😀
name: old   # its name
stack: vllm
image: i:1
model: org/name   # from the hub

gpus: 4
engine:
  # as many as there are GPUs
  tensor_parallel_size: 4   # of 8
  max-model-len: 8192
  hf_overrides: {architectures: [A, B]}   # kept

  gpu_memory_utilization: 0.9
expose: {http: 8000}   # on 127.0.0.1
# the end
"""


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/old.yaml").write_text(PROFILE)
    return Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)


def load(here: Settings) -> Catalog:
    return CatalogReader(here).load()


def test_what_is_changed_is_all_that_changes() -> None:
    new = changed(
        PROFILE,
        (
            Change("engine.tensor_parallel_size", 2, 4),
            Change("gpus", 2, 4),
            Change("engine.max-model-len", None, 8192),
            Change("expose.http", 8001, 8000),
            Change("engine.dtype", "half"),
            Change("env.A_B", "yes"),
            Change("engine.hf_overrides.rope_theta", 1e-05),
        ),
    )
    assert new == (
        PROFILE.replace("tensor_parallel_size: 4 ", "tensor_parallel_size: 2 ")
        .replace("gpus: 4", "gpus: 2")
        .replace("  max-model-len: 8192\n", "")
        .replace("8000}", "8001}")
        .replace("[A, B]}", "[A, B], rope_theta: 1.0e-05}")
        .replace("0.9\n", "0.9\n  dtype: half\n")
        .replace("127.0.0.1\n", '127.0.0.1\nenv:\n  A_B: "yes"\n')
    )


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("engine: {}\n", Change("engine.dtype", "half"), "engine: {dtype: half}\n"),
        ("engine: {a: 1}\n", Change("engine.a", None), "engine: {}\n"),
        ("engine: {a: 1, b: 2}\n", Change("engine.a", None), "engine: {b: 2}\n"),
        ("engine: {a: 1, b: 2}\n", Change("engine.b", None), "engine: {a: 1}\n"),
        ("engine: {\n  a: 1,  # x\n  b: 2,  # y\n}\n", Change("engine.b", None), "engine: {\n  a: 1,  # x\n}\n"),
        ("engine: {\n  a: 1,\n  b: 2\n}\n", Change("engine.c", 3), "engine: {\n  a: 1,\n  b: 2, c: 3\n}\n"),
        ("engine:\n  a: 1\ngpus: 1\n", Change("engine.a", None), "engine:\n  {}\ngpus: 1\n"),
        ("engine:   # none\ngpus: 1\n", Change("engine.a", 1), "engine: {a: 1}   # none\ngpus: 1\n"),
        ("engine: ~\n", Change("engine.a.b", 1), "engine: {a: {b: 1}}\n"),
        ("gpus:   # these\n  - 0\n  - 1   # and it\nmodel: m\n", Change("gpus", 1), "gpus: 1   # and it\nmodel: m\n"),
        ("summary: |\n  one\n  two\n\n# c\ngpus: 1\n", Change("summary", "x: y"), 'summary: "x: y"\n\n# c\ngpus: 1\n'),
        ("summary: >-\n  one\n  two\ngpus: 1\n", Change("summary", None), "gpus: 1\n"),
        ("gpus: 1", Change("engine.a", 1), "gpus: 1\nengine:\n  a: 1\n"),
        ("gpus: 1\r\nengine:\r\n  a: 1\r\n", Change("engine.b", 2), "gpus: 1\r\nengine:\r\n  a: 1\r\n  b: 2\r\n"),
        ("x: &a 1\ngpus: *a   # c\n", Change("gpus", 2), "x: &a 1\ngpus: 2   # c\n"),
        ("? engine\n: {a: 1}\n", Change("engine.a", 2), "? engine\n: {a: 2}\n"),
        ('"gpus" : 1\n', Change("gpus", 2), '"gpus" : 2\n'),
        ("engine:\n  a:\n    b: 1\n  a.b: 2\n", Change("engine.a.b", 3), "engine:\n  a:\n    b: 1\n  a.b: 3\n"),
        ("gpus: 1\n", Change("engine.a", None), "gpus: 1\n"),
        ("\ufeffgpus: 1\n", Change("gpus", 2), "\ufeffgpus: 2\n"),
    ],
)
def test_however_it_is_written(before: str, change: Change, after: str) -> None:
    assert changed(before, (change,)) == after


@pytest.mark.parametrize(
    "text",
    [
        "engine: &e {a: 1}\nserver: *e\n",
        "server: &e {a: 1}\nengine: *e\n",
        "engine: 5\n",
        "engine: [a]\n",
        "engine: {a: 1\n",
        "engine: {a: &x 1}\nserver: {b: *x}\n",
        "- a\n",
    ],
)
def test_what_would_change_something_else_is_left_to_the_operator(text: str) -> None:
    with pytest.raises(InvalidProfile, match=r"By hand: set `engine\.a` to 2"):
        changed(text, (Change("engine.a", 2, 1),))


NAMES = ("dtype", "max_model_len", "task", "seed", "swap_space", "hf_overrides")
VALUES: st.SearchStrategy[Scalar] = (
    st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=("Cc", "Cs", "Cf")), max_size=12)
    | st.sampled_from(("no", "null", "1e3", "0x1f", "a: b", "- x", "{a}", "2024-01-01", "#x", " a ", "1_0", "~", "é😀"))
)


@st.composite
def profiles(draw: st.DrawFn) -> tuple[str, dict[str, Scalar]]:
    """A profile's text with engine options in some style, with comments and empty lines; and the options."""
    from engine.authoring.yaml_edit import scalar

    given_options = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
    remark = st.sampled_from(("", "   # why: {it}, is", "\t# x"))
    written = [f"{name}: {scalar(value)}" for name, value in given_options.items()]
    if draw(st.booleans()) or not written:
        engine = ["engine: {" + ", ".join(written) + "}" + draw(remark)]
    elif draw(st.booleans()):
        inner = [f"    {line}{',' if at < len(written) - 1 else ''}{draw(remark)}" for at, line in enumerate(written)]
        engine = ["engine: {", *inner, "}"]
    else:
        indent = " " * draw(st.integers(1, 6))
        engine = ["engine:" + draw(remark)]
        for line in written:
            engine += draw(st.lists(st.sampled_from(("", f"{indent}# about it", "# far out")), max_size=1))
            engine.append(f"{indent}{line}{draw(remark)}")
    others = [
        "name: p",
        "stack: vllm   # it",
        "summary: >\n  some: words\n\n  # and more",
        "gpus: [0, 1]",
        "# alone",
        "",
    ]
    lines = draw(st.permutations(others))
    at = draw(st.integers(0, len(lines)))
    return "\n".join([*lines[:at], *engine, *lines[at:]]) + draw(st.sampled_from(("", "\n", "\n\n"))), given_options


@given(profiles(), st.dictionaries(st.sampled_from(NAMES), st.none() | VALUES, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_values_are_read_back_and_other_lines_are_as_they_were(
    profile: tuple[str, dict[str, Scalar]], asked: dict[str, Scalar]
) -> None:
    text, options = profile
    new = changed(text, tuple(Change(f"engine.{name}", value, options.get(name)) for name, value in asked.items()))
    wanted = {name: value for name, value in {**options, **asked}.items() if value is not None}
    before, after = parse(text)[0], parse(new)[0]
    assert after.pop("engine") == wanted
    assert {name: type(value) for name, value in wanted.items()} == {
        name: type(value) for name, value in parse(new)[0]["engine"].items()
    }
    before.pop("engine")
    assert after == before

    def untouched(text: str) -> list[str]:
        return [line for line in text.splitlines() if not any(name in line for name in (*NAMES, "engine", "{}"))]

    assert untouched(new) == untouched(text)


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_changed_copy_is_written_for_the_user(here: Settings) -> None:
    changes = (Change("engine.tensor_parallel_size", 2, 4), Change("gpus", 2, 4))
    path = write_changed(load(here), here, "old", "old-2", changes)
    assert path == here.config_dir / "profiles/old-2.yaml"
    assert path.read_text() == with_changes(load(here), here, "old", changes).replace("name: old ", "name: old-2 ")
    copy = read_profile(path)
    assert isinstance(copy, CatalogEntry)
    assert (copy.profile.gpus, copy.profile.engine["tensor_parallel_size"]) == (2, 2)
    with pytest.raises(Refused, match="is taken"):
        write_changed(load(here), here, "old", "old-2", changes)


def test_what_would_be_no_profile_is_neither_shown_nor_written(here: Settings) -> None:
    wrong = (Change("gpus", -1, 4),)
    with pytest.raises(InvalidProfile):
        with_changes(load(here), here, "old", wrong)
    with pytest.raises(InvalidProfile):
        write_changed(load(here), here, "old", "new", wrong)
    assert not list((here.config_dir / "profiles").iterdir())
    with pytest.raises(NotFound):
        with_changes(load(here), here, "none", ())


def test_nothing_is_written_from_where_nothing_may_be_changed(here: Settings) -> None:
    guarded = Settings(here.config_dir, here.state_dir, here.cache_dir, (), here.working_dir, read_only="--read-only")
    engine = Engine(guarded, {})
    changes = (Change("gpus", 2, 4),)
    assert "gpus: 2\n" in engine.with_changes("old", changes)
    with pytest.raises(Refused, match="read-only"):
        engine.write_changed("old", "new", changes)
    assert not here.config_dir.exists()
