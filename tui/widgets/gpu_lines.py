"""The lines of the GPU panel: as complete as there is room for, and a grid of cells where there are more GPUs than
lines."""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from engine.freshness import Freshness
from tui.widgets import gpu_words as words
from tui.widgets.glyphs import UNKNOWN, bar, cut, gib, sparkline
from tui.widgets.gpu_columns import INDEX_WIDTH, LOAD_WIDTH, SPARK_WIDTH, Columns

if TYPE_CHECKING:  # the first paint needs none of them
    from collections.abc import Collection, Iterable, Sequence

    from engine.gpu_reading import Gpu, GpuReading, HostLoad, MigInstance

BUSY_PERCENT = 100.0
STEP_S = 5
"""Of a sparkline: what a cell tells is the mean of so many seconds, and so the line moves no more often"""
NARROWEST_LINE = 25
"""Cells in which load and memory can be told in numbers"""
NARROWEST_CELL = 12
GAP = 2
POWER_STEP = 5
"""Watts; a loaded GPU's power is never the same for two seconds"""
SELECTED, TROUBLE, SLOWED = "▸", "▲", "▼"
PLAIN = str.maketrans({SELECTED: ">", TROUBLE: "!", SLOWED: "v", "▒": "=", "└": "`"})


class Piece(NamedTuple):
    """Text in one look; looks are the names of component classes without their prefix."""

    text: str
    look: str = "text"


Line = tuple[Piece, ...]


def draw(
    reading: GpuReading | None, width: int, height: int, *, plain: bool = False, mine: Collection[int] = ()
) -> list[Line]:
    """The panel's lines for a space of `width` by `height` cells; there may be more than `height`.

    `mine`: indices of the GPUs of the selected model.
    """
    if reading is None or reading.freshness is Freshness.LOADING:
        return [(Piece("Reading the GPUs …", "dim"),)]
    if width <= 0:
        return []
    note_look = "dim" if reading.freshness is Freshness.NONE else "warning"
    note: list[Line] = [(Piece(line, note_look),) for line in textwrap.wrap(reading.message, width)]
    if reading.gpus:
        lines = _Drawer(reading, width, mine, plain=plain).lines(height - len(note))
    else:
        lines = _host_lines(reading.host, width, plain=plain) if reading.host else []
    told = [*note, *lines] if reading.gpus else [*lines, *note]
    if reading.freshness is Freshness.STALE:
        told = [*note, *(_dimmed(line) for line in lines)]
    return [tuple(Piece(piece.text.translate(PLAIN), piece.look) for piece in line) for line in told] if plain else told


def rows_wanted(reading: GpuReading | None, most: int) -> int:
    """Lines that the panel has use for, up to `most`."""
    gpus = reading.gpus if reading else ()
    wants = (len(gpus) + sum(len(gpu.mig) for gpu in gpus), len(gpus), ceil(len(gpus) / 2))
    return next((rows for rows in wants if rows <= most), most)


