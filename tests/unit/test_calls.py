"""Requests that are answered in one piece: where they go, what they carry, and what is said when they fail."""

import asyncio
import gzip
import json
import socket

import pytest

from engine.inference.calls import Calls
from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault
from engine.inference.server import MAX_BODY
from tests.unit.inference_server import Act, Script, ScriptedServer, block, head, reply

KEY = "sk-0123456789abcdef"


async def _called(server: ScriptedServer, *, api_key: str | None = None, host: str = "127.0.0.1") -> tuple[int, bytes]:
    calls = Calls(f"http://{host}:{server.port}/", api_key)
    try:
        return await calls.call("POST", "/a%2Fb?level=1", {"x": [1]})
    finally:
        await calls.close()


async def _failure(script: Script, *, api_key: str | None = None) -> PromptFailed:
    async with ScriptedServer({"POST /a%2Fb?level=1": script}) as server:
        with pytest.raises(PromptFailed) as caught:
            await _called(server, api_key=api_key)
    return caught.value


async def test_a_call_goes_out_as_it_is_written_and_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SERVER_KEY", KEY)
    async with ScriptedServer({"POST /a%2Fb?level=1": [reply(b"{}", status=202)]}) as server:
        assert await _called(server, api_key="env:SERVER_KEY") == (202, b"{}")
        [asked] = server.asked
    assert (asked.path, json.loads(asked.body)) == ("/a%2Fb?level=1", {"x": [1]})
    sent = asked.headers
    assert (sent["host"], sent["authorization"]) == (f"127.0.0.1:{server.port}", f"Bearer {KEY}")
    assert (sent["accept-encoding"], sent["user-agent"]) == ("identity", "tritontui")


async def test_calls_share_a_connection() -> None:
    async with ScriptedServer({"GET /": [reply(b"{}")]}) as server:
        calls = Calls(f"http://127.0.0.1:{server.port}")
        assert [await calls.call("GET", "/") for _ in range(3)] == [(200, b"{}")] * 3
        await calls.close()
        assert server.connections == 1


async def test_a_name_is_tried_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (host, 0)) for host in ("::1", "127.0.0.1")]  # the server listens at the second alone
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    async with ScriptedServer({"POST /a%2Fb?level=1": [reply(b"{}")]}) as server:
        assert await _called(server, host="gpu-box") == (200, b"{}")
        assert server.asked[0].headers["host"] == f"gpu-box:{server.port}"


@pytest.mark.parametrize(
    ("script", "fault", "said"),
    [
        ([Act.CUT], Fault.CUT, "closed the connection without an answer"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Act.CUT], Fault.CUT, "in the middle of its answer"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], Fault.RUBBISH, "does not speak HTTP"),
        ([head(), block(b"{"), b"zz\r\n"], Fault.RUBBISH, "went on with what is no HTTP"),
        ([reply(b"x" * (MAX_BODY + 1))], Fault.RUBBISH, f"more than {MAX_BODY >> 20} MiB"),
        (
            [b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
            Fault.REFUSED,
            "redirects to 'http://127.0.0.1:1/', which is not followed",
        ),
    ],
)
async def test_what_goes_wrong_is_said(script: Script, fault: Fault, said: str) -> None:
    failure = await _failure(script)
    assert failure.fault is fault
    assert said in str(failure)


async def test_nothing_is_unfolded() -> None:
    folded = gzip.compress(b"0" * (4 * MAX_BODY))
    answer = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(folded)}\r\n\r\n".encode() + folded
    async with ScriptedServer({"POST /a%2Fb?level=1": [answer]}) as server:
        assert await _called(server) == (200, folded)


async def test_a_call_that_the_server_took_is_not_sent_again() -> None:
    async with ScriptedServer({"GET /": [reply(b"{}")], "POST /sleep": [Act.CUT]}) as server:
        calls = Calls(f"http://127.0.0.1:{server.port}")
        await calls.call("GET", "/")  # the connection is an open one
        with pytest.raises(PromptFailed):
            await calls.call("POST", "/sleep")
        await calls.close()
        assert [asked.path for asked in server.asked] == ["/", "/sleep"]


async def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        calls = Calls(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(PromptFailed, match="Connection refused") as caught:
            await calls.call("GET", "/")
        await calls.close()
    assert caught.value.fault is Fault.CONNECTION


@pytest.mark.parametrize(
    "base", ["https://127.0.0.1:1", "http://127.0.0.1:99999", "http://[::", "http://\x00:1", "http://no-such.invalid:1"]
)
async def test_addresses_that_lead_nowhere(base: str) -> None:
    calls = Calls(base)
    with pytest.raises(PromptFailed):
        await asyncio.wait_for(calls.call("GET", "/"), 20)
    await calls.close()


async def test_the_key_is_repeated_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)
    async with ScriptedServer({"GET /": [reply({"error": f"no quota for {KEY}"}, status=429)]}) as server:
        calls = Calls(f"http://127.0.0.1:{server.port}", "env:SERVER_KEY")
        with pytest.raises(PromptFailed, match=r"\(HTTP 429\): no quota for \*\*\*"):
            calls.expect(*await calls.call("GET", "/"))
        await calls.close()
    monkeypatch.setenv("SERVER_KEY", f"{KEY}\n")
    calls = Calls("http://127.0.0.1:1", "env:SERVER_KEY")
    with pytest.raises(PromptFailed, match="no HTTP header can carry") as caught:
        await calls.call("GET", "/")
    assert KEY not in str(caught.value)
    await calls.close()
