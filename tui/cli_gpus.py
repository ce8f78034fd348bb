"""`tritontui gpus`: the machine's GPUs, whose their memory is, and what could be better."""

import os
import shutil
import sys
import textwrap
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import closing

from engine.errors import Exit
from engine.gpu_reading import Gpu, GpuReading, HostLoad, Topology
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.widgets import gpu_words as words
from tui.widgets.glyphs import UNKNOWN, gib, with_unit

NOT_REPORTED = "n/a"
_HOME, _CLEAR = "\x1b[H\x1b[2J", "\x1b[J"
_NARROW = 80
_LONGEST_OWNER, _LONGEST_REMARK = 28, 12
_WORTH_TELLING = 512 << 20
"""Bytes in use that no process is listed with: every context has some"""


def add_arguments(one: ArgumentParser) -> None:
    one.add_argument("--watch", action="store_true", help="again every second, until Ctrl+C")


def gpus(engine: Engine, args: Namespace) -> int:
    if not args.watch:
        reading = engine.gpus()
        if args.json:
            out.print_json(out.plain(reading))
        else:
            for line in lines(reading, _width()):
                print(line)
            if reading.message:
                out.talk(reading.message)
        return Exit.DONE
    with closing(engine.watch_gpus()) as readings:
        for place, reading in enumerate(readings):
            if args.json:
                out.print_json(out.plain(reading), indent=None)
            else:
                _draw(reading, first=place == 0)
    return Exit.DONE


def _draw(reading: GpuReading, *, first: bool) -> None:
    """In a terminal in place of the last one, elsewhere below it. What is wrong stands before what may be cut off."""
    told = f"{time.strftime('%H:%M:%S', time.localtime(reading.at))}  {reading.message}".rstrip()
    width = _width()
    wrong = [line for sentence in words.wrong(reading.gpus) for line in textwrap.wrap(sentence, width)]
    head = [*_heading(reading), *wrong, *([""] if wrong else [])]
    table, rest = _table(reading), _below(reading, width, _others(reading))
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        size = shutil.get_terminal_size()
        shown = _fitted([*textwrap.wrap(told, size.columns), *head], table, rest, size)
        text = "\x1b[K\n".join(shown)
        print(f"{_HOME if first else _HOME[:3]}{text}\x1b[K\n{_CLEAR}", end="", flush=True)
    else:
        print("\n".join([*([] if first else [""]), told, *head, *table, *rest]), flush=True)


def _fitted(head: Sequence[str], table: Sequence[str], rest: Sequence[str], size: os.terminal_size) -> list[str]:
    """As `cli_output.fitted`; where GPUs have no room, it is said how many they are."""
    every = [*head, *table, *rest]
    shown = out.fitted(every, size.columns, size.lines)
    count = len(table) - 1
    seen = min(count, max(0, len(shown) - 1 - len(head) - 1))
    if len(shown) < len(every) and seen < count:
        others = len(every) - (len(shown) - 1) - (count - seen)
        told = f"… {count - seen} of {count} GPUs and {others} other lines have no room"
        shown[-1] = out.shortened(told, size.columns)
    return shown


