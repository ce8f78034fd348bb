"""What lines of real servers say of themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.log_line import Level, LineKind, Styled
from engine.observe.log_styles import parse
from engine.observe.log_words import LineReader, head
from engine.text import clean_but_colours

D, I, W, E, F = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.FATAL  # noqa: E741


@pytest.mark.parametrize(
    ("line", "level", "source", "message"),
    [
        ("INFO 04-01 12:00:00 [core.py:61] Initializing", I, "", "Initializing"),
        ("WARNING 04-01 12:00:00 config.py:623] Casting", W, "", "Casting"),
        ("INFO 2025-04-01 12:00:00,123 [core.py:61] Initializing", I, "", "Initializing"),
        ("(EngineCore_0 pid=411) ERROR 11-20 23:49:56 [core.py:708] failed", E, "EngineCore_0", "failed"),
        ("(EngineCore_DP1 pid=411) INFO 11-20 23:49:56 [core.py:708] x", I, "EngineCore_DP1", "x"),
        ("(VllmWorker rank=1 pid=2) INFO 04-01 12:00:00 [a.py:1] x", I, "VllmWorker rank=1", "x"),
        ("(VllmWorkerProcess pid=77) INFO 04-01 12:00:00 a.py:1] x", I, "VllmWorkerProcess", "x"),
        ("(EngineCore_0 pid=1) (Worker_TP3 pid=9) DEBUG 04-01 12:00:00 [a/b.py:1] x", D, "Worker_TP3", "x"),
        ("(APIServer pid=1) INFO:     Started server process [1]", I, "APIServer", "    Started server process [1]"),
        ("(RayWorkerWrapper pid=270291, ip=10.0.0.2) INFO 04-01 12:00:00 [a.py:1] x", I, "RayWorkerWrapper", "x"),
        ("(EngineCore_0 pid=1) free text", None, "EngineCore_0", "free text"),
        ("(not pid of anything) text", None, "", "(not pid of anything) text"),
        ('E1120 23:44:48.551824 5040 server.cc:241] "no"', E, "triton", '"no"'),
        ("I1120 23:44:48.551824 5040 server.cc:241] ", I, "triton", ""),
        ('2025-11-20T23:44:48Z 5040 W server.cc:241] "no"', W, "triton", ' "no"'),
        ("W0404 10:20:30.123000 12345 torch/distributed/run.py:792] x", W, "", "x"),
        ("[rank1]:[E404 10:20:30.123456789 ProcessGroupNCCL.cpp:616] x", E, "rank1", "x"),
        ("[rank0]: free text", None, "rank0", "free text"),
        ("[W1120 23:50:29.514339520 utils.cpp:68] Warning: x", W, "", "Warning: x"),
        ("[TensorRT-LLM][INFO] Engine version 1", I, "TensorRT-LLM", "Engine version 1"),
        ("[TensorRT-LLM][ERROR] no", E, "TensorRT-LLM", "no"),
        ("[01/02/2025-12:00:00] [TRT-LLM] [W] careful", W, "TensorRT-LLM", "careful"),
        ("[01/02/2025-12:00:00] [TRT-LLM] [RANK 1] [I] x", I, "TensorRT-LLM rank=1", "x"),
        ("[TRT-LLM] [E] no", E, "TensorRT-LLM", "no"),
        ("[01/02/2025-12:00:00] [TRT] [I] x", I, "TensorRT", "x"),
        ("[libprotobuf ERROR a/b.cc:337] Error parsing", E, "libprotobuf", None),
        ("[2025-02-19 08:58:32,122 E 270237 270370] logging.cc:115: Stack trace:", E, "", None),
        ("host:12:34 [0] NCCL WARN no", W, "NCCL", "no"),
        ("INFO:     Application startup complete.", I, "", "    Application startup complete."),
        ("WARNING:root:careful", W, "", "root:careful"),
        ("2025-04-01 12:00:00,123 - INFO - x", I, "", " - x"),
        ("2025-04-01 12:00:00,123 - a.b - ERROR - x", E, "", " - x"),
        ("2025-04-01 12:00:00,123\tWARNING worker.py:1 -- x", W, "", " worker.py:1 -- x"),
        ("ERROR: This container was built for NVIDIA Driver Release 1", E, "", None),
        ("NOTE: The SHMEM allocation limit is set to", I, "", None),
        ("error: creating server: Internal - failed", E, "", None),
        ("Error: Failed to initialize NVML", E, "", None),
        ("vllm: error: unrecognized arguments: --x", E, "", "unrecognized arguments: --x"),
        ("/opt/a/dispatcher.py:138: FutureWarning: gone", W, "", "gone"),
        ("CRITICAL 04-01 12:00:00 [a.py:1] x", F, "", "x"),
        ("Errors were found: 3", None, "", None),
        ("INFORMATION", None, "", None),
        ("Every good line says nothing", None, "", None),
        ("2025-04-01 is a date", None, "", None),
        ("[1, 2, 3]", None, "", None),
        ("", None, "", ""),
    ],
)
def test_heads(line: str, level: Level | None, source: str, message: str | None) -> None:
    found = head(line)
    assert found[:2] == (level, source)
    if message is not None:
        assert line[found[2] :] == message


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Loading safetensors checkpoint shards:  56% Completed | 5/9 [00:03<00:02,  1.50it/s]", LineKind.PROGRESS),
        ("Capturing CUDA graphs (decode, FULL):  40%|████      | 14/35 [00:02<00:03,  6.21it/s]", LineKind.PROGRESS),
        ("Fetching 4 files: 100%|##########| 4/4 [00:00<00:00, 100.00it/s]", LineKind.PROGRESS),
        ("model.safetensors:  12%|█▏        | 597M/4.98G [00:10<01:12, 60.1MB/s]", LineKind.PROGRESS),
        ("12it [00:03,  3.80it/s]", LineKind.PROGRESS),
        ("(Worker pid=1) Loading pt checkpoint shards: 0% Completed | 0/1 [00:00<?, ?it/s]", LineKind.PROGRESS),
        ("GPU KV cache usage: 12.0%, Prefix cache hit rate: 0.0%", LineKind.PLAIN),
        ("== Triton Inference Server ==", LineKind.BANNER),
        ("=============================", LineKind.BANNER),
        ("NVIDIA Release 25.12 (build 12345)", LineKind.BANNER),
        ("Copyright (c) 2018-2025, NVIDIA CORPORATION & AFFILIATES.", LineKind.BANNER),
        ("(APIServer pid=1) INFO 11-20 23:49:56 [u.py:1]        █     █     █▄   ▄█", LineKind.BANNER),
        ("a == b ==", LineKind.PLAIN),
        ("| echo  | 1       | READY  |", LineKind.PLAIN),
    ],
)
def test_kinds(line: str, kind: LineKind) -> None:
    assert LineReader().read(line)[2] is kind


T, R, P = LineKind.TRACEBACK, LineKind.FRAME, LineKind.PLAIN


@pytest.mark.parametrize(
    "prefix", ["", "(EngineCore_0 pid=1) ", "(EngineCore_0 pid=1) ERROR 04-01 12:00:00 [core.py:710] ", "[rank0]: "]
)
def test_tracebacks_behind_any_prefix(prefix: str) -> None:
    lines = [
        ("before", P),
        ("Traceback (most recent call last):", T),
        ('  File "/a.py", line 6, in <module>', R),
        ("    sys.exit(main())", R),
        ("             ^^^^^^", R),
        ("  [Previous line repeated 9 more times]", R),
        ("ValueError: no", P),
        ("  indented, but no frame", P),
        ("", P),
        ("During handling of the above exception, another exception occurred:", P),
        ("Traceback (most recent call last):", T),
        ('  File "/b.py", line 1, in f', R),
        ("my.own.Oops", P),
        ("  + Exception Group Traceback (most recent call last):", T),
        ('  |   File "/b.py", line 1, in f', R),
        ("  | ExceptionGroup: several (1 sub-exception)", P),
        ("  +-+---------------- 1 ----------------", P),
        ("    | Traceback (most recent call last):", T),
        ('    |   File "/c.py", line 1, in f', R),
        ("    | KeyError: 'x'", P),
    ]
    reader = LineReader()
    read = [(text, *reader.read(prefix + text)) for text, _ in lines]
    assert [(text, kind) for text, _, _, kind in read] == lines
    raised = {text.strip(" |").partition(":")[0] for text, level, *_ in read if level is E}
    assert {"ValueError", "my.own.Oops", "KeyError", "ExceptionGroup"} <= raised
    if "ERROR" not in prefix:
        assert len([text for text, level, *_ in read if level is E]) == 4


def test_tracebacks_of_two_processes_at_once() -> None:
    reader = LineReader()
    lines = ["Traceback (most recent call last):", '  File "/a.py", line 6, in f', "    f()", "ValueError: no"]
    both = [f"({who} pid=1) {line}" for line in lines for who in ("Worker_TP0", "Worker_TP1")]
    assert [reader.read(line) for line in both][-2:] == [(E, "Worker_TP0", P), (E, "Worker_TP1", P)]


@given(st.lists(st.text(st.sampled_from('([])0123456789:.-, |+%=EIWFTraceback "█pid\n'))))
def test_any_line_is_read(lines: list[str]) -> None:
    reader = LineReader()
    for line in lines:
        level, source, kind = reader.read(line)
        assert level is None or level in Level
        assert kind in LineKind
        assert source == source.strip()


@pytest.mark.parametrize(
    ("text", "bare", "parts"),
    [
        ("plain", "plain", ()),
        ("\x1b[1;36m(A pid=1)\x1b[0;0m INFO", "(A pid=1) INFO", (Styled(0, 9, "bold cyan"),)),
        ("a\x1b[91mb\x1b[39mc", "abc", (Styled(1, 2, "bright_red"),)),
        ("\x1b[38;5;208mx\x1b[m\x1b[38;5;9my", "xy", (Styled(0, 1, "#ff8700"), Styled(1, 2, "bright_red"))),
        ("\x1b[38;5;232mx\x1b[38;5;300my", "xy", (Styled(0, 1, "#080808"),)),
        ("\x1b[38;2;1;2;3;4mx\x1b[24my", "xy", (Styled(0, 1, "underline #010203"), Styled(1, 2, "#010203"))),
        ("\x1b[38:2::1:2:3mx\x1b[4:3my", "xy", (Styled(0, 1, "#010203"), Styled(1, 2, "underline #010203"))),
        ("\x1b[30;43mon colour\x1b[49m off", "on colour off", (Styled(9, 13, "black"),)),
        ("\x1b[2;3ma\x1b[22mb\x1b[23mc", "abc", (Styled(0, 1, "dim italic"), Styled(1, 2, "italic"))),
        ("\x1b[1ma\x1b[1mb", "ab", (Styled(0, 2, "bold"),)),
        ("\x1b[38mx\x1b[38;2my\x1b[38;5mz", "xyz", ()),
    ],
)
def test_styles(text: str, bare: str, parts: tuple[Styled, ...]) -> None:
    assert parse(text) == (bare, parts)


@given(st.text(st.sampled_from("\x1b[0123458;:mab")))
def test_styled_parts_lie_within_the_text_in_order(text: str) -> None:
    bare, parts = parse(clean_but_colours(text))
    assert "\x1b" not in bare
    edges = [edge for part in parts for edge in (part.start, part.end)]
    assert edges == sorted(edges)
    assert all(part.start < part.end <= len(bare) and part.style for part in parts)
