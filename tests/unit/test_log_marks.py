"""The index of a log: what is marked, in which order, and how much of it is kept."""

import pytest

from engine.log_line import LogMark, MarkKind
from engine.observe import log_marks
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_marks import MarkIndex
from engine.startup import Phase

STAMP = "2026-01-02T03:04:05.123456789Z"


def filled(*lines: str, max_lines: int = 10_000) -> LogBuffer:
    """A text that begins with a mark of `LogSource` keeps it; others get that of standard output."""
    buffer = LogBuffer(max_lines, 1 << 30)
    buffer.append([f"{STAMP}{line if line[:1] in '>!@}|' and line else f'>{line}'}" for line in lines])
    return buffer


def marks_of(buffer: LogBuffer, index: MarkIndex | None = None) -> list[tuple[int, MarkKind, str]]:
    index = index or MarkIndex()
    while index.advance(buffer):
        pass
    return [(mark.seq, mark.kind, mark.title) for mark in index.marks(buffer.first)]


def errors_of(*lines: str) -> list[int]:
    return [seq for seq, kind, _ in marks_of(filled(*lines)) if kind is MarkKind.ERROR]


VLLM = "(EngineCore_0 pid=1) ERROR 04-01 12:00:00 [core.py:710] "


@pytest.mark.parametrize(
    ("lines", "marked"),
    [
        (["fine", "ERROR 04-01 12:00:00 [a.py:1] no", "ERROR 04-01 12:00:00 [a.py:1] no", "fine", "Error: no"], [1, 4]),
        (['E1120 23:44:48.551824 5040 server.cc:241] "no"', "Every good line"], [0]),
        (["2025-11-20T23:44:48Z 5040 E server.cc:241] no"], [0]),
        (["[TRT-LLM] [E] no", "[TRT-LLM] [I] yes", "[rank1]:[E404 10:20:30.1 a.cpp:6] x"], [0, 2]),
        (["vllm: error: unrecognized arguments: --x"], [0]),
        (["no ERROR here: it is a word", "INFO 04-01 12:00:00 [a.py:1] ERROR is a word"], []),
        (["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    f()", "ValueError: no", "on"], [0]),
        (
            [VLLM + "failed"]
            + [VLLM + line for line in ("Traceback (most recent call last):", '  File "a.py", line 1, in f', "Oops")],
            [0],
        ),
        (["fine"] * 3000 + ["ERROR: late"] + ["fine"] * 3000 + ["ERROR: later"], [3000, 6001]),
        (["fine"] * (log_marks.BATCH - 1) + ["ERROR: at the edge"] * 2, [log_marks.BATCH - 1]),
    ],
)
def test_the_first_line_of_each_error_is_marked(lines: list[str], marked: list[int]) -> None:
    assert errors_of(*lines) == marked


START = [
    "}INFO 04-01 12:00:00 [api_server.py:1] vLLM API server version 0.11.0",
    "(EngineCore_0 pid=1) INFO 04-01 12:00:01 [core.py:1] Initializing a V1 LLM engine (v0.11.0) with config: x",
    "(EngineCore_0 pid=1) INFO 04-01 12:00:01 [gpu_model_runner.py:1] Starting to load model m...",
    "(EngineCore_0 pid=1) INFO 04-01 12:00:01 [gpu_model_runner.py:1] Starting to load model m...",
    "INFO:     Application startup complete.",
    "and then requests",
]


def test_each_phase_is_marked_once_in_each_run() -> None:
    one = marks_of(filled(*START))
    assert one[0] == (0, MarkKind.RUN, "")
    phases = [(seq, title) for seq, kind, title in one if kind is MarkKind.PHASE]
    assert phases[:2] == [(0, Phase.BOOT.value), (1, Phase.ENGINE.value)]
    assert phases[-1] == (4, Phase.SERVE.value)
    assert len({title for _, title in phases}) == len(phases)
    again = [(seq - 6, kind, title) for seq, kind, title in marks_of(filled(*START, *START)) if seq >= 6]
    assert again == one
    unmarked = [START[0].replace("}", ">"), *START[1:]]
    assert [mark for mark in marks_of(filled(*unmarked, *unmarked)) if mark[0] >= 6] == [
        (seq + 6, kind, title) for seq, kind, title in one[1:]
    ]


def test_it_goes_on_where_it_stood() -> None:
    buffer, index = filled("ERROR: one", max_lines=5), MarkIndex()
    assert [seq for seq, *_ in marks_of(buffer, index)] == [0]
    buffer.append([f"{STAMP}!ERROR: still the same", f"{STAMP}!fine"])
    assert [seq for seq, *_ in marks_of(buffer, index)] == [0]
    buffer.append([f"{STAMP}!ERROR: other"] + [f"{STAMP}!fine"] * 4)
    assert [seq for seq, *_ in marks_of(buffer, index)] == [3], "what was dropped is not marked"


def test_of_very_many_errors_the_first_and_the_last_are_kept() -> None:
    buffer, index = LogBuffer(20_000, 1 << 30), MarkIndex()
    buffer.append([f"{STAMP}}}begins"])
    for _ in range(5_000):
        buffer.append([f"{STAMP}!ERROR: no", f"{STAMP}!fine"])
    marks = marks_of(buffer, index)
    assert marks[0] == (0, MarkKind.RUN, "")
    errors = [seq for seq, kind, _ in marks if kind is MarkKind.ERROR]
    half = log_marks.MOST_ERRORS // 2
    assert errors[:half] == list(range(1, 2 * half, 2))
    assert errors[-half:] == list(range(10_001 - 2 * half, 10_001, 2))
    assert index.marks(9_999) == (LogMark(9_999, MarkKind.ERROR),)
