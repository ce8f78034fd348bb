"""Draws docs/console.svg: the console as it is, on the demo's real server. `make screenshot` runs it."""

import asyncio
import re
import tempfile
import time
from pathlib import Path

from textual.pilot import Pilot

from engine.facade import Engine
from engine.request import Action, Request
from engine.settings import Settings
from tui.app import Console

PICTURE = Path(__file__).with_name("console.svg")
SIZE = (120, 34)
PROMPT = "Why should a server answer on loopback only?"


async def shown(pilot: Pilot[None], pattern: str, limit_s: float = 30.0) -> str:
    """Waits until the screen shows it, and returns the picture."""
    deadline = time.monotonic() + limit_s
    while True:
        picture = pilot.app.export_screenshot(title="tritontui")
        text = re.sub(r"<[^>]*>", "", picture).replace("&#160;", " ")
        if re.search(pattern, text):
            return picture
        if time.monotonic() > deadline:
            raise TimeoutError(f"{pattern!r} was not shown within {limit_s:g} s")
        await pilot.pause(0.1)


async def draw(engine: Engine) -> str:
    console = Console(lambda: engine)
    async with console.run_test(size=SIZE) as pilot:
        await shown(pilot, "demo +ready")
        await pilot.press("3")
        await shown(pilot, "Type a prompt")
        await pilot.press(*({" ": "space", "?": "question_mark"}.get(key, key) for key in PROMPT), "enter")
        return await shown(pilot, "done, stop")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tritontui-") as name:
        folder = Path(name)
        engine = Engine(Settings(folder / "config", folder / "state", folder / "cache", working_dir=folder))
        try:
            engine.perform(Request(Action.START, "demo"))
            PICTURE.write_text(asyncio.run(draw(engine)), encoding="utf-8")
        finally:
            engine.perform(Request(Action.REMOVE, "demo"))
            engine.close()


if __name__ == "__main__":
    main()
