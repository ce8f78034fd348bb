"""What the lines of a server's log tell of its start: patterns as data, one row for each form that a line takes.

Forms of vLLM from 0.6 (V0 and V1) to 0.32, TensorRT-LLM's engine and llmapi, Triton's core and the OpenAI frontend.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import NamedTuple

from engine.startup import Phase

GIB = 2.0**30
MIB = 2.0**20


class Tells(Enum):
    """What a line means beyond its phase and its figures."""

    RUN = auto()
    """A server's first words: what came before, if it had come further than that, was another run"""
    LOADING = auto()
    LOADED = auto()
    INSTANCE = auto()
    """An instance of the model `detail` is made"""


class Form(NamedTuple):
    phase: Phase | None
    """None: it has figures, and may come in several phases"""
    hint: str
    """Occurs in every line of this form"""
    pattern: str
    """From the line's beginning, its prefixes taken off. Groups: `done`, `total`, `detail`; others are figures"""
    unit: str = ""
    scale: float = GIB
    """Of figures in bytes"""
    tells: Tells | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one line tells."""

    form: Form
    done: float | None
    total: float | None
    detail: str
    figures: Mapping[str, float]
    """By the key of `Reported`, and `kv_blocks`: those of vLLM's V0, of a size that it does not tell"""
    text: str
    """The line without its prefixes"""


# Bounded, and without going back: a log may hold anything.
_N = r"\d[\d,]{0,14}+(?:\.\d{1,9}+)?+"
_TRITON = r'[IWE]\d{4} [\d:.]+ \d+ [\w/.]+:\d+\] "?'
_BAR = r":\s+\d+%\|[^|]*\| (?P<done>\d{1,9})/(?P<total>\d{1,9}) \["

