"""What goes wrong on the way: connections, characters, and answers that are too large or never end."""

import json
from collections.abc import Callable, Iterator, Sequence

from tests.unit.faulty_server import (
    Act,
    Begin,
    Drip,
    Endless,
    Error,
    GrpcStep,
    Half,
    Refuse,
    Seen,
    Step,
)
from tests.unit.inference_server import END, block, event, reply
from tests.unit.inference_server import head as stream_head
from tests.unit.prompt_fault_case import (
    CONNECTION,
    CUT,
    ERROR,
    GRPC,
    HEAD,
    HTTP,
    IDLE,
    LONG,
    MIB,
    OPENAI,
    REFUSED,
    RUBBISH,
    SHORT_S,
    TWO,
    UNFIT,
    Case,
    Dialect,
    HttpScript,
    refused,
    two,
)

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
        text="one two ",
    )


# HTTP/2 (RFC 9113, 6.5 and 6.8): length, type, flags, stream
_SETTINGS = bytes.fromhex("000000 04 00 00000000")
_GOAWAY = bytes.fromhex("000008 07 00 00000000 00000000 00000000")
_SILENT = {OPENAI: IDLE, HTTP: IDLE, GRPC: CONNECTION}
_CLOSED = {OPENAI: CUT, HTTP: CUT, GRPC: CONNECTION}
_NO_SERVER = {OPENAI: RUBBISH, HTTP: RUBBISH, GRPC: CONNECTION}
CONNECTIONS = (
    Case("No answer at all", "nothing listens", CONNECTION, address="127.0.0.1:{closed}"),
    Case("No answer at all", "no such host", CONNECTION, address="no-such-host.invalid:8000"),
    Case(
        "No answer at all",
        "no such port",
        UNFIT,
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
    Case(
        "No answer at all",
        "HTTP/2 settings, then silent",
        CONNECTION,
        greeting=(_SETTINGS, Act.STALL),
        idle_s=SHORT_S,
        only=(GRPC,),
    ),
    Case(
        "No answer at all",
        "HTTP/2 settings, then a farewell",
        CONNECTION,
        greeting=(_SETTINGS + _GOAWAY, Act.CLOSE),
        idle_s=SHORT_S,
        only=(GRPC,),
    ),
    Case(
        "No answer at all",
        "HTTP/1.1 where gRPC is spoken",
        CONNECTION,
        greeting=(reply({"error": "bad request"}, status=400), Act.CLOSE),
        idle_s=SHORT_S,
        only=(GRPC,),
    ),
    Case(
        "No answer at all", "models: stall", IDLE, asked_first=(Act.STALL,), asked_first_grpc=Act.STALL, idle_s=SHORT_S
    ),
    Case("No answer at all", "models: reset", CUT, asked_first=(Act.RESET,)),
    Case(
        "No answer at all",
        "models: HTTP 500",
        REFUSED,
        asked_first=(reply({"error": "no"}, status=500),),
        asked_first_grpc=Refuse("INTERNAL", "no"),
    ),
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
        IDLE,
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


CASES = (*CONNECTIONS, *_broken(), *CHARACTERS, *TOO_MUCH)
