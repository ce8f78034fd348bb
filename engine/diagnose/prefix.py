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
# In the order in which they come. The container engine's time or that of the system's journal, Compose's service or
# Kubernetes' pod, mpirun's rank; vLLM's process (all forms since 0.8) and that within it, PyTorch's rank; then the
# level as vLLM, Triton (glog, or ISO 8601) and TensorRT-LLM give it.
_PREFIX = re.compile(
    r"""
    (?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?[ ]+)?
    (?:[A-Z][a-z]{2}[ ][ \d]\d[ ]\d\d:\d\d:\d\d[ ][\w.-]{1,64}[ ][\w.@-]{1,64}(?:\[\d+\])?:[ ])?
    (?:[\w.-]{1,64}[ ]+\|[ ]+|\[pod/[\w./-]{1,256}\][ ])?
    (?:\[\d+,(?P<mpi>\d+)\]<std(?:out|err)>:[ ]?)?
    (?:\((?P<process>[A-Za-z][\w-]*)(?:[ ](?P<of>[\w=]+))?,?[ ]pid=\d+(?:,[ ]ip=[\w.:]+)?\)[ ]?)?
    (?:\((?P<actor>(?:Ray)?Worker\w*)[ ]pid=\d+(?:,[ ]ip=[\w.:]+)?\)[ ]?)?
    (?:\[rank(?P<torch>\d+)\]:[ ]?)?
    (?:
      (?P<vllm>DEBUG|INFO|WARNING|ERROR|CRITICAL)[ ]+(?:\d\d-\d\d[ ])?\d\d:\d\d:\d\d(?:\.\d+)?[ ]+\[?[^\]\s]+:\d+\][ ]?
    | (?P<glog>[IWEF])\d{4}[ ]\d\d:\d\d:\d\d\.\d+[ ]+\d+[ ][\w.-]+:\d+\][ ]?
    | (?P<iso>[IWEF])[ ]\d+[ ][\w.-]+:\d+\][ ]?
    | (?:\[[\d/:.\- ]+\][ ])?\[(?:TensorRT-LLM|TRT-LLM)\][ ]?
      (?:\[RANK[ ](?P<rank>\d+)\][ ]?)?\[(?P<trtllm>[A-Z]+)\][ ]?
      (?:(?:\[\w+\])?\[RANK[ ](?P<rank2>\d+)\][ ]?)?
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
    process, of, mpi, torch, vllm, glog, iso, trtllm = match.group(
        "process", "of", "mpi", "torch", "vllm", "glog", "iso", "trtllm"
    )
    number = match["rank"] or match["rank2"] or torch or mpi
    source = " ".join(filter(None, (match["actor"] or process, (of or "").replace("=", " "))))
    return Prefix(
        source or (f"rank {number}" if number else ""), _LEVELS.get(vllm or glog or iso or trtllm or ""), match.end()
    )
