"""The forms of lines that tell of a start, over the versions of each server; and lines that only look like them."""

# ruff: noqa: E501 (lines of logs are as long as they are)

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.observe.startup import StartupTracker
from engine.observe.startup_lines import FORMS, HINTS, PHASE_HINTS, phase_at, read_line
from engine.startup import Phase

GIB = 1 << 30
V0 = "INFO 03-07 11:20:31 [model_runner.py:1110] "
V06 = "INFO 10-29 07:11:42 model_runner.py:1056] "
V0_RANK = "(VllmWorkerProcess pid=311) INFO 10-29 07:11:42 model_runner.py:1067] "
V1 = "(EngineCore_DP0 pid=272) INFO 10-02 14:31:02 [core.py:77] "
RANK = "(EngineCore_0 pid=130) (VllmWorker rank=1 pid=148) INFO 07-12 08:10:57 [gpu_model_runner.py:1801] "
WORKER = "(Worker_TP3_EP3 pid=417) INFO 11-20 23:50:30 [gpu_model_runner.py:3338] "
DEBUG_PATH = "(Worker_TP0 pid=417) INFO 11-20 23:50:30 [v1/.../worker/gpu_worker.py:760] "
TRITON = 'I1120 23:44:48.553105 5040 model_lifecycle.cc:472] "'
TRITON_OLD = "I0915 02:01:44.118022 1 model_lifecycle.cc:461] "
TRTLLM = "[TensorRT-LLM][INFO] "
LLMAPI = "[07/01/2025-09:14:33] [TRT-LLM] [RANK 0] [I] "

