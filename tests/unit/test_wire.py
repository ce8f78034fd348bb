"""Connections at their border: bodies however they end, what is kept, and what is said of those that break."""

import asyncio

import pytest

from engine.wire.connect import connect
from engine.wire.connection import Connection
from engine.wire.failure import Failure, UnansweredError
from engine.wire.fetch import Answer, fetch
from tests.unit.inference_server import END, Act, Script, ScriptedServer, block, head, reply

CUT_HEAD = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000


async def _fetched(script: Script, *, stamped: bool = False, most_bytes: int = 1000) -> tuple[Answer, bool]:
    """The answer, and whether the connection could take another request."""
    async with ScriptedServer({"GET /": script}) as server:
        connection = Connection(await connect("127.0.0.1", server.port, 5.0), stamped=stamped)
        try:
            deadline = asyncio.get_running_loop().time() + 5.0
            answer = await fetch(connection, b"GET / HTTP/1.1\r\n\r\n", deadline=deadline, most_bytes=most_bytes)
            return answer, connection.reusable
        finally:
            connection.close()


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize(
    ("script", "body", "reusable"),
    [
        ([reply(b"whole")], b"whole", True),
        ([head(), block(b"in "), block(b"chunks"), END], b"in chunks", True),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n", reply(b"late")], b"late", True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"], b"ab", False),
        ([reply(b"one") + b"and more"], b"one", False),
    ],
)
async def test_a_body_ends_as_it_says(script: Script, body: bytes, reusable: bool, stamped: bool) -> None:
    answer, kept = await _fetched(script, stamped=stamped)
    assert (answer.body, kept) == (body, reusable)
    assert answer.sent_at <= answer.began_at <= answer.ended_at


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil closed")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connection = Connection(await connect("127.0.0.1", server.sockets[0].getsockname()[1], 5.0))
    try:
        deadline = asyncio.get_running_loop().time() + 5.0
        found = await fetch(connection, b"GET / HTTP/1.1\r\n\r\n", deadline=deadline, most_bytes=1000)
    finally:
        connection.close()
        server.close()
    assert (found.body, connection.reusable) == (b"until closed", False)


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ([Act.CUT], Failure.CUT),
        ([head(), block(b"so far"), Act.CUT], Failure.CUT),
        ([b"SSH-2.0\r\n"], Failure.NO_HTTP),
        ([b"HTTP/1.1 101 Other\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"], Failure.NO_HTTP),
        ([CUT_HEAD], Failure.TOO_LARGE),
        ([reply(b"x" * 2000)], Failure.TOO_LARGE),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000], Failure.PIECEMEAL),
    ],
)
async def test_what_breaks_is_named(script: Script, failure: Failure) -> None:
    with pytest.raises(UnansweredError) as caught:
        await _fetched(script)
    assert caught.value.failure is failure
