"""Scraping and probing against a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from engine.observe import scrape as scraping
from engine.observe.exposition import find_rubbish
from engine.observe.probe import Health, probe
from engine.observe.scrape import MetricsError, scrape

SAMPLES = Path(__file__).parents[1] / "samples" / "metrics"
VLLM = (SAMPLES / "vllm-0.32-idle.txt").read_text()

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(answer: bytes | Handler) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        else:
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()


def _response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def _failure(answer: bytes | Handler) -> str:
    async with _server(answer) as url:
        with pytest.raises(MetricsError) as caught:
            await scrape(url)
        return str(caught.value).replace(url, "URL")


async def test_scrapes_an_exposition() -> None:
    async with _server(_response(VLLM.encode())) as url:
        assert await scrape(url) == VLLM


PIECES = [
    "up",
    "a:b_2",
    "9x",
    "{",
    "}",
    "{}",
    'le="1"',
    ",",
    " ",
    "\t",
    "1",
    "1.5e-3",
    "NaN",
    "+Inf",
    "\n",
    "# TYPE up gauge",
    "\\",
    '"',
    "<html>",
    "=",
    " # {",
    "1690000000000",
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), st.booleans())
@example('up{a="1"b="2"} 1\n', False)
@example('up{a="1",b="2",} 1\n', False)
@example("up{,} 1\n", False)
def test_what_a_look_takes_for_a_sample_is_one_for_the_parser(text: str, commented: bool) -> None:
    assume(text.count("le=") < 2)  # labels that repeat are let through: they do no harm
    text = "# HELP up Whether it is up\n" * commented + text + "\n"
    if scraping._USUAL.match(text, 0, scraping.USUAL_HEAD):
        assert find_rubbish(text) is None


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.txt")))
def test_a_look_is_enough_for_what_servers_write(name: str) -> None:
    text = (SAMPLES / name).read_text()
    assert find_rubbish(text) is None
    assert scraping._USUAL.match(text, 0, scraping.USUAL_HEAD)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"# a comment\n\n<html><body>It works!</body></html>", 3),
        (b'{"status": "ok"}', 1),
        (b"OK", 1),
        (b"not found", 1),
        (b"", 1),
        (b"# only comments\n", 1),
        (b"\x00\x01\x02", 1),
    ],
)
async def test_a_body_that_is_no_exposition(body: bytes, line: int) -> None:
    message = await _failure(_response(body))
    assert message == f"URL answered 200 with text that is no Prometheus exposition (line {line})."


async def test_bytes_that_are_no_text() -> None:
    assert (
        await _failure(_response(b"\xff\xd8\xff")) == "URL answered 200 with bytes that are no Prometheus exposition."
    )


async def test_another_status() -> None:
    assert (await _failure(_response(b"", "404 Not Found"))).startswith("URL answered 404 where metrics were expected.")


async def test_a_body_without_end_is_cut_off() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"a 1\n" * 65536)
                await writer.drain()
        except ConnectionError:
            return

    assert "more than 8 MiB" in await _failure(flood)


async def test_a_server_that_breaks_off() -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")

    assert (await _failure(leave)).startswith("URL broke off")


async def test_silence_and_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "DEADLINE_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")
        await reader.read()

    silent = "URL accepted the connection and did not answer within 0.2 s. See in the server's log whether it is busy"
    assert (await _failure(say_nothing)).startswith(silent)
    assert await _failure(begin) == "URL began to answer and did not finish within 0.2 s."


async def test_nobody_listens() -> None:
    async with _server(b"") as url:
        pass
    with pytest.raises(MetricsError, match="refused the connection"):
        await scrape(url)


NO_URLS = (
    *("http://[::1", "ftp://127.0.0.1/metrics", "https://127.0.0.1/", "/metrics"),
    *("http://a..b/", "http://127.0.0.1:99999/", "http://127.0.0.1/ä"),
)


@pytest.mark.parametrize("url", NO_URLS)
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(MetricsError, match="URL"):
        await scrape(url)


async def test_probes_tell_what_they_found() -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n\r\n")

    informed = b"HTTP/1.1 103 Early Hints\r\n\r\n" + _response(b"")
    found = {}
    answers: dict[str, bytes | Handler] = {"200": _response(b""), "informed": informed, "cut": cut, "talk": talk}
    for name, answer in {**answers, "503": _response(b"x" * 9999, "503 Service Unavailable")}.items():
        async with _server(answer) as url:
            found[name] = (await probe(url)).health
    found["nobody"] = (await probe(url)).health
    assert found == {
        "200": Health.READY,
        "informed": Health.READY,
        "cut": Health.BROKEN,
        "talk": Health.BROKEN,
        "503": Health.NOT_READY,
        "nobody": Health.REFUSED,
    }


async def test_no_connection_is_kept() -> None:
    closed = asyncio.Event()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na 1")
        await reader.read()
        closed.set()

    async with _server(stay) as url, asyncio.timeout(5):
        assert await scrape(url) == "a 1"
        await closed.wait()
        closed.clear()
        await probe(url)
        await closed.wait()
