"""What comes of a prompt for each fault and protocol; `python -m tests.unit.prompt_fault_table` writes the document."""

import asyncio
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from engine.deployment import Protocol, Service
from engine.inference.client import PromptClient
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from tests.unit import prompt_faults_of_answers, prompt_faults_of_transfer
from tests.unit.faulty_server import MODEL, FaultyGrpc, FaultyHttp, Shown, Step
from tests.unit.inference_server import openai, triton
from tests.unit.prompt_fault_case import Case, Dialect

CASES = (*prompt_faults_of_transfer.CASES, *prompt_faults_of_answers.CASES)
DOCUMENT = Path(__file__).parents[2] / "docs" / "prompt-faults.md"
BUSY = "Too much"
AT_ONCE = 24
LONGEST_S = 30.0
"""Nothing takes that long; what does hangs"""
GONE_S = 1.0
"""Within which a server must learn that nobody waits any more"""
SHOWN = 40
"""Characters of an answer in the table"""
LONGEST_SAID = 300
# Words of the system and of gRPC that are others on another machine, or at another time
VARY = (
    (
        re.compile(r"(failed to connect to all addresses|getsockopt\(SO_ERROR\)).*?(?=\. Start)"),
        "failed to connect to all addresses …",
    ),
    (
        re.compile(r"errors resolving.*?(?=\. Start)|Name or service not known|Temporary failure in name resolution"),
        "…",
    ),
)


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
        server: FaultyHttp | FaultyGrpc | None = None
        if case.address:
            port = closed_port()
            address = case.address.format(closed=port)
        else:
            server = server_of(case, transport, shown)
            await stack.enter_async_context(server)
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
    """What keeps the processor busy comes last, so that nothing else is late for it."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case, transport: Transport) -> Ran:
        async with turn:
            return await run(case, transport)

    cells = sorted(keys, key=lambda cell: cell[0].section == BUSY)
    ran = await asyncio.gather(*(one(*cell) for cell in cells), return_exceptions=True)
    return {key(*cell): result for cell, result in zip(cells, ran, strict=True)}


def all_cells() -> list[tuple[Case, Transport]]:
    return [(case, transport) for case in CASES for transport in case.transports()]


def service(transport: Transport, address: str) -> Service:
    protocol = Protocol.OPENAI if transport is Transport.OPENAI else Protocol.TRITON
    base = f"http://{address}"
    return Service(protocol, base, base, grpc=address, model=MODEL)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def routes(
    transport: Transport, script: Iterable[Step], first: Iterable[Step] | None = None
) -> dict[str, Sequence[Step]]:
    """Of a good server whose answer to a prompt is the script."""
    known = openai([]) if transport is Transport.OPENAI else triton([], model=MODEL)
    answers: dict[str, Sequence[Step]] = {
        path: [step for step in steps if isinstance(step, bytes)] for path, steps in known.items()
    }
    for path in answers:
        if path.startswith(("POST /v2/models/", "POST /v1/")):
            answers[path] = list(script)
        elif first is not None:
            answers[path] = list(first)
    return answers


def server_of(case: Case, transport: Transport, shown: Shown) -> FaultyHttp | FaultyGrpc:
    if case.greeting:
        return FaultyHttp(greeting=case.greeting)
    if transport is Transport.TRITON_GRPC:
        return FaultyGrpc(case.grpc or (), shown, drips=case.drips, first=case.asked_first_grpc)
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
    said = re.sub(rf"(http://)?127\.0\.0\.1:{ran.port}\b", "ADDRESS", result.error)
    for varies, instead in VARY:
        said = varies.sub(instead, said)
    return f"**{fault}**: {_cell(said)}"


def _shortened(text: str) -> str:
    return f"`{text if len(text) <= SHOWN else text[:SHOWN] + '…'}`"


def _cell(text: str) -> str:
    text = text if len(text) <= LONGEST_SAID else text[:LONGEST_SAID].rstrip() + " …"
    return text.replace("|", "¦").replace("\n", "⏎")


def page(ran: Mapping[str, Ran]) -> str:
    lines = [_HEAD.strip()]
    titles = {Transport.OPENAI: "OpenAI", Transport.TRITON_HTTP: "Triton HTTP", Transport.TRITON_GRPC: "Triton gRPC"}
    for section, found in groupby(CASES, lambda case: case.section):
        lines += ["", f"## {section}", "", f"| fault | {' | '.join(titles.values())} |", "|---|---|---|---|"]
        for case in found:
            found_of = [ran.get(key(case, transport)) for transport in titles]
            first, *others = [told(cell) if cell else "–" for cell in found_of]
            cells = [first, *("the same" if cell == first != "–" else cell for cell in others)]
            lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_HEAD = """
# When an answer goes wrong

What becomes of a prompt, in the console, by `tritontui ask` and in a load test, when a server does something else
than it should. The page is a record: `python -m tests.unit.prompt_fault_table > docs/prompt-faults.md` does each of
these things on a server of bytes on loopback, by each [protocol](protocols.md), and writes down what came of it; a
test holds it to be true.

## What holds in every case

- **It ends.** Silence is waited for as long as the prompt says (60 s; here 1 s). Any message of the protocol breaks
  it; a comment does not, nor half an event. And no answer is read without bounds: 4 MiB as one piece, 1 Mi characters
  in all, and of messages without text 1000 and twice as many as tokens were asked for.
- **It is named**: a kind, by which a load test counts, and a sentence that says what came and what did not. The text
  that had come by then is kept.
- **The server learns of it.** Who stops reading closes the connection, within a second also when the user cancels. In
  gRPC the call is cancelled instead.
- **A prompt is never sent twice to a server that may have it.** A connection that is kept from one prompt to the next
  may be closed by the server just when the next one is written. It is sent anew only when the other end has
  acknowledged none of its bytes and sent none.
- **Figures are of what happened**: no time to a first token that never came, no count that a server cannot have
  meant.

| kind | what it means |
|---|---|
| no connection | refused, not accepted in time, or no such host |
| refused | an HTTP or gRPC status said no before any answer |
| error | the server reported an error in its answer |
| cut | the connection ended before the answer did |
| idle | nothing came for as long as is waited |
| not understood | something else came than the protocol says, or too much |
| cannot be sent | the address, the model or a value is not fit for it |

Where it is **done** the answer is shown, and in brackets why it ended, where the server said so. A dash: the protocol
has no such thing. A stream of Triton's HTTP ends by the end of its body alone: where that is well, no more was meant
to come.
"""


def main() -> None:
    ran = asyncio.run(run_all(all_cells()))
    for name, found in ran.items():
        if isinstance(found, BaseException):
            sys.stderr.write(f"{name}: {found!r}\n")
    sys.stdout.write(page({name: found for name, found in ran.items() if isinstance(found, Ran)}))


if __name__ == "__main__":
    main()
