"""Waiting for GPU memory, through the real ctypes path: a driver that gives it back late, in pieces, or never."""

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.deployment import Protocol, Service
from engine.errors import OperationFailed
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.operations import gpu_memory
from engine.operations.gpu_memory import wait_for_memory
from engine.operations.waiting import Waiting
from engine.plan import Launch, PlacedGpu, Plan
from tests import fakenvml

GIB = 1 << 30
NEEDS = {"0": 72 * GIB}
LOST, NOT_SUPPORTED, DRIVER_NOT_LOADED = 15, 3, 9
FREE = "0.used=" + str(GIB)
FULL = "0.used=" + str(75 * GIB)
CALLS = ("handle", "util", "memory", "temperature", "power", "limit")
SLOWLY = 0.8
"""Between samples, where a test must do something before the next but one"""

pytestmark = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs gcc to build the stand-in for NVML")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakenvml.build(tmp_path_factory.mktemp("nvml"))


def ended(library: Path, *lines: str, **arguments: Any) -> dict[str, Any]:
    with fakenvml.wait(library, *lines, **{"gpus": 1, "needs": NEEDS, **arguments}) as waiting:
        return waiting.end()


def test_what_is_free_and_steady_already_costs_half_a_second(library: Path) -> None:
    came = ended(library, "count=2", FREE, "1.used=0", gpus=2)
    assert came["done"] == "79.0 GiB to 80.0 GiB free on GPU 0, 1"
    assert 0.5 <= came["seconds"] < 2


def test_memory_that_is_released_late(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs=NEEDS) as waiting:
        waiting.until("GPU 0: 5.0 of 72.0 GiB free")
        waiting.state(FREE)
        assert waiting.end()["done"].startswith("79.0 GiB free on GPU 0")


def test_memory_that_is_released_in_pieces_on_one_gpu_after_the_other(library: Path) -> None:
    needs = {"0": 72 * GIB, "1": 72 * GIB}
    with fakenvml.wait(library, "count=2", FULL, f"1.used={75 * GIB}", gpus=2, needs=needs, every_s=SLOWLY) as waiting:
        waiting.until("GPU 0: 5.0 of 72.0 GiB free; GPU 1: 5.0 of 72.0 GiB free")
        waiting.state("count=2", FREE, f"1.used={40 * GIB}")
        waiting.until("GPU 1: 40.0 of 72.0 GiB free")
        waiting.state("count=2", FREE, f"1.used={8 * GIB}")
        # It is enough, and is still being given back.
        waiting.until("GPU 1: 72.0 GiB free, not steady yet")
        waiting.state("count=2", FREE, "1.used=0")
        assert waiting.end()["done"].startswith("79.0 GiB to 80.0 GiB free on GPU 0, 1")


def test_what_is_not_known_to_be_needed_must_be_steady(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs={}, every_s=SLOWLY) as waiting:
        for used in (60, 50, 40, 30):
            waiting.state(f"0.used={used * GIB}")
            waiting.until(f"{80 - used}.0 GiB free, not steady yet")
        assert waiting.end()["done"].startswith("50.0 GiB free on GPU 0")


def test_small_changes_are_no_unrest(library: Path) -> None:
    with fakenvml.wait(library, FREE, gpus=1, needs=NEEDS, every_s=SLOWLY) as waiting:
        waiting.until("not steady yet")
        waiting.state(f"0.used={GIB + (60 << 20)}")
        assert waiting.end()["seconds"] < 3 * SLOWLY


def test_memory_that_never_comes_back_says_who_holds_it(library: Path) -> None:
    lines = (FULL, f"0.process={os.getpid()},{70 * GIB}", "0.graphics=999999999,?")
    came = ended(library, *lines, limit_s=1.0)
    assert came["error"] == "OperationFailed"
    assert "GPU 0 has 5.0 GiB free after 1 s, and m needs 72.0 GiB: 67.0 GiB are missing." in came["message"]
    me = f"{psutil.Process().name()} (pid {os.getpid()}, 70.0 GiB)"
    assert f"held by {me}, a process (pid 999999999). End what holds it" in came["message"]
    assert 1 <= came["seconds"] < 5


def test_another_deployment_that_takes_it_is_named(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs=NEEDS, limit_s=1.5, pids={"thief": os.getppid()}) as waiting:
        waiting.until("5.0 of 72.0 GiB free")
        waiting.state(f"0.used={60 * GIB}", f"0.process={os.getpid()},{59 * GIB}")
        message = waiting.end()["message"]
    assert f"held by thief (pid {os.getpid()}, 59.0 GiB)" in message, "it comes from the deployment's process"


