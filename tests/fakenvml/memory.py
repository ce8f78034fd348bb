"""Run in a process of its own: waits for GPU memory, as the operation does, on the machine that the library tells of.

The first argument is a JSON object: `needs` (GPU index -> bytes), and what else `wait_for_memory` takes. Prints a line
of JSON for each thing that happens; a line on standard input cancels.
"""

import json
import sys
import threading
import time
from typing import Any

from engine import machine
from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError
from engine.observe.gpu_processes import GpuProcesses
from engine.operations import gpu_memory
from engine.operations.gpu_memory import wait_for_memory
from engine.operations.waiting import Waiting
from engine.plan import Launch, PlacedGpu, Plan
from engine.request import Way

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")


class Deployments:
    """A runtime as far as it is asked whose a process is."""

    name = "process"

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids

    def deployments(self) -> tuple[Deployment, ...]:
        return tuple(
            Deployment(name, "process", "vllm", name, "vllm", Lifecycle.RUNNING, SERVICE, 1.0, pid=pid)
            for name, pid in self._pids.items()
        )

    def foreign(self) -> tuple[Deployment, ...]:
        return ()


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(
    needs: dict[str, int],
    gpus: int,
    limit_s: float = 30.0,
    way: str = "full",
    pids: dict[str, int] | None = None,
    driver_s: float = 5.0,
    every_s: float = gpu_memory.EVERY_S,
) -> None:
    machine.GPUS_S, gpu_memory.EVERY_S = driver_s, every_s
    placed = tuple(PlacedGpu(index, f"GPU-00000000-0000-0000-0000-{index:012d}", "H100") for index in range(gpus))
    wanted = {placed[int(index)].uuid: size for index, size in needs.items()}
    plan = Plan(Launch("m", "vllm", "docker", (), SERVICE), "p.yaml", placement=placed, needs_bytes=wanted)
    waiting = Waiting(lambda detail: say(detail=detail))
    processes: Any = GpuProcesses({"process": Deployments(pids or {})})  # type: ignore[dict-item]
    sampler = machine.DeadlineSampler()

    def listen() -> None:
        if sys.stdin.readline():
            waiting.cancelled.set()

    threading.Thread(target=listen, daemon=True).start()
    began = time.monotonic()
    try:
        said = {"done": wait_for_memory(plan, sampler.sample, processes, waiting, limit_s, way=Way(way))}
    except EngineError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    say(**said, seconds=time.monotonic() - began)


main(**json.loads(sys.argv[1]))
