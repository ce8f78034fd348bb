"""Why a server failed, from whole logs: the deepest cause, over ranks and runs, and what is not of the log."""

import runpy
import time
import tomllib
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.diagnose.explain import explain, explain_text
from engine.diagnosis import Change, Diagnosis, Evidence, Weight
from engine.profile import Profile
from engine.text import clean_line

TESTS = Path(__file__).parent.parent
LOGS = TESTS / "samples/logs"
INDEX = tomllib.loads((LOGS / "index.toml").read_text())

BEGIN = """\
(APIServer pid=1) INFO 11-20 23:49:56 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 11-20 23:49:56 [utils.py:233] non-default args: {'model_tag': 'm', 'port': 8201}
"""
READY = "INFO:     Application startup complete.\n"
BUSY = "OSError: [Errno 98] Address already in use\n"
IDLE = (
    "(APIServer pid=1) INFO 11-20 23:52:19 [loggers.py:195] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg "
    "generation throughput: 12.0 tokens/s, Running: 3 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.1%\n"
)
WRAPPERS = """\
(EngineCore_DP0 pid=9) ERROR 11-20 23:51:17 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=9) ERROR 11-20 23:51:17 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=9) ERROR 11-20 23:51:17 [core.py:708]   File "/vllm/core.py", line 699, in run_engine_core
(EngineCore_DP0 pid=9) ERROR 11-20 23:51:17 [core.py:708] Exception: WorkerProc initialization failed due to an \
exception in a background process. See stack trace for root cause.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 3 has a total capacity of 79.15 GiB "
    "of which 15.75 MiB is free."
)
LOST = "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited"


def worker(rank: int, raised: str) -> str:
    lines = (
        *("WorkerProc failed to start.", "Traceback (most recent call last):"),
        *('  File "/vllm/multiproc_executor.py", line 571, in worker_main', "    worker = WorkerProc(*args, **kwargs)"),
        raised,
    )
    prefix = f"(Worker_TP{rank} pid=30{rank}) ERROR 11-20 23:51:16 [multiproc_executor.py:597] "
    return "".join(f"{prefix}{line}\n" for line in lines)


def told(log: str, evidence: Evidence = Evidence(), profile: Profile | None = None) -> Diagnosis:  # noqa: B008
    return explain_text(log.encode(), evidence, profile)


def names(diagnosis: Diagnosis) -> list[str]:
    return [cause.signature for cause in diagnosis.causes]


def test_every_sample_is_in_the_index() -> None:
    assert {file.name for file in LOGS.glob("*.log")} == set(INDEX)


@pytest.mark.parametrize("name", INDEX)
def test_samples(name: str) -> None:
    data = (LOGS / name).read_bytes()
    diagnosis = explain_text(data)
    assert names(diagnosis) == INDEX[name]["causes"]
    assert diagnosis.lines == data.count(b"\n")
    assert diagnosis.stack == name.partition("-")[0]
    lines = [clean_line(line) for line in data.decode().split("\n")]
    assert all(cause.weight is Weight.CAUSE for cause in diagnosis.causes)
    for proof in (proof for cause in diagnosis.causes for proof in cause.proofs):
        assert proof.line
        assert proof.text.removesuffix(" …").strip() in lines[proof.line - 1]
    assert explain(data.decode().removesuffix("\n").split("\n")) == diagnosis


def test_one_rank_of_four_tells_the_cause() -> None:
    log = BEGIN + worker(0, LOST) + worker(1, LOST) + worker(3, OUT_OF_MEMORY) + worker(2, LOST) + WRAPPERS
    diagnosis = told(log)
    best = diagnosis.best
    assert best
    assert best.signature == "cuda-out-of-memory"
    assert best.ranks == ("Worker_TP3",)
    assert best.cause == "GPU 3 ran out of memory: 448.00 MiB more were wanted, and 15.75 MiB of 79.15 GiB were free."
    assert names(diagnosis)[1:] == ["nccl-error"]
    assert diagnosis.causes[1].ranks == ("Worker_TP0", "Worker_TP1", "Worker_TP2")
    assert (diagnosis.stack, diagnosis.versions) == ("vllm", (("vllm", "0.11.0"),))
    assert not diagnosis.first_error


def test_several_ranks_say_the_same() -> None:
    [cause] = told(BEGIN + "".join(worker(rank, OUT_OF_MEMORY) for rank in range(8)) + WRAPPERS).causes
    assert cause.ranks == tuple(f"Worker_TP{rank}" for rank in range(8))
    assert len(cause.proofs) == 1


@pytest.mark.parametrize("after", [IDLE, worker(0, "Something went wrong")], ids=["statistics", "tracebacks"])
def test_the_cause_stands_far_above_the_end(after: str) -> None:
    log = (BEGIN + worker(3, OUT_OF_MEMORY) + WRAPPERS + after * (200_000 // after.count("\n"))).encode()
    explain_text(b"")
    began = time.process_time()
    diagnosis = explain_text(log)
    took = time.process_time() - began
    assert diagnosis.best
    assert diagnosis.best.signature == "cuda-out-of-memory"
    assert diagnosis.lines == log.count(b"\n")
    assert took < len(log) / 4e6  # seconds: a slow machine under load does ten times that


def test_memory_does_not_grow_with_the_log() -> None:
    block = IDLE.encode() * 5000

    def blocks() -> Iterator[bytes]:
        yield worker(3, OUT_OF_MEMORY).encode()
        for _ in range(40):
            yield block

    explain_text(b"")
    tracemalloc.start()
    try:
        diagnosis = explain_text(blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert names(diagnosis) == ["cuda-out-of-memory"]
    assert peak < 8 << 20


def test_the_last_run_counts() -> None:
    first = BEGIN + BUSY
    assert names(told(first + BEGIN + worker(3, OUT_OF_MEMORY) + WRAPPERS)) == ["cuda-out-of-memory"]
    assert names(told(first + BEGIN + READY + IDLE * 9)) == []
    assert names(told(first + BEGIN + IDLE)) == ["address-in-use"]
    assert names(told(first + BEGIN + READY + BEGIN)) == []


def test_values_from_elsewhere_in_the_log() -> None:
    diagnosis = told(BEGIN + BUSY)
    assert diagnosis.best
    assert diagnosis.best.cause == "The port 8201 is taken by another program."


def test_nothing_known_shows_the_first_error() -> None:
    diagnosis = told(BEGIN + IDLE + worker(0, "FluxError: the capacitor is empty") + WRAPPERS)
    assert [(cause.signature, cause.weight) for cause in diagnosis.causes] == [("engine-not-started", Weight.WRAPPER)]
    texts = [proof.text for proof in diagnosis.first_error]
    assert "FluxError: the capacitor is empty" in " ".join(texts)
    assert "WorkerProc failed to start" in " ".join(texts)
    numbers = [proof.line or 0 for proof in diagnosis.first_error]
    assert numbers == sorted(numbers)
    assert numbers[0] >= 3
    assert not told(BEGIN + IDLE).first_error


def test_an_exception_without_a_prefix_is_shown_whole() -> None:
    log = "starting\nTraceback (most recent call last):\n" + "".join(
        f'  File "/x{at}.py", line {at}, in f\n    g()\n    ^^^\n' for at in range(20)
    )
    diagnosis = told(log + "acme.FluxError: empty\nbye\n")
    assert [proof.text.strip() for proof in diagnosis.first_error] == [
        *("starting", "Traceback (most recent call last):", 'File "/x19.py", line 19, in f', "g()"),
        *("acme.FluxError: empty", "bye"),
    ]


def test_a_warning_is_no_cause() -> None:
    line = "(APIServer pid=1) WARNING 11-20 23:49:56 [x.py:1] User-specified max_model_len (9) is greater than the "
    log = BEGIN + line + "derived max_model_len (max_position_embeddings=8 or model_max_length=None in config.json).\n"
    assert names(told(log)) == []
    [hint] = told(log, Evidence(exit_code=1)).causes
    assert (hint.signature, hint.weight) == ("model-length-too-long", Weight.HINT)


def test_an_error_after_many_warnings_is_a_cause() -> None:
    warnings = "WARNING 11-20 23:51:17 [hub.py:1] 429 Client Error: Too Many Requests for url: x\n" * 1000
    log = BEGIN + warnings + "ERROR 11-20 23:51:18 [hub.py:1] 429 Client Error: Too Many Requests for url: x\n"
    best = told(log).best
    assert best is not None
    assert (best.signature, best.weight) == ("hub-rate-limit", Weight.CAUSE)


def test_after_a_storm_of_one_line_others_are_still_seen() -> None:
    storm = f"(EngineCore_DP0 pid=9) ERROR 11-20 23:51:17 [core.py:708] {OUT_OF_MEMORY}\n" * 25_000
    log = BEGIN + storm + "ValueError: No available memory for the cache blocks.\n"
    assert {cause.signature for cause in told(log).causes} == {"cuda-out-of-memory", "no-cache-blocks"}
    again = told(log + BEGIN + f"{OUT_OF_MEMORY}\n{WRAPPERS}")
    assert [cause.signature for cause in again.causes] == ["cuda-out-of-memory"]
    assert again.causes[0].proofs[0].line == 25_000 + 6


def test_what_only_follows_hides_no_first_error() -> None:
    flux = told(BEGIN + worker(0, "FluxError: empty") + LOST + "\n")
    assert names(flux) == ["nccl-error"]
    assert any("FluxError" in proof.text for proof in flux.first_error)


def test_a_hub_that_answers_is_not_out_of_reach() -> None:
    silent = "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them.\n"
    refused = "HfHubHTTPError: Server error '500 Internal Server Error' for url 'https://huggingface.co/x'\n"
    assert names(told(BEGIN + silent)) == ["hub-unreachable"]
    assert names(told(BEGIN + refused + silent)) == ["hub-server-error"]


def test_a_later_line_may_tell_more_of_the_same() -> None:
    first = "Failed to initialize Python stub for auto-complete: ModuleNotFoundError: No module named 'acme'\n"
    more = "failed to load 'echo' version 1: Internal: ModuleNotFoundError: No module named 'acme'\n"
    other = "failed to load 'echo' version 1: Internal: ModuleNotFoundError: No module named 'other'\n"
    assert "model echo" in told(first + more).causes[0].cause
    assert "model echo" not in told(first + other).causes[0].cause


def test_what_runs_without_a_container_has_no_image() -> None:
    log = "ModuleNotFoundError: No module named 'image'\n"
    [cause] = told(log, Evidence(runtime="process")).causes
    assert cause.cause == "The installation lacks the Python package image."
    assert cause.remedy.startswith("Use an installation that has it")
    assert told(log, Evidence(runtime="docker")).causes[0].cause == "The image lacks the Python package image."
    local = Profile(name="m", stack="vllm", runtime="process", model="m")
    assert told(log, profile=local).causes[0].cause == cause.cause
    [ended] = told("", Evidence(exit_code=-4, runtime="process")).causes
    assert (ended.signature, "image" in ended.remedy) == ("exit-132", False)


def test_what_the_environment_says_is_taken_out() -> None:
    log = "OfflineModeIsEnabled: Cannot reach https://huggingface.co/m\n"
    offline = Profile(name="m", stack="vllm", image="i:1", model="m", env={"HF_HUB_OFFLINE": "1", "A": "b"})
    assert told(log, profile=offline).causes[0].changes == (Change("env.HF_HUB_OFFLINE", None, "1"),)
    assert told(log, profile=profile()).causes[0].changes == ()


@pytest.mark.parametrize(
    ("before", "rank"),
    [
        (
            "Aug 17 18:42:18 box vllm[8052]: (EngineCore_DP0 pid=9) ERROR 01-28 06:36:45 [core.py:946] ",
            "EngineCore_DP0",
        ),
        ("[pod/llama-0/vllm] (EngineCore_DP0 pid=9) ERROR 01-28 06:36:45 [core.py:946] ", "EngineCore_DP0"),
        (
            "(EngineCore pid=9) \x1b[36m(RayWorkerWrapper pid=3)\x1b[0m ERROR 01-28 06:36:45 [x.py:1] ",
            "RayWorkerWrapper",
        ),
        ("(Worker pid=9) (Worker_TP1 pid=9) ERROR 01-28 06:36:45 [x.py:1] ", "Worker_TP1"),
        ("[06/03/2026-08:27:38] [TRT-LLM] [E] [executor][RANK 1] ", "rank 1"),
    ],
    ids=["journal", "Kubernetes", "Ray", "nested", "TensorRT-LLM"],
)
def test_whoever_writes_before_the_line(before: str, rank: str) -> None:
    [cause] = told(f"{before}KeyError: 'model.layers.0.mlp.gate_up_proj.weight'\n").causes
    assert (cause.signature, cause.ranks) == ("weights-do-not-match", (rank,))


def instances(devices: list[str]) -> str:
    told_by = 'I1120 23:58:15.8 1 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize: '
    return 'I1120 23:58:14.2 1 model_lifecycle.cc:472] "loading: llama:1"\n' + "".join(
        f'{told_by}{name}"\n' for name in devices
    )


ENGINE = "INFO 11-20 23:58:17 [core.py:64] Initializing a V1 LLM engine (v0.10.1.1) with config: model='m'\n"
LOAD_FAILED = (
    "E1120 23:58:16.2 1 model_lifecycle.cc:642] \"failed to load 'llama' version 1: Internal: RuntimeError: Engine "
    'core initialization failed. See root cause above."\nerror: creating server: Internal - failed to load all models\n'
)


def test_an_engine_for_each_gpu_is_recognised() -> None:
    each = instances([f"llama_0_0 (GPU device {gpu})" for gpu in range(8)])
    diagnosis = told(each + ENGINE * 8 + worker(0, OUT_OF_MEMORY) + WRAPPERS + LOAD_FAILED)
    assert names(diagnosis) == ["engine-per-gpu", "cuda-out-of-memory"]
    assert diagnosis.best
    assert "8 instances of llama" in diagnosis.best.cause
    assert diagnosis.best.proofs[0].line == 2
    assert diagnosis.stack == "triton-vllm"
    on_one = instances([f"llama_0_{at} (MODEL device 0)" for at in range(2)])
    assert names(told(on_one + ENGINE + WRAPPERS + LOAD_FAILED)) == ["engine-per-gpu"]
    one = instances(["llama_0_0 (MODEL device 0)"])
    assert "engine-not-started" in names(told(one + ENGINE + WRAPPERS + LOAD_FAILED))
    assert names(told(each + ENGINE * 8)) == []  # as long as it has not failed


def test_a_model_that_loads_the_second_time_is_well() -> None:
    failed = (
        'I1120 23:58:14.2 1 http_server.cc:4713] "Started HTTPService at 0.0.0.0:8000"\n'
        "E1120 23:58:16.2 1 model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: Python model file not "
        "found in '/models/m/1/model.py'\"\n"
    )
    assert names(told(failed)) == ["python-model-missing"]
    loaded = "I1120 23:59:14.2 1 model_lifecycle.cc:839] \"successfully loaded 'm'\"\n"
    assert names(told(failed + loaded)) == []


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(exit_code=1), []),
        (Evidence(exit_code=137), ["exit-137"]),
        (Evidence(exit_code=137, oom_killed=True), ["oom-killed"]),
        (Evidence(exit_code=137, stopped_on_purpose=True), []),
        (Evidence(exit_code=139), ["exit-139"]),
        (Evidence(exit_code=135), ["exit-135"]),
        (Evidence(exit_code=143), ["exit-143"]),
        (Evidence(exit_code=143, stopped_on_purpose=True), []),
        (Evidence(exit_code=127), ["exit-127"]),
        (Evidence(exit_code=0), ["exit-0"]),
        (Evidence(exit_code=1, restarts=7), ["restart-loop"]),
        (Evidence(exit_code=128, runtime_error="something odd"), ["runtime-error"]),
        (
            Evidence(exit_code=128, runtime_error="Bind for 127.0.0.1:8000 failed: port is already allocated"),
            ["host-port-taken"],
        ),
        (
            Evidence(exit_code=127, runtime_error='exec: "vllm": executable file not found in $PATH: unknown'),
            ["program-not-in-image"],
        ),
    ],
)
def test_evidence_besides_the_log(evidence: Evidence, expected: list[str]) -> None:
    diagnosis = told("", evidence)
    assert names(diagnosis) == expected
    assert all(proof.line is None for cause in diagnosis.causes for proof in cause.proofs)
    assert diagnosis.lines == 0


def test_evidence_among_causes_of_the_log() -> None:
    log = BEGIN + worker(3, OUT_OF_MEMORY) + WRAPPERS
    assert names(told(log, Evidence(exit_code=137))) == ["cuda-out-of-memory", "exit-137"]
    assert names(told(BEGIN + worker(0, LOST), Evidence(exit_code=1, oom_killed=True))) == ["oom-killed", "nccl-error"]
    assert names(told(BEGIN + READY, Evidence(exit_code=139))) == ["exit-139"]
    assert names(told(BEGIN + BUSY, Evidence(exit_code=1, restarts=3))) == ["address-in-use", "restart-loop"]


def profile(**engine: object) -> Profile:
    return Profile(name="m", stack="vllm", image="vllm/vllm-openai:v0.11.0", model="m", engine=engine)


def test_changes_to_the_profile() -> None:
    batch = "max_num_batched_tokens (128) must be greater than or equal to max_num_seqs (256).\n"
    best = told(batch, profile=profile(max_num_seqs=256)).best
    assert best
    assert best.changes == (Change("engine.max_num_seqs", 128, 256),)
    assert told(batch).causes[0].changes == ()
    other = Profile(name="m", stack="triton", image="x", repository="r")
    assert told(batch, profile=other).causes[0].changes == ()
    computed = told(
        "TypeError: AsyncEngineArgs.__init__() got an unexpected keyword argument 'swap_space'\n",
        profile=profile(swap_space=4),
    ).best
    assert computed
    assert computed.changes == (Change("engine.swap_space", None, 4),)
    timeout = told("TimeoutError: Timed out waiting for engine core processes to start.\n", profile=profile()).best
    assert timeout
    assert timeout.changes == (Change("env.VLLM_ENGINE_READY_TIMEOUT_S", "3600"),)


def test_proofs_hide_secrets_and_steer_no_terminal() -> None:
    token = "hf_" + "a1B2" * 8
    log = f"\x1b[31mOSError: You are trying to access a gated repo.\x1b]0;title\x07 {token} at https://x\n"
    [cause] = told(log).causes
    assert cause.signature == "model-gated"
    assert cause.proofs[0].text == "OSError: You are trying to access a gated repo. hf_*** at https://x"


def test_a_long_line_is_shown_around_what_it_says() -> None:
    [cause] = told("x" * 5000 + " " + OUT_OF_MEMORY + " " + "y" * 5000 + "\n").causes
    assert "CUDA out of memory" in cause.proofs[0].text
    assert len(cause.proofs[0].text) < 700


def test_a_progress_bar_before_an_error_on_one_line() -> None:
    log = "".join(f"Capturing CUDA graphs: {at}%\r" for at in range(100)) + OUT_OF_MEMORY + "\r\n"
    [cause] = told(log).causes
    assert cause.proofs[0].text == OUT_OF_MEMORY


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_encodings(encoding: str) -> None:
    diagnosis = explain_text((BEGIN + BUSY + "é\n").encode(encoding))
    assert names(diagnosis) == ["address-in-use"]
    assert diagnosis.lines == 4


WHOLE = (
    b"\x00\xff\n"
    + (LOGS / "vllm-bad-arch.log").read_bytes()[:6000].partition(b"Traceback")[0]
    + (BEGIN + worker(0, LOST) + worker(3, OUT_OF_MEMORY)).encode()
    + b"ValidationError: 1 validation error for CacheConfig\nx\n  Input should be less [type=x]\n"
)


@given(st.lists(st.integers(1, len(WHOLE)), max_size=12))
def test_how_it_is_cut_makes_no_difference(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(WHOLE)]
    assert explain_text(WHOLE[start:end] for start, end in pairwise(ends)) == explain_text(WHOLE)


_HINTS = st.sampled_from((OUT_OF_MEMORY, LOST, READY, BEGIN, BUSY, WRAPPERS, "Traceback (most recent call last):\n"))


@given(st.lists(st.binary(max_size=40) | _HINTS.map(str.encode) | st.just(b"\n") | st.just(b"\r"), max_size=12))
@example([b"\xff\xfe"])
@example([b"\xff\xfeA"])
def test_any_bytes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    diagnosis = explain_text(data)
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    assert marked or diagnosis.lines == data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    for proof in (*diagnosis.first_error, *(proof for cause in diagnosis.causes for proof in cause.proofs)):
        assert proof.line is not None
        assert 1 <= proof.line <= diagnosis.lines
        assert clean_line(proof.text) == proof.text


@given(st.lists(st.text(max_size=60) | _HINTS, max_size=10))
def test_any_lines(lines: list[str]) -> None:
    assert explain(lines).lines == len(lines)


def test_the_page_is_up_to_date() -> None:
    docs = TESTS.parent / "docs"
    page = runpy.run_path(str(docs / "signatures.py"))["page"]()
    assert (docs / "signatures.md").read_text() == page, "run `python docs/signatures.py`"
