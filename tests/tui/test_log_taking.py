"""Taking lines out of a log: by keys and the mouse, to the clipboard and to a file."""

import os
import re
import stat
from pathlib import Path

import pytest
from textual.events import MouseMove

from engine.log_line import Level, LineKind
from tests.tui.log_driving import SNAPSHOT, TIME, FakeFeed, Screen, at, console, model, traceback
from tui.themes import LIGHT, THEMES
from tui.widgets.log_copy import MOST_COPIED, gather, sent_size, write_log
from tui.widgets.log_filter import AllLines
from tui.widgets.log_prompt import LogPrompt
from tui.widgets.log_view import LogView


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("TMUX", raising=False)
    return here


def said(screen: Screen) -> list[str]:
    return [notice.message for notice in screen.app._notifications]


async def save_as(screen: Screen, name: str, *before: str) -> None:
    await screen.press("S", *before)
    screen.app.query_one(LogPrompt).input.value = name
    await screen.press("enter")


# Marking and copying


async def test_lines_are_marked_by_keys_and_copied_with_what_is_folded() -> None:
    async with console() as screen:
        await screen.add("first", "second", *traceback(9, "OSError: no"), "last")
        await screen.press("v", "up", "up", "k")
        assert "marking 13 lines" in screen.status
        assert [row[1] for row in screen.whole_rows[:5]] == [" ", "▌", "▌", "▌", "▌"]
        await screen.add("more")
        assert screen.rows[1] == "second"
        await screen.press("y")
        lines = screen.app.clipboard.splitlines()
        assert (lines[:2], lines[-2:]) == (["second", "Traceback (most recent call last):"], ["OSError: no", "last"])
        assert len(lines) == 13
        assert said(screen) == ["Copied 13 lines."]
        assert "marking" not in screen.status


async def test_marking_scrolls_goes_to_both_ends_and_is_left_with_escape() -> None:
    async with console(size=(60, 20), lines=200) as screen:
        await screen.press("v", "g")
        assert "marking 200 lines" in screen.status
        assert screen.rows[0] == "line 0"
        await screen.press("pagedown", "pagedown")
        assert "line 199" not in screen.rows
        await screen.press("G")
        assert "marking 1 line " in screen.status
        assert screen.rows[-1] == "line 199"
        await screen.press("escape")
        assert "marking" not in screen.status


async def test_the_mouse_marks_lines_and_unfolds() -> None:
    async with console() as screen:
        await screen.add(*(f"line {number}" for number in range(10)), *traceback(5))
        await screen.pilot.mouse_down(LogView, offset=(5, 2))
        await screen.pilot.hover(LogView, offset=(9, 4))
        await screen.pilot.mouse_up(LogView, offset=(9, 4))
        assert "marking 3 lines" in screen.status
        await screen.press("y")
        assert screen.app.clipboard == "line 2\nline 3\nline 4"
        await screen.pilot.click(LogView, offset=(5, 10))
        assert screen.rows[10] == "Traceback (most recent call last):"
        await screen.pilot.click(LogView, offset=(5, 10))
        assert screen.rows[10] == "▸ Traceback (6 lines)"


async def test_the_mouse_marks_beyond_the_edge() -> None:
    async with console(size=(60, 20), lines=100) as screen:
        await screen.press("pageup")
        below = int(screen.rows[-1].removeprefix("line "))
        await screen.pilot.mouse_down(LogView, offset=(5, 10))
        for _ in range(3):
            screen.app.post_message(MouseMove(None, 5, screen.app.size.height - 1, 0, 0, 1, False, False, False))
            await screen.pilot.pause()
        await screen.pilot.mouse_up(LogView, offset=(5, 17))
        assert screen.rows[-1] == f"line {below + 3}"
        assert screen.view.marked
        assert screen.view.marked[1] == below + 3


async def test_what_terminals_may_not_take_is_said_and_what_they_cannot_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux-1000/default,1,0")
    async with console(size=(60, 20)) as screen:
        await screen.add(*["x" * 100] * 1000)
        await screen.press("v", "g", "y")
        assert screen.app.clipboard.count("\n") == 999
        assert said(screen) == [
            "Copied 1,000 lines. Many terminals take no more than 73 KiB: if it does not arrive, S saves it to a file. "
            "tmux passes it on when it has: set -g set-clipboard on."
        ]
        await screen.add(*["y" * 100] * 8000)
        await screen.press("G", "v", "g", "y")
        assert "more than can be copied" in said(screen)[-1]
        assert "y" not in screen.app.clipboard


