"""`tritontui gpus`, in 80 columns and as JSON."""

import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuLink, GpuProcess, GpuReading, HostLoad, MemoryShare, MigInstance, Topology
from tests.unit.cli_bench import Capture, FakeEngine, engine
from tests.unit.test_cli import undocumented
from tui.cli import main
from tui.cli_gpus import lines
from tui.widgets import gpu_words as words

__all__ = ["engine"]

GIB = 1 << 30
GPU = Gpu(
    *(0, "GPU-0", "NVIDIA H100 80GB HBM3", 100.0, 71 * GIB, 80 * GIB, 68.0, 612.0, 700.0),
    memory_reserved=GIB,
    memory_busy=50.0,
    clock=1980.0,
    clock_max=1980.0,
    throttled=("power cap", "hardware thermal slowdown"),
    pcie_link="gen 4 ×16 of gen 5 ×16",
    pcie_received=2.5e9,
    pcie_sent=1e6,
    nvlink_received=4e11,
    nvlink_sent=4e11,
    ecc_corrected=12,
    ecc_uncorrected=3,
    processes=(GpuProcess(4711, 60 * GIB, "VLLM::Worker", "llama3-70b"), GpuProcess(99, 2 * GIB, "python3")),
    shares=(
        MemoryShare("llama3-70b", 60 * GIB, True, 68 * GIB),
        MemoryShare("python3", 2 * GIB, False),
    ),
)


def reading(count: int, **changes: Any) -> GpuReading:
    gpus = tuple(replace(GPU, index=index, uuid=f"GPU-{index}", **changes) for index in range(count))
    links = tuple(GpuLink(a, b, 18 if b < 4 else 0, "SYS") for a in range(count) for b in range(a + 1, count))
    topology = Topology(links, (0,) * count) if count > 1 else None
    return GpuReading(1.0, Freshness.FRESH, gpus, driver="580.1", topology=topology, hints=("word " * 60,))


@pytest.mark.parametrize("count", [1, 16])
def test_it_fits_into_80_columns(count: int) -> None:
    found = lines(reading(count))
    assert max(map(len, found)) <= 80, max(found, key=len)
    text = "\n".join(found)
    assert f"{count} × NVIDIA H100 80GB HBM3, driver 580.1" in text
    assert "71.0 / 80.0 GiB" in text
    assert "612 / 700 W" in text
    # what is neither in use nor reserved
    assert found[3].split()[7] == "8.0"


def test_memory_is_shared_out_against_the_plan() -> None:
    rows = [line.split() for line in lines(reading(1))]
    assert ["0", "llama3-70b", "60.0", "68.0", "4711"] in rows
    assert ["0", "other", "(python3)", "2.0", "–", "99"] in rows
    assert ["0", "no", "process", "seen", "9.0"] in rows
    unseen = [line.split() for line in lines(reading(1, processes=(), shares=()))]
    assert ["0", "no", "process", "seen", "71.0"] in unseen


def test_what_is_wrong_is_said_below_the_table() -> None:
    text = "\n".join(lines(reading(1, error="GPU 0 does not report its fan (Unknown Error).")))
    assert "see below" in text
    assert "GPU 0 does not report its fan (Unknown Error)." in text
    assert "GPU 0 held back: power cap, hardware thermal slowdown." in text
    assert "Memory errors that were not corrected: GPU 0 (3). Reset it" in text
    assert "too hot" not in text.lower()
    joined = "\n".join(lines(reading(5)))
    assert "NVLink (18 links) joins 0–1, 0–2" in joined
    assert "over PCIe (SYS)" in joined


HOT = replace(GPU, temperature=97.0, throttled=(), ecc_uncorrected=0)


