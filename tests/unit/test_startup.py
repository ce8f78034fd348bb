"""How far a start has come: over real logs, over ranks that write at once, over restarts and loads."""

# ruff: noqa: E501 (lines of logs are as long as they are)

import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.fit.result import Fit, FitRow, Verdict
from engine.observe.startup import StartupTracker, Told, against_plan
from engine.startup import Phase, PhaseProgress, Reported, Startup

SAMPLES = Path(__file__).parents[1] / "samples" / "startup"
GIB = 1 << 30
_CLOCK = re.compile(
    r"(?:^|\) )(?:INFO|WARNING) (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)|^[IWE](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)"
)
PLACE = {phase: place for place, phase in enumerate(Phase)}

RANK = """\
(APIServer pid=1) INFO 10-02 14:30:22 [api_server.py:1839] vLLM API server version 0.11.0
(EngineCore_DP0 pid=272) INFO 10-02 14:30:32 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: m
(Worker_TP{0} pid=3) INFO 10-02 14:30:36 [parallel_state.py:1] rank {0} in world size 2 is assigned as DP rank 0
(Worker_TP{0} pid=3) INFO 10-02 14:30:40 [gpu_model_runner.py:2602] Starting to load model org/m...
Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]
Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:02<00:06,  2.0s/it]
Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:04<00:04,  2.0s/it]
Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:08<00:00,  2.0s/it]
(Worker_TP{0} pid=3) INFO 10-02 14:30:50 [gpu_model_runner.py:2653] Model loading took 7.{0}1 GiB and 9.1 seconds
(Worker_TP{0} pid=3) INFO 10-02 14:30:58 [backends.py:559] Dynamo bytecode transform time: 6.51 s
(Worker_TP{0} pid=3) INFO 10-02 14:31:20 [monitor.py:34] torch.compile takes 2{0}.81 s in total
(Worker_TP{0} pid=3) INFO 10-02 14:31:22 [gpu_worker.py:298] Available KV cache memory: 5{0}.32 GiB
(EngineCore_DP0 pid=272) INFO 10-02 14:31:23 [kv_cache_utils.py:1087] GPU KV cache size: 188,6{0}0 tokens
(EngineCore_DP0 pid=272) INFO 10-02 14:31:23 [kv_cache_utils.py:1091] Maximum concurrency for 8,192 tokens per request: 23.03x
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  31%|███▏      | 21/67 [00:01<00:02, 17.9it/s]
Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|██████████| 67/67 [00:03<00:00, 17.9it/s]
Capturing CUDA graphs (decode, FULL):  10%|█         | 3/35 [00:00<00:01, 17.9it/s]
Capturing CUDA graphs (decode, FULL): 100%|██████████| 35/35 [00:02<00:00, 17.9it/s]
(Worker_TP{0} pid=3) INFO 10-02 14:31:30 [gpu_model_runner.py:3480] Graph capturing finished in 7 secs, took 0.5{0} GiB
(EngineCore_DP0 pid=272) INFO 10-02 14:31:31 [core.py:210] init engine (profile, create kv cache, warmup model) took 41.38 seconds
(APIServer pid=1) INFO 10-02 14:31:40 [api_server.py:1912] Starting vLLM API server 0 on http://0.0.0.0:8000
(APIServer pid=1) INFO:     Application startup complete.
""".splitlines()  # fmt: skip


def rank(number: int) -> list[str]:
    return [line.replace("{0}", str(number)) for line in RANK]


VLLM = rank(0)


def told(lines: list[str], tracker: StartupTracker | None = None, at: float = 0.0) -> Startup:
    """One line a second."""
    tracker = tracker or StartupTracker(at)
    for number, line in enumerate(lines):
        tracker.add(at + number, line)
    return tracker.startup()


def sample(name: str) -> Startup:
    """By the clock of the log itself."""
    tracker = None
    for line in (SAMPLES / name).read_text().splitlines():
        found = _CLOCK.search(line)
        at = None
        if found:
            month, day, hour, minute, second = (int(one) for one in found.groups() if one)
            at = datetime(2025, month, day, hour, minute, second, tzinfo=UTC).timestamp()
        if at is not None and tracker is None:
            tracker = StartupTracker(at)
        if tracker:
            tracker.add(at, line)
    return tracker.startup() if tracker else Startup(0.0)


def names(startup: Startup) -> list[Phase]:
    return [one.phase for one in startup.phases]


def figures(startup: Startup) -> dict[str, float]:
    return {one.key: one.value for one in startup.reported}