FORMS = (
    # -- the image's start, and the server's configuration
    Form(Phase.BOOT, "== Triton Inference Server ==", r"== Triton Inference Server ==", tells=Tells.RUN),
    Form(Phase.BOOT, "== vLLM ==", r"== vLLM ==", tells=Tells.RUN),
    Form(Phase.BOOT, "== TensorRT", r"== TensorRT[ -]LLM[\w ]* ==", tells=Tells.RUN),
    Form(Phase.BOOT, "NVIDIA Release ", r"NVIDIA Release \d\d\.\d\d"),
    Form(Phase.BOOT, "Triton Server Version ", r"Triton Server Version \d"),
    Form(
        Phase.BOOT, "This container was built for NVIDIA Driver", r"ERROR: This container was built for NVIDIA Driver"
    ),
    Form(Phase.BOOT, "The NVIDIA Driver was not detected", r"WARNING: The NVIDIA Driver was not detected"),
    Form(Phase.BOOT, "The SHMEM allocation limit", r"NOTE: The SHMEM allocation limit"),
    Form(Phase.BOOT, "Automatically detected platform", r"Automatically detected platform (?P<detail>\w+)\."),
    Form(Phase.BOOT, "vLLM API server version", r"vLLM API server version (?P<detail>\S+)", tells=Tells.RUN),
    Form(Phase.BOOT, "█  version ", r"[ \u2580-\u259f]*█  version (?P<detail>\d\S*)", tells=Tells.RUN),
    Form(Phase.BOOT, "non-default args: {", r"non-default args: \{"),
    Form(Phase.BOOT, "Resolved architecture: ", r"Resolved architecture: (?P<detail>\w+)"),
    Form(Phase.BOOT, "Using max model len ", r"Using max model len \d"),
    Form(Phase.BOOT, "inned memory pool", rf"{_TRITON}Pinned memory pool is created at", tells=Tells.RUN),
    Form(Phase.BOOT, "inned system memory", rf"{_TRITON}Unable to allocate pinned system memory", tells=Tells.RUN),
    Form(Phase.BOOT, "CUDA memory pool ", rf"{_TRITON}CUDA memory pool (?:is created on|disabled)"),
    # -- the engine's processes
    Form(Phase.ENGINE, "LLM engine (v", r"Initializing an? (?:V\d )?LLM engine \((?P<detail>v[^)\s]+)\)"),
    Form(Phase.ENGINE, "Started engine process with PID", r"Started engine process with PID \d"),
    Form(Phase.ENGINE, " is assigned as ", r"rank \d+ in world size \d+ is assigned as "),
    Form(Phase.ENGINE, "world_size=", r"world_size=\d+ rank=\d+ local_rank=\d+ distributed_init_method="),
    Form(Phase.ENGINE, "vLLM is using nccl==", r"vLLM is using nccl=="),
    Form(Phase.ENGINE, "found in the config file", r"Engine version \S+ found in the config file"),
    Form(Phase.ENGINE, "Initializing MPI with thread mode", r"Initializing MPI with thread mode"),
    Form(Phase.ENGINE, "MPI size: ", r"MPI size: \d+, (?:MPI local size: \d+, )?rank: \d+"),
    Form(Phase.ENGINE, " is using GPU ", r"Rank \d+ is using GPU \d+"),
    Form(Phase.ENGINE, "TRTGptModel maxNumSequences: ", r"TRTGptModel maxNumSequences: \d+"),
    Form(Phase.ENGINE, "Starting trtllm engine with args", r"Starting trtllm engine with args"),
    Form(Phase.ENGINE, "is waiting for the leader node", r"rank\d+ is waiting for the leader node"),
    # -- weights
    Form(Phase.WEIGHTS, "Starting to load model ", r"Starting to load model (?P<detail>\S.*?)\.\.\."),
    Form(Phase.WEIGHTS, "Time spent downloading", rf"Time spent downloading weights for .*: (?P<download_s>{_N}) sec"),
    Form(
        Phase.WEIGHTS,
        "% Completed | ",
        r"(?:Multi-thread l|L)oading [\w .()-]+:\s+\d+% Completed \| (?P<done>\d{1,9})/(?P<total>\d{1,9}) \[",
        "shards",
    ),
    Form(
        Phase.WEIGHTS,
        "Loading safetensors weights in parallel",
        rf"Loading safetensors weights in parallel{_BAR}",
        "shards",
    ),
    Form(Phase.WEIGHTS, "Loading weights", rf"Loading weights(?: concurrently)?{_BAR}", "layers"),
    Form(Phase.WEIGHTS, "Loading weights took ", rf"Loading weights took (?P<weights_s>{_N}) seconds"),
    Form(Phase.WEIGHTS, "Model loading took ", rf"Model loading took (?P<weights_bytes>{_N}) Gi?B\b"),
    Form(Phase.WEIGHTS, "Loading model weights took ", rf"Loading model weights took (?P<weights_bytes>{_N}) Gi?B\b"),
    Form(Phase.WEIGHTS, "Loaded engine size: ", rf"Loaded engine size: (?P<weights_bytes>{_N}) MiB", scale=MIB),
    # -- compilation
    Form(Phase.COMPILE, "torch.compile", r"Starting torch\.compile$"),
    Form(Phase.COMPILE, "for vLLM's torch.compile", r"Using cache directory: .* for vLLM's torch\.compile"),
    Form(Phase.COMPILE, "Warming up model for the compilation", r"Warming up model for the compilation"),
    Form(Phase.COMPILE, "Dynamo bytecode transform time", r"Dynamo bytecode transform time: "),
    Form(Phase.COMPILE, "Compiling a graph for ", r"Compiling a graph for (?P<detail>.+?) takes "),
    Form(Phase.COMPILE, "Cache the graph ", r"Cache the graph (?:of|for) .* for later use"),
    Form(Phase.COMPILE, "Directly load ", r"Directly load (?:the compiled graph|AOT compilation)"),
    Form(Phase.COMPILE, "saved AOT compiled function", r"saved AOT compiled function to "),
    Form(
        Phase.COMPILE,
        "torch.compile ",
        rf"torch\.compile (?:takes|(?:and initial profiling/warmup run together )?took) (?P<compile_s>{_N}) s in total",
    ),
    # -- memory profiling
    Form(Phase.PROFILE, "Initial profiling/warmup run", r"Initial profiling/warmup run took "),
    Form(Phase.PROFILE, "Memory profiling takes ", r"Memory profiling takes "),
    Form(
        Phase.PROFILE,
        "activation peak memory takes",
        rf"model weights take (?P<weights_bytes>{_N})GiB;.* PyTorch activation peak memory takes"
        rf" (?P<activation_bytes>{_N})GiB; the rest of the memory reserved for KV Cache is (?P<kv_bytes>{_N})GiB",
    ),
    Form(
        Phase.PROFILE, "Memory profiling results: ", rf"Memory profiling results: .*kv_cache_size=(?P<kv_bytes>{_N})GiB"
    ),
    Form(Phase.PROFILE, "Profiling CUDA graph memory", r"Profiling CUDA graph memory: "),
    Form(Phase.PROFILE, "Estimated CUDA graph memory", rf"Estimated CUDA graph memory: {_N} GiB total"),
    Form(Phase.PROFILE, "Available KV cache memory: ", rf"Available KV cache memory: (?P<kv_bytes>{_N}) GiB"),
    Form(Phase.PROFILE, "CUDA graph memory profiling is ", r"CUDA graph memory profiling is (?:en|dis)abled"),
    Form(Phase.PROFILE, ") GiB for KV cache", rf"(?:Explicitly|Auto) set \((?P<kv_bytes>{_N})/{_N}\) GiB for KV cache"),
    Form(
        Phase.PROFILE,
        "calculating max tokens in paged",
        r"Memory usage when calculating max tokens in paged kv cache: ",
    ),
    # -- KV cache
    Form(
        Phase.KV_CACHE,
        " KV cache size: ",
        rf"[\w +]+ KV cache size: (?P<kv_tokens>{_N}) tokens"
        rf"(?:, Maximum concurrency for (?P<concurrency_tokens>{_N}) tokens per request: (?P<concurrency>{_N})x)?",
    ),
    Form(
        Phase.KV_CACHE,
        "Maximum concurrency for ",
        rf"Maximum concurrency for (?P<concurrency_tokens>{_N}) tokens per request: (?P<concurrency>{_N})x",
    ),
    Form(Phase.KV_CACHE, " blocks: ", r"# \w+ blocks: (?P<kv_blocks>\d{1,12}), # CPU blocks: \d+"),
    Form(Phase.KV_CACHE, "KV cache primary pool", r"Number of blocks in KV cache primary pool: \d"),
    Form(Phase.KV_CACHE, "Max KV cache ", r"Max KV cache (?:pages|blocks) per sequence: \d"),
    Form(
        Phase.KV_CACHE,
        "for max tokens in paged KV cache",
        rf"Allocated (?P<kv_bytes>{_N}) GiB for max tokens in paged KV cache \((?P<kv_tokens>{_N})\)",
    ),
    # -- graphs
    Form(Phase.GRAPHS, "Capturing the model for CUDA graphs", r"Capturing the model for CUDA graphs"),
    Form(Phase.GRAPHS, "Capturing cudagraphs for decoding", r"Capturing cudagraphs for decoding"),
    Form(
        Phase.GRAPHS,
        "Capturing CUDA graph",
        rf"Capturing CUDA graph(?: shapes|s)(?: \((?P<detail>[^)]*)\))?{_BAR}",
        "graphs",
    ),
    Form(
        Phase.GRAPHS,
        "Graph capturing finished in ",
        rf"Graph capturing finished in (?P<graphs_s>{_N}) secs(?:, took (?P<graphs_bytes>{_N}) GiB)?",
    ),
    Form(Phase.GRAPHS, "Creating CUDA graph instances for ", r"Creating CUDA graph instances for \d+ batch sizes"),
    Form(
        Phase.GRAPHS,
        "GiB for peak activation",
        rf"Free memory on device .* Actual usage is .*? (?P<activation_bytes>{_N}) GiB for peak activation",
    ),
    Form(
        None,
        "init engine (profile, ",
        rf"init engine \(profile, create kv cache, warmup model\) took (?P<engine_init_s>{_N}) s(?:econds)?"
        rf"(?: \(compilation: (?P<compile_s>{_N}) s)?",
    ),
    # -- Triton's models
    Form(Phase.MODELS, "loading: ", rf"{_TRITON}loading: (?P<detail>.+:\d+)", "models", tells=Tells.LOADING),
    Form(Phase.MODELS, "TRITONBACKEND_ModelInitialize: ", rf"{_TRITON}TRITONBACKEND_ModelInitialize: "),
    Form(
        Phase.MODELS,
        "TRITONBACKEND_ModelInstanceInitialize: ",
        rf"{_TRITON}TRITONBACKEND_ModelInstanceInitialize: (?P<detail>\S+) \(",
        tells=Tells.INSTANCE,
    ),
    Form(
        Phase.MODELS,
        "successfully loaded '",
        rf"{_TRITON}successfully loaded '(?P<detail>[^']+)'",
        "models",
        tells=Tells.LOADED,
    ),
    # -- endpoints
    Form(Phase.SERVE, "Starting vLLM ", r"Starting vLLM (?:API )?server(?: \d+)? on "),
    Form(Phase.SERVE, "Available routes are:", r"Available routes are:$"),
    Form(Phase.SERVE, "Started server process [", r"Started server process \[\d+\]"),
    Form(Phase.SERVE, "Waiting for application startup.", r"Waiting for application startup\.$"),
    Form(Phase.SERVE, "Application startup complete.", r"Application startup complete\.$"),
    Form(Phase.SERVE, "Uvicorn running on ", r"Uvicorn running on "),
    Form(Phase.SERVE, "Found model: name='", r"Found model: name='"),
    Form(Phase.SERVE, "Started GRPCInferenceService at", rf"{_TRITON}Started GRPCInferenceService at"),
    Form(Phase.SERVE, "Started HTTPService at", rf"{_TRITON}Started HTTPService at"),
    Form(Phase.SERVE, "Started Metrics Service at", rf"{_TRITON}Started Metrics Service at"),
)
PHASE_HINTS: tuple[str, ...] = tuple(dict.fromkeys(form.hint for form in FORMS if form.phase))
"""At least one occurs in every line that `phase_at` knows"""
HINTS: tuple[str, ...] = tuple(dict.fromkeys(form.hint for form in FORMS))
"""As `PHASE_HINTS`, for `read_line`"""