TELL = [
    # -- vLLM 0.6 and V0
    (f"{V06}Starting to load model meta-llama/Llama-3.1-8B-Instruct...", Phase.WEIGHTS, {}),
    ("INFO 10-29 07:11:20 api_server.py:528] vLLM API server version 0.6.3.post1", Phase.BOOT, {}),
    ("INFO 10-29 07:11:21 llm_engine.py:237] Initializing an LLM engine (v0.6.3.post1) with config: model='m'", Phase.ENGINE, {}),
    ("INFO 03-07 11:20:12 [llm_engine.py:240] Initializing a V0 LLM engine (v0.8.5) with config: model='m'", Phase.ENGINE, {}),
    ("INFO 10-29 07:11:22 api_server.py:179] Started engine process with PID 91", Phase.ENGINE, {}),
    ("Loading safetensors checkpoint shards:  56% Completed | 5/9 [00:02<00:01,  2.06it/s]", Phase.WEIGHTS, {}),
    ("Loading pt checkpoint shards: 100% Completed | 2/2 [00:11<00:00,  5.9s/it]", Phase.WEIGHTS, {}),
    (f"{V06}Loading model weights took 14.9888 GB", Phase.WEIGHTS, {"weights_bytes": 14.9888 * GIB}),
    (f"{V0_RANK}Loading model weights took 7.5122 GB", Phase.WEIGHTS, {"weights_bytes": 7.5122 * GIB}),
    (f"{V0}Model loading took 14.9889 GB and 3.281120 seconds", Phase.WEIGHTS, {"weights_bytes": 14.9889 * GIB}),
    ("INFO 03-07 11:20:38 [worker.py:267] Memory profiling takes 0.85 seconds", Phase.PROFILE, {}),
    (
        "INFO 03-07 11:20:38 [worker.py:267] model weights take 14.99GiB; non_torch_memory takes 0.11GiB;"
        " PyTorch activation peak memory takes 1.26GiB; the rest of the memory reserved for KV Cache is 54.87GiB.",
        Phase.PROFILE,
        {"weights_bytes": 14.99 * GIB, "activation_bytes": 1.26 * GIB, "kv_bytes": 54.87 * GIB},
    ),
    (
        "INFO 12-01 08:00:02 worker.py:232] Memory profiling results: total_gpu_memory=79.11GiB"
        " initial_memory_usage=15.40GiB peak_torch_memory=16.27GiB non_torch_memory=0.40GiB kv_cache_size=54.52GiB"
        " gpu_memory_utilization=0.90",
        Phase.PROFILE,
        {"kv_bytes": 54.52 * GIB},
    ),
    ("INFO 10-29 07:11:51 gpu_executor.py:122] # GPU blocks: 27896, # CPU blocks: 2048", Phase.KV_CACHE, {"kv_blocks": 27896}),
    ("INFO 03-07 11:20:38 [executor_base.py:112] # cuda blocks: 28100, # CPU blocks: 2048", Phase.KV_CACHE, {"kv_blocks": 28100}),
    (
        "INFO 03-07 11:20:38 [executor_base.py:117] Maximum concurrency for 131072 tokens per request: 3.43x",
        Phase.KV_CACHE,
        {"concurrency_tokens": 131072, "concurrency": 3.43},
    ),
    (f"{V06}Capturing the model for CUDA graphs. This may lead to unexpected consequences", Phase.GRAPHS, {}),
    (f"{V0}Capturing cudagraphs for decoding. This may lead to unexpected consequences", Phase.GRAPHS, {}),
    ("Capturing CUDA graph shapes:  20%|██        | 7/35 [00:04<00:16,  1.71it/s]", Phase.GRAPHS, {}),
    (f"{V06}Graph capturing finished in 21 secs.", Phase.GRAPHS, {"graphs_s": 21}),
    (f"{V0}Graph capturing finished in 21 secs, took 0.31 GiB", Phase.GRAPHS, {"graphs_s": 21, "graphs_bytes": 0.31 * GIB}),
    # -- vLLM V1
    ("INFO 07-12 08:10:03 [__init__.py:244] Automatically detected platform cuda.", Phase.BOOT, {}),
    ("(APIServer pid=1) INFO 10-02 14:30:22 [api_server.py:1839] vLLM API server version 0.11.0", Phase.BOOT, {}),
    ("(APIServer pid=5364) INFO 11-20 23:49:56 [api_utils.py:347]  ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.32.0", Phase.BOOT, {}),
    ("(APIServer pid=1) INFO 10-02 14:30:22 [utils.py:233] non-default args: {'model': 'm'}", Phase.BOOT, {}),
    ("(APIServer pid=1) INFO 10-02 14:30:30 [model.py:547] Resolved architecture: LlamaForCausalLM", Phase.BOOT, {}),
    (f"{V1}Initializing a V1 LLM engine (v0.11.0) with config: model='m'", Phase.ENGINE, {}),
    (f"{RANK}rank 1 in world size 2 is assigned as DP rank 0, PP rank 0, TP rank 1, EP rank 1", Phase.ENGINE, {}),
    (f"{RANK}vLLM is using nccl==2.26.2", Phase.ENGINE, {}),
    (f"{WORKER}Time spent downloading weights for org/m: 81.120402 seconds", Phase.WEIGHTS, {"download_s": 81.120402}),
    ("(Worker pid=9) Multi-thread loading shards: 40% Completed | 2/5 [00:01<00:02,  1.3it/s]", Phase.WEIGHTS, {}),
    ("Loading safetensors using Runai Model Streamer: 10% Completed | 20/291 [00:00<00:04, 60it/s]", Phase.WEIGHTS, {}),
    (f"{WORKER}Loading weights took 3.21 seconds", Phase.WEIGHTS, {"weights_s": 3.21}),
    (f"{RANK}Model loading took 14.9889 GiB and 3.740512 seconds", Phase.WEIGHTS, {"weights_bytes": 14.9889 * GIB}),
    (f"{WORKER}Model loading took 14.99 GiB memory and 3.740512 seconds", Phase.WEIGHTS, {"weights_bytes": 14.99 * GIB}),
    (f"{RANK}Using cache directory: /c/torch_compile_cache/a/rank_0_0 for vLLM's torch.compile", Phase.COMPILE, {}),
    (f"{WORKER}[backbone] Dynamo bytecode transform time: 6.51 s", Phase.COMPILE, {}),
    (f"{RANK}Compiling a graph for general shape takes 21.30 s", Phase.COMPILE, {}),
    (f"{RANK}Compiling a graph for dynamic shape takes 21.30 s", Phase.COMPILE, {}),
    (f"{WORKER}Compiling a graph for compile range (1, 2048) takes 21.30 s", Phase.COMPILE, {}),
    (f"{RANK}Directly load the compiled graph(s) for shape None from the cache, took 4.1 s", Phase.COMPILE, {}),
    (f"{WORKER}[backbone] Directly load AOT compilation from path /c/rank_0_0/model", Phase.COMPILE, {}),
    (f"{RANK}torch.compile takes 27.81 s in total", Phase.COMPILE, {"compile_s": 27.81}),
    (f"{WORKER}torch.compile took 27.81 s in total", Phase.COMPILE, {"compile_s": 27.81}),
    (
        f"{WORKER}[backbone] torch.compile and initial profiling/warmup run together took 8.35 s in total",
        Phase.COMPILE,
        {"compile_s": 8.35},
    ),
    (f"{WORKER}[backbone] Initial profiling/warmup run took 0.09 s", Phase.PROFILE, {}),
    (f"{RANK}Available KV cache memory: 55.32 GiB", Phase.PROFILE, {"kv_bytes": 55.32 * GIB}),
    (f"{DEBUG_PATH}Available KV cache memory: 55.32 GiB", Phase.PROFILE, {"kv_bytes": 55.32 * GIB}),
    (f"{WORKER}Estimated CUDA graph memory: 0.52 GiB total", Phase.PROFILE, {}),
    (f"{WORKER}CUDA graph memory profiling is enabled (default since v0.21.0). The current", Phase.PROFILE, {}),
    (f"{V1}GPU KV cache size: 188,640 tokens", Phase.KV_CACHE, {"kv_tokens": 188640}),
    (
        f"{V1}Maximum concurrency for 131,072 tokens per request: 5.23x",
        Phase.KV_CACHE,
        {"concurrency_tokens": 131072, "concurrency": 5.23},
    ),
    (
        f"{V1}GPU KV cache size: 188,640 tokens, Maximum concurrency for 8,192 tokens per request: 23.03x",
        Phase.KV_CACHE,
        {"kv_tokens": 188640, "concurrency_tokens": 8192, "concurrency": 23.03},
    ),
    (
        f"{V1}GPU + host KV cache size: 1,640 tokens, Maximum concurrency for 820 tokens per request: 2.00x",
        Phase.KV_CACHE,
        {"kv_tokens": 1640, "concurrency_tokens": 820, "concurrency": 2},
    ),
    ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  31%|███▏      | 21/67 [00:01<00:02, 17.9it/s]", Phase.GRAPHS, {}),
    ("(Worker_TP0 pid=4) Capturing CUDA graphs (FULL): 100%|██████████| 35/35 [00:02<00:00, 15.1it/s]", Phase.GRAPHS, {}),
    (
        f"{WORKER}Graph capturing finished in 7 secs, took 0.52 GiB",
        Phase.GRAPHS,
        {"graphs_s": 7, "graphs_bytes": 0.52 * GIB},
    ),
    (
        f"{WORKER}Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory utilization is (0.9, 71.27 GiB)."
        " Actual usage is 14.99 GiB for weight, 1.24 GiB for peak activation, 0.19 GiB for non-torch memory, and 0.5 GiB"
        " for CUDAGraph memory. Replace gpu_memory_utilization config with",
        Phase.GRAPHS,
        {"activation_bytes": 1.24 * GIB},
    ),
    (f"{V1}init engine (profile, create kv cache, warmup model) took 47.38 seconds", None, {"engine_init_s": 47.38}),
    (f"{V1}init engine (profile, create kv cache, warmup model) took 47.38 s", None, {"engine_init_s": 47.38}),
    (
        f"{V1}init engine (profile, create kv cache, warmup model) took 47.38 s (compilation: 27.81 s)",
        None,
        {"engine_init_s": 47.38, "compile_s": 27.81},
    ),
    ("INFO 10-29 07:12:20 api_server.py:232] Starting vLLM API server on http://0.0.0.0:8000", Phase.SERVE, {}),
    ("(APIServer pid=1) INFO 10-02 14:31:40 [api_server.py:1912] Starting vLLM API server 0 on http://0.0.0.0:8000", Phase.SERVE, {}),
    ("(APIServer pid=5) INFO 11-20 23:51:19 [entry.py:140] Starting vLLM server on http://127.0.0.1:8100", Phase.SERVE, {}),
    ("(APIServer pid=1) INFO:     Application startup complete.", Phase.SERVE, {}),
    ("INFO:     Waiting for application startup.", Phase.SERVE, {}),
    # -- Triton, also under mpirun, and its OpenAI frontend
    ("== Triton Inference Server ==", Phase.BOOT, {}),
    ("NVIDIA Release 25.12 (build 245654821)", Phase.BOOT, {}),
    ("ERROR: This container was built for NVIDIA Driver Release 570.26 or later, but", Phase.BOOT, {}),
    ("NOTE: The SHMEM allocation limit is set to the default of 64MB.  This may be", Phase.BOOT, {}),
    (f"{TRITON_OLD}Pinned memory pool is created at '0x7f9aa0000000' with size 268435456", Phase.BOOT, {}),
    (f'{TRITON}loading: llama:1"', Phase.MODELS, {}),
    (f"{TRITON_OLD}loading: llama:1", Phase.MODELS, {}),
    (f'[1,0]<stdout>:{TRITON}loading: llama:1"', Phase.MODELS, {}),
    (f'{TRITON}TRITONBACKEND_ModelInstanceInitialize: llama_0_0 (GPU device 0)"', Phase.MODELS, {}),
    (f"{TRITON}successfully loaded 'llama'\"", Phase.MODELS, {}),
    (f"{TRITON_OLD}successfully loaded 'llama' version 1", Phase.MODELS, {}),
    (f'{TRITON}Started HTTPService at 0.0.0.0:8000"', Phase.SERVE, {}),
    ("Found model: name='llama', backend='vllm'", Phase.SERVE, {}),
    ("INFO:     Uvicorn running on http://0.0.0.0:9000 (Press CTRL+C to quit)", Phase.SERVE, {}),
    # -- TensorRT-LLM
    (f"{TRTLLM}Engine version 0.20.0 found in the config file, assuming engine(s) built by new builder API.", Phase.ENGINE, {}),
    (f"{TRTLLM}Initializing MPI with thread mode 3", Phase.ENGINE, {}),
    (f"{TRTLLM}MPI size: 2, MPI local size: 2, rank: 1", Phase.ENGINE, {}),
    (f"{TRTLLM}Rank 1 is using GPU 1", Phase.ENGINE, {}),
    (f"{TRTLLM}TRTGptModel maxNumSequences: 64", Phase.ENGINE, {}),
    (f"{TRTLLM}Loaded engine size: 15317 MiB", Phase.WEIGHTS, {"weights_bytes": 15317 << 20}),
    (
        f"{TRTLLM}Memory usage when calculating max tokens in paged kv cache: total: 79.11 GiB, available: 62.02 GiB",
        Phase.PROFILE,
        {},
    ),
    (f"{TRTLLM}Number of blocks in KV cache primary pool: 58309", Phase.KV_CACHE, {}),
    (f"{TRTLLM}Max KV cache pages per sequence: 32", Phase.KV_CACHE, {}),
    (f"{TRTLLM}Max KV cache blocks per sequence: 32", Phase.KV_CACHE, {}),
    (
        f"{TRTLLM}[MemUsageChange] Allocated 78.30 GiB for max tokens in paged KV cache (3731744).",
        Phase.KV_CACHE,
        {"kv_bytes": 78.30 * GIB, "kv_tokens": 3731744},
    ),
    ("[trtllm] Starting trtllm engine with args: {'model': 'm'}", Phase.ENGINE, {}),
    ("rank1 is waiting for the leader node...", Phase.ENGINE, {}),
    ("Loading safetensors weights in parallel:  50%|█████     | 2/4 [00:00<00:00,  8.52it/s]", Phase.WEIGHTS, {}),
    (f"{LLMAPI}Creating CUDA graph instances for 34 batch sizes.", Phase.GRAPHS, {}),
    ("Loading weights: 100%|██████████| 617/617 [00:03<00:00, 190.01it/s]", Phase.WEIGHTS, {}),
    # -- and of all of them what is seldom seen
    ("== vLLM ==", Phase.BOOT, {}),
    ("== TensorRT-LLM ==", Phase.BOOT, {}),
    ("Triton Server Version 2.64.0 (build 245654821)", Phase.BOOT, {}),
    ("WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available.", Phase.BOOT, {}),
    ("(APIServer pid=5364) INFO 11-20 23:50:08 [model.py:2152] Using max model len 1024", Phase.BOOT, {}),
    (f'{TRITON}Unable to allocate pinned system memory, pinned memory pool will not be available: no driver"', Phase.BOOT, {}),
    (f'{TRITON}CUDA memory pool disabled"', Phase.BOOT, {}),
    (f"{WORKER}world_size=2 rank=1 local_rank=1 distributed_init_method=tcp://127.0.0.1:1 backend=nccl", Phase.ENGINE, {}),
    (f"{WORKER}[backbone] Starting torch.compile", Phase.COMPILE, {}),
    (f"{WORKER}Warming up model for the compilation...", Phase.COMPILE, {}),
    (f"{RANK}Cache the graph of shape None for later use", Phase.COMPILE, {}),
    (f"{WORKER}[backbone] saved AOT compiled function to /c/rank_0_0/model", Phase.COMPILE, {}),
    (f"{WORKER}Profiling CUDA graph memory: PIECEWISE=51, FULL=35", Phase.PROFILE, {}),
    (f"{WORKER}Explicitly set (1.0/7.46) GiB for KV cache on node 0.", Phase.PROFILE, {"kv_bytes": GIB}),
    (f'{TRITON}TRITONBACKEND_ModelInitialize: llama (version 1)"', Phase.MODELS, {}),
    ("(APIServer pid=5364) INFO 11-20 23:51:19 [launcher.py:186] Available routes are:", Phase.SERVE, {}),
    ("INFO:     Started server process [5364]", Phase.SERVE, {}),
    (f'{TRITON}Started GRPCInferenceService at 0.0.0.0:8001"', Phase.SERVE, {}),
    (f'{TRITON}Started Metrics Service at 0.0.0.0:8002"', Phase.SERVE, {}),
    # -- what writes beside another's bar
    (
        "Capturing CUDA graph shapes: 97%|█████████▋| 34/35 [00:20<00:00,  1.6it/s](VllmWorkerProcess pid=311) INFO 10-29"
        " 07:12:12 model_runner.py:1512] Graph capturing finished in 21 secs, took 0.31 GiB",
        Phase.GRAPHS,
        {"graphs_s": 21, "graphs_bytes": 0.31 * GIB},
    ),
]  # fmt: skip

