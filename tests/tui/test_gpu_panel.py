"""The GPU panel: what fits is shown, what is missing is said, and only what changed is painted."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading, HostLoad, MemoryShare, MigInstance
from tui.widgets.glyphs import bar, sparkline, with_unit
from tui.widgets.gpu_lines import STEP_S, Line, Piece, draw, rows_wanted, steps
from tui.widgets.gpu_panel import GpuPanel, changed_cells

GIB = 1 << 30
GPU = Gpu(
    index=0,
    uuid="GPU-0",
    name="NVIDIA H100 80GB HBM3",
    utilization=87.0,
    memory_used=int(71.2 * GIB),
    memory_total=80 * GIB,
    temperature=68.0,
    power=612.0,
    power_limit=700.0,
    history=(0.0, None, 50.0, 100.0),
)
SHARED = replace(
    GPU,
    shares=(MemoryShare("llama3-70b", 61 * GIB, deployment=True), MemoryShare("python", 10 * GIB, deployment=False)),
)
HOST = HostLoad(
    cpu=33.0, cores=64, memory_used=71 * GIB, memory_total=512 * GIB, load_1m=4.2, history=(10.0, 20.0, 33.0)
)


def _reading(*gpus: Gpu, **values: Any) -> GpuReading:
    return replace(GpuReading(at=0.0, freshness=Freshness.FRESH, gpus=gpus), **values)


def _many(count: int) -> tuple[Gpu, ...]:
    return tuple(replace(GPU, index=index, utilization=float(index)) for index in range(count))


def _text(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in line) for line in lines]


def test_a_wide_line_says_everything() -> None:
    (line,) = _text(draw(_reading(GPU), 100, 5))
    for part in ("87 %", "71.2/ 80 GiB", "████████████▍", "68 °C", "610/700 W"):
        assert part in line


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (9, "87 %", "GiB"),
        (26, "GiB", "█"),
        (33, "█", "llama"),
        (42, "llama3-…", "°C"),
        (51, "°C", "▃█"),
        (60, "▃█", " W"),
        (69, " W   llama3-70b", "python"),
        (86, "llama3-70b, other (python)", "/700"),
        (100, "/700 W", "x"),
    ],
)
def test_narrow_lines_drop_columns_by_importance(width: int, there: str, gone: str) -> None:
    (line,) = _text(draw(_reading(SHARED), width, 5))
    assert there in line
    assert gone not in line


@given(
    count=st.integers(1, 16),
    width=st.integers(12, 220),
    height=st.integers(1, 24),
    lost=st.booleans(),
    mine=st.sets(st.integers(0, 15)),
    plain=st.booleans(),
)
def test_lines_fit_and_tell_every_gpu(
    count: int, width: int, height: int, lost: bool, mine: set[int], plain: bool
) -> None:
    gpus = [*_many(count)]
    if lost:
        gpus[-1] = replace(gpus[-1], utilization=None, memory_used=None, error="GPU is lost. Reset it.")
    lines = _text(draw(_reading(*gpus), width, height, mine=mine, plain=plain))
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= count
    told = re.findall(r"(?:^|[▸▲>! ])([ 1]\d) +(?:\d+ ?%|lost|GPU)", "\n".join(lines), re.MULTILINE)
    assert sorted(map(int, told)) == list(range(count))


@pytest.mark.parametrize(("width", "height"), [(76, 4), (68, 8), (68, 14), (116, 22)])
def test_sixteen_gpus_have_room_on_every_common_screen(width: int, height: int) -> None:
    assert len(draw(_reading(*_many(16)), width, height)) <= height
    lines = _text(draw(_reading(*_many(16)), width, height, mine={5, 9}))
    assert len(lines) <= height
    assert sum(line.count("▸") for line in lines) == 2


def test_where_there_is_no_room_for_all_the_ones_that_matter_are_told_in_full() -> None:
    gpus = list(_many(16))
    gpus[11] = replace(gpus[11], throttled=("hardware thermal slowdown",), temperature=93.0)
    lines = _text(draw(_reading(*gpus), 68, 8, mine={3, 4}))
    full = [line for line in lines if "°C" in line]
    assert [line.split()[1] for line in full] == ["3", "4", "11"]
    assert full[2].startswith("▲")
    assert "hardware" in full[2]
    (first, *_) = _text(draw(_reading(*gpus), 76, 4, mine={3, 4}))
    assert first.split()[1] == "11"  # trouble comes before what is selected


def test_who_has_a_gpu_and_how_much_of_it() -> None:
    (line,) = draw(_reading(SHARED), 116, 5)
    assert "llama3-70b, other (python)" in _text([line])[0]
    ours, others = (next(piece for piece in line if piece.look == look) for look in ("bar", "others"))
    assert ours.text.strip("█") == ""
    assert others.text.rstrip() == "▒" * round(10.2 / 80 * 24)
    idle = replace(GPU, memory_used=GIB // 2, processes=())
    assert "free" in _text(draw(_reading(idle), 76, 5))[0]
    (plain,) = _text(draw(_reading(SHARED), 116, 5, plain=True))
    assert "#=" in plain
    assert not set("█▒▂▼▸") & set(plain)


def test_why_it_is_slow_is_a_sign_and_where_there_is_room_a_word() -> None:
    capped = replace(SHARED, throttled=("power cap",))
    narrow, wide = (draw(_reading(capped), width, 5)[0] for width in (76, 130))
    assert "W▼" in _text([narrow])[0]
    assert Piece("  power cap", "dim") in wide
    assert _text([narrow])[0].startswith("  ")  # usual under load
    (slowed,) = draw(_reading(replace(SHARED, throttled=("power brake",))), 100, 5)
    assert Piece("  power brake", "warning") in slowed
    assert slowed[0] == Piece("▲", "error")


def test_instances_stand_below_their_gpu_where_there_is_room() -> None:
    parts = tuple(MigInstance(f"MIG-{i}", "1g.10gb", 4 * GIB, 10 * GIB) for i in range(2))
    gpus = (replace(GPU, mig=parts, utilization=None, unsupported=("utilization",)), replace(GPU, index=1))
    first, below, _, last = _text(draw(_reading(*gpus), 76, 4))
    assert first.startswith("  0 MIG  ")
    assert "MIG × 2" in first
    assert "1g.10gb" in below
    assert below.index("/ 10 GiB") == first.index("/ 80 GiB")
    assert last.split()[0] == "1"
    assert len(draw(_reading(*gpus), 76, 3)) == 2
    assert [rows_wanted(_reading(*gpus), most) for most in (8, 3, 1)] == [4, 2, 1]


def test_noise_moves_neither_power_nor_history() -> None:
    def line(at: float, power: float) -> Line:
        history = tuple(50.0 + (int(at) - i) % 3 for i in range(60, 0, -1))
        return draw(_reading(replace(GPU, power=power, history=history), at=at), 76, 4)[0]

    assert changed_cells(line(1001.0, 611.0), line(1002.0, 609.4)) == []


@given(st.lists(st.none() | st.floats(0, 100), max_size=70), st.integers(0, 10_000))
def test_steps_of_history_begin_at_round_times_and_lose_no_value(history: list[float | None], at: int) -> None:
    means = steps(history, float(at))
    begins = [(at - age) // STEP_S for age in range(len(history))][::-1]
    wanted = {step: [v for v, s in zip(history, begins, strict=True) if s == step and v is not None] for step in begins}
    told = [sum(values) / len(values) if values else None for values in wanted.values()]
    assert means[-len(told) :] == pytest.approx(told) if told else not any(means)


def test_what_is_not_known_is_a_dash_and_a_lost_gpu_a_sentence() -> None:
    partly = replace(GPU, utilization=None, power=None, error="GPU 0 does not report utilization, power.")
    lost = replace(partly, memory_used=None, error="GPU 0 is lost. Reset it or restart the machine.")
    first, second = _text(draw(_reading(partly, lost), 100, 5))
    assert "   – %" in first
    assert "   – W" in first
    assert "71.2" in first
    assert "does not report utilization" in first
    assert " 0 is lost. Reset it" in second
    assert first[0] == second[0] == "▲"


def test_memory_that_no_process_has_is_not_shown_as_a_deployments() -> None:
    unseen = replace(GPU, processes=(), shares=())
    (line,) = _text(draw(_reading(unseen), 110, 1))
    assert "no process seen" in line
    assert "▒▒▒" in line
    assert "█" not in line.partition("GiB")[2]
    unlisted = replace(GPU, processes=None, shares=())
    assert "▒" not in _text(draw(_reading(unlisted), 110, 1))[0]


def test_without_gpus_the_host_and_the_reason() -> None:
    reading = _reading(freshness=Freshness.NONE, message="No NVIDIA driver was found.", host=HOST)
    lines = _text(draw(reading, 80, 8))
    assert "33 %" in lines[0]
    assert "64 cores" in lines[0]
    assert "71.0 / 512 GiB" in lines[1]
    assert "load 4.20" in lines[0]
    assert lines[2].strip() == "No NVIDIA driver was found."


def test_old_readings_are_dim_and_say_since_when() -> None:
    lines = draw(_reading(GPU, freshness=Freshness.STALE, message="No reading since 12:00:00."), 80, 8)
    assert _text(lines)[0].strip() == "No reading since 12:00:00."
    assert {piece.look for piece in lines[1] if piece.text.strip()} == {"dim"}
    assert _text(draw(None, 80, 8)) == ["Reading the GPUs …"]


def test_heat_stands_out_and_is_said_to_be_why() -> None:
    (line,) = draw(_reading(replace(GPU, temperature=91.0, processes=())), 100, 5)
    assert next(piece for piece in line if "°C" in piece.text).look == "warning"
    assert line[0] == Piece("▲", "error")
    assert "  too hot  no process seen" in _text([line])[0]


@given(st.lists(st.tuples(st.text("ab ", max_size=4), st.text("ab ", max_size=4)), max_size=8))
def test_painting_the_changed_cells_gives_the_new_line(pieces: list[tuple[str, str]]) -> None:
    old = tuple(Piece(before) for before, _ in pieces)
    new = tuple(Piece(after) for _, after in pieces)
    (was,), (is_,) = _text([old]), _text([new])
    width = max(len(was), len(is_))
    screen, target = list(was.ljust(width)), is_.ljust(width)
    for start, stop in changed_cells(old, new):
        screen[start:stop] = target[start:stop]
    assert "".join(screen) == target


class _Console(App[None]):
    CSS = "GpuPanel { width: 100%; max-width: 80; height: 10; }"

    def compose(self) -> ComposeResult:
        yield GpuPanel()


def _spy(panel: GpuPanel, monkeypatch: pytest.MonkeyPatch) -> list[Region]:
    painted: list[Region] = []
    refresh = panel.refresh

    def record(*regions: Region, **options: Any) -> Any:
        painted.extend(regions or [Region(0, 0, 80, 10)])
        return refresh(*regions, **options)

    monkeypatch.setattr(panel, "refresh", record)
    return painted


async def test_only_changed_cells_are_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    app = _Console()
    async with app.run_test(size=(100, 30)) as pilot:
        panel = app.query_one(GpuPanel)
        panel.show(_reading(*_many(4)))
        await pilot.pause()
        assert "71.2/ 80 GiB" in panel.render_line(3).text
        painted = _spy(panel, monkeypatch)
        panel.show(_reading(*_many(4), at=0.4))
        assert painted == []
        gpus = list(_many(4))
        gpus[2] = replace(gpus[2], power=99.0)
        panel.show(_reading(*gpus, at=0.8))
        (region,) = painted
        assert (region.y, region.height) == (2, 1)
        assert region.width < 10
        assert "  99/700 W" in panel.render_line(2).text
        assert str(panel.border_title) == "GPUs"
        panel.show(_reading(host=HOST, freshness=Freshness.NONE, message="No driver."))
        assert str(panel.border_title) == "Host"
        assert not panel.focusable


async def test_more_gpus_than_rows_scroll() -> None:
    app = _Console()
    async with app.run_test(size=(24, 30)) as pilot:
        panel = app.query_one(GpuPanel)
        panel.show(_reading(*_many(16)))
        await pilot.pause()
        assert panel.max_scroll_y > 0
        panel.scroll_end(animate=False)
        await pilot.pause()
        assert panel.render_line(panel.scrollable_content_region.height - 1).text.split()[:3] == ["15", "15", "%"]


# Glyphs


def test_sparklines_show_gaps_and_keep_their_width() -> None:
    assert sparkline((0.0, None, 50.0, 100.0, 250.0), 6, 100.0) == " ▁ ▅██"
    assert sparkline((0.0, 1.0), 2, 0.0) == "▁▁"
    assert sparkline((0.0, 100.0), 3, 100.0, plain=True).isascii()


@given(fraction=st.floats(-1, 2), width=st.integers(0, 40), plain=st.booleans())
def test_bars_keep_their_width_and_grow(fraction: float, width: int, plain: bool) -> None:
    drawn = bar(fraction, width, plain=plain)
    assert len(drawn) == width
    if not plain:
        eighths = sum(8 if glyph == "█" else " ▏▎▍▌▋▊▉".index(glyph) for glyph in drawn)
        assert abs(eighths - min(1, max(0, fraction)) * width * 8) <= 0.5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "tok/s", "–"),
        (0.0, "", "0"),
        (0.0123, "s", "12.3 ms"),
        (3.456, "s", "3.46 s"),
        (1234.5, "tok/s", "1234 tok/s"),
        (12345.0, "tok/s", "12.3 k tok/s"),
        (69.94, "%", "69.9 %"),
        (6.5e10, "bytes", "60.5 GiB"),
        (0.0, "bytes", "0 B"),
        (2.5, "", "2.50"),
    ],
)
def test_values_carry_their_unit(value: float | None, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text


def test_a_second_of_eight_busy_gpus_paints_few_cells() -> None:
    """What the budget for the terminal rests on: of a second's change, well under half of the panel's cells."""
    generator = random.Random(7)

    def busy() -> list[Line]:
        gpus = [replace(gpu, utilization=generator.uniform(0, 100), power=600 + generator.random()) for gpu in _many(8)]
        return draw(_reading(*gpus), 80, 8)

    painted = sum(
        stop - start for old, new in zip(busy(), busy(), strict=True) for start, stop in changed_cells(old, new)
    )
    assert painted < 80 * 8 * 0.25


def test_memory_that_has_failed_is_told_in_words_before_who_has_it() -> None:
    (line,) = _text(draw(_reading(replace(SHARED, ecc_uncorrected=3, throttled=("power cap",))), 120, 5))
    assert "  3 ECC errors  llama3-70b, other (python)" in line
    (line,) = _text(draw(_reading(replace(SHARED, ecc_uncorrected=1)), 120, 5))
    assert "  1 ECC error  " in line


def test_a_parted_gpu_is_called_so_in_the_smallest_cell() -> None:
    parted = replace(
        GPU,
        index=1,
        utilization=None,
        unsupported=("utilization",),
        mig=(MigInstance("MIG-1", "1g.10gb", GIB, 10 * GIB),),
    )
    gpus = (GPU, parted, *(replace(one, unsupported=("utilization",), utilization=None) for one in _many(14)[2:]))
    text = "\n".join(_text(draw(_reading(*gpus), 76, 3)))
    assert " 0  87%" in text
    assert " 1 MIG " in text
    assert " 2 n/a " in text
    assert "n/a%" not in text


def test_what_is_in_trouble_is_in_sight_where_the_rest_has_to_be_scrolled_to() -> None:
    gpus = tuple(replace(one, ecc_uncorrected=2 if one.index == 5 else 0) for one in _many(8))
    first, second = _text(draw(_reading(*gpus), 56, 1))
    assert [int(index) for index in re.findall(r"(\d+) +\d+%", first)] == [5, 0, 1, 2]
    assert [int(index) for index in re.findall(r"(\d+) +\d+%", second)] == [3, 4, 6, 7]
    assert first.startswith("▲")
