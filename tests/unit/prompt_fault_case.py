"""One thing that servers do wrong, as scripts for the three protocols, and what must come of it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.inference.prompt import Fault, Transport
from tests.unit.faulty_server import (
    MODEL,
    GrpcStep,
    Step,
)
from tests.unit.inference_server import END, event, reply
from tests.unit.inference_server import head as stream_head

HEAD = stream_head()
OPENAI, HTTP, GRPC = Transport.OPENAI, Transport.TRITON_HTTP, Transport.TRITON_GRPC
MIB = 1 << 20


@dataclass(frozen=True)
class Dialect:
    """How one of the two HTTP protocols says a thing."""

    transport: Transport

    def token(self, text: str) -> bytes:
        return event(self.answer(text))

    def answer(self, text: str) -> dict[str, object]:
        if self.transport is OPENAI:
            return {"choices": [{"index": 0, "delta": {"content": text}}]}
        return {"model_name": MODEL, "text_output": text}

    def counted(self, tokens: object) -> bytes:
        if self.transport is OPENAI:
            return event({"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": tokens}})
        return event({"text_output": "", "num_input_tokens": tokens, "num_output_tokens": tokens})

    def finish(self, reason: object = "stop") -> bytes:
        if self.transport is OPENAI:
            return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        return event({"text_output": "", "finish_reason": reason})

    @property
    def end(self) -> bytes:
        return (event(b"[DONE]") if self.transport is OPENAI else b"") + END

    @property
    def error(self) -> object:
        return {"error": {"message": "engine died"}} if self.transport is OPENAI else {"error": "engine died"}

    def unframed(self, *texts: str) -> bytes:
        """The whole answer as one body, without the blocks of a chunked one."""
        said = [json.dumps(self.answer(text)).encode() for text in texts]
        said += [b"[DONE]"] if self.transport is OPENAI else []
        return b"".join(b"data: " + one + b"\n\n" for one in said)


HttpScript = Callable[[Dialect], Sequence[Step]]
Kinds = Fault | None | Mapping[Transport, Fault | None]


@dataclass(frozen=True)
class Case:
    """`kind`: of fault, None when the answer is good nevertheless, and then `text` is all of it."""

    section: str
    name: str
    kind: Kinds
    http: HttpScript | None = None
    grpc: Sequence[GrpcStep] | None = None
    text: str | None = None
    greeting: Sequence[Step] = ()
    """What is done to a connection before anything is asked"""
    address: str = ""
    """Instead of a server's"""
    asked_first: Sequence[Step] | None = None
    """The answer when the server is asked for its models, and the same of gRPC"""
    asked_first_grpc: GrpcStep | None = None
    idle_s: float = 20.0
    drips: bool = False
    endless: bool = False
    only: tuple[Transport, ...] = tuple(Transport)

    def transports(self) -> Iterator[Transport]:
        connection = self.greeting or self.address
        http = connection or self.http or self.asked_first
        grpc = connection or self.grpc is not None or self.asked_first_grpc
        yield from (one for one in (OPENAI, HTTP, GRPC) if one in self.only and (grpc if one is GRPC else http))

    def expected(self, transport: Transport) -> Fault | None:
        return self.kind[transport] if isinstance(self.kind, Mapping) else self.kind


SHORT_S = 1.0
"""How long is waited in a case that stalls"""
LONG = "x" * 4000
TWO = (b"one ", b"two ")
CONNECTION, REFUSED, ERROR, CUT = Fault.CONNECTION, Fault.REFUSED, Fault.ERROR, Fault.CUT
IDLE, RUBBISH, UNFIT = Fault.IDLE, Fault.RUBBISH, Fault.UNFIT


def two(dialect: Dialect) -> list[Step]:
    return [HEAD, dialect.token("one "), dialect.token("two ")]


def good(*pieces: bytes, text: str = "one ") -> HttpScript:
    """Some pieces in the middle of an answer that is well."""
    return lambda dialect: [HEAD, dialect.token(text), *pieces, dialect.finish(), dialect.end]


def whole(body: bytes, content_type: str, *, more: str = "", status: int = 200) -> HttpScript:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\n{more}content-length: {len(body)}\r\n\r\n"
    return lambda dialect: [head.encode() + body]


def refused(status: int, body: object = b"", more: bytes = b"") -> HttpScript:
    return lambda dialect: [reply(body, status=status).replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n", 1)]