SILENT = [
    "INFO 03-07 11:25:00 [logger.py:42] Received request cmpl-1: prompt: 'Loading safetensors checkpoint shards: 50% Completed"
    " | 1/2 [00:01<00:01]', params: SamplingParams(n=1)",
    "I was asked whether Application startup complete. is the last line",
    "ValueError: Free memory on device (0.3/79.19 GiB) on startup is less than desired GPU memory utilization",
    "  File \"/opt/vllm/core.py\", line 402, in f  # GPU KV cache size: 1 tokens",
    "loading: llama:1",
    "successfully loaded 'llama'",
    f"{TRITON}failed to load 'llama'\"",
    f"{TRITON}successfully unloaded 'llama' version 1\"",
    "| llama | 1 | READY |",
    "INFO 03-07 11:25:10 [loggers.py:111] Engine 000: Avg prompt throughput: 11.2 tokens/s, GPU KV cache usage: 0.1%",
    "INFO:     127.0.0.1:50182 - \"GET /health HTTP/1.1\" 200 OK",
    "WARNING 03-07 11:25:10 [shm.py:4] No available shared memory broadcast block found in 60 seconds",
    "My notes on how Starting vLLM API server on http works",
    "Signal (15) received.",
    "The model 'Starting to load model x...' is",
    "[TensorRT-LLM][ERROR] no Engine version 1 found in the config file",
    "version 0.32.0",
    "",
]  # fmt: skip


