"""Servers that do wrong: whatever they do, a prompt ends, its end is named, and nobody else is harmed by it."""

import asyncio
import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inference.client import PromptClient
from engine.inference.prompt import Fault, PromptEvent, PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from engine.inference.runner import PromptRunner
from engine.inference.sse import EventReader
from engine.text import clean
from engine.wire.connect import connect
from engine.wire.connection import Connection
from engine.wire.failure import UnansweredError
from engine.wire.fetch import fetch
from tests.unit.cli_bench import FakeEngine
from tests.unit.faulty_server import Act, FaultyGrpc, FaultyHttp, Shown, Step
from tests.unit.inference_server import reply
from tests.unit.known_timing import asking, known_timing, stamps
from tests.unit.prompt_fault_case import HEAD, HTTP, OPENAI, SHORT_S, Case, Dialect
from tests.unit.prompt_fault_table import (
    BUSY,
    CASES,
    DOCUMENT,
    GONE_S,
    LONGEST_S,
    Ran,
    all_cells,
    key,
    page,
    routes,
    run,
    run_all,
    server_of,
    service,
)
from tui.cli import main
from tui.cli_ask import as_json

pytestmark = pytest.mark.xdist_group("prompt faults")
CELLS = all_cells()
ELSEWHERE = ("no such host",)
"""Rows that are others on a machine whose network is"""


@pytest.fixture(scope="module")
def ran() -> dict[str, Ran | BaseException]:
    return asyncio.run(run_all(CELLS))


@pytest.mark.parametrize(("case", "transport"), CELLS, ids=[key(*cell) for cell in CELLS])
def test_it_ends_and_is_named(ran: dict[str, Ran | BaseException], case: Case, transport: Transport) -> None:
    cell = ran[key(case, transport)]
    assert isinstance(cell, Ran), repr(cell)
    result, expected = cell.result, case.expected(transport)
    assert (result.outcome is PromptOutcome.DONE, result.fault) == (expected is None, expected), result.error
    assert result.text == "".join(cell.pieces)
    assert clean(result.text) == result.text
    if expected is None:
        assert (result.text, result.error) == (case.text or "", "")
    else:
        assert result.ended_by == expected.value
        assert clean(result.error) == result.error
        assert "\n" not in result.error
        assert len(result.error) > 20
    assert cell.gone in (None, True), "the server was left to go on"
    if case.idle_s == SHORT_S:
        assert cell.wall_s < LONGEST_S / 2
    _figures_are_right(cell)


def _figures_are_right(cell: Ran) -> None:
    result, timing = cell.result, cell.result.timing
    told = json.loads(json.dumps(as_json("x", result), allow_nan=False))
    assert told["ended_by"] == result.ended_by
    times = (timing.first_byte_s, timing.first_token_s, timing.last_token_s, timing.total_s)
    known = [one for one in times if one is not None]
    assert known == sorted(known)
    assert all(math.isfinite(one) and 0 <= one < LONGEST_S for one in known)
    if result.sent_at is None:
        assert not known
    if not result.text:
        assert (timing.first_token_s, timing.last_token_s, timing.tokens_per_s) == (None, None, None)
    if timing.counted:
        assert timing.tokens_out is not None
        assert 0 <= timing.tokens_out <= 1 << 31
    elif timing.tokens_out is not None:
        assert timing.tokens_out == (len(result.gaps_s) + 1 if timing.first_token_s is not None else 0)


def test_the_document_is_what_happens(ran: dict[str, Ran | BaseException]) -> None:
    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith(tuple(f"| {name}" for name in ELSEWHERE))]

    found = page({name: cell for name, cell in ran.items() if isinstance(cell, Ran)})
    how = "run `python -m tests.unit.prompt_fault_table > docs/prompt-faults.md`"
    assert lines(DOCUMENT.read_text(encoding="utf-8")) == lines(found), how


@given(
    st.lists(st.lists(st.text("ab€:", max_size=4), min_size=1, max_size=3), min_size=1, max_size=6),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from([b"", b": a comment", b"id: 7"]),
    st.data(),
)
def test_events_are_the_same_however_they_are_cut(
    events: list[list[str]], ending: bytes, mark: bytes, between: bytes, data: st.DataObject
) -> None:
    lines = [[*(b"data: " + line.encode() for line in event), *([between] if between else []), b""] for event in events]
    whole = mark + b"".join(line + ending for event in lines for line in event)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    reader = EventReader()
    read = [
        event
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
        for event in reader.feed(whole[begin:end])
    ]
    assert [*read, *reader.end()] == ["\n".join(event).encode() for event in events]


# -- connections that are kept -----------------------------------------------------------------------------------------


ASK = PromptRequest("hello", sampling=Sampling(8), idle_timeout_s=10.0)


