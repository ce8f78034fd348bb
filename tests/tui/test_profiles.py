"""Profiles in the console: looked at, copied, and edited in the operator's own editor."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot
from textual.widgets import Input

from engine.deployment import State
from engine.errors import OperationFailed, Refused
from engine.profile import Name
from engine.snapshot import ProfileProblem
from tests.tui.driving import MODELS, opened, rows, screen_text, selected, settled, shown, still, until
from tests.tui.fake_api import NOW, SOURCE, FakeApi, model, snapshot
from tui import format as write
from tui.app import Console
from tui.screens import profile_desk
from tui.screens.duplicate import LONGEST_NAME, NAME_PATTERN, Duplicate, free_name, objection_to
from tui.screens.main import MainScreen
from tui.widgets.source_view import SourceView
from tui.widgets.yaml_look import tokens

PROBLEM = ProfileProblem(
    "/home/ann/.config/tritontui/profiles/bad.yaml", 3, "Unknown key `sumary`; did you mean `summary`?"
)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*MODELS))


def told(pilot: Pilot[None]) -> str:
    """All messages, which the screen shows wrapped."""
    return "\n".join(notification.message for notification in pilot.app._notifications)


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_the_file_is_shown_with_its_path_and_follows_changes(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.chdir(tmp_path)  # whose own path may be so long that it is wrapped
    file = tmp_path / "p.yaml"
    api.files["llama3-70b"] = Path(file.name)
    file.write_text("name: llama3-70b\n" + "".join(f"# line {i} [red]\n" for i in range(2, 100)))
    async with Console(lambda: api).run_test(size=size) as pilot:
        screen = await opened(pilot)
        await pilot.press("7")
        await shown(pilot, " 1 name: llama3-70b", "p.yaml", "# line 2 [red]")
        await pilot.press("pagedown", "j")
        view = screen.query_one(SourceView)
        await until(pilot, lambda: view.scroll_offset.y > 1)
        place = view.scroll_offset
        file.write_text(file.read_text().replace("line", "LINE"))
        await shown(pilot, "# LINE")
        assert view.scroll_offset == place
        await pilot.press("G")
        await shown(pilot, "99 # LINE 99")
        file.unlink()
        api.source_error = OperationFailed("p.yaml cannot be read: No such file or directory.")
        await shown(pilot, "▲ p.yaml cannot be read")


async def test_a_shipped_profile_says_so(api: FakeApi) -> None:
    api.shipped = {"mixtral"}
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("7")
        await shown(pilot, "profiles/llama3-70b.yaml")
        assert "shipped" not in screen_text(pilot)
        await pilot.press("escape", "j", "j")
        await shown(pilot, "profiles/mixtral.yaml", "It is shipped with tritontui")


async def test_what_has_no_profile_says_so(api: FakeApi) -> None:
    api.latest = snapshot(replace(MODELS[1], has_profile=False))
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "mixtral")
        await pilot.press("7")
        await shown(pilot, "mixtral has no profile any more. It can be removed (d).")
        await settled(pilot)
        await pilot.press("e")
        await shown(pilot, "mixtral has no profile any more.")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_a_file_that_is_no_valid_profile_is_shown_at_its_wrong_line(api: FakeApi, size: tuple[int, int]) -> None:
    long = replace(PROBLEM, line=60, message="Unknown key `oops`.")
    filler = "".join(f"# {i}\n" for i in range(1, 60))
    api.latest = replace(api.latest, problems=(PROBLEM,))
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("G")
        await shown(pilot, "bad.yaml:3: Unknown key `sumary`", '▲ 3 summary: "Summary of bad"', "  2 name: bad")
        path = Path(PROBLEM.path)
        api.profile_source = lambda name: replace(  # type: ignore[method-assign]
            FakeApi.profile_source(api, name), text=f"{filler}oops: 1\n", path=path
        )
        api.show(replace(api.latest, problems=(long,)))
        await shown(pilot, "bad.yaml:60: Unknown key `oops`")
        await shown(pilot, "  1 # 1")
        await pilot.press("7", "G")
        await shown(pilot, "▲ 60 oops: 1")
        await pilot.press("escape", "k", "1", "escape")
        await shown(pilot, "Not started yet")


async def test_a_wrong_file_that_is_hidden_by_another_of_its_name_is_not_mistaken_for_it(api: FakeApi) -> None:
    other = replace(PROBLEM, path="/elsewhere/llama3-70b.yaml")
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        api.show(replace(api.latest, problems=(other,)))
        await shown(pilot, "▲ llama3-70b.yaml")
        await pilot.press("G")
        await shown(pilot, "/elsewhere/llama3-70b.yaml is not shown")


def test_lines_of_yaml_are_told_apart_and_stay_complete() -> None:
    line = '  expose: {http: 8000, note: "a # b"}   # on 127.0.0.1: yes'
    found = list(tokens(line))
    assert "".join(text for text, _ in found) == line
    assert [text for text, kind in found if kind == "key"] == ["expose", "http", "note"]
    assert [text for text, kind in found if kind == "comment"] == ["# on 127.0.0.1: yes"]
    assert [text for text, kind in found if kind == "text"] == ['"a # b"']


# -- copies -----------------------------------------------------------------------------------------------------------


async def test_a_copy_is_named_made_and_selected_when_it_is_there(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(80, 24), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("c")
        await shown(pilot, "copy llama3-70b", "llama3-70b-2", "It goes into your own folder")
        name = pilot.app.screen.query_one(Input)
        for text, objection in (
            ("", "It needs a name."),
            ("Big", "A name takes lower-case letters"),
            ("mixtral", "mixtral is taken."),
        ):
            name.value = text
            await shown(pilot, objection)
            await pilot.press("enter")
            assert isinstance(pilot.app.screen, Duplicate)
        assert not api.duplicated
        name.value = "mine"
        await shown(pilot, "It goes into your own folder")
        await pilot.press("enter")
        await shown(pilot, "mine is made")
        assert "profiles/mine.yaml" in told(pilot)
        assert api.duplicated == [("llama3-70b", "mine")]
        api.show(snapshot(*MODELS, model("mine", State.ABSENT)))
        await until(pilot, lambda: selected(pilot) == "mine")


async def test_a_copy_that_cannot_be_made_says_why_and_can_be_tried_again(api: FakeApi) -> None:
    api.duplicate_error = Refused("The name llama3-70b-2 is taken by /x/llama3-70b-2.yaml.", "Choose another.")
    async with Console(lambda: api).run_test(size=(60, 20)) as pilot:
        await opened(pilot)
        await pilot.press("c")
        await shown(pilot, "llama3-70b-2", "Copy (enter)")
        await pilot.press("enter")
        await shown(pilot, "Choose another.")
        api.duplicate_error = None
        await pilot.press("backspace", "7", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert api.duplicated == [("llama3-70b", "llama3-70b-7")]
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, Duplicate))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert len(api.duplicated) == 1


async def test_a_copy_is_selected_through_a_filter(api: FakeApi) -> None:
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("slash", *"mix", "enter", "c")
        await shown(pilot, "mixtral-2", "Copy (enter)")
        await pilot.press(*["backspace"] * 9, *"other", "enter")
        await until(pilot, lambda: bool(api.duplicated))
        api.show(snapshot(*MODELS, model("other", State.ABSENT)))
        await until(pilot, lambda: selected(pilot) == "other")
        assert len(rows(pilot)) == 5


def test_names_are_judged_as_profiles_judge_them() -> None:
    constraints = get_args(Name)[1]
    assert (constraints.pattern, constraints.max_length) == (NAME_PATTERN, LONGEST_NAME)
    assert free_name("a", {"a", "a-2"}) == "a-3"
    longest = "x" * LONGEST_NAME
    assert not objection_to(free_name(longest, {longest}), {longest})
    assert objection_to(longest + "x", ())


# -- the editor -------------------------------------------------------------------------------------------------------


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of an editor that appends a line, and keeps what it was called with."""
    monkeypatch.setattr(HeadlessDriver, "can_suspend", property(lambda _: True))
    script = tmp_path / "editor.py"
    called = tmp_path / "called"
    script.write_text(
        f"import pathlib, sys\npathlib.Path({str(called)!r}).write_text('|'.join(sys.argv[1:]))\n"
        "file = pathlib.Path(sys.argv[-1])\nfile.write_text(file.read_text() + '# edited\\n')\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} --flag")
    return called


