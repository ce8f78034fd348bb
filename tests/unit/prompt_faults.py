"""What servers do wrong, as scripts for the three protocols, and what must come of each."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.inference.prompt import Fault, Transport
from tests.unit.faulty_server import (
    MODEL,
    Act,
    Begin,
    Drip,
    Endless,
    Error,
    GrpcStep,
    Half,
    Raw,
    Refuse,
    Seen,
    Step,
)
from tests.unit.inference_server import END, block, event, reply
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
    """The answer when the server is asked for its models"""
    idle_s: float = 20.0
    drips: bool = False
    endless: bool = False
    ended_by: Mapping[Transport, str] = field(default_factory=dict)

    def transports(self) -> Iterator[Transport]:
        if self.http or self.greeting or self.address or self.asked_first:
            yield from (OPENAI, HTTP)
        if self.grpc is not None or self.greeting or self.address:
            yield GRPC

    def expected(self, transport: Transport) -> Fault | None:
        return self.kind[transport] if isinstance(self.kind, Mapping) else self.kind


SHORT_S = 0.5
"""How long is waited in a case that stalls"""
LONG = "x" * 4000
TWO = (b"one ", b"two ")
CONNECTION, REFUSED, ERROR, CUT = Fault.CONNECTION, Fault.REFUSED, Fault.ERROR, Fault.CUT
IDLE, RUBBISH = Fault.IDLE, Fault.RUBBISH


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


# -- connections -------------------------------------------------------------------------------------------------------

_POINTS: tuple[tuple[str, HttpScript, Sequence[GrpcStep], Callable[[Act], Sequence[GrpcStep]]], ...] = (
    ("before any answer", lambda dialect: [], (), lambda act: (act,)),
    (
        "within the first line",
        lambda dialect: [b"HTTP/1.1 20"],
        (),
        lambda act: (Half({"text_output": LONG.encode()}, 4, act),),
    ),
    ("after the head", lambda dialect: [HEAD], (Begin.HEAD,), lambda act: (act,)),
    (
        "within a chunk's length",
        lambda dialect: [HEAD, b"4"],
        (Begin.HEAD,),
        lambda act: (Half({"text_output": LONG.encode()}, 4, act),),
    ),
    (
        "within the first event",
        lambda dialect: [HEAD, dialect.token(LONG)[:2000]],
        (Begin.HEAD,),
        lambda act: (Half({"text_output": LONG.encode()}, 2000, act),),
    ),
    ("after two tokens", lambda dialect: [*two(dialect), Seen(2)], (*TWO, Seen(2)), lambda act: (act,)),
    (
        "after the last token",
        lambda dialect: [*two(dialect), dialect.finish(), Seen(2)],
        (*TWO, {"finish_reason": b"stop"}, Seen(2)),
        lambda act: (act,),
    ),
)


def _then(script: HttpScript, act: Act) -> HttpScript:
    return lambda dialect: [*script(dialect), act]


def _broken() -> Iterator[Case]:
    for title, act, kind in (("reset", Act.RESET, CUT), ("closed", Act.CLOSE, CUT), ("stall", Act.STALL, IDLE)):
        for point, script, begun, ending in _POINTS:
            idle_s = SHORT_S if act is Act.STALL else 20.0
            yield Case(
                "Cut and stalled", f"{title} {point}", kind, _then(script, act), (*begun, *ending(act)), idle_s=idle_s
            )
    yield Case(
        "Cut and stalled",
        "reset after the end mark",
        {OPENAI: None, HTTP: None},
        lambda dialect: [*two(dialect), dialect.finish(), dialect.end, Act.RESET],
        text="one two ",
    )
    yield Case(
        "Cut and stalled",
        "closed within the end of the body",
        {OPENAI: None, HTTP: CUT},
        lambda dialect: [*two(dialect), dialect.finish(), dialect.end[:-2], Seen(2), Act.CLOSE],
    )


_SILENT = {OPENAI: IDLE, HTTP: IDLE, GRPC: CONNECTION}
_CLOSED = {OPENAI: CUT, HTTP: CUT, GRPC: CONNECTION}
_NO_SERVER = {OPENAI: RUBBISH, HTTP: RUBBISH, GRPC: CONNECTION}
CONNECTIONS = (
    Case("No answer at all", "nothing listens", CONNECTION, address="127.0.0.1:{closed}"),
    Case("No answer at all", "no such host", CONNECTION, address="no-such-host.invalid:8000"),
    Case(
        "No answer at all",
        "no such port",
        {OPENAI: Fault.UNFIT, HTTP: Fault.UNFIT, GRPC: CONNECTION},
        address="127.0.0.1:99999",
    ),
    Case("No answer at all", "taken, then silent", _SILENT, greeting=(Act.STALL,), idle_s=SHORT_S),
    Case("No answer at all", "taken, then reset", _CLOSED, greeting=(Act.RESET,)),
    Case("No answer at all", "taken, then closed", _CLOSED, greeting=(Act.CLOSE,)),
    Case(
        "No answer at all",
        "another protocol",
        _NO_SERVER,
        greeting=(b"SSH-2.0-OpenSSH_9.2\r\n", Act.STALL),
        idle_s=SHORT_S,
    ),
    Case("No answer at all", "models: stall", IDLE, asked_first=(Act.STALL,), idle_s=SHORT_S),
    Case("No answer at all", "models: reset", CUT, asked_first=(Act.RESET,)),
    Case("No answer at all", "models: HTTP 500", REFUSED, asked_first=(reply({"error": "no"}, status=500),)),
    Case(
        "No answer at all", "models: HTML", RUBBISH, asked_first=(reply(b"<html>hi</html>", content_type="text/html"),)
    ),
    Case(
        "No answer at all", "models: endless", RUBBISH, asked_first=(HEAD, Endless(block(b" " * 65536))), endless=True
    ),
)

# -- characters --------------------------------------------------------------------------------------------------------


def _raw(dialect: Dialect, *texts: bytes) -> list[Step]:
    """Tokens whose text is these bytes as they are, in JSON."""
    events = [json.dumps(dialect.answer("@")).encode().replace(b"@", text) for text in texts]
    return [HEAD, *(event(one) for one in events), dialect.finish(), dialect.end]


EURO = "€".encode()
_BAD_TEXT = "\x1b]52;c;aGk=\x07red\x1b[31m \x1b[2J\u202eok\x00\x9b1A"
CHARACTERS = (
    Case(
        "Characters",
        "a character split between tokens",
        None,
        lambda dialect: _raw(dialect, b"2 " + EURO[:1], EURO[1:]),
        (b"2 " + EURO[:1], EURO[1:]),
        "2 €",
    ),
    Case(
        "Characters",
        "half a character at the end",
        None,
        lambda dialect: _raw(dialect, b"2 " + EURO[:2]),
        (b"2 " + EURO[:2],),
        "2 \ufffd",
    ),
    Case(
        "Characters",
        "not UTF-8",
        None,
        lambda dialect: _raw(dialect, b"a\xff\xfeb"),
        (b"a\xff\xfeb",),
        "a\ufffd\ufffdb",
    ),
    Case(
        "Characters", "lone surrogates", None, lambda dialect: _raw(dialect, rb"a\ud83db\udc80"), text="a\ufffdb\ufffd"
    ),
    Case(
        "Characters",
        "terminal sequences",
        None,
        lambda dialect: [HEAD, dialect.token(_BAD_TEXT), dialect.end],
        (_BAD_TEXT.encode(),),
        "red ok",
    ),
    Case(
        "Characters",
        "terminal sequences in an error",
        ERROR,
        lambda dialect: [HEAD, event({"error": f"{_BAD_TEXT}\n\ud83d"}), END],
        (Error(_BAD_TEXT),),
    ),
    Case(
        "Characters",
        "terminal sequences in a refusal",
        REFUSED,
        refused(500, _BAD_TEXT.encode()),
        (Refuse("INTERNAL", _BAD_TEXT),),
    ),
    Case(
        "Characters",
        "terminal sequences as the reason of its end",
        None,
        lambda dialect: [*two(dialect), dialect.finish(_BAD_TEXT), dialect.end],
        (*TWO, {"finish_reason": _BAD_TEXT.encode()}),
        "one two ",
    ),
    Case(
        "Characters",
        "the whole stream one byte a time",
        None,
        lambda dialect: [Drip(b"".join((HEAD, dialect.token("2 €"), dialect.finish(), dialect.end)))],
        ("2 €".encode(),),
        "2 €",
        drips=True,
    ),
)

# -- too much ----------------------------------------------------------------------------------------------------------

TOO_MUCH = (
    Case(
        "Too much",
        "one token of 10 MiB",
        RUBBISH,
        lambda dialect: [HEAD, dialect.token("x" * 10 * MIB), dialect.end],
        (b"x" * 10 * MIB,),
    ),
    Case(
        "Too much",
        "tokens without end",
        RUBBISH,
        lambda dialect: [HEAD, Endless(dialect.token("word " * 400))],
        (Endless(b"word " * 400),),
        endless=True,
    ),
    Case(
        "Too much",
        "empty tokens without end",
        RUBBISH,
        lambda dialect: [HEAD, Endless(dialect.token(""))],
        (Endless(b""),),
        endless=True,
    ),
    Case(
        "Too much",
        "messages without an answer, without end",
        RUBBISH,
        lambda dialect: [HEAD, Endless(event({}))],
        endless=True,
    ),
    Case(
        "Too much",
        "a line without end",
        RUBBISH,
        lambda dialect: [HEAD, Endless(block(b"data: " + b"x" * 65536))],
        endless=True,
    ),
    Case(
        "Too much",
        "an event without end",
        RUBBISH,
        lambda dialect: [HEAD, Endless(block(b"data: x\n" * 4096))],
        endless=True,
    ),
    Case(
        "Too much",
        "comments without end",
        IDLE,
        lambda dialect: [HEAD, Endless(block(b": ping\n\n"))],
        idle_s=SHORT_S,
        endless=True,
    ),
    Case(
        "Too much",
        "a head without end",
        RUBBISH,
        lambda dialect: [b"HTTP/1.1 200 OK\r\n", Endless(b"x-more: " + b"y" * 1000 + b"\r\n")],
        endless=True,
    ),
    Case(
        "Too much",
        "interim answers without end",
        RUBBISH,
        lambda dialect: [Endless(b"HTTP/1.1 100 Continue\r\n\r\n")],
        endless=True,
    ),
    Case(
        "Too much",
        "a chunk's length without end",
        {OPENAI: RUBBISH, HTTP: RUBBISH},
        lambda dialect: [HEAD, Endless(b"0" * 1000)],
        endless=True,
        idle_s=SHORT_S,
    ),
    Case(
        "Too much",
        "the reason of a refusal without end",
        REFUSED,
        lambda dialect: [stream_head(500), Endless(block(b"sorry " * 1000))],
        endless=True,
    ),
    Case(
        "Too much",
        "the reason of a refusal of 10 MiB",
        REFUSED,
        refused(500, b"sorry " * (10 * MIB // 6)),
        (Refuse("INTERNAL", "sorry " * 1000),),
    ),
    Case("Too much", "JSON of 100 000 levels", RUBBISH, lambda dialect: [HEAD, event(b"[" * 100_000), END]),
    Case(
        "Too much",
        "an error of 900 levels",
        ERROR,
        lambda dialect: [HEAD, event(b'{"error":{"a":' + b"[" * 900 + b"]" * 900 + b"}}"), END],
    ),
)

# -- something else than a stream --------------------------------------------------------------------------------------

_PAGE = b"<!DOCTYPE html>\n<html><body>Welcome to nginx</body></html>\n"
_ALL_AT_ONCE = b'{"choices": [{"message": {"content": "All at once."}}], "text_output": "All at once."}'
_GZIP = bytes.fromhex("1f8b08000000000000034b494000c1b2f0470300 0000".replace(" ", ""))
OTHERS = (
    Case("Not a stream", "an HTML page", RUBBISH, whole(_PAGE, "text/html; charset=utf-8")),
    Case("Not a stream", "an HTML page that says it is a stream", RUBBISH, whole(_PAGE, "text/event-stream")),
    Case("Not a stream", "one JSON object instead", RUBBISH, whole(_ALL_AT_ONCE, "application/json")),
    Case(
        "Not a stream",
        "gzip, not asked for",
        RUBBISH,
        whole(_GZIP, "text/event-stream", more="content-encoding: gzip\r\n"),
    ),
    Case("Not a stream", "nothing", {OPENAI: CUT, HTTP: CUT, GRPC: CUT}, whole(b"", "text/event-stream"), ()),
    Case("Not a stream", "rubbish in an event", RUBBISH, lambda dialect: [HEAD, event(b"{]"), END]),
    Case("Not a stream", "a list instead of an object", RUBBISH, lambda dialect: [HEAD, event(b"[1]"), END]),
    Case(
        "Not a stream",
        "rubbish after two tokens",
        RUBBISH,
        lambda dialect: [*two(dialect), block(b"Traceback (most\n\n"), END],
    ),
    Case("Not a stream", "a chunk's length that is none", RUBBISH, lambda dialect: [HEAD, b"zz\r\n", Act.STALL]),
    Case(
        "Not a stream",
        "a change of protocol",
        RUBBISH,
        lambda dialect: [b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", Act.STALL],
    ),
    Case(
        "Not a stream",
        "a tensor shorter than it says",
        RUBBISH,
        grpc=(b"one ", Raw("text_output", "BYTES", b"\x09\0\0\0half")),
    ),
)

# -- refusals and errors -----------------------------------------------------------------------------------------------

REFUSALS = (
    Case("Refusals", "204", REFUSED, lambda dialect: [b"HTTP/1.1 204 X\r\n\r\n"]),
    Case("Refusals", "301", REFUSED, refused(301, more=b"location: http://elsewhere/\r\n")),
    Case(
        "Refusals",
        "302, and a stall",
        REFUSED,
        lambda dialect: [b"HTTP/1.1 302 X\r\nlocation: /login\r\n\r\n", Act.STALL],
        idle_s=SHORT_S,
    ),
    Case("Refusals", "304", REFUSED, lambda dialect: [b"HTTP/1.1 304 X\r\n\r\n"]),
    Case(
        "Refusals",
        "400",
        REFUSED,
        refused(400, {"error": "prompt is too long"}),
        (Refuse("INVALID_ARGUMENT", "prompt is too long"),),
    ),
    Case(
        "Refusals",
        "401",
        REFUSED,
        refused(401, {"error": "Unauthorized"}),
        (Refuse("UNAUTHENTICATED", "Unauthorized"),),
    ),
    Case(
        "Refusals", "403", REFUSED, refused(403, b"<html>Forbidden</html>"), (Refuse("PERMISSION_DENIED", "Forbidden"),)
    ),
    Case("Refusals", "404", REFUSED, refused(404, {"detail": "Not Found"}), (Refuse("NOT_FOUND", "unknown model"),)),
    Case(
        "Refusals",
        "429",
        REFUSED,
        refused(429, {"message": "slow down"}, b"retry-after: 5\r\n"),
        (Refuse("RESOURCE_EXHAUSTED", "slow down"),),
    ),
    Case("Refusals", "500, without a word", REFUSED, refused(500), (Refuse("INTERNAL", ""),)),
    Case("Refusals", "500, as an event", REFUSED, lambda dialect: [stream_head(500), event(dialect.error), END]),
    Case(
        "Refusals",
        "500, and a stall",
        REFUSED,
        lambda dialect: [stream_head(500), block(b"half a rea"), Act.STALL],
        idle_s=SHORT_S,
    ),
    Case("Refusals", "500, and cut", REFUSED, lambda dialect: [stream_head(500), block(b"half a rea"), Act.RESET]),
    Case(
        "Refusals",
        "503",
        REFUSED,
        refused(503, b"<html>Service Unavailable</html>"),
        (Refuse("UNAVAILABLE", "model is unloading"),),
    ),
    Case(
        "Refusals",
        "a key in its words",
        REFUSED,
        refused(401, {"error": "bad key sk-abcdefghijklmnopqrstuvwx"}),
        (Refuse("UNAUTHENTICATED", "bad key sk-abcdefghijklmnopqrstuvwx"),),
    ),
    Case("Errors in a good answer", "as the whole body", ERROR, lambda dialect: [reply(dialect.error)]),
    Case(
        "Errors in a good answer",
        "as the whole body, which says it is a stream",
        ERROR,
        lambda dialect: [reply(dialect.error, content_type="text/event-stream")],
    ),
    Case(
        "Errors in a good answer",
        "as the first event",
        ERROR,
        lambda dialect: [HEAD, event(dialect.error), dialect.end],
        (Error("engine died"),),
    ),
    Case(
        "Errors in a good answer",
        "after two tokens",
        ERROR,
        lambda dialect: [*two(dialect), event(dialect.error), END],
        (*TWO, Error("engine died")),
    ),
    Case(
        "Errors in a good answer",
        "after two tokens, and then the end mark",
        ERROR,
        lambda dialect: [*two(dialect), event(dialect.error), dialect.end],
        (*TWO, Error("engine died"), {"finish_reason": b"stop"}),
    ),
    Case(
        "Errors in a good answer",
        "a status after two tokens",
        {GRPC: ERROR},
        grpc=(*TWO, Refuse("INTERNAL", "engine died")),
    ),
    Case(
        "Errors in a good answer",
        "a refusal of more after two tokens",
        {GRPC: CUT},
        grpc=(*TWO, Refuse("UNAVAILABLE", "shutting down")),
    ),
    Case(
        "Errors in a good answer",
        "without a word",
        ERROR,
        lambda dialect: [*two(dialect), event({"error": {}}), END],
        (*TWO, Error(" ")),
    ),
    Case(
        "Errors in a good answer",
        "`error` is null",
        None,
        lambda dialect: [HEAD, event({**dialect.answer("one "), "error": None}), dialect.finish(), dialect.end],
        text="one ",
    ),
)

# -- odd, but well -----------------------------------------------------------------------------------------------------


def _lines(ending: bytes) -> HttpScript:
    return lambda dialect: [HEAD, block(dialect.unframed("one ", "two ").replace(b"\n", ending)), END]


def _with_length(change: int, *then: Step) -> HttpScript:
    def script(dialect: Dialect) -> list[Step]:
        body = dialect.unframed("one ", "two ")
        head = f"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ncontent-length: {len(body) + change}\r\n\r\n"
        return [head.encode() + body, *then]

    return script


def _odd_choices(dialect: Dialect) -> list[Step]:
    return [HEAD, *(event({"choices": odd}) for odd in ([], None, 7, "x")), event({"id": "1"}), *_rest(dialect)]


def _rest(dialect: Dialect) -> list[Step]:
    return [dialect.token("one "), dialect.finish(), dialect.end]


ODD = (
    Case("Odd, but well", "lines end by CRLF", None, _lines(b"\r\n"), text="one two "),
    Case("Odd, but well", "lines end by CR", None, _lines(b"\r"), text="one two "),
    Case(
        "Odd, but well",
        "a byte order mark",
        None,
        lambda dialect: [HEAD, block(b"\xef\xbb\xbf" + dialect.unframed("one ")), END],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "comments, ids and names of events",
        None,
        good(block(b": ping\n\nid: 7\nretry: 10\nevent: message\n\n")),
        text="one ",
    ),
    Case(
        "Odd, but well",
        "an event of several lines",
        None,
        lambda dialect: [
            HEAD,
            block(
                b"data: " + json.dumps(dialect.answer("one "), indent=1).encode().replace(b"\n", b"\ndata: ") + b"\n\n"
            ),
            dialect.end,
        ],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "`data:` without a blank",
        None,
        lambda dialect: [HEAD, block(dialect.unframed("one ").replace(b"data: ", b"data:")), END],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "no empty line after the last event",
        None,
        lambda dialect: [HEAD, block(dialect.unframed("one ").rstrip()), END],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "without lengths, until the connection is closed",
        None,
        lambda dialect: [b"HTTP/1.1 200 X\r\n\r\n" + dialect.unframed("one "), Act.CLOSE],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "an interim answer before",
        None,
        lambda dialect: [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, *_rest(dialect)],
        text="one ",
    ),
    Case(
        "Odd, but well",
        "choices that are empty, null, a number, a text, absent",
        {OPENAI: None, HTTP: None},
        _odd_choices,
        text="one ",
    ),
    Case(
        "Odd, but well",
        "choices that are a list of numbers",
        {OPENAI: RUBBISH},
        lambda dialect: [HEAD, event({"choices": [1, 2]}), *_rest(dialect)],
    ),
    Case(
        "Odd, but well",
        "text that is no text",
        None,
        lambda dialect: [
            HEAD,
            *(
                event({"choices": [{"delta": {"content": odd}, "text": odd}], "text_output": odd})
                for odd in (None, 7, {"a": 1}, [])
            ),
            *_rest(dialect),
        ],
        ({"text_output": 7}, b"one "),
        "one ",
    ),
    Case(
        "Odd, but well",
        "more after the end mark",
        {OPENAI: None},
        lambda dialect: [*two(dialect), event(b"[DONE]"), dialect.token("three"), END],
        text="one two ",
    ),
    Case(
        "Odd, but well",
        "two answers to one prompt",
        None,
        lambda dialect: [*two(dialect), dialect.end, *two(dialect), dialect.end],
        text="one two ",
    ),
    Case(
        "Odd, but well",
        "no end mark",
        {OPENAI: CUT, HTTP: None, GRPC: None},
        lambda dialect: [*two(dialect), END],
        TWO,
        "one two ",
    ),
    Case(
        "Odd, but well",
        "no end mark, but a reason",
        None,
        lambda dialect: [*two(dialect), dialect.finish("stop"), END],
        (*TWO, {"finish_reason": b"stop"}),
        "one two ",
    ),
    Case(
        "Odd, but well",
        "an unknown reason",
        None,
        lambda dialect: [*two(dialect), dialect.finish("abort"), dialect.end],
        (*TWO, {"finish_reason": b"abort"}),
        "one two ",
    ),
    Case(
        "Odd, but well",
        "a reason that is no text",
        None,
        lambda dialect: [*two(dialect), dialect.finish({"a": 1}), dialect.end],
        (*TWO, {"finish_reason": 7}),
        "one two ",
    ),
    Case("Odd, but well", "content-length longer than the body", CUT, _with_length(10, Act.CLOSE)),
    Case(
        "Odd, but well", "content-length shorter by half an event", {OPENAI: RUBBISH, HTTP: RUBBISH}, _with_length(-24)
    ),
)

_HUGE = 10**400
_DIGITS = b"9" * 10_000
COUNTS: tuple[Case, ...] = tuple(
    Case(
        "Counts",
        name,
        kind,
        lambda dialect, value=value: [*two(dialect), dialect.counted(value), dialect.finish(), dialect.end],  # type: ignore[misc]
        (*TWO, {"num_output_tokens": value}) if isinstance(value, int) and abs(value) < 1 << 63 else None,
        text="one two ",
    )
    for name, value, kind in (
        ("as text", "12", None),
        ("negative", -5, None),
        ("null", None, None),
        ("a fraction", 2.5, None),
        ("true", True, None),
        ("beyond reason", 1 << 62, None),
        ("of 400 digits", _HUGE, None),
    )
)


UNREADABLE = Case(
    "Counts",
    "of 10 000 digits",
    RUBBISH,
    lambda dialect: [*two(dialect), event(b'{"usage":{"completion_tokens":%b}}' % _DIGITS), END],
)


CASES: tuple[Case, ...] = (
    *CONNECTIONS,
    *_broken(),
    *CHARACTERS,
    *TOO_MUCH,
    *OTHERS,
    *REFUSALS,
    *ODD,
    *COUNTS,
    UNREADABLE,
)
