"""What servers write before each line: which process it is, and how grave the line. Stripped before it is read."""

import re
from typing import NamedTuple

from engine.log_line import Level

_LEVELS = {
    "D": Level.DEBUG,
    "I": Level.INFO,
    "W": Level.WARNING,
    "E": Level.ERROR,
    "F": Level.FATAL,
    "DEBUG": Level.DEBUG,
    "INFO": Level.INFO,
    "WARNING": Level.WARNING,
    "ERROR": Level.ERROR,
    "CRITICAL": Level.FATAL,
}
# In the order in which they come. The container engine's time, Compose's service, mpirun's rank; vLLM's process (all
# forms since 0.8), PyTorch's rank; then the level as vLLM, Triton (glog, or ISO 8601) and TensorRT-LLM give it.
_PREFIX = re.compile(
    r"""
    (?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?[ ]+)?
    (?:[\w.-]{1,64}[ ]+\|[ ]+)?
    (?:\[\d+,(?P<mpi>\d+)\]<std(?:out|err)>:[ ]?)?
    (?:\((?P<process>[A-Za-z][\w-]*)(?:[ ](?P<of>[\w=]+))?,?[ ]pid=\d+(?:,[ ]ip=[\w.:]+)?\)[ ]?)?
    (?:\[rank(?P<torch>\d+)\]:[ ]?)?
    (?:
      (?P<vllm>DEBUG|INFO|WARNING|ERROR|CRITICAL)[ ]+(?:\d\d-\d\d[ ])?\d\d:\d\d:\d\d(?:\.\d+)?[ ]+\[?[^\]\s]+:\d+\][ ]?
    | (?P<glog>[IWEF])\d{4}[ ]\d\d:\d\d:\d\d\.\d+[ ]+\d+[ ][\w.-]+:\d+\][ ]?
    | (?P<iso>[IWEF])[ ]\d+[ ][\w.-]+:\d+\][ ]?
    | (?:\[[\d/:.\- ]+\][ ])?\[(?:TensorRT-LLM|TRT-LLM)\][ ]?
      (?:\[RANK[ ](?P<rank>\d+)\][ ]?)?\[(?P<trtllm>[A-Z]+)\][ ]?
    )?
    """,
    re.VERBOSE | re.ASCII,
)


class Prefix(NamedTuple):
    source: str
    """The process, as far as the line says: `Worker_TP3`, `rank 1`"""
    level: Level | None
    length: int
    """Characters of it"""


def prefix_of(line: str) -> Prefix:
    match = _PREFIX.match(line)
    if match is None or not match.end():
        return Prefix("", None, 0)
    process, of, mpi, torch, vllm, glog, iso, rank, trtllm = match.group(
        "process", "of", "mpi", "torch", "vllm", "glog", "iso", "rank", "trtllm"
    )
    number = rank or torch or mpi
    source = " ".join(filter(None, (process, (of or "").replace("=", " ")))) or (f"rank {number}" if number else "")
    return Prefix(source, _LEVELS.get(vllm or glog or iso or trtllm or ""), match.end())