class _Drawer:
    def __init__(self, reading: GpuReading, width: int, mine: Collection[int], *, plain: bool) -> None:
        self._reading = reading
        self._gpus = reading.gpus
        self._width = width
        self._plain = plain
        self._mine = mine
        self._several_sources = len({gpu.source for gpu in reading.gpus}) > 1

    def lines(self, height: int) -> list[Line]:
        gpus = self._gpus
        if len(gpus) <= height:
            return self._each(gpus, height)
        most_columns = (self._width + GAP) // (NARROWEST_CELL + GAP)
        if most_columns < 2:
            return self._each(gpus, height)
        first = self._worth_telling()
        told = next(
            (n for n in range(min(len(first), height), 0, -1) if n + ceil((len(gpus) - n) / most_columns) <= height), 0
        )
        in_full = sorted(first[:told])
        full = [gpu for gpu in gpus if gpu.index in in_full]
        rest = [gpu for gpu in gpus if gpu.index not in in_full]
        return [*self._each(full, told), *self._grid(rest, max(1, height - told), most_columns)]

    def _worth_telling(self) -> list[int]:
        """What is in trouble, then the selected model's."""
        ranked = [(not words.trouble(gpu), gpu.index not in self._mine, gpu.index) for gpu in self._gpus]
        return [index for fine, foreign, index in sorted(ranked) if not (fine and foreign)]

    def _each(self, gpus: Sequence[Gpu], height: int) -> list[Line]:
        """A line for each; the instances of those in MIG mode below them, as far as there is room."""
        told = (
            words.error(gpu) or ", ".join(dict.fromkeys((*gpu.throttled, *words.grave(gpu), *self._users(gpu))))
            for gpu in gpus
        )
        wanted = max(map(len, told), default=0)
        columns = Columns.fitting(self._width, wanted)
        spare = height - len(gpus)
        lines: list[Line] = []
        for gpu in gpus:
            lines.append(self._line(gpu, self._width, columns))
            if len(gpu.mig) <= spare:
                spare -= len(gpu.mig)
                lines.extend(self._instance(instance, columns) for instance in gpu.mig)
        return lines

    def _grid(self, gpus: Sequence[Gpu], rows: int, most_columns: int) -> list[Line]:
        """In as few columns as have room in `rows`, each from above; where they have to be scrolled, by lines and what
        is in trouble first.
        """
        across = min(most_columns, max(1, ceil(len(gpus) / rows)))
        seen, rows = rows, ceil(len(gpus) / across)
        if rows > seen:
            gpus = sorted(gpus, key=lambda gpu: not words.trouble(gpu))
        width = (self._width + GAP) // across - GAP
        columns = Columns.fitting(width, 0)
        cells = [self._line(gpu, width, columns) if width >= NARROWEST_LINE else self._cell(gpu, width) for gpu in gpus]
        gap = (Piece(" " * GAP),)
        by_columns = [cells[start : start + rows] for start in range(0, len(cells), rows)]
        stacks = [cells[start::across] for start in range(across)] if rows > seen else by_columns
        return [
            tuple(piece for cell in row[:1] for piece in cell)
            + tuple(piece for cell in row[1:] if cell for piece in (*gap, *cell))
            for row in zip_longest(*stacks, fillvalue=())
        ]

    def _index(self, gpu: Gpu) -> Line:
        mine = gpu.index in self._mine
        mark = Piece(TROUBLE, "error") if words.trouble(gpu) else Piece(SELECTED if mine else " ", "mine")
        return (mark, Piece(f"{gpu.index:>2}", "mine" if mine else "dim"))

    def _cell(self, gpu: Gpu, width: int) -> Line:
        """Index, load, and memory as a bar, which is what 12 cells have room for."""
        if words.is_lost(gpu):
            return _fitted((*self._index(gpu), Piece(f" {words.trouble(gpu)}", "error")), width)
        load = words.load(gpu).replace(" %", "%")
        return _fitted((*self._index(gpu), Piece(f"{load:5.5}"), Piece(" "), *self._bar(gpu, width - 9)), width)

    def _line(self, gpu: Gpu, width: int, columns: Columns) -> Line:
        if words.is_lost(gpu):
            return _fitted((*self._index(gpu), Piece(f" {words.error(gpu)}", "error")), width)
        pieces = [*self._index(gpu), Piece(words.load(gpu))]
        if columns.spark:
            pieces.append(Piece(f" {self._spark(gpu, columns.spark)}", "spark"))
        if columns.memory:
            pieces.append(Piece(f" {_memory(gpu.memory_used, gpu.memory_total)}"))
        if columns.bar:
            pieces += [Piece(" "), *self._bar(gpu, columns.bar)]
        if columns.temperature:
            look = "warning" if words.is_hot(gpu) else "text"
            pieces.append(Piece(f" {words.figure(gpu, 'temperature'):>3} °C", look))
        if columns.power:
            limit = f"/{f'{gpu.power_limit:.0f}' if gpu.power_limit else UNKNOWN:>3}" if columns.limit else ""
            pieces += [Piece(f" {_power(gpu):>4}"), Piece(f"{limit} W")]
            grave = words.trouble(gpu) in gpu.throttled
            pieces.append(Piece(SLOWED if gpu.throttled else " ", "warning" if grave else "dim"))
        if columns.users:
            pieces += self._told(gpu, columns.users)
        return _fitted(tuple(pieces), width)

    def _told(self, gpu: Gpu, room: int) -> Iterable[Piece]:
        """What is wrong, then who has it; what is usual comes last."""
        if gpu.error:
            yield Piece(f"  {words.error(gpu)}", "warning")
            return
        slows = [reason for reason in gpu.throttled if reason not in words.HARMLESS]
        grave = ", ".join(words.grave(gpu))
        if grave:
            yield Piece(f"  {grave}", "warning")
            room -= cell_len(grave) + GAP
        users = words.in_short(self._users(gpu), room)
        if users:
            yield Piece(f"  {users}", "dim" if users in (words.FREE, words.UNCLAIMED) else "text")
        slowed = ", ".join(gpu.throttled)
        if not slows and slowed and cell_len(users) + cell_len(slowed) + GAP <= room:
            yield Piece(f"  {slowed}", "dim")

    def _users(self, gpu: Gpu) -> tuple[str, ...]:
        by = (f"by {gpu.source}",) if gpu.source and self._several_sources else ()
        return (*words.users(gpu), *by)

    def _spark(self, gpu: Gpu, width: int) -> str:
        return sparkline(steps(gpu.history, self._reading.at), width, BUSY_PERCENT, plain=self._plain)

    def _bar(self, gpu: Gpu, width: int) -> Iterable[Piece]:
        """What deployments have, then what others have, in shades of their own: without colours, too."""
        split = words.memory_split(gpu)
        if split is None or not gpu.memory_total:
            return (Piece(" " * width, "bar"),)
        used = (gpu.memory_used or 0) / gpu.memory_total
        if not gpu.shares and gpu.processes is None:
            return (Piece(bar(used, width, plain=self._plain), "bar"),)
        others = round((split.others + split.unclaimed) / gpu.memory_total * width)
        ours = split.deployments / gpu.memory_total
        if not others:
            return (Piece(bar(ours, width, plain=self._plain), "bar"),)
        full = min(round(ours * width), width - others)
        if not full:
            return (Piece(("▒" * others).ljust(width), "others"),)
        return (Piece(("#" if self._plain else "█") * full, "bar"), Piece(("▒" * others).ljust(width - full), "others"))

    def _instance(self, instance: MigInstance, columns: Columns) -> Line:
        before = INDEX_WIDTH + LOAD_WIDTH + (columns.spark + 1 if columns.spark else 0)
        pieces = [Piece(cut(f"   └ {instance.profile}", before), "dim")]
        if columns.memory:
            pieces.append(Piece(f" {_memory(instance.memory_used, instance.memory_total)}"))
        if columns.bar and instance.memory_total:
            share = (instance.memory_used or 0) / instance.memory_total
            pieces.append(Piece(f" {bar(share, columns.bar, plain=self._plain)}", "bar"))
        return _fitted(tuple(pieces), self._width)


