"""What is wrong with an answer that comes whole: something else, refusals, errors, and what is only odd."""

import json

from tests.unit.faulty_server import (
    Act,
    Error,
    Raw,
    Refuse,
    Step,
)
from tests.unit.inference_server import END, block, event, reply
from tests.unit.inference_server import head as stream_head
from tests.unit.prompt_fault_case import (
    CUT,
    ERROR,
    GRPC,
    HEAD,
    HTTP,
    OPENAI,
    REFUSED,
    RUBBISH,
    SHORT_S,
    TWO,
    Case,
    Dialect,
    HttpScript,
    good,
    refused,
    two,
    whole,
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
    Case("Not a stream", "nothing", {OPENAI: CUT, HTTP: None, GRPC: None}, whole(b"", "text/event-stream"), ()),
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
        ERROR,
        grpc=(*TWO, Refuse("INTERNAL", "engine died")),
    ),
    Case(
        "Errors in a good answer",
        "another status after two tokens",
        ERROR,
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


_NO_LISTS: tuple[object, ...] = ([], None, 7, "x")
_NO_TEXTS: tuple[object, ...] = (None, 7, {"a": 1}, [])


def _odd_choices(dialect: Dialect) -> list[Step]:
    return [HEAD, *(event({"choices": odd}) for odd in _NO_LISTS), event({"id": "1"}), *_rest(dialect)]


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
        RUBBISH,
        lambda dialect: [HEAD, event({"choices": [1, 2]}), *_rest(dialect)],
        only=(OPENAI,),
    ),
    Case(
        "Odd, but well",
        "text that is no text",
        None,
        lambda dialect: [
            HEAD,
            *(event({"choices": [{"delta": {"content": odd}, "text": odd}], "text_output": odd}) for odd in _NO_TEXTS),
            *_rest(dialect),
        ],
        ({"text_output": 7}, b"one "),
        "one ",
    ),
    Case(
        "Odd, but well",
        "more after the end mark",
        None,
        lambda dialect: [*two(dialect), event(b"[DONE]"), dialect.token("three"), END],
        text="one two ",
        only=(OPENAI,),
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
    Case(
        "Odd, but well",
        "content-length longer than the body",
        {OPENAI: None, HTTP: CUT},
        _with_length(10, Act.CLOSE),
        text="one two ",
    ),
    Case("Odd, but well", "content-length shorter by half an event", RUBBISH, _with_length(-24)),
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


CASES = (*OTHERS, *REFUSALS, *ODD, *COUNTS, UNREADABLE)
