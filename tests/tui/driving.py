"""The console driven by keys: what stands on its screen, and waiting until it does."""

import re
import time
from collections.abc import Callable

from textual.pilot import Pilot

from engine.deployment import State
from tests.tui.fake_api import NOW, model
from tui.screens.main import MainScreen

LIMIT_S = 10.0
MODELS = (
    model("llama3-70b", State.READY, since=NOW - 131),
    model("mixtral", State.STOPPED),
    model("qwen3-30b", State.FAILED, detail="exit code 1"),
    model("smollm2", State.ABSENT),
)


def screen_text(pilot: Pilot[None]) -> str:
    """What stands on the screen, line by line."""
    screen = pilot.app.screen
    return "\n".join("".join(segment.text for segment in strip) for strip in screen._compositor.render_strips())


def rows(pilot: Pilot[None]) -> list[str]:
    """Names in the list, from above."""
    area = pilot.app.screen.query_one("#model-list").region
    lines = [line[area.x : area.right] for line in screen_text(pilot).splitlines()[area.y : area.bottom]]
    return [found[1] for line in lines if (found := re.match(r"[▌ ][●■▲◐◑○◇? ] ([a-z0-9][\w./-]*) ", line))]


def selected(pilot: Pilot[None]) -> str:
    screen = pilot.app.screen
    assert isinstance(screen, MainScreen)
    return screen.selected.name if screen.selected else ""


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        await pilot.pause(0.01)
        if condition():
            return
    raise AssertionError(f"it did not happen in time; the screen:\n{screen_text(pilot)}")


async def shown(pilot: Pilot[None], *texts: str) -> None:
    await until(pilot, lambda: all(text in screen_text(pilot) for text in texts))


async def gone(pilot: Pilot[None], text: str) -> None:
    await until(pilot, lambda: text not in screen_text(pilot))


async def opened(pilot: Pilot[None]) -> MainScreen:
    await shown(pilot, "llama3-70b")
    screen = pilot.app.screen
    assert isinstance(screen, MainScreen)
    return screen


async def settled(pilot: Pilot[None]) -> None:
    """Until a pane that was just opened leaves the screen's own keys to the screen."""
    screen = pilot.app.screen
    await until(pilot, lambda: screen.check_action("help", ()) is True)


async def still(pilot: Pilot[None]) -> None:
    """Until nothing has changed for half a second: charts are drawn in threads, and keys settle after a pane opens."""
    before, since = "", time.monotonic()
    while time.monotonic() - since < 0.5:
        await pilot.pause(0.05)
        if (now := screen_text(pilot)) != before:
            before, since = now, time.monotonic()


def top(pilot: Pilot[None]) -> str:
    return screen_text(pilot).splitlines()[0]


async def told(pilot: Pilot[None], text: str) -> None:
    """In a notice, however its lines are wrapped."""
    await until(pilot, lambda: any(text in notice.message for notice in pilot.app._notifications))


async def on_main(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