def called_with(called: Path) -> str:
    return called.read_text() if called.exists() else ""


@pytest.fixture
def own(api: FakeApi, tmp_path: Path) -> Path:
    """The first model's profile as a file of the operator's own."""
    file = api.files["llama3-70b"] = tmp_path / "llama3-70b.yaml"
    file.write_text(SOURCE.format(name="llama3-70b"))
    return file


async def test_an_edited_profile_is_planned_and_shown_anew_and_judged(
    api: FakeApi, editor: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_desk, "REREAD_S", 0.2)
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("6")
        await shown(pilot, "profiles/x.yaml")
        await pilot.press("7")
        await shown(pilot, "# on 127.0.0.1")
        await settled(pilot)
        await pilot.press("e")
        await shown(pilot, "# edited")
        assert called_with(editor) == f"--flag|{own}"
        await shown(pilot, "llama3-70b.yaml is valid.")
        await pilot.press("6")
        await until(pilot, lambda: len(api.planned) == 2)


async def test_a_profile_that_was_spoilt_is_told_with_its_line(api: FakeApi, editor: Path, own: Path) -> None:
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await until(pilot, editor.exists)
        await pilot.pause(0.2)
        assert "valid" not in screen_text(pilot)  # nobody has read it again yet
        api.show(replace(api.latest, models=MODELS[1:], problems=(replace(PROBLEM, path=str(own)),)))
        await shown(pilot, "llama3-70b.yaml is not valid", "Line 3: Unknown key `sumary`")


