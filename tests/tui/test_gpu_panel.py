"""The GPU panel: what fits is shown, what is missing is said, and only what changed is painted."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading, HostLoad
from tui.widgets.glyphs import bar, sparkline, with_unit
from tui.widgets.gpu_panel import GpuPanel, Line, Piece, changed_cells, draw

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
    for part in ("87 %", "▁ ▅█", "71.2 /  80 GiB", "██████████▋", "68 °C", "612 W", "H100 80GB HBM3"):
        assert part in line


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (8, "87 %", "GiB"),
        (26, "GiB", "█"),
        (36, "█", "▅"),
        (45, "▅", "°C"),
        (53, "°C", " W"),
        (60, " W", "H100"),
    ],
)
def test_narrow_lines_drop_columns_by_importance(width: int, there: str, gone: str) -> None:
    (line,) = _text(draw(_reading(GPU), width, 5))
    assert there in line
    assert gone not in line


@given(count=st.integers(1, 16), width=st.integers(3, 220), height=st.integers(1, 20), lost=st.booleans())
def test_lines_are_never_wider_than_the_panel(count: int, width: int, height: int, lost: bool) -> None:
    gpus = [*_many(count)]
    if lost:
        gpus[-1] = replace(gpus[-1], utilization=None, memory_used=None, error="GPU is lost. Reset it.")
    lines = _text(draw(_reading(*gpus), width, height))
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) in (count, (count + 1) // 2)


def test_sixteen_gpus_take_two_columns_when_one_is_not_enough() -> None:
    assert len(draw(_reading(*_many(16)), 110, 16)) == 16
    lines = _text(draw(_reading(*_many(16)), 110, 8))
    assert len(lines) == 8
    assert lines[0].split()[0] == "0"
    assert " 8   8 %" in lines[0]
    assert len(draw(_reading(*_many(16)), 50, 8)) == 16


def test_what_is_not_known_is_a_dash_and_a_lost_gpu_a_sentence() -> None:
    partly = replace(GPU, utilization=None, power=None, error="GPU 0 does not report utilization, power.")
    lost = replace(partly, memory_used=None, error="GPU 0 is lost. Reset it or restart the machine.")
    first, second = _text(draw(_reading(partly, lost), 100, 5))
    assert "   – %" in first
    assert "   – W" in first
    assert "71.2" in first
    assert "GPU 0 is lost. Reset it" in second


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


def test_heat_stands_out() -> None:
    (line,) = draw(_reading(replace(GPU, temperature=91.0)), 80, 5)
    assert next(piece for piece in line if "°C" in piece.text).look == "warning"


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
        assert "71.2 /  80 GiB" in panel.render_line(3).text
        painted = _spy(panel, monkeypatch)
        panel.show(_reading(*_many(4), at=1.0))
        assert painted == []
        gpus = list(_many(4))
        gpus[2] = replace(gpus[2], power=99.0)
        panel.show(_reading(*gpus, at=2.0))
        (region,) = painted
        assert (region.y, region.height) == (2, 1)
        assert region.width < 10
        assert "  99 W" in panel.render_line(2).text
        assert str(panel.border_title) == "GPUs"
        panel.show(_reading(host=HOST, freshness=Freshness.NONE, message="No driver."))
        assert str(panel.border_title) == "Host"
        assert not panel.focusable


async def test_more_gpus_than_rows_scroll() -> None:
    app = _Console()
    async with app.run_test(size=(44, 30)) as pilot:
        panel = app.query_one(GpuPanel)
        panel.show(_reading(*_many(16)))
        await pilot.pause()
        assert panel.max_scroll_y > 0
        panel.scroll_end(animate=False)
        await pilot.pause()
        assert panel.render_line(panel.scrollable_content_region.height - 1).text.split()[:2] == ["15", "15"]


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
