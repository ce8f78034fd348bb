"""The screen of the GPUs, by keys: what is said of each, and how it looks when there is little to say."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from engine.freshness import Freshness
from engine.gpu_reading import (
    Gpu,
    GpuLink,
    GpuProcess,
    GpuReading,
    HostLoad,
    MemoryShare,
    MigInstance,
    Topology,
)
from engine.metrics_reading import Series
from engine.snapshot import Snapshot
from tests.tui.driving import MODELS, on_main, opened, screen_text, settled, shown, still, until
from tests.tui.fake_api import GIB, NOW, FakeApi, snapshot
from tui import format as write
from tui.app import Console
from tui.screens.gpus import Gpus
from tui.widgets.gpu_table import GpuTable

HOST = HostLoad(33.0, 64, 71 * GIB, 512 * GIB, 4.2, (10.0, 20.0, 33.0))
HINT = "mixtral runs tensor-parallel on GPU 3 and GPU 4, which share no NVLink."
SIZES = [(80, 24), (120, 40)]


def gpu(index: int, **values: Any) -> Gpu:
    busy = index % 4 < 2
    share = MemoryShare("llama3-70b", 66 * GIB, deployment=True, planned=67 * GIB)
    other = MemoryShare("python", 4 * GIB, deployment=False)
    told = Gpu(
        index,
        f"GPU-{index:08}-5ea0-4f3a-9d3b-6c1f7d0a9b10",
        "NVIDIA H100 80GB HBM3",
        80.0 + index if busy else 0.0,
        71 * GIB if busy else GIB // 2,
        80 * GIB,
        50.0 + index,
        612.0 if busy else 71.0,
        700.0,
        history=tuple(50 + 45 * math.sin((i + 7 * index) / 6) if busy else 0.0 for i in range(60)),
        memory_reserved=GIB // 2,
        memory_busy=44.0,
        clock=1755.0,
        clock_max=1980.0,
        memory_clock=2619.0,
        throttled=("power cap",) if busy else (),
        pcie_link="gen 5 ×16",
        pcie_received=1.2e9,
        pcie_sent=3.4e8,
        nvlink_received=4.5e10,
        nvlink_sent=4.4e10,
        ecc_corrected=3,
        ecc_uncorrected=0,
        processes=(GpuProcess(4711 + index, 66 * GIB, "python3", "llama3-70b"), GpuProcess(99, 4 * GIB, "python"))
        if busy
        else (),
        shares=(share, other) if busy else (),
        unsupported=("fan",),
    )
    return replace(told, **values)


def topology(count: int) -> Topology:
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    links = (GpuLink(a, b, 18, "PXB") if a // 4 == b // 4 else GpuLink(a, b, 0, "SYS") for a, b in pairs)
    return Topology(tuple(links), tuple(index // 8 for index in range(count)))


def reading(count: int, **values: Any) -> GpuReading:
    told = GpuReading(NOW, Freshness.FRESH, tuple(map(gpu, range(count))), driver="570.86", host=HOST)
    return replace(told, topology=topology(count) if count > 1 else None, **values)


def changed(before: GpuReading, index: int, **values: Any) -> GpuReading:
    return replace(before, gpus=tuple(replace(one, **values) if one.index == index else one for one in before.gpus))


def with_gpus(told: GpuReading) -> Snapshot:
    first, *others = MODELS
    assert first.deployment
    placed = replace(first.deployment, gpus=tuple(one.uuid for one in told.gpus if one.shares))
    return replace(snapshot(replace(first, deployment=placed), *others), gpus=told)


MIG = tuple(MigInstance(f"MIG-{i}", "1g.10gb", 4 * GIB, 10 * GIB) for i in range(3))
LOST: dict[str, Any] = {
    "error": "GPU 3 is lost. Reset it or restart the machine.",
    **dict.fromkeys(("utilization", "memory_used", "temperature", "power", "processes")),
    "shares": (),
}
NONE = replace(reading(0), freshness=Freshness.NONE, message="No NVIDIA driver was found.")
HOT = {"throttled": ("hardware thermal slowdown",), "temperature": 92.0}


class Api(FakeApi):
    def __init__(self, first: Snapshot) -> None:
        super().__init__(first)
        self.looked_at: list[int] = []

    def gpu_history(self, index: int) -> Sequence[Series]:
        self.looked_at.append(index)
        times = tuple(NOW - 600 + 5 * i for i in range(121))

        def series(key: str, title: str, unit: str, middle: float, swing: float) -> Series:
            values = tuple(middle + swing * math.sin(i / 9 + index) for i in range(121))
            return Series(key, title, unit, values[-1], "NVML", times, values)

        return (
            series("utilization", "Utilization", "%", 50.0, 45.0),
            series("memory", "Memory used", "bytes", 40.0 * GIB, 20.0 * GIB),
            series("power", "Power", "W", 400.0, 200.0),
            series("temperature", "Temperature", "°C", 60.0, 9.0),
        )


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "now", lambda: NOW)


@asynccontextmanager
async def at(told: GpuReading, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Pilot[None], Api]]:
    """The console with its screen of GPUs open."""
    api = Api(with_gpus(told))
    async with Console(lambda: api).run_test(size=size) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(pilot.app.screen, Gpus))
        yield pilot, api


@pytest.mark.parametrize("size", [(60, 20), *SIZES, (200, 60)])
@pytest.mark.parametrize("count", [1, 8, 16])
async def test_it_opens_from_everywhere_and_escape_leads_back(size: tuple[int, int], count: int) -> None:
    api = Api(with_gpus(reading(count)))
    async with Console(lambda: api).run_test(size=size) as pilot:
        screen = await opened(pilot)
        await pilot.press("3")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "prompt")
        await settled(pilot)
        await pilot.press("ctrl+g")
        await shown(pilot, "Load", "1 Memory", "llama3-70b", "planned", "escape close")
        assert all(len(line) <= size[0] for line in screen_text(pilot).splitlines())
        await pilot.press("escape")
        await on_main(pilot)
        assert pilot.app.screen is screen
        await pilot.press("escape", "ctrl+g")
        await until(pilot, lambda: isinstance(pilot.app.screen, Gpus))
        await pilot.press("ctrl+g")
        await on_main(pilot)


async def test_memory_is_explained_against_the_plan() -> None:
    told = changed(reading(2), 1, shares=(MemoryShare("mixtral", 70 * GIB, deployment=True, planned=66 * GIB),))
    async with at(told, (80, 24)) as (pilot, _):
        await shown(pilot, "planned 67.0: 1.0 less", "other (python)", "no process seen", "reserved", "free")
        text = screen_text(pilot)
        amounts = {row: next(line for line in text.splitlines() if f" {row} " in line) for row in ("reserved", "free")}
        assert "0.5 GiB" in amounts["reserved"]
        assert "8.5 GiB" in amounts["free"]
        assert "4711" in text
        assert "no deployment" in text
        await pilot.press("j")
        await shown(pilot, "planned 66.0: 4.0 more")


async def test_every_figure_has_its_unit() -> None:
    async with at(reading(8)) as (pilot, _):
        await pilot.press("2")
        await shown(pilot, "612 of 700 W", "1755 of 1980 MHz", "2619 MHz", "gen 5 ×16", "44 %", "50 °C")
        text = screen_text(pilot)
        for part in ("not reported", "in 1.12 GiB/s", "3 corrected, 0 not", "power cap", "GPU-00000000-5ea0"):
            assert part in text


async def test_what_cannot_be_told_is_said() -> None:
    bare = Gpu(1, "GPU-1", "NVIDIA T4", 10.0, GIB, 16 * GIB, 40.0, None, None, unsupported=("power", "pcie_link"))
    told = changed(reading(8), 3, **LOST)
    async with at(replace(told, gpus=(told.gpus[0], bare, *told.gpus[2:]))) as (pilot, _):
        await pilot.press("j", "2")
        await shown(pilot, "n/a/– W", "processes not listed")
        await pilot.press("j", "j", "1")
        await shown(pilot, "▲ GPU 3 is lost. Reset it or restart the machine.", "How its memory is used is not known.")


async def test_the_links_of_all_gpus_are_one_matrix() -> None:
    async with at(reading(8), (80, 24)) as (pilot, _):
        await pilot.press("4")
        await shown(pilot, "NUMA", "NV18: 18 NVLinks", "SYS: over the link between CPUs")
        lines = [line.strip("│ ").split() for line in screen_text(pilot).splitlines()]
        assert ["0", "·", *["NV18"] * 3, *["SYS"] * 4, "0"] in lines
        assert ["7", *["SYS"] * 4, *["NV18"] * 3, "·", "0"] in lines
    async with at(reading(16), (120, 40)) as (pilot, _):
        await pilot.press("4")
        await shown(pilot, "NUMA", "NV18: 18 NVLinks")
        lines = [line.strip("│ ").split() for line in screen_text(pilot).splitlines()]
        assert ["15", *["SYS"] * 12, *["NV18"] * 3, "·", "1"] in lines
    async with at(reading(1), (80, 24)) as (pilot, _):
        await pilot.press("4")
        await shown(pilot, "There is one GPU")


async def test_history_is_read_only_where_it_is_shown() -> None:
    async with at(reading(8), (80, 24)) as (pilot, api):
        await shown(pilot, "planned")
        assert not api.looked_at
        await pilot.press("j", "3")
        await shown(pilot, "Utilization", "Memory used", "Temperature", "Power", "-5m", "last 5 min")
        assert set(api.looked_at) == {1}
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await shown(pilot, "-60m")
        await pilot.press(*["left_square_bracket"] * 4)
        await shown(pilot, "-1m")


async def test_a_new_reading_changes_only_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    async with at(reading(8), (80, 24)) as (pilot, api):
        await shown(pilot, "planned")
        await still(pilot)
        table = pilot.app.screen.query_one(GpuTable)
        cells: list[tuple[Any, ...]] = []
        update = table.update_cell

        def record(*where: Any, **options: Any) -> None:
            cells.append(where[:2])
            update(*where, **options)

        monkeypatch.setattr(table, "update_cell", record)
        painted: list[object] = []
        told = pilot.app.screen.query_one("#gpus-memory", Static)
        monkeypatch.setattr(told, "refresh", lambda *regions, **_: painted.extend(regions or [told.region]))
        api.show(replace(api.latest, gpus=changed(reading(8), 5, power=333.0)))
        await shown(pilot, "333/700 W")
        assert cells == [("5", "Power")]
        assert not painted


async def test_the_cursor_begins_at_the_selected_models_and_stays_on_its_gpu() -> None:
    told = changed(changed(reading(4), 0, shares=()), 1, shares=())
    told = changed(told, 2, shares=(MemoryShare("llama3-70b", GIB, deployment=True),))
    async with at(told) as (pilot, api):
        await shown(pilot, "GPU 2 ·", "▸  2")
        rest = replace(told, gpus=told.gpus[1:])
        api.show(replace(api.latest, gpus=rest))
        await shown(pilot, "3 × NVIDIA")
        await shown(pilot, "GPU 2 ·")


@pytest.mark.parametrize(
    ("told", "texts"),
    [
        (NONE, ("No NVIDIA driver was found.", "64 cores", "71.0 / 512 GiB")),
        (GpuReading(NOW, Freshness.LOADING), ("Reading the GPUs …",)),
        (
            replace(NONE, freshness=Freshness.FAILED, message="The NVIDIA driver does not answer."),
            ("The NVIDIA driver does not answer.", "64 cores"),
        ),
        (
            replace(reading(4), freshness=Freshness.STALE, message="No reading since 12:00:00."),
            ("▲ No reading since 12:00:00.", "612/700 W"),
        ),
        (reading(2, hints=(HINT,)), (f"▲ {HINT}",)),
        (
            replace(reading(2), gpus=tuple(replace(one, source="metrics of smollm2") for one in reading(2).gpus)),
            ("they are from metrics of smollm2",),
        ),
        (changed(reading(2), 0, mig=MIG), ("MIG × 3", "1g.10gb", "4.0 of 10.0 GiB")),
    ],
    ids=["none", "loading", "failed", "stale", "hint", "source", "mig"],
)
async def test_looks(told: GpuReading, texts: tuple[str, ...]) -> None:
    async with at(told, (80, 24)) as (pilot, api):
        await shown(pilot, *texts)
        api.show(replace(api.latest, gpus=reading(2)))
        await shown(pilot, "planned")
        api.show(replace(api.latest, gpus=told))
        await shown(pilot, *texts)


async def test_a_hint_shows_on_the_main_screen_with_the_key_to_it() -> None:
    api = Api(with_gpus(reading(2, hints=(HINT,))))
    async with Console(lambda: api).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "▲ 1 hint: ctrl+g")
        await pilot.press("j")
        await until(pilot, lambda: "▸ 0" not in screen_text(pilot))
        await pilot.press("k")
        await shown(pilot, "▸ 0")


async def test_hints_that_have_no_room_are_counted_and_none_is_cut() -> None:
    hints = tuple(
        f"chat-{i} {'computes each layer on two GPUs that share no NVLink, ' * 3}end of {i}." for i in range(3)
    )
    async with at(reading(8, hints=hints), (80, 24)) as (pilot, _):
        await shown(pilot, "▲ chat-0", "end of 0.", "▲ 2 more: `tritontui gpus` tells all.", "planned")
        assert "chat-1" not in screen_text(pilot)
    async with at(reading(8, hints=hints), (120, 60)) as (pilot, _):
        await shown(pilot, "end of 0.", "end of 1.", "end of 2.")
        assert "more:" not in screen_text(pilot)


async def test_the_table_tells_memory_that_has_failed_in_words() -> None:
    failed = {"ecc_uncorrected": 2, "throttled": ("hardware thermal slowdown",)}
    async with at(changed(reading(2), 1, **failed), (120, 40)) as (pilot, _):
        await shown(pilot, "▲  1", "▼ hardware thermal slowdown  2 ECC errors")


async def test_why_a_hot_gpu_is_marked_stands_in_its_row_and_below_with_what_to_do() -> None:
    unclaimed = {"temperature": 97.0, "throttled": (), "processes": (), "shares": ()}
    async with at(changed(reading(8), 1, **unclaimed), (80, 24)) as (pilot, _):
        await shown(pilot, "too hot  no process seen")
        row = next(line for line in screen_text(pilot).splitlines() if "too hot" in line)
        assert row.split()[:2] == ["▲", "1"]
        await pilot.press("j")
        await shown(pilot, "▲ Too hot, at 85 °C or more: GPU 1 (97 °C).", "nvidia-smi -pl")


async def test_help_has_its_keys_and_leads_back() -> None:
    async with at(reading(2), (120, 300)) as (pilot, _):
        await pilot.press("question_mark")
        await shown(pilot, "How the GPUs reach each other", "Go to the next GPU")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, Gpus))


async def test_a_reading_that_comes_when_it_is_closed_harms_nobody() -> None:
    async with at(reading(2)) as (pilot, api):
        await shown(pilot, "planned")
        await pilot.press("escape")
        await on_main(pilot)
        await asyncio.to_thread(api.show, replace(api.latest, gpus=changed(reading(2), 0, utilization=13.0)))
        await shown(pilot, "13 %")


PICTURES: dict[str, tuple[GpuReading, list[str]]] = {
    "panel": (changed(reading(8), 3, **LOST), ["escape"]),
    "panel16": (changed(reading(16), 6, **HOT), ["escape"]),
    "memory": (reading(8, hints=(HINT,)), []),
    "details": (changed(reading(2), 0, mig=MIG), ["2"]),
    "history": (reading(4), ["3"]),
    "links": (reading(8), ["4"]),
    "none": (NONE, []),
}


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    told, keys = PICTURES[name]

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(pilot.app.screen, Gpus))
        await pilot.press(*keys)
        await still(pilot)

    api = Api(with_gpus(told))
    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