async def test_an_invalid_profile_is_mended(api: FakeApi, editor: Path, own: Path) -> None:
    problem = replace(PROBLEM, path=str(own))
    api.latest = snapshot(*MODELS[1:])
    api.latest = replace(api.latest, problems=(problem,))
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await shown(pilot, "mixtral")
        await pilot.press("G", "e")
        await until(pilot, lambda: "# edited" in own.read_text())
        api.show(snapshot(*MODELS))
        await shown(pilot, "llama3-70b.yaml is valid.")


async def test_the_cursor_stays_on_a_file_that_is_spoilt_and_mended(api: FakeApi) -> None:
    """Its row is another then, at another place."""
    mine = replace(model("aya3", State.ABSENT), profile_path=PROBLEM.path)
    api.latest = snapshot(mine, *MODELS)
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("j", "j")
        assert selected(pilot) == "aya3"
        api.show(replace(api.latest, models=MODELS, problems=(PROBLEM,)))
        await shown(pilot, "bad.yaml:3: Unknown key")
        assert selected(pilot) == ""
        api.show(snapshot(*MODELS, mine))
        await until(pilot, lambda: selected(pilot) == "aya3")
        assert screen.query_one("#problem").display is False


async def test_a_shipped_profile_is_copied_before_it_is_edited(api: FakeApi, editor: Path, tmp_path: Path) -> None:
    api.shipped = {"llama3-70b"}
    copy = api.files["llama3-70b-2"] = tmp_path / "llama3-70b-2.yaml"
    copy.write_text("name: llama3-70b-2\n")
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await shown(pilot, "is shipped with tritontui", "llama3-70b-2")
        assert not called_with(editor)
        await pilot.press("enter")
        await until(pilot, editor.exists)
        assert api.duplicated == [("llama3-70b", "llama3-70b-2")]
        await until(pilot, lambda: copy.read_text().endswith("# edited\n"))
        await shown(pilot, "● llama3-70b")


@pytest.mark.parametrize(
    ("editor_value", "sentence"),
    [
        ("no-such-editor", "The editor no-such-editor cannot be run: No such file or directory."),
        ("false", "The editor false ended with exit code 1."),
        ("'", "$EDITOR is no command"),
    ],
)
async def test_an_editor_that_fails_is_a_sentence(
    api: FakeApi, editor: Path, own: Path, monkeypatch: pytest.MonkeyPatch, editor_value: str, sentence: str
) -> None:
    monkeypatch.setenv("EDITOR", editor_value)
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await until(pilot, lambda: sentence in told(pilot))
        await pilot.press("j")  # the console goes on
        assert selected(pilot) == "qwen3-30b"


async def test_no_editor_at_all_is_a_sentence(
    api: FakeApi, editor: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", str(tmp_path))
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await shown(pilot, "Neither $VISUAL nor $EDITOR is set")


async def test_where_the_terminal_cannot_be_given_away_it_says_so(
    api: FakeApi, editor: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeadlessDriver, "can_suspend", property(lambda _: False))
    async with Console(lambda: api).run_test(size=(120, 40), notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("e")
        await shown(pilot, "This terminal cannot be given to an editor.")
        assert not called_with(editor)


PICTURES = {
    "profile": (["7"], "1 # Llama 3"),
    "invalid": (["G"], "▲ 3 summary"),
    "filter": (["slash", "m", "i"], "1 of 5"),
    "copy": (["e"], "is shipped"),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    keys, awaited = PICTURES[name]
    api.shipped = {"llama3-70b"}
    api.latest = replace(api.latest, problems=(PROBLEM,))

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await shown(pilot, "server.cc:1] started")
        await pilot.press(*keys)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
