"""GPUs of which no driver tells here, by the metrics of servers; and what a deployment's plan says of its GPUs."""

from dataclasses import dataclass

import pynvml
import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.freshness import Freshness
from engine.observe.gpu_shares import Around
from engine.observe.gpu_watch import GpuWatch
from engine.observe.gpus import NO_DRIVER, GpuSampler

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
GIB = 1 << 30


@dataclass(frozen=True)
class Figures:
    uuid: str
    utilization: float | None = 40.0
    memory_used: int | None = 10 * GIB
    memory_total: int | None = 80 * GIB
    power: float | None = 300.0
    power_limit: float | None = None


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> GpuWatch:
    def not_found() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", not_found)
    return GpuWatch(GpuSampler())


def around(**reported: tuple[Figures, ...]) -> Around:
    running = [
        Deployment(name, "docker", "triton", name, "triton", Lifecycle.RUNNING, SERVICE, 1.0, 1.0) for name in reported
    ]
    return Around(tuple(running), reported=reported)


def test_figures_of_metrics_are_used_and_labelled(watch: GpuWatch) -> None:
    reading = watch.read(around(b=(Figures("GPU-1", 90.0), Figures("GPU-2")), a=(Figures("GPU-2", 20.0),)))
    assert reading.freshness is Freshness.FRESH
    assert [(gpu.uuid, gpu.utilization, gpu.source) for gpu in reading.gpus] == [
        ("GPU-2", 20.0, "metrics of a"),
        ("GPU-1", 90.0, "metrics of b"),
    ]
    assert "a, b" in reading.message
    assert [gpu.index for gpu in reading.gpus] == [0, 1]
    first = reading.gpus[0]
    assert (first.memory_used, first.power, first.temperature, first.processes) == (10 * GIB, 300.0, None, None)
    assert {"temperature", "processes"} <= set(first.unsupported)
    assert [(one.owner, one.used) for one in first.shares] == [("a", None), ("b", None)]
    again = watch.read(around(a=(Figures("GPU-2", 30.0),)))
    assert again.gpus[0].history == (20.0, 30.0)
    (load,) = [series for series in watch.history(0) if series.key == "utilization"]
    assert (load.values, load.source) == ((20.0, 30.0), "metrics of a")


def test_without_a_driver_and_such_metrics_the_host_is_shown(watch: GpuWatch) -> None:
    reading = watch.read(around())
    assert (reading.freshness, reading.message, reading.gpus) == (Freshness.NONE, NO_DRIVER, ())
    assert reading.host
    assert watch.history(0) == ()
