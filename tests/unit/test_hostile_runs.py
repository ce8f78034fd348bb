"""What hostile and broken servers, and a history that cannot be read, do to the other deployments: nothing."""

import asyncio
import random
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.freshness import Freshness
from engine.observe import scrape as scraping
from engine.observe.aside import Source, tend
from engine.observe.metric_history import History
from engine.observe.runs import Runs
from engine.observe.scrape import MetricsError, scrape

GOOD, HUNG = 10, 40
SECONDS = 5.0
PLAIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nvllm:num_requests_running 1\n"


class Targets:
    """Metrics servers in one: each answers what it was given, byte by byte, and notes when it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {}
        """By path; None is silence, an answer that ends in `~` stops there, one that ends in `...` goes on for ever"""
        self.asked: dict[str, list[float]] = {}
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
            self.asked.setdefault(path, []).append(time.monotonic())
            answer = self.answers.get(path)
            if answer is None or answer.endswith(b"~"):
                writer.write((answer or b"")[:-1])
                await reader.read()
            elif answer.endswith(b"..."):
                while True:
                    writer.write(answer[:-3])
                    await writer.drain()
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test has ended
        finally:
            writer.close()


@asynccontextmanager
async def following(
    answers: dict[str, bytes | None], history: History | None = None
) -> AsyncIterator[tuple[Runs, Targets]]:
    """By name of a deployment what its metrics endpoint answers."""
    targets, troubles = Targets(), dict[str, str]()
    targets.answers = {f"/{name}": answer for name, answer in answers.items()}
    server = await asyncio.start_server(targets.handle, "127.0.0.1", 0, backlog=200)
    targets.port = server.sockets[0].getsockname()[1]

    def begin(source: Source) -> asyncio.Task[None]:
        return asyncio.create_task(tend(source, troubles))

    runs = Runs(begin, lambda: None, history)
    try:
        runs.follow(deployments(answers, targets.port))
        yield runs, targets
    finally:
        tasks = runs.tasks
        runs.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()
    assert not troubles


async def until(holds: Callable[[], bool], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def deployments(names: Iterable[str], port: int, started_at: float = 1.0) -> list[Deployment]:
    service = [(name, Service(Protocol.OPENAI, "", "", metrics=f"http://127.0.0.1:{port}/{name}")) for name in names]
    return [
        Deployment(name, "docker", "vllm", name, "image", Lifecycle.RUNNING, one, 1.0, started_at)
        for name, one in service
    ]


async def test_forty_that_hang_delay_ten_others_by_nothing() -> None:
    hostile = (
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n~",
        b"HTTP/1.1 103 Early Hints\r\n\r\n...",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"a 1\n" * 99999 + b"...",
    )
    answers: dict[str, bytes | None] = {f"hung{number}": hostile[number % 2] for number in range(HUNG - 2)}
    answers |= {f"flood{number}": hostile[number + 2] for number in range(2)}
    answers |= {f"good{number}": PLAIN for number in range(GOOD)}
    longest = last = 0.0
    async with following(answers) as (runs, targets):
        end = time.monotonic() + SECONDS
        while (now := time.monotonic()) < end:
            longest, last = max(longest, now - (last or now)), now
            await asyncio.sleep(0.01)
        for number in range(GOOD):
            asked = targets.asked[f"/good{number}"]
            assert len(asked) >= SECONDS - 1 - longest
            assert max(b - a for a, b in pairwise(asked)) < 1.5 + longest
            assert runs.metrics(f"good{number}").freshness is Freshness.FRESH
        assert "accepted the connection and did not answer within 3 s." in runs.metrics("hung0").message
        assert runs.metrics("hung1").message.endswith("began to answer and did not finish within 3 s.")
        assert runs.metrics("flood0").message.endswith("in pieces of a few bytes; that is not read.")
        assert runs.metrics("flood1").message.endswith("more than 8 MiB; that is not read.")
    assert longest < 1.0  # the servers are in this loop, too


async def test_fifty_restarts_leave_no_task_and_no_thread_behind(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.sqlite")
    async with following({"m": PLAIN, "hung": None}, history) as (runs, targets):
        threads = threading.active_count()
        for number in range(50):
            runs.follow(deployments(("m", "hung", f"renamed{number}"), targets.port, 2.0 + number))
            await asyncio.sleep(0.01)
        runs.follow(deployments(("m", "hung"), targets.port, 99.0))
        await until(lambda: runs.metrics("m").freshness is Freshness.FRESH)
        await until(lambda: sum("Runs._scrape" in repr(task.get_coro()) for task in asyncio.all_tasks()) == 2)
        await until(lambda: threading.active_count() <= threads)
        assert len(runs.tasks) == 2


async def test_a_history_that_another_program_holds_delays_no_scrape_and_is_read_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    first = History(path)
    assert first.set_pin("m0", "vllm:num_requests_running", pinned=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        history = History(path)
        history.open()
        began = time.monotonic()
        async with following({f"m{number}": PLAIN for number in range(20)}, history) as (runs, _):
            await until(lambda: all(runs.metrics(f"m{one}").freshness is Freshness.FRESH for one in range(20)))
            assert time.monotonic() - began < 2.0
            assert not [one for one in runs.families("m0") if one.pinned]
            await until(lambda: "database is locked" in history.problem)
            other.execute("COMMIT")
            await asyncio.to_thread(history.pins, "m0")
            await until(lambda: any(one.pinned for one in runs.families("m0")))
    await asyncio.to_thread(history.close)


async def test_reading_what_is_new_each_time_takes_no_processor_to_itself() -> None:
    def answer() -> bytes:
        lines = "".join(f'vllm:prompt_tokens_total{{engine="{random.random()}"}} 1\n' for _ in range(2000))
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + lines.encode()

    names = [f"new{number}" for number in range(30)]
    async with following({**dict.fromkeys(names, answer()), "good": PLAIN}) as (runs, targets):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            targets.answers |= dict.fromkeys([f"/{name}" for name in names], answer())
            await asyncio.sleep(0.25)
        assert len(targets.asked["/good"]) >= 3
        assert all(runs.metrics(name).freshness is Freshness.FRESH for name in names)
        await until(lambda: any("so much to read" in runs.metrics(name).message for name in names))


async def test_a_name_service_that_hangs_holds_up_no_other_name_and_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, over = socket.getaddrinfo, threading.Event()

    def hang(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "localhost":
            return real(host, *arguments, **options)
        over.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(scraping, "CONNECT_DEADLINE_S", 0.3)
    targets = Targets()
    targets.answers["/m"] = PLAIN
    server = await asyncio.start_server(targets.handle, "127.0.0.1", 0)
    try:
        threads = threading.active_count()
        waiting = [asyncio.create_task(scrape("http://gpu-box.example/metrics")) for _ in range(40)]
        await asyncio.sleep(0.1)
        assert "num_requests_running" in await scrape(f"http://localhost:{server.sockets[0].getsockname()[1]}/m")
        await until(lambda: threading.active_count() <= threads + 1)  # localhost's own ends in its own time
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert str(failed).startswith("The host of http://gpu-box.example/metrics was not found within 0.3 s")
        over.set()
        await until(lambda: threading.active_count() <= threads)
        with pytest.raises(MetricsError, match="cannot be reached"):
            await scrape("http://gpu-box.example/metrics")
    finally:
        over.set()
        server.close()