def test_what_the_console_marks_is_said_in_words() -> None:
    """One judgement: every GPU with a mark has a sentence, and no other."""
    fine = replace(GPU, throttled=("power cap",), ecc_uncorrected=0, temperature=84.0)
    gpus = (fine, HOT, replace(GPU, throttled=(), temperature=60.0), replace(fine, throttled=("power brake",)))
    for gpu in gpus:
        assert bool(words.trouble(gpu)) == bool(words.wrong([gpu])), gpu
    text = " ".join(lines(GpuReading(1.0, Freshness.FRESH, (fine, replace(HOT, index=1), replace(HOT, index=2)))))
    assert "Too hot, at 85 °C or more: GPU 1 (97 °C), 2 (97 °C). Check fans and air, or lower the power limit" in text
    rows = lines(GpuReading(1.0, Freshness.FRESH, (fine, HOT)))[3:5]
    assert [row.split("MHz")[1].strip() for row in rows] == ["power cap", "too hot"]


def test_what_a_gpu_has_not_is_told_apart_from_what_is_not_known() -> None:
    changes = {"utilization": None, "temperature": None, "unsupported": ("utilization",)}
    row = next(line for line in lines(reading(1, **changes)) if line.startswith("0 ")).split()
    assert row[1] == "n/a"
    assert row[7] == "–"
    mig = (MigInstance("MIG-1", "1g.10gb", GIB, 10 * GIB),)
    found = lines(reading(1, **changes, mig=mig))
    assert next(line for line in found if line.startswith("0 ")).split()[1] == "MIG"
    assert ["0.0", "1g.10gb", "1.0", "/", "10.0", "GiB", "MIG-1"] in [line.split() for line in found]


def test_watch_appends_into_a_pipe(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["gpus", "--watch"], engine) == 0
    out = capsys.readouterr().out
    assert out.count("71.0 / 80.0 GiB") == 2
    assert "\x1b" not in out


def test_watch_as_json_is_an_object_a_line(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["gpus", "--watch", "--json"], engine) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["at"] for one in found] == [1000.0, 1001.0]
    assert set(found[0]["gpus"][0]) == {field.name for field in fields(Gpu)} - {"history"}


def test_watch_in_a_terminal_draws_in_place(
    engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "5")
    assert main(["gpus", "--watch"], engine) == 0
    first, second = capsys.readouterr().out.split("\x1b[H")[1:]
    assert first.startswith("\x1b[2J")
    assert not second.startswith("\x1b[2J")
    assert second.count("\n") <= 5
    assert re.search(r"… 1 of 1 GPUs and \d+ other lines have no room", second)
    assert all(len(line.removesuffix("\x1b[K")) <= 60 for line in second.split("\n"))


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ("20", "… 4 of 16 GPUs and "),
        ("12", "… 12 of 16 GPUs and "),
        ("3", "… 16 of 16 GPUs and "),
        ("25", "… "),
        ("200", "host  CPU "),
    ],
)
def test_trouble_is_seen_in_a_low_terminal_and_it_is_said_how_many_gpus_are_not(
    rows: str, last: str, engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", rows)
    quiet = replace(GPU, throttled=(), ecc_uncorrected=0)
    lost = replace(quiet, index=3, error="GPU 3 is lost. Reset it or restart the machine.", utilization=None)
    gpus = [lost if index == 3 else replace(quiet, index=index) for index in range(16)]
    told = replace(reading(1), gpus=tuple(gpus), hints=(), host=HostLoad(5.0, 2, GIB, 2 * GIB, 0.5, (5.0,)))
    monkeypatch.setattr(engine, "gpus", lambda: told)
    assert main(["gpus", "--watch"], engine) == 0
    shown = [line.removesuffix("\x1b[K") for line in capsys.readouterr().out.split("\x1b[H")[-1].split("\n")][:-1]
    assert len(shown) <= int(rows) - 1
    if int(rows) > 5:
        assert lost.error in shown[:5]
    assert shown[-1].startswith(last)
    rows_seen = sum(line[:4].strip().isdecimal() for line in shown[5:24])
    if int(rows) < 24:
        assert shown[-1].startswith(f"… {16 - rows_seen} of 16 GPUs")


@pytest.mark.parametrize("kind", [Gpu, GpuProcess, MemoryShare, MigInstance, Topology, GpuLink])
def test_every_key_is_documented(kind: type) -> None:
    assert not undocumented("gpus", {field.name for field in fields(kind)} - {"history"})
