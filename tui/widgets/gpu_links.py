"""How the GPUs reach each other, as a matrix."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from engine.gpu_reading import Gpu, GpuLink, GpuReading
from tui.widgets.glyphs import UNKNOWN
from tui.widgets.gpu_text import Inks

WIDE, NARROW = 5, 4
"""Cells of a column; the narrow one has room for what has three letters"""
PATHS = {
    "PIX": "one PCIe switch",
    "PXB": "several PCIe switches",
    "PHB": "the CPU's PCIe root",
    "NODE": "PCIe roots of one NUMA node",
    "SYS": "the link between CPUs",
}
"""As nvidia-smi writes them, the nearest first"""
FAR = ("NODE", "SYS")


def links(reading: GpuReading, chosen: int, inks: Inks, width: int) -> Iterable[Text]:
    gpus, topology = reading.gpus, reading.topology
    if len(gpus) < 2:
        yield Text("There is one GPU: it shares no link with another.", style=inks.muted, overflow="fold")
        return
    if topology is None:
        yield Text("How the GPUs reach each other is not known.", style=inks.muted, overflow="fold")
        return
    numa = any(node is not None for node in topology.numa)
    fits = 4 + WIDE * len(gpus) + (6 if numa else 0) <= width
    longest = max((len(_word(link)) for link in topology.links), default=0)
    cell = WIDE if fits or longest >= NARROW else NARROW
    head = "".join(f"{gpu.index:>{cell}}" for gpu in gpus)
    yield Text(f"{'GPU':>4}{head}{'  NUMA' if numa else ''}", style=inks.muted)
    for gpu in gpus:
        mine = gpu.index == chosen
        line = Text(f"{gpu.index:>4}", style="bold" if mine else inks.muted)
        for other in gpus:
            line.append_text(_cell(gpu, other, topology.between(gpu.index, other.index), inks, cell))
        if numa:
            node = topology.numa[gpu.index] if gpu.index < len(topology.numa) else None
            line.append(f"{UNKNOWN if node is None else node:>6}", style=inks.muted)
        if mine:
            line.stylize("bold")
        yield line
    yield Text("")
    yield from _legend(topology.links, inks)


def _word(link: GpuLink) -> str:
    return f"NV{link.nvlinks}" if link.nvlinks else link.path or UNKNOWN


def _cell(gpu: Gpu, other: Gpu, link: GpuLink | None, inks: Inks, width: int) -> Text:
    if gpu is other:
        return Text(f"{'·':>{width}}", style=inks.muted)
    if link is None or not (link.nvlinks or link.path):
        return Text(f"{UNKNOWN:>{width}}", style=inks.muted)
    far = inks.warning if link.path in FAR else ""
    return Text(f"{_word(link):>{width}}", style=inks.ours if link.nvlinks else far)


def _legend(pairs: Sequence[GpuLink], inks: Inks) -> Iterable[Text]:
    """Of the words that stand in the matrix."""
    counts = sorted({link.nvlinks for link in pairs if link.nvlinks}, reverse=True)
    used = {link.path for link in pairs if not link.nvlinks}
    told = [f"NV{count}: {count} NVLink{'' if count == 1 else 's'}" for count in counts]
    told += [f"{path}: over {words}" for path, words in PATHS.items() if path in used]
    yield Text(" · ".join(told), style=inks.muted, overflow="fold")
