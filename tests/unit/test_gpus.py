"""GPUs through the real ctypes path, against a library compiled for the purpose, or a true driver where one is."""

import os
import queue
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.freshness import Freshness
from engine.gpu_reading import GpuReading, HostLoad
from engine.observe import host
from engine.observe.gpu_follow import follow
from engine.observe.gpu_shares import Around
from engine.observe.gpu_watch import GpuWatch
from engine.observe.gpus import NO_DRIVER, NO_GPU, GpuSampler, aged
from engine.observe.host import HostSampler
from engine.snapshot import Snapshot
from tests import fakenvml

NOT_SUPPORTED, DRIVER_NOT_LOADED, LOST, MISMATCH, UNKNOWN = 3, 9, 15, 18, 999

needs_compiler = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs gcc to build the stand-in for NVML")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakenvml.build(tmp_path_factory.mktemp("nvml"))


def _utilizations(reading: dict[str, Any]) -> list[float | None]:
    return [gpu["utilization"] for gpu in reading["gpus"]]


@needs_compiler
@pytest.mark.parametrize("count", [1, 8, 16])
def test_reads_every_gpu(library: Path, count: int) -> None:
    (reading,) = fakenvml.sample(library, [f"count={count}\n{count - 1}.util=87\n{count - 1}.temperature=71"])
    assert reading["freshness"] == "fresh"
    assert reading["driver"] == "580.95.05"
    assert [gpu["index"] for gpu in reading["gpus"]] == list(range(count))
    assert len({gpu["uuid"] for gpu in reading["gpus"]}) == count
    last = reading["gpus"][-1]
    assert last["name"] == "NVIDIA H100 80GB HBM3"
    assert (last["utilization"], last["temperature"], last["power"], last["power_limit"]) == (87, 71, 350, 700)
    assert (last["memory_used"], last["memory_total"]) == (40 << 30, 80 << 30)
    assert last["error"] == ""
    assert reading["host"]["cores"] >= 1


@needs_compiler
def test_a_driver_without_gpus_shows_the_host(library: Path) -> None:
    (reading,) = fakenvml.sample(library, ["count=0"])
    assert (reading["freshness"], reading["message"], reading["gpus"]) == ("none", NO_GPU, [])
    assert reading["host"]["memory_total"] > reading["host"]["memory_used"] > 0


@needs_compiler
def test_what_a_gpu_does_not_support_is_none_and_said(library: Path) -> None:
    refused = f"0.util.code={NOT_SUPPORTED}\n0.power.code={NOT_SUPPORTED}\n0.temperature.code={UNKNOWN}"
    (reading,) = fakenvml.sample(library, [f"count=2\n{refused}"])
    first, second = reading["gpus"]
    assert (first["utilization"], first["memory_busy"], first["power"], first["temperature"]) == (None,) * 4
    assert first["unsupported"] == ["utilization", "memory_busy", "power"]
    assert first["error"] == "GPU 0 does not report temperature (Unknown Error)."
    assert (second["utilization"], second["error"], second["unsupported"]) == (50, "", [])


@needs_compiler
def test_an_older_driver_without_the_newer_memory_call(library: Path) -> None:
    (reading,) = fakenvml.sample(library, ["count=1\nno_memory_v2=1"])
    (gpu,) = reading["gpus"]
    assert gpu["memory_total"] == 80 << 30
    assert gpu["memory_used"] >= 40 << 30
    assert gpu["error"] == ""


@needs_compiler
def test_a_lost_gpu_leaves_the_others_and_may_come_back(library: Path) -> None:
    well = "count=2\n1.util=90"
    calls = ("handle", "util", "memory", "temperature", "power", "limit", "uuid", "name")
    lost = well + "".join(f"\n1.{call}.code={LOST}" for call in calls)
    readings = fakenvml.sample(library, [well, lost, lost, well])
    assert [_utilizations(reading) for reading in readings] == [[50, 90], [50, None], [50, None], [50, 90]]
    assert all("GPU 1 is lost" in reading["gpus"][1]["error"] for reading in readings[1:3])
    assert readings[2]["gpus"][1]["uuid"] == readings[0]["gpus"][1]["uuid"] != ""
    assert readings[3]["gpus"][1]["history"] == [90, None, None, 90]
    assert readings[3]["gpus"][1]["error"] == ""


@needs_compiler
def test_a_reloaded_driver_is_taken_up_again(library: Path) -> None:
    readings = fakenvml.sample(library, ["count=1", f"count=1\ninit={DRIVER_NOT_LOADED}", "count=1"])
    assert [reading["freshness"] for reading in readings] == ["fresh", "stale", "fresh"]
    assert "not loaded" in readings[1]["message"]
    assert readings[1]["gpus"] == readings[0]["gpus"]
    assert readings[1]["at"] == readings[0]["at"]


@needs_compiler
def test_an_updated_driver_says_what_to_do(library: Path) -> None:
    (reading,) = fakenvml.sample(library, [f"init={MISMATCH}"])
    assert (reading["freshness"], reading["gpus"]) == ("failed", [])
    assert "restart the machine" in reading["message"]
    (reading,) = fakenvml.sample(library, [f"init={UNKNOWN}"])
    said = "The NVIDIA driver does not answer (Unknown Error): restart the machine if `nvidia-smi` fails, too."
    assert (reading["freshness"], reading["message"]) == ("failed", said)


