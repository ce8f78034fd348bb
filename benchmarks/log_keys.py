"""Key press to paint while log lines rush in, and memory with 100,000 of them kept: the console with three real
deployments of `demo`, and a bare app with Textual's own `Log`, each in a terminal of its own, over the same lines.

python -m benchmarks.log_keys [lines a second] [key presses]
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import psutil

from benchmarks.deployed import ROOT, deployed
from benchmarks.log_path import KEPT, sample, stamped
from benchmarks.machine import machine
from benchmarks.terminal import at, terminal

if TYPE_CHECKING:
    from engine.runtimes.base import Runtime

DEPLOYMENTS = 3
BATCH_S = 0.05
"""Between two batches that the bare app gets; the console's log path tells as often that there is more"""
STEP_S = 0.01
"""Between two writes of the flood"""
FOLLOWS = re.compile(rb"lines  follow(?:[^ ]| [^o])")
PRESSES = (
    (b" ", re.compile(rb"paused"), b" "),
    (b"\x1b[5~", re.compile(rb"follow off"), b"G"),
)
"""Hold and go on; a page up, and back to the end: a key, what it paints, and the key after which the end is followed"""


def write(rate: int) -> None:
    """The flood: so many lines a second to standard output."""
    count = int(rate * STEP_S)
    lines = stamped(sample(rate)).splitlines(keepends=True)
    blocks = [b"".join(lines[start : start + count]) for start in range(0, len(lines), count)]
    due = time.monotonic()
    while True:
        for block in blocks:
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            due += STEP_S
            time.sleep(max(0.0, due - time.monotonic()))


def flood(rate: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", __spec__.name, "--write", str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


class FloodSource:
    """A log of a runtime."""

    secrets: Sequence[str] = ()

    def __init__(self, rate: int) -> None:
        self._process = flood(rate)

    def __iter__(self) -> Iterator[bytes]:
        assert self._process.stdout
        while block := os.read(self._process.stdout.fileno(), 1 << 16):
            yield block

    def close(self) -> None:
        self._process.kill()


class FloodRuntime:
    def __init__(self, rate: int) -> None:
        self._rate = rate

    def logs(self, _name: str, **_options: object) -> FloodSource:
        return FloodSource(self._rate)


def console(rate: int, arguments: list[str]) -> None:
    """The real console with its real engine, log path and deployments; only what they log is not theirs."""
    import engine.facade
    from engine.observe.logs import LogReader
    from tui.cli import main as cli

    class Flooded(engine.facade.Engine):
        def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> LogReader:
            return LogReader(cast("Runtime", FloodRuntime(rate)), name, changed, tail=tail)

    engine.facade.Engine = Flooded  # type: ignore[misc]
    sys.exit(cli(arguments))


def bare(rate: int) -> None:
    """Textual's `Log` with the same lines, keys and words."""
    import threading

    from textual.app import App, ComposeResult
    from textual.binding import Binding, BindingType
    from textual.widgets import Log, Static

    class Bare(App[None]):
        BINDINGS: ClassVar[list[BindingType]] = [
            Binding("space", "hold", priority=True),
            Binding("pageup", "up", priority=True),
            Binding("G", "end", priority=True),
        ]
        held = False

        def compose(self) -> ComposeResult:
            yield Static("lines  follow  ", id="status", markup=False)
            yield Log(max_lines=KEPT)

        def on_mount(self) -> None:
            threading.Thread(target=self.read, daemon=True).start()

        def read(self) -> None:
            process = flood(rate)
            assert process.stdout
            held = b""
            while block := os.read(process.stdout.fileno(), 1 << 20):
                *whole, held = (held + block).split(b"\n")
                lines = [line[31:].decode() for line in whole]
                self.call_from_thread(self.query_one(Log).write_lines, lines)
                time.sleep(BATCH_S)

        def say(self, words: str) -> None:
            self.query_one("#status", Static).update(words)

        def action_hold(self) -> None:
            self.held = not self.held
            self.query_one(Log).auto_scroll = not self.held
            self.say("paused" if self.held else "lines  follow  ")

        def action_up(self) -> None:
            self.query_one(Log).scroll_page_up(animate=False)
            self.say("follow off")

        def action_end(self) -> None:
            self.query_one(Log).scroll_end(animate=False)
            self.say("lines  follow  ")

    Bare().run()


def measure(command: list[str], environment: dict[str, str], rate: int, presses: int) -> tuple[list[float], float]:
    """Times of key presses in seconds, and MiB resident with all lines kept."""
    times: list[float] = []
    with terminal(command, environment) as screen:
        screen.read_until(b"lines  follow")
        screen.read_for(KEPT / rate * 1.5 + 3.0)
        screen.send(b"1")
        screen.read_for(1.0)
        for number in range(presses // 2):
            key, paints, back = PRESSES[number % len(PRESSES)]
            times += [screen.press(key, paints), screen.press(back, FOLLOWS)]
        return times, psutil.Process(screen.pid).memory_info().rss / (1 << 20)


def report(title: str, times: list[float], memory: float) -> float:
    p99 = at(0.99, times)
    spread = f"median {at(0.5, times):.1f} ms, p99 {p99:.1f} ms, worst {max(times) * 1000:.1f} ms"
    print(f"{title}: {spread}; {memory:.0f} MiB resident")
    return p99


def compare(rate: int = 50_000, presses: int = 400) -> None:
    print(f"machine: {machine()}; {rate:,} lines/s of 130 characters, {KEPT:,} kept, {presses} key presses, 120×40")
    this = [sys.executable, "-m", "benchmarks.log_keys"]
    demo = (ROOT / "profiles" / "demo.yaml").read_text()
    names = [f"demo-{number}" for number in range(DEPLOYMENTS)]
    with deployed({name: demo.replace("name: demo\n", f"name: {name}\n", 1) for name in names}) as them:
        ours = measure([*this, "--console", str(rate), *them.arguments], them.environment, rate, presses)
    theirs = measure([*this, "--bare", str(rate)], {}, rate, presses)
    p99 = report("console (budget: p99 50 ms, 150 MB)", *ours)
    plain = report("Textual's Log", *theirs)
    print(f"console / Log: p99 {p99 / plain:.2f} ×, memory {ours[1] / theirs[1]:.2f} ×")


def main() -> None:
    match sys.argv[1:]:
        case ["--write", rate]:
            write(int(rate))
        case ["--bare", rate]:
            bare(int(rate))
        case ["--console", rate, *arguments]:
            console(int(rate), arguments)
        case numbers:
            compare(*map(int, numbers))


if __name__ == "__main__":
    main()
