"""What a line of a server's log says of itself: its level, which process wrote it, and what kind of line it is.

As written by vLLM since 0.8, Triton (glog, or ISO 8601), TensorRT-LLM and TensorRT, PyTorch, NCCL, Ray, uvicorn,
Python's logging, warnings and tracebacks, NVIDIA's images, and tqdm.
"""

import re

from engine.log_line import Level, LineKind

Words = tuple[Level | None, str, LineKind]
"""Level, source and kind"""

_LEVELS = {
    "DEBUG": Level.DEBUG,
    "VERBOSE": Level.DEBUG,
    "TRACE": Level.DEBUG,
    "INFO": Level.INFO,
    "NOTE": Level.INFO,
    "WARN": Level.WARNING,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "EXCEPTION": Level.ERROR,
    "CRITICAL": Level.FATAL,
    "FATAL": Level.FATAL,
    "D": Level.DEBUG,
    "V": Level.DEBUG,
    "I": Level.INFO,
    "W": Level.WARNING,
    "E": Level.ERROR,
    "F": Level.FATAL,
    "C": Level.FATAL,
}
_NAMES = "DEBUG|VERBOSE|TRACE|INFO|WARN(?:ING)?|ERROR|CRITICAL|FATAL"
_DATE = r"\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"

# `(APIServer pid=1) `, `(EngineCore_DP0 pid=1) `, `(VllmWorker rank=1 pid=2) `, `(pid=1) `,
# `(RayWorkerWrapper pid=1, ip=10.0.0.2) `; of several the last one wrote the line.
_PROCESS = re.compile(r"\((?:([A-Za-z_][\w-]*)(?: rank=(\d+))?[ ,]+)?pid=\d+[^()]{0,80}\) ?")
# `[rank0]: ` is PyTorch's.
_RANK = re.compile(r"\[(rank\d+)\]: ?")

_NAMED = re.compile(
    # vLLM: `INFO 04-01 12:00:00 [file.py:1] `, once `INFO 04-01 12:00:00 file.py:1] `; also with a year or a fraction
    rf"({_NAMES}) (?:\d{{4}}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? (?:\[[^\]]{{1,120}}\] ?|[\w./-]{{1,80}}:\d+\] ?)?"
    # uvicorn, logging.basicConfig, NVIDIA's images, command line programs: `INFO:     `, `WARNING:root:`, `error: `
    rf"|({_NAMES}|NOTE|Error|Warning|Fatal|error|warning|fatal): ?"
)
_PROGRAM = re.compile(r"[\w.-]{1,40}: (error|warning|fatal): ")
_GLOG = re.compile(
    # Triton: `I1120 23:44:48.551677 5040 file.cc:1] `; PyTorch's are alike, their files are not C++
    r"([IWEFVD])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([^\s\]]{1,200}):\d+\] ?"
)
_DATED = re.compile(
    # `2025-04-01 12:00:00,123 - INFO - `, `2025-04-01 12:00:00,123 INFO worker.py:1 -- `,
    # `2025-04-01 12:00:00,123 - name - INFO - `, Triton's `2025-11-20T23:44:48Z 5040 I server.cc:604] `
    rf"{_DATE}(?: - |[ \t]+)(?:(\d+) ([IWEFV]) ([^\s\]]{{1,200}}):\d+\]|(?:[\w.]{{1,60}} - )?\[?({_NAMES})\b)"
)
_BRACKETED = re.compile(
    # `[TensorRT-LLM][INFO] `, `[TRT-LLM] [I] `, `[01/02/2025-12:00:00] [TRT-LLM] [RANK 0] [W] `, `[TensorRT] [E] `
    r"(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)?\[(TensorRT-LLM|TRT-LLM|TRT|TensorRT|MpiSession)\] ?"
    rf"(?:\[RANK (\d+)\] ?)?\[({_NAMES}|[IWEFVDC])\]"
    # `[libprotobuf ERROR file.cc:1] `, PyTorch's `[W1120 12:00:00.1 file.cpp:1] `, Ray's `[2025-04-01 12:00:00 E 1 2] `
    rf"|\[(libprotobuf) ({_NAMES}) "
    r"|\[([IWEF])\d{3,4} \d\d:\d\d:\d\d\.\d+ [^\]]{1,200}\]"
    rf"|\[{_DATE}[ ,]+([IWEF]|{_NAMES})\b"
)
_NCCL = re.compile(r"\S{1,80}:\d+:\d+ \[\d+\] NCCL (INFO|WARN|ERROR|TRACE) ")
_PYTHON_WARNING = re.compile(r"\S{1,300}:\d+: \w*Warning: ")
_TENSORRT = {"TRT-LLM": "TensorRT-LLM", "TRT": "TensorRT"}
"""Short names that stand for long ones"""