def _width() -> int:
    """Of what is told in sentences."""
    return min(120, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _NARROW


def lines(reading: GpuReading, width: int = _NARROW) -> list[str]:
    """All but `message`. Tables are at most 80 columns wide with up to 16 GPUs."""
    told = [*words.wrong(reading.gpus), *_others(reading)]
    return [*_heading(reading), *_table(reading), *_below(reading, width, told)]


def _table(reading: GpuReading) -> list[str]:
    header = ("GPU", "LOAD", "MEMORY", "FREE", "TEMP", "POWER", "CLOCK", "")
    return out.table(header, [_row(gpu) for gpu in reading.gpus]) if reading.gpus else []


def _below(reading: GpuReading, width: int, told: Sequence[str]) -> list[str]:
    """Further tables, `told` as paragraphs, and the machine itself."""
    found: list[str] = []
    for title, header, rows in _tables(reading) if reading.gpus else ():
        found += ["", title, *out.table(header, rows)] if rows else []
    for sentence in told:
        found += ["", *textwrap.wrap(sentence, width)]
    if reading.host:
        found += [*([""] if reading.gpus else []), _host(reading.host)]
    return found


def _others(reading: GpuReading) -> list[str]:
    """What is to be said of the GPUs that is not wrong in itself."""
    if not reading.gpus:
        return []
    slowed = words.held_back([gpu for gpu in reading.gpus if set(words.HARMLESS).issuperset(gpu.throttled)])
    return [*slowed, *([_joined(reading.topology)] if reading.topology else []), *reading.hints]


def _heading(reading: GpuReading) -> list[str]:
    if not reading.gpus:
        return []
    kinds = list(dict.fromkeys(gpu.name or "GPU of unknown kind" for gpu in reading.gpus))
    counted = [f"{sum((gpu.name or 'GPU of unknown kind') == kind for gpu in reading.gpus)} × {kind}" for kind in kinds]
    driver = [f"driver {reading.driver}"] if reading.driver else []
    return [", ".join([*counted, *driver]), ""]


def _row(gpu: Gpu) -> tuple[str, ...]:
    memory = f"{gib(gpu.memory_used)} / {gib(gpu.memory_total)} GiB"
    power = f"{with_unit(gpu.power, '')} / {with_unit(gpu.power_limit, 'W')}"
    no_memory = gpu.memory_used is None and "memory_used" in gpu.unsupported
    return (
        str(gpu.index),
        "MIG" if gpu.mig and gpu.utilization is None else _told(gpu, "utilization", "%"),
        NOT_REPORTED if no_memory else memory,
        _free(gpu),
        _told(gpu, "temperature", "°C"),
        NOT_REPORTED if gpu.power is None and "power" in gpu.unsupported else power,
        _told(gpu, "clock", "MHz"),
        out.shortened("; ".join(_remarks(gpu)), _LONGEST_REMARK),
    )


def _free(gpu: Gpu) -> str:
    if gpu.memory_used is None or gpu.memory_total is None:
        return UNKNOWN
    return gib(max(0, gpu.memory_total - gpu.memory_used - (gpu.memory_reserved or 0)))


def _told(gpu: Gpu, field: str, unit: str) -> str:
    value: float | None = getattr(gpu, field)
    if value is None:
        return NOT_REPORTED if field in gpu.unsupported else UNKNOWN
    return f"{value:.0f} {unit}" if unit == "MHz" else with_unit(value, unit)


def _remarks(gpu: Gpu) -> Iterator[str]:
    if gpu.error:
        yield "see below"
    yield from dict.fromkeys((*words.grave(gpu), *gpu.throttled))


def _tables(reading: GpuReading) -> Iterator[tuple[str, Sequence[str], Sequence[tuple[str, ...]]]]:
    """Title, header, and rows of each further table."""
    header = ("GPU", "WHO", "HAS, GiB", "PLANNED, GiB", "PROCESSES")
    yield "memory", header, [row for gpu in reading.gpus for row in _shares(gpu)]
    mig = [
        (f"{gpu.index}.{place}", one.profile, f"{gib(one.memory_used)} / {gib(one.memory_total)} GiB", one.uuid)
        for gpu in reading.gpus
        for place, one in enumerate(gpu.mig)
    ]
    yield "MIG instances", ("", "PROFILE", "MEMORY", "UUID"), mig
    traffic = [_traffic(gpu) for gpu in reading.gpus if gpu.pcie_link or gpu.nvlink_sent is not None]
    yield "traffic", ("GPU", "PCIE", "IN", "OUT", "NVLINK IN", "OUT", "FAN", "ECC"), traffic


def _shares(gpu: Gpu) -> Iterator[tuple[str, ...]]:
    for share in gpu.shares:
        owner = share.owner if share.deployment else f"other ({share.owner})"
        mine = [
            str(process.pid)
            for process in gpu.processes or ()
            if (process.deployment or process.name or share.owner) == share.owner
            and bool(process.deployment) == share.deployment
        ]
        pids = ", ".join(mine[:3]) + (f" and {len(mine) - 3} more" if len(mine) > 3 else "")
        planned = UNKNOWN if share.planned is None else gib(share.planned)
        yield str(gpu.index), out.shortened(owner, _LONGEST_OWNER), gib(share.used), planned, pids
    rest = (gpu.memory_used or 0) - sum(share.used or 0 for share in gpu.shares)
    if (gpu.shares or gpu.processes is not None) and rest >= _WORTH_TELLING:
        yield str(gpu.index), words.UNCLAIMED, gib(rest), "", ""


def _traffic(gpu: Gpu) -> tuple[str, ...]:
    counted = f"{gpu.ecc_corrected}+{gpu.ecc_uncorrected}" if gpu.ecc_corrected or gpu.ecc_uncorrected else "0"
    ecc = UNKNOWN if gpu.ecc_uncorrected is None else counted
    return (
        str(gpu.index),
        gpu.pcie_link.replace(" of gen ", " of ").replace(" ×", "×") or UNKNOWN,
        *(_rate(gpu, field) for field in ("pcie_received", "pcie_sent", "nvlink_received", "nvlink_sent")),
        _told(gpu, "fan", "%"),
        NOT_REPORTED if "ecc_uncorrected" in gpu.unsupported else ecc,
    )


def _rate(gpu: Gpu, field: str) -> str:
    value: float | None = getattr(gpu, field)
    if value is None:
        return NOT_REPORTED if field in gpu.unsupported else UNKNOWN
    return with_unit(value, "bytes/s")


def _joined(topology: Topology) -> str:
    """How the GPUs are joined, in a sentence."""
    with_nvlink = [link for link in topology.links if link.nvlinks]
    counts = sorted({link.nvlinks for link in with_nvlink})
    words = f"{' or '.join(map(str, counts))} link{'' if counts == [1] else 's'}"
    if len(with_nvlink) == len(topology.links):
        return f"Every two GPUs are joined by NVLink ({words})."
    paths = ", ".join(sorted({link.path for link in topology.links if link.path and not link.nvlinks}))
    over = f"over PCIe ({paths})" if paths else "over PCIe"
    if not with_nvlink:
        return f"No NVLink joins the GPUs: they reach each other {over}."
    return f"NVLink ({words}) joins {_pairs([(link.first, link.second) for link in with_nvlink])}; others {over}."


def _pairs(pairs: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{a}–{b}" for a, b in pairs)


def _host(host: HostLoad) -> str:
    memory = f"{gib(host.memory_used)} / {gib(host.memory_total)} GiB"
    return f"host  CPU {host.cpu:.0f} % of {host.cores} cores, memory {memory}, load {host.load_1m:.2f}"