def steps(history: Sequence[float | None], at: float) -> list[float | None]:
    """The history, of one value a second until `at`, as means over `STEP_S` seconds that begin at round times."""
    means: list[float | None] = []
    newest = int(at)
    for step in range((newest - len(history) + 1) // STEP_S, newest // STEP_S + 1):
        first = step * STEP_S - (newest - len(history) + 1)
        known = [value for value in history[max(0, first) : max(0, first + STEP_S)] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means


def _host_lines(host: HostLoad, width: int, *, plain: bool) -> list[Line]:
    share = host.memory_used / host.memory_total if host.memory_total else 0.0
    graph = max(SPARK_WIDTH, min(40, width - 40))
    lines: list[Line] = [
        (
            Piece("CPU    ", "dim"),
            Piece(f"{host.cpu:>4.0f} %"),
            Piece(f" {sparkline(host.history, graph, BUSY_PERCENT, plain=plain)}", "spark"),
            Piece(f"  {host.cores} cores, load {host.load_1m:.2f}", "dim"),
        ),
        (
            Piece("Memory ", "dim"),
            Piece(f"{share * 100:>4.0f} %"),
            Piece(f" {bar(share, graph, plain=plain)}", "bar"),
            Piece(f"  {gib(host.memory_used)} / {gib(host.memory_total, 0)} GiB"),
        ),
    ]
    return [_fitted(line, width) for line in lines]


def _fitted(pieces: Line, width: int) -> Line:
    """Filled up to `width` cells, or cut."""
    fitted: list[Piece] = []
    room = width
    for piece in pieces:
        length = cell_len(piece.text)
        if length > room:
            if room > 0:
                fitted.append(Piece(cut(piece.text, room), piece.look))
            room = 0
            break
        fitted.append(piece)
        room -= length
    return (*fitted, Piece(" " * room)) if room else tuple(fitted)


def _dimmed(line: Line) -> Line:
    return tuple(Piece(piece.text, "dim") for piece in line)


def _memory(used: int | None, total: int | None) -> str:
    return f"{gib(used):>5}/{gib(total, 0):>3} GiB"


def _power(gpu: Gpu) -> str:
    if gpu.power is None or gpu.power < 100:
        return words.figure(gpu, "power")
    return f"{round(gpu.power / POWER_STEP) * POWER_STEP}"