@needs_compiler
def test_names_are_cleaned_and_undecodable_ones_are_refused(library: Path) -> None:
    (reading,) = fakenvml.sample(library, ["count=2\n0.name=\x1b]52;c;aGk=\x07H100\x1b[31m\n1.name=\xff\xfe"])
    first, second = reading["gpus"]
    assert first["name"] == "H100"
    assert second["name"] == ""
    assert "its name" in second["error"]
    assert second["utilization"] == 50


@needs_compiler
def test_who_has_the_memory_of_each_gpu(library: Path) -> None:
    me = os.getpid()
    first, second = fakenvml.uses(
        library,
        "count=3",
        f"0.process={me},{30 << 30}",
        "0.process=999999999,?",
        f"0.graphics={me},{30 << 30}",
        f"0.graphics=999999998,{1 << 20}",
        f"1.process.code={NOT_SUPPORTED}",
        f"1.memory.code={NOT_SUPPORTED}",
        f"2.handle.code={LOST}",
    )
    assert (first["index"], first["uuid"], first["used"]) == (0, "GPU-00000000-0000-0000-0000-000000000000", 40 << 30)
    told = {process["pid"]: (process["used"], process["name"]) for process in first["processes"]}
    assert told == {me: (30 << 30, psutil.Process().name()), 999999999: (None, ""), 999999998: (1 << 20, "")}
    assert (second["index"], second["used"], second["processes"]) == (1, None, None)
    assert fakenvml.uses(library, f"init={DRIVER_NOT_LOADED}") == []
    older = fakenvml.uses(library, "no_processes_v3=1", f"0.process={me},1", f"0.graphics.code={NOT_SUPPORTED}")
    assert [process["used"] for process in older[0]["processes"]] == [1]


def test_without_a_driver_the_host_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def not_found() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", not_found)
    reading = GpuSampler().sample()
    assert (reading.freshness, reading.message, reading.gpus) == (Freshness.NONE, NO_DRIVER, ())
    assert reading.host is not None
    assert 0 <= reading.host.cpu <= 100
    assert reading.host.history == (reading.host.cpu,)


def test_the_cpus_load_is_since_the_call_before_whichever_thread_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    Times = namedtuple("Times", "user system idle iowait guest")
    passed = iter([Times(5, 5, 90, 0, 0), Times(14, 6, 90, 0, 9), Times(14, 6, 150, 30, 9), Times(44, 36, 180, 30, 9)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(passed))
    monkeypatch.setattr(host, "FIRST_SAMPLE_S", 0.0)
    sampler = HostSampler()
    for expected in (100.0, 0.0, 66.7):
        with ThreadPoolExecutor(1) as thread:
            told = thread.submit(sampler.sample).result()
        assert told is not None
        assert told.cpu == expected


class _Monitor:
    """Tells of a sample of the machine when the one before was taken; each has the number that it is as CPU's load."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._queue: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()

    def subscribe(self, put: Any) -> Callable[[], None]:
        self._queue = put.__self__
        return lambda: None

    def open(self) -> None:
        threading.Thread(target=self._tell, daemon=True).start()

    def close(self) -> None:
        pass

    def _tell(self) -> None:
        now = time.time()
        for number in range(1, self._samples + 1):
            load = HostLoad(number, 2, 1, 2, 0.0, tuple(map(float, range(1, number + 1))))
            reading = GpuReading(now + number, Freshness.NONE, host=load)
            self._queue.put(Snapshot(now, "here", loading=False, gpus=reading))
            while not self._queue.empty():
                time.sleep(0.001)


def test_a_single_look_holds_no_load_of_this_programs_own_start() -> None:
    """The first sample is of when modules are imported."""
    monitor: Any = _Monitor(2)
    with closing(follow(monitor)) as readings:
        first = next(readings).host
    assert first is not None
    assert first.cpu == 2


def test_a_hung_sampler_makes_its_last_reading_stale() -> None:
    reading = GpuReading(at=1000.0, freshness=Freshness.FRESH)
    assert aged(reading, 1004.0) is reading
    old = aged(reading, 1006.0)
    assert old.freshness is Freshness.STALE
    assert time.strftime("%H:%M:%S", time.localtime(1000)) in old.message


@pytest.mark.gpu
def test_a_true_gpu() -> None:
    watch = GpuWatch(GpuSampler(), states_s=0.5)
    reading = watch.read(Around())
    if reading.freshness is Freshness.NONE:
        watch.close()
        pytest.skip(f"needs a true NVIDIA GPU: {reading.message}")
    for _ in range(2):
        watch.settle(20.0)
        time.sleep(0.6)  # as far apart as rates are measured
        reading = watch.read(Around())
    history = watch.history(reading.gpus[0].index)
    watch.close()
    assert reading.freshness is Freshness.FRESH, reading.message
    assert {series.key for series in history} >= {"utilization", "memory_used", "temperature"}
    assert (reading.topology is None) == (len(reading.gpus) < 2)
    for gpu in reading.gpus:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.memory_total is not None
        assert gpu.memory_used is not None
        assert 0 <= gpu.memory_used <= gpu.memory_total
        told = {field.name for field in fields(gpu) if getattr(gpu, field.name) is not None}
        assert not told.intersection(gpu.unsupported)
        for field in ("memory_reserved", "clock", "clock_max", "power", "power_limit", "pcie_link", "processes"):
            assert field in told | set(gpu.unsupported), field
        if gpu.processes is not None and all(one.used is not None for one in gpu.processes):
            assert sum(one.used or 0 for one in gpu.processes) <= gpu.memory_total