def test_memory_that_nobody_holds_and_that_is_not_told(library: Path) -> None:
    assert "has not been given back" in ended(library, FULL, limit_s=0.6)["message"]
    older = (FULL, "no_processes_v3=1", f"0.process={os.getpid()},{GIB}")
    assert f"(pid {os.getpid()}, 1.0 GiB)" in ended(library, *older, limit_s=0.6)["message"]
    untold = ended(library, FULL, f"0.process.code={NOT_SUPPORTED}", limit_s=0.6)
    assert "The driver does not say who holds it." in untold["message"]


def test_memory_that_an_unload_leaves_is_freed_by_the_full_way(library: Path) -> None:
    unloaded = ended(library, FULL, limit_s=0.6, way="load")
    assert "did not come back when the outgoing was unloaded: `tritontui swap m --full` stops it" in unloaded["message"]
    assert "was put to sleep" in ended(library, FULL, limit_s=0.6, way="sleep")["message"]


def test_one_that_wakes_needs_less_by_what_it_has_kept(library: Path) -> None:
    lines = (f"0.used={10 * GIB}", f"0.process={os.getpid()},{3 * GIB}")
    assert "done" in ended(library, *lines, way="sleep", pids={"m": os.getpid()})
    assert "needs 72.0 GiB" in ended(library, *lines, limit_s=0.6)["message"]
    shared = (f"0.used={30 * GIB}", f"0.process={os.getpid()},{3 * GIB}", f"0.process=999999999,{20 * GIB}")
    message = ended(library, *shared, limit_s=0.6, way="sleep", pids={"m": os.getpid()})["message"]
    assert (
        "m needs 69.0 GiB: 19.0 GiB are missing. Its memory is held by a process (pid 999999999, 20.0 GiB)." in message
    )


def test_a_gpu_that_falls_off_the_bus(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs=NEEDS) as waiting:
        waiting.until("5.0 of 72.0")
        waiting.state(*(f"0.{call}.code={LOST}" for call in CALLS))
        came = waiting.end()
    assert came["error"] == "OperationFailed"
    assert came["message"] == "GPU 0 is lost. Reset it or restart the machine. m was to get it."


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([f"init={DRIVER_NOT_LOADED}"], "cannot be told: no GPU is known on this machine"),
        (["init=18"], "cannot be told: The NVIDIA driver's library and kernel module have different versions"),
        ([f"0.memory.code={NOT_SUPPORTED}"], "cannot be told: GPU 0 does not report its memory"),
        (["delay_ms=20000"], "cannot be told: the NVIDIA driver does not answer"),
    ],
)
def test_a_driver_that_does_not_tell_hinders_nothing(library: Path, lines: list[str], told: str) -> None:
    came = ended(library, *lines, driver_s=0.5)
    assert came["done"].startswith(told)
    assert came["seconds"] < 3


def test_a_driver_that_goes_away_while_it_is_waited_for(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs=NEEDS) as waiting:
        waiting.until("5.0 of 72.0")
        waiting.state(f"init={DRIVER_NOT_LOADED}")
        assert "cannot be told: No reading since" in waiting.end()["done"]


def test_a_cancelled_wait_ends_at_once(library: Path) -> None:
    with fakenvml.wait(library, FULL, gpus=1, needs=NEEDS) as waiting:
        waiting.until("5.0 of 72.0")
        waiting.cancel()
        came = waiting.end()
    assert came["error"] == "Cancelled"
    assert came["seconds"] < 10


def readings(*used: int) -> Callable[[], GpuReading]:
    """One after another, and again from the first."""
    gpus = (Gpu(0, "GPU-0", "H100", 0.0, size, 80 * GIB, 30.0, 70.0, 700.0) for size in itertools.cycle(used))
    return lambda: GpuReading(0.0, Freshness.FRESH, (next(gpus),))


def waited(sample: Callable[[], GpuReading | None], limit_s: float, need: int = 60 * GIB) -> str:
    launch = Launch("m", "vllm", "docker", (), Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/h"))
    plan = Plan(launch, "p.yaml", placement=(PlacedGpu(0, "GPU-0", "H100"),), needs_bytes={"GPU-0": need})
    return wait_for_memory(plan, sample, tuple, Waiting(), limit_s)


def test_a_gpu_that_is_shared_with_unrest_is_told_when_enough_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "EVERY_S", 0.01)
    told = waited(readings(GIB, 2 * GIB), 0.1)
    assert re.fullmatch(r"7[89]\.0 GiB free on GPU 0; what is used still changes", told)


def test_a_gpu_that_is_gone_from_the_list() -> None:
    with pytest.raises(OperationFailed, match=r"GPU 0 does not answer its driver any more\. m was to get it\."):
        waited(lambda: GpuReading(0.0, Freshness.FRESH, ()), 5.0)
