"""All that is told of GPUs beyond each second's sample, through the real ctypes path."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import fakenvml

NOT_SUPPORTED, DRIVER_NOT_LOADED, LOST, UNKNOWN = 3, 9, 15, 999
GIB = 1 << 30
UUIDS = [f"GPU-00000000-0000-0000-0000-{index:012d}" for index in range(16)]

pytestmark = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs gcc to build the stand-in for NVML")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakenvml.build(tmp_path_factory.mktemp("nvml"))


def _watch(library: Path, *controls: str, **options: Any) -> list[dict[str, Any]]:
    readings: list[dict[str, Any]] = fakenvml.watch(library, *controls, **options)["readings"]
    return readings


@pytest.mark.parametrize("count", [1, 8, 16])
def test_every_field_of_every_gpu(library: Path, count: int) -> None:
    last = count - 1
    lines = [
        f"count={count}",
        f"{last}.reserved={GIB}",
        f"{last}.busy=33",
        f"{last}.clock=1200",
        f"{last}.clock_max=1980",
        f"{last}.memory_clock=2619",
        f"{last}.fan=40",
        f"{last}.pcie=4,8",
        f"{last}.pcie_max=5,16",
        f"{last}.pcie_rx=3000",
        f"{last}.pcie_tx=4000",
        f"{last}.ecc_corrected=5",
        f"{last}.ecc_errors=2",
        f"{last}.reasons={0x1 | 0x4 | 0x40}",
    ]
    (reading,) = _watch(library, "\n".join(lines))
    assert len(reading["gpus"]) == count
    gpu = reading["gpus"][last]
    assert (gpu["memory_reserved"], gpu["memory_busy"], gpu["power_limit"]) == (GIB, 33, 700)
    assert (gpu["clock"], gpu["clock_max"], gpu["memory_clock"], gpu["fan"]) == (1200, 1980, 2619, 40)
    assert (gpu["pcie_link"], gpu["pcie_received"], gpu["pcie_sent"]) == ("gen 4 ×8 of gen 5 ×16", 3e6, 4e6)
    assert (gpu["ecc_corrected"], gpu["ecc_uncorrected"]) == (5, 2)
    assert gpu["throttled"] == ["power cap", "hardware thermal slowdown"]
    assert (gpu["error"], gpu["unsupported"]) == ("", ["nvlink_received", "nvlink_sent"])
    assert (reading["topology"] is None) == (count == 1)


def test_no_gpus_at_all(library: Path) -> None:
    (reading,) = _watch(library, "count=0")
    assert (reading["freshness"], reading["gpus"], reading["topology"]) == ("none", [], None)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x1, []),
        (0x2, ["set clocks"]),
        (0x8, ["hardware slowdown"]),
        (0x20 | 0x80, ["software thermal slowdown", "power brake"]),
        (0x10, ["sync boost"]),
    ],
)
def test_why_it_is_held_back_is_said_in_words(library: Path, bits: int, words: list[str]) -> None:
    newer, older = _watch(library, f"0.reasons={bits}", f"0.reasons={bits}\nno_event_reasons=1")
    assert newer["gpus"][0]["throttled"] == older["gpus"][0]["throttled"] == words


def test_what_is_not_supported_is_told_apart_from_what_failed(library: Path) -> None:
    lines = [f"0.{what}.code={NOT_SUPPORTED}" for what in ("ecc", "process", "pcie", "pcie_rx", "pcie_tx", "clock")]
    (reading,) = _watch(library, "\n".join([*lines, f"0.fan.code={UNKNOWN}", "count=2"]))
    first, second = reading["gpus"]
    assert {"ecc_corrected", "ecc_uncorrected", "processes", "pcie_link", "pcie_sent", "clock"} <= set(
        first["unsupported"]
    )
    assert (first["processes"], first["pcie_link"], first["shares"]) == (None, "", [])
    assert first["error"] == "GPU 0 does not report its fan (Unknown Error)."
    assert "fan" not in first["unsupported"]
    assert (second["error"], second["processes"], second["clock"]) == ("", [], 1980)


def test_nvlink_counters_become_rates_that_survive_a_reset(library: Path) -> None:
    counts = (0, 1 << 20, 3 << 20, 1 << 10)
    readings = _watch(library, *(f"0.nvlink_rx={count}\n0.nvlink_tx={2 * count}" for count in counts))
    rates = [(one["gpus"][0]["nvlink_received"], one["gpus"][0]["nvlink_sent"]) for one in readings]
    for received, sent in rates[1:3]:
        assert sent == pytest.approx(2 * received)
        assert received > 0
    assert rates[3] == (None, None)


def test_mig_instances_are_listed_and_utilization_is_none_there(library: Path) -> None:
    lines = "count=2\n0.mig=1\n0.instance=1g.10gb,1000,9000\n0.instance=3g.40gb,2000,40000\n1.mig=1"
    (reading,) = _watch(library, lines)
    first, second = reading["gpus"]
    told = [(one["profile"], one["memory_used"], one["memory_total"]) for one in first["mig"]]
    assert told == [("1g.10gb", 1000, 9000), ("3g.40gb", 2000, 40000)]
    assert len({one["uuid"] for one in first["mig"]}) == 2
    assert first["mig"][0]["uuid"].startswith("MIG-")
    assert (first["utilization"], first["error"]) == (None, "")
    assert {"utilization", "memory_busy"} <= set(first["unsupported"])
    assert second["mig"] == []
    assert "GPU 1 is in MIG mode and has no instances" in reading["hints"][0]


def test_a_lost_gpu_costs_the_others_nothing_and_comes_back(library: Path) -> None:
    well = "count=2\n0.clock=1000\n1.clock=900"
    lost = (
        well
        + f"\n1.handle.code={LOST}"
        + "".join(
            f"\n1.{what}.code={LOST}" for what in ("util", "memory", "temperature", "power", "clock", "process", "mig")
        )
    )
    readings = _watch(library, well, lost, lost, well)
    assert [one["gpus"][0]["clock"] for one in readings] == [1000] * 4
    assert [one["gpus"][1]["clock"] for one in readings] == [900, None, None, 900]
    assert all(one["gpus"][1]["error"].startswith("GPU 1 is lost") for one in readings[1:3])
    assert all(one["gpus"][1]["processes"] is None for one in readings[1:3])
    assert (readings[3]["gpus"][1]["error"], readings[3]["gpus"][1]["processes"]) == ("", [])


def test_a_reloaded_driver_leaves_what_was_known_marked_as_old(library: Path) -> None:
    readings = _watch(library, "0.clock=700", f"init={DRIVER_NOT_LOADED}", "0.clock=800")
    assert [one["freshness"] for one in readings] == ["fresh", "stale", "fresh"]
    assert [one["gpus"][0]["clock"] for one in readings] == [700, 700, 800]


@pytest.mark.parametrize("what", ["process", "pcie_rx", "mig"])
def test_a_call_that_hangs_delays_nobody(library: Path, what: str) -> None:
    well, hung = "count=2\n0.util=10", f"count=2\n0.util=20\n1.{what}.delay_ms=3000"
    first, second, third = _watch(library, well, hung, hung.replace("=20", "=30"), settle_s=0.4, stuck_s=0.5)
    assert [one["gpus"][0]["utilization"] for one in (first, second, third)] == [10, 20, 30]
    assert max(second["seconds"], third["seconds"]) < 2.0  # less than the call takes
    assert third["freshness"] == "fresh"
    assert "does not answer" in third["gpus"][0]["error"]


def test_how_gpus_are_joined(library: Path) -> None:
    lines = [
        "count=4",
        *(f"{index}.numa={index // 2}" for index in range(4)),
        "0.1.nvlink=0",
        "0.links=1101",
        "0.ends=1,1,9,1",
        "2.3.nvlink=0",
        "2.links=111",
        "2.ends=s,s,s",
        "3.links=11",
        "3.ends=s,s",
        "0.2.level=30",
        "1.2.level=10",
    ]
    (reading,) = _watch(library, "\n".join(lines))
    links = {(one["first"], one["second"]): (one["nvlinks"], one["path"]) for one in reading["topology"]["links"]}
    assert links == {
        (0, 1): (3, "SYS"),
        (0, 2): (0, "PHB"),
        (0, 3): (0, "SYS"),
        (1, 2): (0, "PIX"),
        (1, 3): (0, "SYS"),
        (2, 3): (2, "SYS"),
    }
    assert reading["topology"]["numa"] == [0, 0, 1, 1]


def test_tensor_parallel_over_pcie_is_hinted_at_with_what_to_do(library: Path) -> None:
    joined = "count=4\n2.3.nvlink=0"
    on = {"deployments": [{"name": "big", "gpus": UUIDS[:2]}], "tensor_parallel": {"big": 2}}
    (reading,) = _watch(library, joined, **on)
    (hint,) = reading["hints"]
    assert "big computes each layer on GPUs 0 and 1 together" in hint
    assert "Name GPUs 2 and 3" in hint
    (reading,) = _watch(library, "count=4", **on)
    assert "`pipeline_parallel_size`" in reading["hints"][0]
    on["deployments"] = [{"name": "big", "gpus": UUIDS[2:4]}]
    (reading,) = _watch(library, joined, **on)
    assert reading["hints"] == []
    (reading,) = _watch(library, joined, deployments=[{"name": "big", "gpus": UUIDS[:2]}])
    assert reading["hints"] == []


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process, and its child."""
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        child = int(one.stdout.readline())
        yield one.pid, child
        os.kill(child, signal.SIGKILL)
        one.kill()