_TRACEBACK = re.compile(r"(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):")
_GUTTER = re.compile(r" +(?:\| (?=\S|  |$)|(?=\+ Exception Group ))")
"""Of an exception group"""
_MOST_SOURCES = 64
_LONGEST_BAR = 400
_CAPITALS = frozenset("DVTIWECFNewf")
_CPP = (".cc", ".cpp", ".h", ".cu")
_BANNER_BEGINS = frozenset("=NTCVGBh(f")
_FILE = re.compile(r"  File \"[^\"]{1,400}\", line \d+")
_BANNER = re.compile(
    r"={20,}$|== [^=]{1,60} ==$|NVIDIA Release \S+ \(build|Triton Server Version \d|Copyright \(c\) .{0,20}\d{4}"
    r"|Various files include modifications \(c\) NVIDIA|GOVERNING TERMS:|This container image and its contents are gov"
    r"|By pulling and using the container, you accept|https://developer\.nvidia\.com/ngc/|NVIDIA Inference Server "
    r"|\(?found at https://(?:www|docs)\.nvidia\.com/"
)
_PICTURE = re.compile("[▀▄█]")
_BAR = re.compile(
    r"\d{1,3}%\|[^|]{0,300}\| *\S+/\S+ \[|\d{1,3}% Completed \| \d+/\d+|\d(?:it|\w{0,8})? \[\d\d:\d\d[<,][^\]]{0,60}\]"
)


class LineReader:
    """Reads lines one after another. Only within a traceback do those before count."""

    def __init__(self) -> None:
        self._raising: set[str] = set()
        """Sources whose last line belongs to a traceback"""

    def read(self, text: str) -> Words:
        level, source, begin = head(text)
        char = text[begin : begin + 1]
        if char == " " and (gutter := _GUTTER.match(text, begin)):
            begin = gutter.end()
            char = text[begin : begin + 1]
        if char in ("T", "E", " ", "+") and (traceback := self._traceback(text, begin, source)):
            return level, source, traceback
        if self._raising and source in self._raising:
            # What ends a traceback says what was raised.
            self._raising.discard(source)
            return level or (Level.ERROR if char else None), source, LineKind.PLAIN
        return level, source, _kind(text, begin, char)

    def _traceback(self, text: str, begin: int, source: str) -> LineKind | None:
        if text.startswith("  ", begin):
            if source not in self._raising and not _FILE.match(text, begin):
                return None
            kind = LineKind.FRAME
        elif _TRACEBACK.match(text, begin):
            kind = LineKind.TRACEBACK
        else:
            return None
        if len(self._raising) > _MOST_SOURCES:
            self._raising.clear()
        self._raising.add(source)
        return kind


def head(text: str) -> tuple[Level | None, str, int]:
    """Level and source, and where the message begins."""
    source, begin = "", 0
    while text.startswith("(", begin) and (match := _PROCESS.match(text, begin)):
        source = f"{match[1]} rank={match[2]}" if match[2] else match[1] or source
        begin = match.end()
    char = text[begin : begin + 1]
    if char == "[":
        return _bracketed(text, source, begin)
    if char in _CAPITALS:
        if match := _NAMED.match(text, begin):
            return _LEVELS[(match[1] or match[2]).upper()], source, match.end()
        if match := _GLOG.match(text, begin):
            written_by = "triton" if match[2].endswith(_CPP) else ""
            return _LEVELS[match[1]], source or written_by, match.end()
    elif char.isdecimal() and (match := _DATED.match(text, begin)):
        if match[4]:
            return _LEVELS[match[4]], source, match.end()
        return _LEVELS[match[2]], source or "triton", match.end()
    if ": error: " in text or ": warning: " in text or ": fatal: " in text:
        if match := _PROGRAM.match(text, begin):
            return _LEVELS[match[1].upper()], source, match.end()
    elif "Warning: " in text:
        if match := _PYTHON_WARNING.match(text, begin):
            return Level.WARNING, source, match.end()
    elif " NCCL " in text and (match := _NCCL.match(text, begin)):
        return _LEVELS[match[1]], source or "NCCL", match.end()
    return None, source, begin


def _bracketed(text: str, source: str, begin: int) -> tuple[Level | None, str, int]:
    if match := _RANK.match(text, begin):
        level, _, begin = head(text[match.end() :])
        return level, source or match[1], begin + match.end()
    match = _BRACKETED.match(text, begin)
    if not match:
        return None, source, begin
    library, rank, *levels = match.groups()
    source = source or _TENSORRT.get(library or "", library or "") or match[4] or ""
    return (
        _LEVELS[next(word for word in (levels[0], *levels[2:]) if word)],
        f"{source} rank={rank}" if rank else source,
        match.end() + text.startswith(" ", match.end()),
    )


def _kind(text: str, begin: int, char: str) -> LineKind:
    if "%" in text or "[0" in text:
        if _BAR.search(text, begin, begin + _LONGEST_BAR):
            return LineKind.PROGRESS
    elif not text.isascii() and _PICTURE.search(text, begin):
        return LineKind.BANNER
    if char in _BANNER_BEGINS and _BANNER.match(text, begin):
        return LineKind.BANNER
    return LineKind.PLAIN