def _answer(transport: Transport, text: str = "well") -> list[Step]:
    dialect = Dialect(transport)
    return [HEAD, dialect.token(text), dialect.finish(), dialect.end]


class Kept:
    """A client that has had one answer, and keeps its connection."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.path = "/chat/completions" if transport is OPENAI else "/generate_stream"
        self.server = FaultyHttp(routes(transport, _answer(transport)))

    async def __aenter__(self) -> "Kept":
        await self.server.__aenter__()
        self.client = PromptClient(service(self.transport, f"127.0.0.1:{self.server.port}"))
        first = await self.send()
        assert (first.outcome, self.server.connections) == (PromptOutcome.DONE, 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.server.__aexit__()

    async def send(self) -> PromptResult:
        return await self.client.send(PromptRequest("hello", transport=self.transport, idle_timeout_s=10.0))

    def answer_by(self, *script: Step) -> None:
        path = next(path for path in self.server.routes if path.endswith(self.path))
        self.server.routes[path] = script

    @property
    def taken(self) -> int:
        """How many prompts the server had."""
        return self.server.count(self.path)


over_http = pytest.mark.parametrize("transport", [OPENAI, HTTP])


@over_http
async def test_a_connection_that_is_kept_is_used_again(transport: Transport) -> None:
    async with Kept(transport) as kept:
        second = await kept.send()
        assert (second.outcome, second.timing.connected_s, kept.server.connections) == (PromptOutcome.DONE, None, 1)


@over_http
@pytest.mark.parametrize("noticed", [True, False])
async def test_one_that_the_server_has_closed_is_replaced(
    transport: Transport, noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Kept(transport) as kept:
        if not noticed:  # the end crosses the prompt on its way: it is seen when the prompt has been written
            monkeypatch.setattr(Connection, "is_open", lambda connection: connection.reusable)
        kept.server.end_connections()
        second = await kept.send()
        assert (second.outcome, second.text, kept.taken, kept.server.connections) == (PromptOutcome.DONE, "well", 2, 2)
        assert second.timing.connected_s is not None


@over_http
@pytest.mark.parametrize(
    "script", [(Act.CLOSE,), (Act.RESET,), (b"H", Act.CLOSE), (b"HTTP/1.1 100 X\r\n\r\n", Act.RESET)]
)
async def test_a_prompt_that_the_server_took_is_not_sent_again(transport: Transport, script: tuple[Step, ...]) -> None:
    async with Kept(transport) as kept:
        kept.answer_by(*script)
        second = await kept.send()
        assert (second.outcome, second.fault, kept.taken) == (PromptOutcome.FAILED, Fault.CUT, 2)


@over_http
async def test_a_prompt_that_ends_its_server_ends_it_once(transport: Transport) -> None:
    """However many connections are kept."""
    async with Kept(transport) as kept:
        results = await asyncio.gather(*(kept.send() for _ in range(5)))
        assert all(result.outcome is PromptOutcome.DONE for result in results)
        kept.answer_by(Act.RESET)
        before = kept.taken
        second = await kept.send()
        assert (second.fault, kept.taken - before) == (Fault.CUT, 1)


@over_http
async def test_an_answer_that_nobody_asked_for_is_nobodys(transport: Transport) -> None:
    async with Kept(transport) as kept:
        other = b"".join(step for step in _answer(transport, "another's") if isinstance(step, bytes))
        kept.server.say(other)
        second = await kept.send()
        assert (second.outcome, second.text, kept.server.connections) == (PromptOutcome.DONE, "well", 2)


async def test_grpc_connects_anew_and_sends_no_prompt_twice() -> None:
    transport = Transport.TRITON_GRPC
    async with FaultyGrpc((b"well",)) as server:
        client = PromptClient(service(transport, f"127.0.0.1:{server.port}"))
        request = PromptRequest("hello", transport=transport, idle_timeout_s=10.0)
        assert (await client.send(request)).text == "well"
        server.end_connections()
        second = await client.send(request)
        if second.fault is Fault.CUT:  # sent before gRPC saw the end: nobody knows who took it, and it is not repeated
            assert server.asked == 1
            second = await client.send(request)
        assert (second.text, server.asked, server.connections) == ("well", 2, 2), second.error
        server.script = (Act.RESET,)
        third = await client.send(request)
        await client.close()
        assert (third.fault, server.asked) == (Fault.CUT, 3)


@pytest.mark.parametrize(("script", "untaken"), [((), True), ((Act.CLOSE,), False), ((Act.RESET,), False)])
async def test_what_is_known_of_a_request_whose_connection_ends(script: tuple[Step, ...], untaken: bool) -> None:
    async with FaultyHttp({"GET /first": [reply(b"")], "GET /": script}) as server:
        connection = Connection(await connect("127.0.0.1", server.port, 5.0))
        deadline = asyncio.get_running_loop().time() + 10
        try:
            await fetch(connection, b"GET /first HTTP/1.1\r\n\r\n", deadline=deadline, most_bytes=100)
            if untaken:
                server.end_connections()
            with pytest.raises(UnansweredError) as caught:
                await fetch(connection, b"GET / HTTP/1.1\r\n\r\n", deadline=deadline, most_bytes=100)
        finally:
            connection.close()
        assert caught.value.untaken is untaken


# -- cancelling --------------------------------------------------------------------------------------------------------

STALLS = [(case, one) for case, one in CELLS if case.name.startswith("stall ")]


@pytest.mark.parametrize(("case", "transport"), STALLS, ids=[key(*cell) for cell in STALLS])
async def test_cancel_reaches_the_server_at_once(case: Case, transport: Transport) -> None:
    shown = Shown()
    server: FaultyHttp | FaultyGrpc = server_of(case, transport, shown)
    async with server:
        client = PromptClient(service(transport, f"127.0.0.1:{server.port}"))
        request = PromptRequest("hello", transport=transport, idle_timeout_s=60.0)
        task = asyncio.create_task(client.send(request, lambda token: shown.add(token.text)))
        await asyncio.wait_for(server.stalled.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), GONE_S)
        await client.close()


# -- beside others -----------------------------------------------------------------------------------------------------


async def _late(transport: Transport) -> list[float]:
    """By how much each token of a good answer was stamped late beside 50 that go wrong, in order of size.

    Its server is a process of its own: what is late is this one, which also has all the servers that do wrong.
    """
    faulty = [cell for cell in CELLS if cell[1] is transport and cell[0].section != BUSY][:50]
    assert len(faulty) == 50
    with known_timing() as timed:
        request = asking("good", transport, 100, 0.05, 0.01)
        client = PromptClient(timed.service(transport))
        others = asyncio.gather(*(run(*cell) for cell in faulty))
        result = await client.send(request)
        await others
        await client.close()
        assert result.outcome is PromptOutcome.DONE, result.error
        written = await asyncio.to_thread(timed.written, request)
    return sorted(came - wrote for came, wrote in zip(stamps(result), written, strict=True))


@over_http
async def test_faulty_prompts_do_not_disturb_a_good_one(transport: Transport) -> None:
    for left in reversed(range(3)):  # a machine that is busy with something else is late, too
        late = await _late(transport)
        if (late[50] < 0.002 and late[95] < 0.02) or not left:
            assert (late[50] < 0.002, late[95] < 0.02) == (True, True), f"{late[50]:.4f} s, {late[95]:.4f} s"
            return


# -- what a shell is told ----------------------------------------------------------------------------------------------


class Asking(FakeEngine):
    """Sends prompts to a server in truth."""

    def __init__(self, port: int, transport: Transport) -> None:
        super().__init__()
        self._service = service(transport, f"127.0.0.1:{port}")

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        ended, results = threading.Event(), list[PromptResult]()

        def take(event: PromptEvent) -> None:
            on_event(event)
            if isinstance(event, PromptResult):
                results.append(event)
                ended.set()

        runner = PromptRunner()
        try:
            runner.ask(self._service, replace(request, idle_timeout_s=SHORT_S), take)
            assert ended.wait(20)
        finally:
            runner.close()
        return results[0]


SHELL = {
    "stall after two tokens": ("one two", "sent nothing more for 1 s, after 2 pieces of text"),
    "terminal sequences in an error": ("", "reported an error: red ok"),
    "one token of 10 MiB": ("", "more than 4 MiB as one piece"),
    "after two tokens, and then the end mark": ("one two", "reported an error: engine died"),
    "JSON of 100 000 levels": ("", "not a JSON object: [[["),
}


@over_http
@pytest.mark.parametrize("name", SHELL)
async def test_ask_says_so_and_fails(name: str, transport: Transport, capsys: pytest.CaptureFixture[str]) -> None:
    case = next(case for case in CASES if case.name == name)
    text, said = SHELL[name]
    shown = Shown()
    shown.pieces += ["", ""]  # the client is not watched: nothing waits for it
    for argv in (["ask", "demo", "hi"], ["ask", "demo", "hi", "--json"]):
        async with server_of(case, transport, shown) as server:
            engine: Any = Asking(server.port, transport)
            code = await asyncio.to_thread(main, argv, engine)
        out, err = capsys.readouterr()
        assert code == 1, err
        assert "\x1b" not in out + err
        if argv[-1] == "--json":
            told = json.loads(out)
            assert (told["text"].rstrip(), said in told["error"]) == (text, True)
            assert told["fault"]
        else:
            assert (out.rstrip(), said in err) == (text, True)