def phase(startup: Startup, wanted: Phase) -> PhaseProgress:
    return next(one for one in startup.phases if one.phase is wanted)


# -- real logs ---------------------------------------------------------------------------------------------------------


def test_vllm_on_the_cpu() -> None:
    startup = sample("vllm-0.32-cpu-ready.log")
    began = startup.began_at
    assert [(one.phase, one.began_at - began, one.ended_at and one.ended_at - began) for one in startup.phases] == [
        (Phase.BOOT, 0, 21),
        (Phase.ENGINE, 21, 33),
        (Phase.WEIGHTS, 33, 34),
        (Phase.COMPILE, 34, 79),
        (Phase.PROFILE, 79, 80),
        (Phase.KV_CACHE, 80, 83),
        (Phase.SERVE, 83, None),
    ]
    weights = phase(startup, Phase.WEIGHTS)
    assert (weights.done, weights.total, weights.unit, weights.detail) == (1, 1, "shards", "/models/tiny")
    assert figures(startup) == {
        "weights_s": 0.01,
        "kv_bytes": GIB,
        "kv_tokens": 2_097_152,
        "concurrency_tokens": 1024,
        "concurrency": 2048,
        "engine_init_s": 47.38,
    }
    assert all(one.line and "pid=" not in one.line for one in startup.reported)


def test_triton() -> None:
    startup = sample("triton-2.51-python-ready.log")
    assert names(startup) == [Phase.BOOT, Phase.MODELS, Phase.SERVE]
    models = phase(startup, Phase.MODELS)
    assert (models.done, models.total, models.unit) == (1, 1, "models")
    assert figures(startup) == {"model_instances": 1}


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("triton-backend-missing.log", [Phase.BOOT, Phase.MODELS]),
        ("triton-config-unknown-field.log", [Phase.BOOT]),
        ("triton-http-port-in-use.log", [Phase.BOOT, Phase.SERVE]),
        ("triton-kind-gpu-refused.log", [Phase.BOOT, Phase.MODELS]),
        ("triton-no-version-folder.log", [Phase.BOOT]),
        ("vllm-bad-arch.log", [Phase.BOOT]),
        ("vllm-max-model-len.log", [Phase.BOOT]),
        ("vllm-model-missing.log", [Phase.BOOT]),
        ("vllm-port-in-use.log", [Phase.BOOT]),
    ],
)
def test_what_failed_came_no_further_than_it_did_and_is_never_ready(name: str, phases: list[Phase]) -> None:
    startup = sample(name)
    assert names(startup) == phases
    assert startup.current


# -- ranks, cuts and restarts ------------------------------------------------------------------------------------------


def test_of_two_ranks_the_furthest_counts_and_the_one_that_needs_most() -> None:
    mixed = [line for pair in zip(rank(0), rank(1), strict=True) for line in pair]
    startup = told(mixed)
    assert names(startup) == [
        *(Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS, Phase.COMPILE),
        *(Phase.PROFILE, Phase.KV_CACHE, Phase.GRAPHS, Phase.SERVE),
    ]
    assert figures(startup) == pytest.approx(
        {
            "weights_bytes": 7.11 * GIB,
            "compile_s": 21.81,
            "kv_bytes": 50.32 * GIB,
            "kv_tokens": 188_600,
            "concurrency_tokens": 8192,
            "concurrency": 23.03,
            "graphs_s": 7,
            "graphs_bytes": 0.51 * GIB,
            "engine_init_s": 41.38,
        }
    )


@given(seed=st.randoms(use_true_random=False), ranks=st.integers(1, 4), cut=st.floats(0, 1), begin=st.integers(0, 12))
def test_it_never_goes_back(seed: random.Random, ranks: int, cut: float, begin: int) -> None:
    """However the ranks write at once, wherever the log is cut, and wherever it is read from."""
    queues = [rank(number)[1:] for number in range(ranks)]
    lines = [rank(0)[0]]
    while any(queues):
        lines.append(seed.choice([queue for queue in queues if queue]).pop(0))
    tracker = StartupTracker(0.0)
    last, done = 0, (Phase.BOOT, "", 0.0)
    for at, line in enumerate(lines[begin : round(len(lines) * cut)]):
        tracker.add(at, line)
        startup = tracker.startup()
        now = startup.phases[-1]
        assert PLACE[now.phase] >= last
        key = (now.phase, now.detail if now.phase is Phase.GRAPHS else "")
        if now.done is not None:
            assert key != done[:2] or now.done >= done[2]
            done = (*key, now.done)
        last = PLACE[now.phase]
        assert all(one.ended_at is not None for one in startup.phases[:-1])
        assert names(startup) == sorted(set(names(startup)), key=PLACE.__getitem__)


