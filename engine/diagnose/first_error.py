"""The first error of a log, for when no cause is known: what was raised, where, and the lines around it."""

import re
from collections.abc import Sequence

from engine.diagnose.window import Line
from engine.log_line import Level

HINTS = (
    "Traceback (most recent",
    "ERROR",
    "rror:",
    "xception:",
    "FATAL",
    "CRITICAL",
    "[E]",
    "terminate called",
    "\nE",
    "\nF",
)
FOLLOWING = 400
"""Lines after it in which the end of a traceback is looked for"""
BEFORE = 2
_AFTER = 3
_FRAMES = 2
_TRACEBACK = "Traceback (most recent call last)"
_PLAIN = re.compile(
    r"Traceback \(most recent call last\)|(?:[\w.]+\.)?\w*(?:Error|Exception|Exit|Interrupt)\b:|terminate called"
    r"|(?:[\w./-]{1,40}: )?(?:fatal|error|panic|fatal error)\b:?|\[?(?:ERROR|FATAL|CRITICAL|E)\b",
    re.IGNORECASE,
)
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?::|$)")
# Said by servers that then serve.
_HARMLESS = re.compile(
    r"CudaDriverHelper has not been initialized|Failed to initialize NVML|DCGM|TensorRT-LLM\]\[ERROR\] \[json"
    r"|^Error while downloading from |^Error retrieving (?:file list|safetensors)"
)


def is_error(line: Line) -> bool:
    if _HARMLESS.search(line.text):
        return False
    if line.prefix.level is not None:
        return line.prefix.level >= Level.ERROR
    return bool(_PLAIN.match(line.body.lstrip()))


def around(before: Sequence[Line], line: Line, following: Sequence[Line]) -> list[Line]:
    """The error, what stands right around it, and of a traceback its last frames and what was raised."""
    begin = next(
        (at for at, one in enumerate((line, *following[:_AFTER])) if one.body.lstrip().startswith(_TRACEBACK)), None
    )
    if begin is None:
        return [*before, line, *following[:_AFTER]]
    head = [line, *following[:begin]]
    rest = [one for one in following[begin:] if one.prefix.source == line.prefix.source]
    raised = next((at for at, one in enumerate(rest) if one.body[:1].strip() and _RAISED.match(one.body)), None)
    if raised is None:
        return [*before, *head, *rest[-_FRAMES:]]
    frames = [one for one in rest[:raised] if one.body.strip() and not set(one.body) <= set(" ^~")]
    return [*before[-1:], *head, *frames[-_FRAMES:], *rest[raised : raised + _AFTER]]
