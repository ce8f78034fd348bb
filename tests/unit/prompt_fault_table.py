"""What comes of a prompt for each fault and protocol; `python -m tests.unit.prompt_fault_table` writes the document."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from engine.deployment import Protocol, Service
from engine.inference.client import PromptClient
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from tests.unit.faulty_server import MODEL, FaultyGrpc, FaultyHttp, Shown, Step
from tests.unit.inference_server import openai, triton
from tests.unit.prompt_faults import CASES, Case, Dialect

DOCUMENT = Path(__file__).parents[2] / "docs" / "prompt-faults.md"
BEGIN = "<!-- table: begin -->"
AT_ONCE = 12
LONGEST_S = 30.0
"""Nothing takes that long; what does hangs"""
GONE_S = 1.0
"""Within which a server must learn that nobody waits any more"""
SHOWN = 40
"""Characters of an answer in the table"""


@dataclass(frozen=True)
class Ran:
    """`gone`: the server saw its client hang up; None where it did not look."""

    result: PromptResult
    pieces: tuple[str, ...]
    wall_s: float
    gone: bool | None
    port: int


def key(case: Case, transport: Transport) -> str:
    return f"{case.section} / {case.name} / {transport}"


async def run(case: Case, transport: Transport) -> Ran:
    """Raises TimeoutError when it hangs."""
    shown = Shown()
    request = PromptRequest(
        "hello",
        sampling=Sampling(64),
        transport=transport,
        idle_timeout_s=case.idle_s,
        connect_timeout_s=min(case.idle_s, 5.0),
    )
    async with AsyncExitStack() as stack:
        server: FaultyHttp | FaultyGrpc | None
        if case.address:
            server, port = None, await closed_port()
            address = case.address.format(closed=port)
        else:
            server = await stack.enter_async_context(_server(case, transport, shown))
            port = server.port
            address = f"127.0.0.1:{port}"
        client = PromptClient(service(transport, address))
        began = time.perf_counter()
        try:
            result = await asyncio.wait_for(client.send(request, lambda token: shown.add(token.text)), LONGEST_S)
            wall_s = time.perf_counter() - began
            gone = await _gone(server) if server and case.endless else None
        finally:
            await client.close()
    return Ran(result, tuple(shown.pieces), wall_s, gone, port)


async def run_all(keys: Iterable[tuple[Case, Transport]]) -> dict[str, Ran | BaseException]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case, transport: Transport) -> Ran:
        async with turn:
            return await run(case, transport)

    cells = list(keys)
    ran = await asyncio.gather(*(one(*cell) for cell in cells), return_exceptions=True)
    return {key(*cell): result for cell, result in zip(cells, ran, strict=True)}


def all_cells() -> list[tuple[Case, Transport]]:
    return [(case, transport) for case in CASES for transport in case.transports()]


def service(transport: Transport, address: str) -> Service:
    protocol = Protocol.OPENAI if transport is Transport.OPENAI else Protocol.TRITON
    base = f"http://{address}"
    return Service(protocol, base, base, grpc=address, model=MODEL)


async def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def routes(
    transport: Transport, script: Iterable[Step], first: Iterable[Step] | None = None
) -> Mapping[str, list[Step]]:
    """Of a good server whose answer to a prompt is the script."""
    known = openai([]) if transport is Transport.OPENAI else triton([], model=MODEL)
    answers: dict[str, list[Step]] = {
        path: [step for step in steps if isinstance(step, bytes)] for path, steps in known.items()
    }
    for path in answers:
        if path.startswith("POST /v2/models/") or path.startswith("POST /v1/"):
            answers[path] = list(script)
        elif first is not None:
            answers[path] = list(first)
    return answers


def _server(case: Case, transport: Transport, shown: Shown) -> FaultyHttp | FaultyGrpc:
    if case.greeting:
        return FaultyHttp(greeting=case.greeting)
    if transport is Transport.TRITON_GRPC:
        return FaultyGrpc(case.grpc or (), shown, drips=case.drips)
    script = case.http(Dialect(transport)) if case.http else ()
    return FaultyHttp(routes(transport, script, case.asked_first), shown=shown)


async def _gone(server: FaultyHttp | FaultyGrpc) -> bool:
    try:
        await asyncio.wait_for(server.gone.wait(), GONE_S)
    except TimeoutError:
        return False
    return True


# -- the document ------------------------------------------------------------------------------------------------------


def told(ran: Ran) -> str:
    """A cell: how it ended, and what is said of it."""
    result = ran.result
    if result.outcome is PromptOutcome.DONE:
        ended = f" ({result.ended_by})" if result.ended_by else ""
        return f"**done**{ended}: {_cell(_shortened(result.text))}"
    fault = result.fault.value if result.fault else "unnamed"
    return f"**{fault}**: {_cell(result.error.replace(str(ran.port), 'PORT'))}"


def _shortened(text: str) -> str:
    return f"`{text if len(text) <= SHOWN else text[:SHOWN] + '…'}`"


def _cell(text: str) -> str:
    return text.replace("|", "¦").replace("\n", "⏎")


def page(ran: Mapping[str, Ran]) -> str:
    lines = [_HEAD.strip(), "", BEGIN]
    titles = {Transport.OPENAI: "OpenAI", Transport.TRITON_HTTP: "Triton HTTP", Transport.TRITON_GRPC: "Triton gRPC"}
    for section, found in groupby(CASES, lambda case: case.section):
        lines += ["", f"## {section}", "", f"| fault | {' | '.join(titles.values())} |", "|---|---|---|---|"]
        for case in found:
            cells = (ran.get(key(case, transport)) for transport in titles)
            lines.append(f"| {case.name} | {' | '.join(told(cell) if cell else '–' for cell in cells)} |")
    return "\n".join(lines) + "\n"


_HEAD = """
# Faults of an answer
"""


def main() -> None:
    ran = asyncio.run(run_all(all_cells()))
    broken = {name: found for name, found in ran.items() if isinstance(found, BaseException)}
    for name, failure in broken.items():
        print(f"{name}: {failure!r}", file=sys.stderr)
    sys.stdout.write(page({name: found for name, found in ran.items() if isinstance(found, Ran)}))


if __name__ == "__main__":
    main()