def test_a_bar_tells_how_far_and_how_fast() -> None:
    startup = told(VLLM[:7])
    assert startup.current == PhaseProgress(Phase.WEIGHTS, 3.0, None, 2, 4, "shards", 1.0, "org/m")
    startup = told(VLLM[:17])
    assert startup.current
    assert (startup.current.done, startup.current.total, startup.current.unit) == (3, 35, "graphs")
    assert startup.current.detail == "decode, FULL"


def test_a_restart_in_the_same_log_begins_anew() -> None:
    tracker = StartupTracker(0.0)
    told(VLLM, tracker)
    startup = told(VLLM[:5], tracker, at=100.0)
    assert startup.began_at == 100.0
    assert names(startup) == [Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS]
    assert startup.reported == ()
    crash = [VLLM[0], "OSError: [Errno 98] Address already in use"]
    assert told([*crash, *crash], at=7.0).began_at == 9.0


def test_v0_tells_its_tokens_in_blocks() -> None:
    startup = told(
        [
            "INFO 03-07 11:20:38 [executor_base.py:112] # cuda blocks: 28100, # CPU blocks: 2048",
            "INFO 03-07 11:20:38 [executor_base.py:117] Maximum concurrency for 131072 tokens per request: 3.43x",
        ]
    )
    assert figures(startup) == {"concurrency_tokens": 131072, "concurrency": 3.43, "kv_tokens": 28100 * 16}


def test_ready_comes_from_outside() -> None:
    tracker = StartupTracker(0.0)
    told(VLLM, tracker)
    assert tracker.startup().current
    tracker.ready(30.0)
    startup = tracker.startup()
    assert startup.current is None
    assert startup.phases[-1] == PhaseProgress(Phase.READY, 30.0, 30.0)
    tracker.ready(40.0)
    assert tracker.startup() == startup


def test_what_only_waits_does_not_move() -> None:
    tracker = StartupTracker(0.0)
    told(VLLM[:5], tracker)
    for at in range(60, 600, 60):
        tracker.add(at, f"(EngineCore pid=9) INFO 10-02 14:4{at // 60}:22 [shm.py:4] No block found in 60 seconds")
        tracker.add(at, VLLM[4])
    assert tracker.startup().moved_at == 60.0
    tracker.add(700, "Loading checkpoint from somewhere else")
    assert tracker.startup().moved_at == 700.0
    tracker.add(710, VLLM[5])
    assert tracker.startup().moved_at == 710.0


# -- Triton ------------------------------------------------------------------------------------------------------------


def triton(words: str) -> str:
    return f'I1120 23:44:48.553105 1 model_lifecycle.cc:472] "{words}"'


def test_triton_counts_its_models() -> None:
    startup = told([triton(f"loading: {name}:1") for name in "abc"] + [triton("successfully loaded 'b'")])
    assert startup.current
    assert (startup.current.phase, startup.current.done, startup.current.total) == (Phase.MODELS, 1, 3)
    assert startup.current.detail == "a"


def test_eight_instances_are_counted() -> None:
    lines = [triton(f"TRITONBACKEND_ModelInstanceInitialize: m_0_{gpu} (GPU device {gpu})") for gpu in range(8)]
    lines += [triton("TRITONBACKEND_ModelInstanceInitialize: other_0_0 (CPU device 0)")]
    assert figures(told(lines)) == {"model_instances": 8}


@pytest.mark.parametrize("engine", [True, False])
def test_an_engine_in_triton_is_the_start_that_counts(engine: bool) -> None:
    lines = [
        triton("Pinned memory pool is created at '0x7f' with size 1"),
        *(triton(f"loading: {name}:1") for name in ("preprocessing", "llama")),
        triton("TRITONBACKEND_ModelInstanceInitialize: llama_0_0 (MODEL device 0)"),
        *VLLM[1:7],
        triton("successfully loaded 'preprocessing'"),
        *VLLM[7:-2],
        triton("successfully loaded 'llama'"),
        triton("loading: ensemble:1"),
        triton("successfully loaded 'ensemble'"),
        triton("Started HTTPService at 0.0.0.0:8000"),
    ]
    startup = told(lines, StartupTracker(0.0, engine=engine))
    assert names(startup) == [
        *(Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS, Phase.COMPILE, Phase.PROFILE),
        *(Phase.KV_CACHE, Phase.GRAPHS, Phase.MODELS, Phase.SERVE),
    ]
    assert phase(startup, Phase.ENGINE).began_at == 1.0
    models = phase(startup, Phase.MODELS)
    assert (models.done, models.total) == (3, 3)
    during = told(lines[:11], StartupTracker(0.0, engine=engine)).current
    assert during
    assert (during.phase, during.done) == (Phase.WEIGHTS, 2)


