"""Key press to paint while an answer streams into the playground, beside the same keys with the same answer at rest.

A real console, and two real deployments of a program that stands where `vllm` does. It writes a long answer of code,
lists, tables and prose: its first tokens at once, and then so many a second until it is cancelled. No two of its words
are alike, so what the terminal shows tells how far the answer has come.

python -m benchmarks.answer_keys [tokens at once] [key presses]
"""

import asyncio
import contextlib
import itertools
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.deployed import ROOT, Deployed, deployed
from benchmarks.machine import machine
from benchmarks.terminal import Terminal, at, terminal
from tests.unit.inference_server import event, head, reply

RATES = (100, 1000)
"""Tokens a second"""
NAMES = ("answers", "bystander")
WATCHED_S = 5.0
PROFILE = """\
name: {name}
stack: vllm
runtime: process
model: example/{name}
program: {program}
version: 0.11.0
expose: {{http: auto}}
ready: {{timeout: 1m}}
"""
PROGRAM = """\
#!/bin/sh
cd {root} && exec {python} -m benchmarks.answer_keys "$@"
"""
LETTERS = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
"""Each is painted by its key alone"""
FORWARD, BACK = b"\t", b"\x1b[Z"
IN_LIST, IN_EDITOR, IN_ANSWER = re.compile(rb"restart"), re.compile(rb"new line"), re.compile(rb"markdown")
"""What the bar of keys says where the keys go to"""
SHOWN = re.compile(rb"w(\d+)")
COUNTED = re.compile(rb"([\d,]+) out ")


# -- the server --------------------------------------------------------------------------------------------------------


def answer() -> Iterator[str]:
    """Its tokens, without end: about a word each, in blocks of every kind."""
    number = itertools.count()

    def words(count: int, between: str = " ") -> Iterator[str]:
        for place in range(count):
            yield f"{between if place else ''}w{next(number)}"

    for section in itertools.count(1):
        yield f"## Section {section}\n\n"
        for _ in range(3):
            yield from words(60)
            yield " **in bold**"
            yield " and `as code`.\n\n"
        yield "```python\n"
        for line in range(12):
            yield f"value_{line}"
            yield " = ["
            yield from words(6, ", ")
            yield "]\n"
        yield "```\n\n"
        for _ in range(8):
            yield "- "
            yield from words(14)
            yield "\n"
        yield "\n| one | two | three |\n|---|---|---|\n"
        for _ in range(8):
            yield "| "
            yield from words(3, " | ")
            yield " |\n"
        yield "\n"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
            length = next((line[15:] for line in lines if line.startswith("content-length:")), "0")
            body = (await reader.readexactly(int(length))).decode()
            if lines[0].startswith("post"):
                found = re.search(r"(\d+) at once, (\d+) a second", body)
                assert found
                await _stream(writer, int(found[1]), int(found[2]))
            elif "/v1/models" in lines[0]:
                writer.write(reply({"object": "list", "data": [{"id": name, "owned_by": "vllm"} for name in NAMES]}))
            else:
                writer.write(reply({}, status=200 if "/health" in lines[0] else 404))


