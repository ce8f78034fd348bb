"""The machine's GPUs as a script watches them: reading after reading, from when all is known that belongs to them."""

import queue
import time
from collections.abc import Generator

from engine.deployment import Lifecycle
from engine.gpu_reading import Gpu, GpuReading
from engine.observe.monitor import Monitor
from engine.snapshot import Snapshot

WHOLE_S = 8.0
"""For so long the first reading is waited for until it is whole; a runtime that hangs is not waited for longer"""
METRICS_S = 2.0
"""For so long servers' metrics are waited for, where they alone could tell of GPUs"""


def follow(monitor: Monitor) -> Generator[GpuReading, None, None]:
    """Opens the monitor; closing the generator closes it. A reading about every second."""
    snapshots: queue.SimpleQueue[Snapshot] = queue.SimpleQueue()
    unsubscribe = monitor.subscribe(snapshots.put)
    monitor.open()
    late_at, surveyed_at, last, whole = time.time() + WHOLE_S, 0.0, 0.0, False
    try:
        while True:
            snapshot = _newest(snapshots)
            surveyed_at = surveyed_at or (0.0 if snapshot.loading else snapshot.at)
            reading = snapshot.gpus
            if reading is None or reading.at == last:
                continue
            whole = whole or reading.at > late_at or bool(surveyed_at and _is_whole(snapshot, reading, surveyed_at))
            if whole:
                last = reading.at
                yield reading
    finally:
        unsubscribe()
        monitor.close()


def _is_whole(snapshot: Snapshot, reading: GpuReading, surveyed_at: float) -> bool:
    """Whether what is asked beside the first reading is there, rates among it, and whose the processes are.

    And whether the host's load is of an interval in which this program did not start, which fills a core.
    """
    if reading.host and len(reading.host.history) == 1:
        return False
    if reading.gpus:
        return reading.at >= surveyed_at and not any(map(_awaits, reading.gpus))
    running = any(one.deployment and one.deployment.lifecycle is Lifecycle.RUNNING for one in snapshot.models)
    return not running or reading.at >= surveyed_at + METRICS_S


def _awaits(gpu: Gpu) -> bool:
    """One field of each pace tells."""
    if gpu.error or gpu.source:
        return False
    told = {"nvlink_sent": gpu.nvlink_sent, "fan": gpu.fan}
    return any(value is None and field not in gpu.unsupported for field, value in told.items())


def _newest(snapshots: "queue.SimpleQueue[Snapshot]") -> Snapshot:
    """Waits for one; older ones are skipped."""
    snapshot = snapshots.get()
    while not snapshots.empty():
        snapshot = snapshots.get()
    return snapshot