_compiled = cache(re.compile)  # each when it is first needed: all of them at once would delay the first paint
_PREFIXES = r"""(?:
        \[\d+,\d+\]<std\w+>:[ ]?                      # mpirun
        | [\w.-]+\s*\|[ ](?=\S)                       # docker compose
        | \([\w =-]{1,60}\bpid=\d+[^)]*\)\s+                # vLLM's processes, Ray's
        | (?:DEBUG|INFO|WARNING|ERROR)[ ](?:\d{4}-)?\d\d-\d\d[ ][\d:.,]+[ ]\[?[\w/.]+:\d+\][ ]?
        | INFO:\s+                                     # uvicorn
        | \[TensorRT-LLM\]\[\w+\][ ]
        | \[\d\d/\d\d/\d{4}-[\d:]+\][ ]
        | \[(?:[A-Za-z_-]+|RANK[ ]\d+)\][ ]             # [TRT-LLM] [RANK 0] [I], [trtllm], [MemUsageChange], [backbone]
    )+"""
# A bar that is under way does not end its line: what another process writes meanwhile comes after it, on the same one.
_MIDDLE = r"(?<=\])(?=\([A-Z][\w =-]{0,60}\bpid=\d|(?:INFO|WARNING|ERROR) \d\d-\d\d )"


def read_line(text: str) -> Iterator[Seen]:
    """What a line tells of a start; mostly nothing. `text`: cleaned, without the runtime's time before it."""
    found = [form for form in FORMS if form.hint in text]
    if not found:
        return
    for part in _compiled(_MIDDLE).split(text):
        prefix = _compiled(_PREFIXES, re.VERBOSE).match(part)
        message = part[prefix.end() :] if prefix else part
        for form in found:
            if match := _compiled(form.pattern).match(message):
                yield _seen(form, match, message)
                break


def phase_at(text: str) -> Phase | None:
    """The phase that this line begins or proves. `text` as for `read_line`."""
    phases = [seen.form.phase for seen in read_line(text) if seen.form.phase]
    return max(phases, key=list(Phase).index, default=None)


def _seen(form: Form, match: re.Match[str], message: str) -> Seen:
    groups = {key: value for key, value in match.groupdict().items() if value is not None}
    numbers = {key: float(value.replace(",", "")) for key, value in groups.items() if key != "detail"}
    done, total = numbers.pop("done", None), numbers.pop("total", None)
    figures = {key: value * form.scale if key.endswith("_bytes") else value for key, value in numbers.items()}
    return Seen(form, done, total, groups.get("detail", ""), figures, message)