def test_memory_is_shared_out_among_deployments_and_others(library: Path, family: tuple[int, int]) -> None:
    parent, mine = family
    control = f"count=2\n0.process={mine},{30 * GIB}\n0.process={os.getpid()},{GIB}\n0.process=999999999,?"
    (reading,) = _watch(
        library,
        control,
        deployments=[
            {"name": "m", "runtime": "process", "pid": parent, "gpus": UUIDS[:1]},
            {"name": "waits", "gpus": UUIDS[:2]},
        ],
        planned={"m": {UUIDS[0]: 40 * GIB}},
    )
    first, second = reading["gpus"]
    told = [(one["owner"], one["used"], one["deployment"], one["planned"]) for one in first["shares"]]
    assert told[:2] == [("m", 30 * GIB, True, 40 * GIB), ("waits", 0, True, None)]
    assert told[2][1:] == (GIB, False, None)
    assert told[3] == ("unknown program", None, False, None)
    by_pid = {one["pid"]: (one["name"], one["deployment"]) for one in first["processes"]}
    assert by_pid[mine] == ("sleep", "m")
    assert by_pid[999999999] == ("", "")
    assert [one["owner"] for one in second["shares"]] == ["waits"]


def test_histories_have_what_was_measured(library: Path) -> None:
    found = fakenvml.watch(library, "count=1\n0.util=10", f"count=1\n0.util.code={UNKNOWN}", "count=1\n0.util=30")
    series = {one["key"]: one for one in found["histories"][0]}
    assert {"utilization", "memory_used", "power", "temperature", "pcie_received", "pcie_sent"} == set(series)
    assert series["utilization"]["values"] == [10, 10, None, None, 30, 30]
    assert (series["utilization"]["unit"], series["memory_used"]["value"]) == ("%", 40 * GIB)
    assert len(series["power"]["times"]) == 6
    assert found["histories"][1] == []