@pytest.mark.parametrize(("line", "phase", "figures"), TELL, ids=[line[:90] for line, _, _ in TELL])
def test_each_form_tells_its_phase_and_its_figures(line: str, phase: Phase | None, figures: dict[str, float]) -> None:
    assert phase_at(line) is phase
    found = {key: value for seen in read_line(line) for key, value in seen.figures.items()}
    assert found == pytest.approx(figures)
    assert any(hint in line for hint in (PHASE_HINTS if phase else HINTS))


@pytest.mark.parametrize("line", SILENT)
def test_a_line_that_only_mentions_it_tells_nothing(line: str) -> None:
    assert not list(read_line(line))
    assert phase_at(line) is None


def test_no_form_is_untried() -> None:
    tried = {seen.form.pattern for line, _, _ in TELL for seen in read_line(line)}
    assert {form.pattern for form in FORMS} == tried


PIECES = sorted({piece for line, _, _ in TELL for piece in line.replace(",", " , ").replace("(", " ( ").split(" ")})


@given(
    st.sampled_from([line for line, _, _ in TELL]),
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 20), st.one_of(st.text(max_size=8), st.sampled_from(PIECES))),
        max_size=4,
    ),
)
def test_whatever_a_line_holds_it_is_read(line: str, edits: list[tuple[int, int, str]]) -> None:
    for start, length, text in edits:
        line = line[:start] + text + line[start + length :]
    StartupTracker(0.0).add(1.0, line)
    for seen in read_line(line):
        assert seen.form.hint in line
        assert all(0 <= value < 1e30 for value in seen.figures.values())


@pytest.mark.parametrize(
    "line",
    [
        "GPU KV cache size: , tokens",
        "# cuda blocks: 0, # CPU blocks: 0",
        f"GPU KV cache size: {'9' * 5000} tokens",
        f"Loading pt checkpoint shards: 1% Completed | {'9' * 5000}/{'9' * 5000} [",
        f"Free memory on device Actual usage is {'1' * 7900} GiB for peak activatio GiB for peak activation",
        f"({'pid=1 ' * 1300}] is assigned as ",
        f"{'](A' * 2600} is assigned as ",
        f"{'INFO: ' * 1300} is assigned as ",
    ],
    ids=lambda line: line[:40],
)
def test_what_is_meant_to_be_slow_or_to_overflow_is_neither(line: str) -> None:
    tracker = StartupTracker(0.0)
    tracker.add(1.0, "Maximum concurrency for 8,192 tokens per request: 23.03x")
    began = time.process_time()
    tracker.add(2.0, line)
    tracker.add(3.0, "Maximum concurrency for 8,192 tokens per request: 1.03x")
    assert time.process_time() - began < 0.5
