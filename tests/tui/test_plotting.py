"""Curves, drawn in characters."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tui.widgets.plotting import Curve, Drawing, Plot, draw

SECONDS = tuple(float(second) for second in range(301))
PLOT = Plot(
    curves=(Curve(SECONDS, tuple(50.0 if second < 100 or second > 200 else None for second in range(301))),),
    unit="%",
    window_s=300.0,
    end=300.0,
    width=63,
    height=11,
)


def _curve(drawing: Drawing) -> list[str]:
    return ["".join(text for text, look in row if look != "dim") for row in drawing.rows[:-2]]


def _whole(drawing: Drawing) -> list[str]:
    return ["".join(text for text, _ in row) for row in drawing.rows]


def _plot(value: float | None, **other: object) -> Plot:
    return replace(PLOT, curves=(Curve(SECONDS, (value,) * 301),), **other)  # type: ignore[arg-type]


def test_gaps_are_gaps_and_the_curve_reaches_both_ends() -> None:
    drawing = draw(PLOT)
    assert drawing is not None
    assert all(len(row) == PLOT.width for row in _whole(drawing))
    drawn = ["".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)]
    third = len(drawn) // 3
    assert drawn[0]
    assert drawn[-1]
    assert all(drawn[1 : third - 1])
    assert not any(drawn[third + 2 : 2 * third - 2])
    assert all(drawn[2 * third + 2 :])


def test_the_axis_ends_at_what_there_can_be_at_most() -> None:
    drawing = draw(_plot(float(20 << 30), unit="bytes", most=float(80 << 30)))
    assert drawing is not None
    assert drawing.unit == "GiB"
    assert _whole(drawing)[0].lstrip().startswith("80")
    assert not _curve(drawing)[0].strip()
    above = draw(_plot(900.0, unit="W", most=700.0))
    assert above is not None
    assert _whole(above)[0].lstrip().startswith("1000")


def test_points_far_apart_are_not_joined() -> None:
    drawing = draw(replace(PLOT, curves=(Curve((0.0, 300.0), (10.0, 10.0)),)))
    assert drawing is not None
    assert sum("".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)) == 2


def test_plain_terminals_get_ascii() -> None:
    drawing = draw(replace(PLOT, plain=True))
    assert drawing is not None
    assert all(row.isascii() for row in _whole(drawing))
    assert any("*" in row for row in _whole(drawing))


def test_nothing_to_draw_or_no_room() -> None:
    assert draw(_plot(None)) is None
    assert draw(replace(PLOT, curves=(Curve((), ()),))) is None
    assert draw(replace(PLOT, width=5)) is None


@pytest.mark.parametrize(
    ("largest", "unit", "top", "shown_unit"),
    [
        (0.0, "req/s", "1", "req/s"),
        (0.0123, "s", "15", "ms"),
        (2.2, "s", "3", "s"),
        (37.0, "%", "100", "%"),
        (7.0, "", "8", ""),
        (43_210.0, "tok/s", "50", "k tok/s"),
        (float(30 << 30), "bytes", "30", "GiB"),
    ],
)
def test_the_axis_ends_at_a_round_number(largest: float, unit: str, top: str, shown_unit: str) -> None:
    drawing = draw(_plot(largest, unit=unit))
    assert drawing is not None
    assert _whole(drawing)[0].split("┤")[0].strip() == top
    assert drawing.unit == shown_unit


def test_a_mark_is_a_line_with_its_text_where_the_curve_leaves_room() -> None:
    drawing = draw(replace(PLOT, marks=((150.0, "swap a → b"), (295.0, "started anew"), (-10.0, "before"))))
    assert drawing is not None
    rows = _whole(drawing)
    at = rows[0].index("│swap a → b")
    assert abs(at - len(rows[0]) / 2) < 4, "in the middle of the window"
    assert sum(row[at] == "│" for row in rows[:-2]) >= len(rows) - 4
    assert "started anew│" in rows[0], "at the right end the text stands before its line"
    assert "before" not in "".join(rows)
    assert ("│swap a → b", "mark") in drawing.rows[0]


def test_an_hour_of_seconds_keeps_its_peaks() -> None:
    hour = tuple(float(second) for second in range(3600))
    values = tuple(100.0 if second == 1234 else 1.0 for second in range(3600))
    drawing = draw(replace(PLOT, curves=(Curve(hour, values),), window_s=3600.0, end=3600.0))
    assert drawing is not None
    assert _curve(drawing)[0].strip()


def test_threads_do_not_disturb_each_other() -> None:
    plots = [_plot(float(number * 10)) for number in range(8)] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, plots)) == [draw(plot) for plot in plots]
