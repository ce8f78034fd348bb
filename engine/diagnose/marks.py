"""Lines that tell of no failure, and without which one cannot be judged: beginnings, readiness, instances, versions."""

import re
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    BEGIN = auto()
    """The program begins: what stands before belongs to an earlier run"""
    READY = auto()
    STOP = auto()
    """It was told to end"""
    LOADING = auto()
    LOADED = auto()
    LOAD_FAILED = auto()
    INSTANCE = auto()
    FACT = auto()
    """Groups tell a version (`vllm`, `triton`, `tensorrt-llm`) or a value of `Run.context`"""


@dataclass(frozen=True, slots=True)
class Mark:
    kind: Kind
    hint: str
    match: re.Pattern[str]
    """Named groups: `model`, `instance`, `device`, `port`; and versions"""
    program: str = ""
    """What it shows to be at work: triton, vllm, trtllm. A beginning without is the image's, before its server's"""


def _mark(kind: Kind, hint: str, match: str, program: str = "") -> Mark:
    return Mark(kind, hint, re.compile(match), program)


MARKS = (
    _mark(Kind.BEGIN, "NVIDIA Release ", r"^NVIDIA Release \d\d\.\d\d \(build"),
    _mark(
        Kind.BEGIN,
        "inned ",
        r"^\"?(?:Pinned memory pool (?:is created|disabled)|Unable to allocate pinned system memory, pinned)",
        "triton",
    ),
    _mark(
        Kind.BEGIN,
        "vLLM API server version ",
        r"vLLM API server version (?P<vllm>\d[\w.+-]*)",
        "vllm",
    ),
    _mark(Kind.BEGIN, "non-default args: ", r"^non-default args: ", "vllm"),
    _mark(Kind.FACT, "non-default args: ", r"'port': (?P<port>\d+)"),
    _mark(Kind.FACT, "args: Namespace(", r"\bport=(?P<port>\d+)"),
    _mark(Kind.FACT, "  version ", r"█\s+version (?P<vllm>\d[\w.+-]*)", "vllm"),
    _mark(Kind.FACT, " LLM engine (v", r"Initializing an? (?:V\d )?LLM engine \(v(?P<vllm>\d[^)\s]*)", "vllm"),
    _mark(Kind.FACT, "vllm: error:", r"^vllm: error:", "vllm"),
    _mark(Kind.FACT, "vllm serve: error:", r"^vllm serve: error:", "vllm"),
    _mark(Kind.FACT, "/vllm/entrypoints/cli/", r"/vllm/entrypoints/cli/", "vllm"),
    _mark(Kind.FACT, 'bin/vllm", line ', r"^ +File \"\S*/bin/vllm\", line ", "vllm"),
    _mark(Kind.FACT, "Usage: tritonserver", r"^Usage: tritonserver", "triton"),
    _mark(Kind.FACT, "backends/vllm/", r"/backends/vllm/", "vllm"),
    _mark(Kind.FACT, "server_version", r"^\| server_version +\| (?P<triton>[\w.]+)", "triton"),
    _mark(Kind.FACT, "Triton Server Version ", r"Triton Server Version (?P<triton>[\w.]+)", "triton"),
    _mark(Kind.FACT, "[TensorRT-LLM]", r"TensorRT-LLM version: (?P<trtllm>\d[\w.+-]*)", "trtllm"),
    _mark(Kind.FACT, "TensorRT-LLM]", r"", "trtllm"),
    _mark(Kind.READY, "Application startup ", r"Application startup complete"),
    _mark(Kind.READY, "Started HTTPService at ", r"Started HTTPService at ", "triton"),
    _mark(Kind.READY, "Started GRPCInferenceService at ", r"Started GRPCInferenceService at ", "triton"),
    _mark(Kind.STOP, "Signal (", r"^Signal \((?:2|15)\) received"),
    _mark(Kind.STOP, "Shutting down", r"^INFO: +Shutting down"),
    _mark(Kind.STOP, "shutdown triggered", r"\[shutdown\] API server: shutdown triggered"),
    _mark(Kind.LOADING, "loading: ", r"^\"?loading: (?P<model>[^:\"]+):\d+", "triton"),
    _mark(Kind.LOADED, "successfully loaded '", r"^\"?successfully loaded '(?P<model>[^']+)'", "triton"),
    _mark(Kind.LOAD_FAILED, "failed to load '", r"^\"?failed to load '(?P<model>[^']+)' version", "triton"),
    _mark(Kind.LOAD_FAILED, "failed to load model '", r"^\"?failed to load model '(?P<model>[^']+)'", "triton"),
    _mark(Kind.LOAD_FAILED, "Poll failed for model", r"Poll failed for model directory '(?P<model>[^']+)'"),
    _mark(
        Kind.INSTANCE,
        "TRITONBACKEND_ModelInstanceInitialize: ",
        r"ModelInstanceInitialize: (?P<instance>\S+) \((?P<device>\w+ device \d+)\)",
        "triton",
    ),
)
PROGRAMS = {"vllm": "vllm", "triton": "triton", "trtllm": "tensorrt-llm"}
"""Groups of marks that tell a version, and the program's name"""
