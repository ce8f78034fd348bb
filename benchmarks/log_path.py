"""Log path: lines cleaned, masked, cut, kept and indexed a second, against Textual's own `Log.write_lines`.

Both keep as many lines. Rates are in seconds of processor time, which other work on the machine does not change.

python -m benchmarks.log_path [lines]
"""

import asyncio
import platform
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import App, ComposeResult
from textual.widgets import Log

from engine.observe.logs import ENDED, LogReader

if TYPE_CHECKING:
    from engine.runtimes.base import Runtime

KEPT = 100_000
WIDTH = 130


class RecordedLog:
    """A log that arrives as fast as it is read."""

    secrets = ("a-secret-that-is-looked-for",)

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.blocks)

    def close(self) -> None:
        pass


class RecordedRuntime:
    name = "recorded"

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks

    def logs(self, _name: str, *, since: float | None = None, **_options: object) -> RecordedLog:
        return RecordedLog(self.blocks if since is None else [])


def sample(lines: int, *, colour: bool = False) -> list[str]:
    prefix = "\x1b[0;36m(EngineCore pid=411)\x1b[0;0m " if colour else "(EngineCore pid=411) "
    head = prefix + "INFO 11-20 23:49:56 [loggers.py:257] Engine 000: "
    return [*(f"{head}request {number} ".ljust(WIDTH, "x") for number in range(lines - 1)), "ERROR: the last line"]


def stamped(lines: list[str]) -> bytes:
    start = int(time.time()) - 3600
    stamps = [datetime.fromtimestamp(start + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.") for second in range(3600)]
    return "".join(f"{stamps[n // 1000 % 3600]}{n % 1000:03}000000Z {line}\n" for n, line in enumerate(lines)).encode()


def read(blocks: list[bytes]) -> float:
    """Seconds until the whole log is in the buffer and its last line, an error, in the index."""
    begun = time.process_time()
    reader = LogReader(cast("Runtime", RecordedRuntime(blocks)), "sample", lambda: None, max_lines=KEPT)
    while reader.message != ENDED or not reader.marks:
        time.sleep(0.002)
    elapsed = time.process_time() - begun
    reader.close()
    return elapsed


async def write_lines(lines: list[str], batch: int) -> float:
    """Seconds that Textual's Log takes to take the same lines."""

    class Bare(App[None]):
        def compose(self) -> ComposeResult:
            yield Log(max_lines=KEPT)

    app = Bare()
    async with app.run_test(size=(140, 40)):
        log = app.query_one(Log)
        begun = time.process_time()
        for start in range(0, len(lines), batch):
            log.write_lines(lines[start : start + batch])
            await asyncio.sleep(0)
        return time.process_time() - begun


def seen(block: bytes) -> float:
    """Seconds for reading every kept line as the screen does: level, source, kind and colours."""
    reader = LogReader(cast("Runtime", RecordedRuntime([block])), "sample", lambda: None, max_lines=KEPT)
    while reader.message != ENDED or not reader.marks:
        time.sleep(0.002)
    begun = time.process_time()
    for start in range(reader.first, reader.end, 50):
        reader.lines(start, start + 50)
    reader.close()
    return time.process_time() - begun


def kept_memory(block: bytes) -> int:
    tracemalloc.start()
    reader = LogReader(cast("Runtime", RecordedRuntime([block])), "sample", lambda: None, max_lines=KEPT)
    before = tracemalloc.get_traced_memory()[0]
    while reader.message != ENDED:
        time.sleep(0.01)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    reader.close()
    return used


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return models[0] if models else platform.processor()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    print(f"{cpu()}, Python {platform.python_version()}, {count:,} lines of {WIDTH} characters, {KEPT:,} kept")
    lines = sample(count)
    data = stamped(lines)
    coloured = stamped(sample(count, colour=True))
    baseline = count / asyncio.run(write_lines(lines, 500))
    print(f"{'Log.write_lines, batches of 500 (uncleaned)':<48}{baseline:>12,.0f} lines/s")
    cases = {
        "LogReader, blocks of 64 KiB": cut(data, 65536),
        "LogReader, blocks of 4 KiB": cut(data, 4096),
        "LogReader, one line a block": data.splitlines(keepends=True),
        "LogReader, 64 KiB, coloured lines": cut(coloured, 65536),
    }
    for title, blocks in cases.items():
        rate = count / min(read(blocks) for _ in range(3))
        print(f"{title:<48}{rate:>12,.0f} lines/s  {rate / baseline:5.1f} x")
    for title, block in (("plain", stamped(sample(KEPT))), ("coloured", stamped(sample(KEPT, colour=True)))):
        print(f"{f'lines seen, 50 at once, {title}':<48}{KEPT / seen(block):>12,.0f} lines/s")
    print(f"{KEPT:,} lines kept: {kept_memory(stamped(sample(KEPT))) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