async def _stream(writer: asyncio.StreamWriter, at_once: int, rate: int) -> None:
    writer.write(head())
    began = time.monotonic()
    for number, token in enumerate(answer()):
        await asyncio.sleep(max(0.0, began + max(0, number - at_once) / rate - time.monotonic()))
        writer.write(event({"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}]}))
        await writer.drain()


async def serve(host: str, port: int) -> None:
    async with await asyncio.start_server(_serve, host, port) as server:
        await server.serve_forever()


# -- the console -------------------------------------------------------------------------------------------------------


class Playground:
    """The console's, driven by keys."""

    def __init__(self, screen: Terminal) -> None:
        self._screen = screen
        self._process = psutil.Process(screen.pid)
        self._letters = 0

    def open(self) -> None:
        self._screen.read_until(NAMES[0].encode())
        self._screen.read_for(3.0)
        self._screen.press(b"3", IN_EDITOR)
        self._screen.read_for(2.0)

    def ask(self, at_once: int, rate: int) -> None:
        """In a new conversation. Returns when that much of the answer is there."""
        self._screen.send(b"\x0e")
        self._screen.read_for(0.5)
        self._screen.send(f"{at_once} at once, {rate} a second\r".encode())
        while self.tokens() < at_once:
            self._screen.read_for(0.2)
        self._screen.read_for(2.0)

    def tokens(self) -> int:
        found = COUNTED.findall(self._screen.text)
        return int(found[-1].replace(b",", b"")) if found else 0

    def toggle_markdown(self) -> None:
        self._screen.press(FORWARD, IN_ANSWER)
        self._screen.send(b"m")
        self._screen.read_for(2.0)
        self._screen.press(BACK, IN_EDITOR)

    def cancel(self) -> None:
        self._screen.press(b"\x1b", re.compile(rb"cancelled"))
        self._screen.read_for(3.0)

    def type(self, presses: int) -> list[float]:
        times = []
        for _ in range(presses):
            letter = LETTERS[self._letters % len(LETTERS)].encode()
            times.append(self._screen.press(letter, re.compile(re.escape(letter))))
            self._letters += 1
            if self._letters % len(LETTERS) == 0:
                self._screen.send(b"\x15")
        self._screen.send(b"\x15")
        return times

    def move(self, presses: int) -> list[float]:
        """To the other deployment in the list, and back to the answer."""
        self._screen.press(BACK, IN_LIST)
        ways = list(zip((b"\x1b[B", b"\x1b[A"), reversed(NAMES), strict=True))
        times = []
        for number in range(presses):
            key, name = ways[number % 2]
            times.append(self._screen.press(key, re.compile(rb"\x1b\[1;[\d;]*m[^\x1b]*" + name.encode())))
        self._screen.press(FORWARD, IN_EDITOR)
        return times

    def watch(self, seconds: float) -> tuple[list[float], float]:
        """Times between two pieces of the answer on the screen, in seconds, and the share of a core."""
        steps: list[float] = []
        before, newest, last = sum(self._process.cpu_times()[:2]), -1, 0.0
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            self._screen.text = b""
            self._screen.read_for(0.005)
            highest = max((int(number) for number in SHOWN.findall(self._screen.text)), default=-1)
            if highest > newest:
                steps += [now - last] if last else []
                newest, last = highest, now
        return steps, (sum(self._process.cpu_times()[:2]) - before) / seconds


def compare(at_once: int = 4000, presses: int = 200) -> None:
    print(f"machine: {machine()}; {at_once} tokens at once, {presses} presses of each kind, 120×40")
    print("key to paint in ms                            median    p90    p99   at rest: median    p90    p99   p99 ×")
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "vllm"
        program.write_text(PROGRAM.format(root=ROOT, python=sys.executable))
        program.chmod(0o755)
        with deployed({name: PROFILE.format(name=name, program=program) for name in NAMES}) as them:
            for view, rate in itertools.product(("raw", "markdown"), RATES):
                measure(them, view, rate, at_once, presses)


def measure(them: Deployed, view: str, rate: int, at_once: int, presses: int) -> None:
    command = [sys.executable, "-m", "tui", *them.arguments]
    with terminal(command, them.environment) as screen:
        playground = Playground(screen)
        playground.open()
        if view == "markdown":
            playground.toggle_markdown()
        playground.ask(at_once, rate)
        steps, used = playground.watch(WATCHED_S)
        streaming = playground.type(presses), playground.move(presses)
        tokens = playground.tokens()
        playground.cancel()
        resting = playground.type(presses), playground.move(presses)
    for kind, while_it_streams, at_rest in zip(("letter", "cursor"), streaming, resting, strict=True):
        ratio = at(0.99, while_it_streams) / at(0.99, at_rest)
        title = f"{view}, {rate} tokens/s, {kind} (budget: p99 50)"
        print(f"{title:<45} {_spread(while_it_streams)}            {_spread(at_rest)}   {ratio:.2f}")
    shown = f"new text every {at(0.5, steps):.0f} ms, p90 {at(0.9, steps):.0f}" if steps else "no new text"
    print(f"    {shown}; {used * 100:.0f} % of a core; {tokens:,} tokens in the end")


def _spread(times: list[float]) -> str:
    return " ".join(f"{at(share, times):6.1f}" for share in (0.5, 0.9, 0.99))


def main() -> None:
    match sys.argv[1:]:
        case ["serve", _, "--host", host, "--port", port, *_]:
            asyncio.run(serve(host, int(port)))
        case numbers:
            compare(*map(int, numbers))


if __name__ == "__main__":
    main()