def test_what_is_copied_is_no_larger_than_tmux_takes() -> None:
    feed = FakeFeed(lambda: None)
    feed.kept = ["é" * 1000] * 2000
    for count in (380, 385, 390, 395, 400):
        text = gather(AllLines(feed), 0, count)
        assert (text is not None) is (sent_size("\n".join(["é" * 1000] * count)) <= MOST_COPIED)


# Saving


async def test_the_whole_log_is_saved_for_its_owner_alone(folder: Path) -> None:
    async with console() as screen:
        await screen.add("first", *traceback(5), at("3 lines are missing", kind=LineKind.GAP), "last ümlaut")
        await screen.press("S")
        name = screen.app.query_one(LogPrompt).input.value
        assert re.fullmatch(r"qwen-\d{8}-\d{6}\.log", name)
        await screen.press("enter")
        await screen.until(lambda: said(screen))
        assert said(screen) == [f"Saved 9 lines to {name}."]
        path = folder / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = path.read_text().splitlines()
        assert lines[:2] == ["first", "Traceback (most recent call last):"]
        assert lines[-2:] == ["--- 3 lines are missing ---", "last ümlaut"]
        assert not screen.app.query_one(LogPrompt).display


async def test_what_is_shown_is_saved_or_all_of_it_with_times(folder: Path) -> None:
    async with console(lines=100) as screen:
        await screen.add(at("bad", Level.ERROR))
        await screen.press("t", "l")
        await screen.until(lambda: "1 of 101" in screen.status)
        await save_as(screen, "shown.log")
        await screen.until(lambda: said(screen) == ["Saved 1 line to shown.log."])
        assert (folder / "shown.log").read_text() == f"{TIME} bad\n"
        await save_as(screen, str(folder / "all.log"), "up")
        await screen.until(lambda: len(said(screen)) == 2)
        assert len((folder / "all.log").read_text().splitlines()) == 101


async def test_nothing_is_overwritten_and_trouble_is_told(folder: Path) -> None:
    (folder / "there.log").write_text("mine")
    async with console(lines=3) as screen:
        await save_as(screen, "there.log")
        await screen.until(lambda: "there.log exists already" in screen.trouble)
        assert (folder / "there.log").read_text() == "mine"
        prompt = screen.app.query_one(LogPrompt)
        prompt.input.value = "no/such/folder.log"
        await screen.press("enter")
        await screen.until(lambda: "no/such/folder.log cannot be written: No such file" in screen.trouble)
        prompt.input.value = " "
        await screen.press("enter")
        await screen.until(lambda: "Type the name" in screen.trouble)
        await screen.press("escape")
        assert not prompt.display
        assert os.listdir(folder) == ["there.log"]  # noqa: PTH208


def test_what_is_dropped_while_it_is_saved_is_told_of(folder: Path) -> None:
    feed = FakeFeed(lambda: None)
    feed.kept = [f"line {number}" for number in range(2000)]
    steps = iter(range(5000))

    def going_on() -> bool:
        if next(steps) == 100:
            feed.drop(1500)
        return True

    assert write_log(folder / "a.log", AllLines(feed), times=False, going_on=going_on) == 1000
    assert (folder / "a.log").read_text().splitlines()[499:502] == [
        "line 499",
        "--- 1,000 lines were dropped while this was written ---",
        "line 1500",
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110 (a device)
def test_a_file_that_cannot_be_finished_is_not_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = FakeFeed(lambda: None)
    feed.kept = ["x" * 100] * 5000
    opened = os.open
    # The file is made, and what is written to it has no room.
    monkeypatch.setattr(os, "open", lambda path, flags, mode: (opened(path, flags, mode), opened("/dev/full", 1))[1])
    with pytest.raises(OSError, match="No space left"):
        write_log(folder / "a.log", AllLines(feed), times=False, going_on=lambda: True)
    assert list(folder.iterdir()) == []


# The rest


async def test_another_log_begins_anew() -> None:
    async with console(lines=100) as screen:
        await screen.press("slash", *"9", "enter", "l", "S")
        screen.pane.show_model(model("llama"), SNAPSHOT)
        screen.api.feeds["llama"].add("other")
        await screen.until(lambda: screen.rows[0] == "other")
        assert screen.status == "● live  1 line  follow"
        assert not screen.app.query_one(LogPrompt).display


async def test_a_change_of_theme_repaints() -> None:
    async with console(lines=3) as screen:
        for theme in THEMES:
            screen.app.register_theme(theme)
        before = screen.view.render_line(0)
        screen.app.theme = LIGHT.name
        await screen.until(lambda: screen.view.render_line(0) != before)
        assert screen.view.render_line(0).text == before.text
