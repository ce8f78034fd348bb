"""All that is told of the machine's GPUs: what is sampled, what is asked now and then, and whose their memory is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuProcess, GpuReading, Topology
from engine.metrics_reading import Series
from engine.observe.gpu_history import GpuHistory
from engine.observe.gpu_owners import Owners
from engine.observe.gpu_paced import Paced
from engine.observe.gpu_reported import ReportedGpus
from engine.observe.gpu_shares import Around, hints, shares
from engine.observe.gpus import GpuSampler
from engine.observe.metric_history import History
from engine.observe.nvml_details import GpuDetails, GpuState, read_details, read_states
from engine.observe.nvml_links import read_topology

if TYPE_CHECKING:
    from engine.deployment import Deployment

STATES_S = 2.0
DETAILS_S = 5.0
TOPOLOGY_S = 300.0
SILENT = "The driver does not answer what else it is asked of GPU {}."


_Lists = dict[int, tuple[GpuProcess, ...] | None]
_NO_STATE, _NO_DETAILS = GpuState(), GpuDetails()


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Of a GPU's NVLinks, between two counts; bytes a second."""

    state: GpuState
    received: float | None = None
    sent: float | None = None


class GpuWatch:
    """Blocking; call `read` from one thread, about once a second. Nothing is raised: failures are in the reading."""

    def __init__(
        self,
        sampler: GpuSampler,
        *,
        history: History | None = None,
        states_s: float = STATES_S,
        details_s: float = DETAILS_S,
    ) -> None:
        """`history`: keeps what is measured when this program ends; without it the last hour is in memory."""
        self._sampler = sampler
        self._states: Paced[dict[int, GpuState]] = Paced(read_states, states_s)
        self._details: Paced[dict[int, GpuDetails]] = Paced(read_details, details_s)
        self._topology: Paced[Topology | None] = Paced(read_topology, TOPOLOGY_S)
        self._traffic: dict[int, _Traffic] = {}
        self._owners = Owners()
        self._told: tuple[tuple[dict[int, GpuState], tuple[Deployment, ...]] | None, _Lists] = (None, {})
        """Processes with their owners, and what they were told from"""
        self._reported = ReportedGpus()
        self._history = GpuHistory(history)
        self._last: GpuReading | None = None
        """The last reading of a driver that answered"""

    def read(self, around: Around) -> GpuReading:
        reading = self._sampler.sample(limits=False)
        nvml = self._sampler.nvml
        if not reading.gpus:
            return self._by_metrics(reading, around) if reading.freshness is Freshness.NONE else reading
        if nvml is None or reading.freshness is not Freshness.FRESH:
            last = self._last or reading
            return replace(reading, gpus=last.gpus, topology=last.topology, hints=last.hints)
        states, details = self._states.look(nvml) or {}, self._details.look(nvml) or {}
        topology = self._topology.look(nvml)
        silent = self._states.stuck or self._details.stuck
        owned = self._owned(states, around)
        gpus = [
            self._with(
                gpu,
                states.get(gpu.index, _NO_STATE),
                details.get(gpu.index, _NO_DETAILS),
                owned.get(gpu.index),
                around,
                silent=silent,
            )
            for gpu in reading.gpus
        ]
        self._history.add(reading.at, gpus)
        found = (*_empty_mig(details), *hints(gpus, topology, around))
        self._last = replace(reading, gpus=tuple(gpus), topology=topology, hints=found)
        return self._last

    def _by_metrics(self, reading: GpuReading, around: Around) -> GpuReading:
        told = self._reported.put_into(reading, around.reported)
        gpus = tuple(replace(gpu, shares=shares(gpu.uuid, gpu.processes, around)) for gpu in told.gpus)
        self._history.add(told.at, gpus)
        return replace(told, gpus=gpus)

    def settle(self, limit_s: float) -> None:
        """Waits until what was asked beside the last reading is answered, so that the next one has it."""
        end = time.monotonic() + limit_s
        for paced in (self._states, self._details, self._topology):
            paced.settle(max(0.0, end - time.monotonic()))

    def history(self, index: int) -> Sequence[Series]:
        """From any thread."""
        return self._history.series(index)

    def close(self) -> None:
        self._sampler.close()

    def _owned(self, states: dict[int, GpuState], around: Around) -> _Lists:
        """The processes of each GPU with their owners; looked up anew when either may have changed."""
        key, owned = self._told
        if key is None or key[0] is not states or key[1] != around.deployments:
            lists = self._owners.tell((state.processes for state in states.values()), around.deployments)
            owned = dict(zip(states, lists, strict=True))
            self._told = (states, around.deployments), owned
        return owned

    def _with(
        self,
        gpu: Gpu,
        state: GpuState,
        details: GpuDetails,
        processes: tuple[GpuProcess, ...] | None,
        around: Around,
        *,
        silent: bool,
    ) -> Gpu:
        traffic = self._count(gpu.index, state)
        lost = gpu.error and gpu.memory_total is None and gpu.utilization is None
        problems = [gpu.error] if lost else [gpu.error, state.problem, details.problem]
        problems += [SILENT.format(gpu.index)] if silent else []
        return replace(
            gpu,
            error=" ".join(filter(None, problems)),
            power_limit=details.power_limit,
            clock=state.clock,
            clock_max=details.clock_max,
            memory_clock=details.memory_clock,
            throttled=state.throttled,
            fan=details.fan,
            pcie_link=details.pcie_link,
            pcie_received=details.pcie_received,
            pcie_sent=details.pcie_sent,
            nvlink_received=traffic.received,
            nvlink_sent=traffic.sent,
            ecc_corrected=details.ecc_corrected,
            ecc_uncorrected=details.ecc_uncorrected,
            mig=details.mig,
            processes=processes,
            shares=shares(gpu.uuid, processes, around),
            unsupported=(*gpu.unsupported, *state.unsupported, *details.unsupported),
        )

    def _count(self, index: int, state: GpuState) -> _Traffic:
        before = self._traffic.get(index)
        if before is None or before.state is not state:
            seconds = state.at - before.state.at if before and before.state.at else 0.0
            rates = (
                (
                    _rate(before.state.nvlink_received, state.nvlink_received, seconds),
                    _rate(before.state.nvlink_sent, state.nvlink_sent, seconds),
                )
                if before
                else (None, None)
            )
            self._traffic[index] = _Traffic(state, *rates)
        return self._traffic[index]


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    """None across a reset of the counter."""
    if before is None or now is None or now < before or seconds <= 0:
        return None
    return (now - before) / seconds


def _empty_mig(details: dict[int, GpuDetails]) -> list[str]:
    return [
        f"GPU {index} is in MIG mode and has no instances: nothing can use it. Make some with `nvidia-smi mig`, or"
        f" switch MIG off."
        for index, one in details.items()
        if one.mig_mode and not one.mig
    ]