def test_tensorrt_llm_in_triton() -> None:
    here = "[TensorRT-LLM][INFO] "
    lines = [
        triton("loading: tensorrt_llm:1"),
        f"{here}Engine version 0.20.0 found in the config file, assuming engine(s) built by new builder API.",
        f"{here}Rank 1 is using GPU 1",
        f"{here}Loaded engine size: 7658 MiB",
        f"{here}Loaded engine size: 7660 MiB",
        f"{here}Memory usage when calculating max tokens in paged kv cache: total: 79.11 GiB, available: 62.02 GiB",
        f"{here}Allocated 55.81 GiB for max tokens in paged KV cache (913728).",
        triton("successfully loaded 'tensorrt_llm'"),
        triton("Started GRPCInferenceService at 0.0.0.0:8001"),
    ]
    startup = told(lines, StartupTracker(0.0, engine=True))
    assert names(startup) == [
        *(Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS, Phase.PROFILE, Phase.KV_CACHE, Phase.MODELS, Phase.SERVE)
    ]
    expected = {"weights_bytes": 7660 << 20, "kv_bytes": 55.81 * GIB, "kv_tokens": 913728}
    assert figures(startup) == pytest.approx(expected)


def test_a_model_that_is_loaded_into_a_running_server_begins_anew() -> None:
    tracker = StartupTracker(0.0, engine=True)
    told([triton("Started HTTPService at 0.0.0.0:8000")], tracker)
    startup = told([triton("loading: llama:1"), *VLLM[1:5]], tracker, at=500.0)
    assert startup.began_at == 500.0
    assert names(startup) == [Phase.ENGINE, Phase.WEIGHTS]


# -- a download --------------------------------------------------------------------------------------------------------


def test_a_download_comes_between_engine_and_weights() -> None:
    tracker = StartupTracker(0.0)
    told(VLLM[:4], tracker)
    for at, done in ((10.0, 1e9), (11.0, 2e9), (12.0, 3e9)):
        tracker.download(at, done, 8e9)
    tracker.add(13.0, VLLM[3])  # another rank
    tracker.download(14.0, 5e9, 8e9)
    current = tracker.startup().current
    assert current == PhaseProgress(Phase.DOWNLOAD, 3.0, None, 5e9, 8e9, "bytes", 1e9, "")
    tracker.add(20.0, VLLM[4])
    tracker.download(21.0, 8e9, 8e9)
    startup = tracker.startup()
    assert names(startup) == [Phase.BOOT, Phase.ENGINE, Phase.DOWNLOAD, Phase.WEIGHTS]
    assert (phase(startup, Phase.DOWNLOAD).ended_at, phase(startup, Phase.WEIGHTS).began_at) == (20.0, 20.0)


def test_a_download_that_nobody_saw_is_told_when_it_is_over() -> None:
    tracker = StartupTracker(0.0)
    told(VLLM[:4], tracker)
    tracker.add(100.0, "INFO 10-02 14:30:40 [w.py:2] Time spent downloading weights for org/m: 95.5 seconds")
    startup = tracker.startup()
    download = phase(startup, Phase.DOWNLOAD)
    assert (download.began_at, download.ended_at) == (4.5, 100.0)
    assert phase(startup, Phase.WEIGHTS).began_at == 100.0
    assert figures(startup) == {"download_s": 95.5}


# -- against the plan --------------------------------------------------------------------------------------------------


def test_what_was_told_beside_what_was_planned() -> None:
    reported = (Reported("weights_bytes", 15.0), Reported("kv_tokens", 900.0), Reported("compile_s", 3.0))
    rows = (FitRow("weights", 14, 16), FitRow("KV cache", 5, 5))
    fit = Fit(Verdict.FITS, "", rows=rows, kv_tokens=800, kv_bytes_per_token=10)
    assert against_plan(reported, fit) == (
        Told("weights_bytes", 15.0, 14, 16),
        Told("kv_tokens", 900.0, 800, None),
    )
    assert against_plan((*reported, Reported("kv_bytes", 9000.0)), fit)[1] == Told("kv_bytes", 9000.0, 8000, None)
    assert against_plan(reported, None) == (
        Told("weights_bytes", 15.0, None, None),
        Told("kv_tokens", 900.0, None, None),
    )
