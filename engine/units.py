"""Numbers with units as short text: the same figure reads the same in every sentence, table and chart."""

UNKNOWN = "–"

_BINARY_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def scale_for(largest: float, unit: str) -> tuple[float, str]:
    """Divisor and unit in which numbers up to `largest` read well."""
    if unit == "s":
        return (1.0, "s") if largest >= 1 else (1e-3, "ms")
    if unit in ("bytes", "bytes/s"):
        divisor, name = next(((float(size), name) for size, name in _BINARY_UNITS if largest >= size), (1.0, "B"))
        return divisor, name + unit.removeprefix("bytes")
    if largest >= 1e6:
        return 1e6, f"M {unit}".rstrip()
    return (1e3, f"k {unit}".rstrip()) if largest >= 1e4 else (1.0, unit)


def with_unit(value: float | None, unit: str) -> str:
    """Three significant figures and the unit; a dash when the value is not known."""
    if value is None:
        return UNKNOWN
    divisor, shown_unit = scale_for(abs(value), unit)
    return f"{three_figures(value / divisor)} {shown_unit}".rstrip()


def three_figures(number: float) -> str:
    if number == int(number) and abs(number) < 1000:
        return f"{number:.0f}"
    decimals = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:.{decimals}f}"
