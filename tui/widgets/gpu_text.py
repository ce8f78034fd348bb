"""All of one GPU, in words: where its memory is, which processes have it, and every figure with its unit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from engine.gpu_reading import Gpu, GpuReading, MemoryShare
from tui.widgets import gpu_words as words
from tui.widgets.glyphs import UNKNOWN, cut, gib, terminal_is_plain, with_unit
from tui.widgets.gpu_lines import PLAIN
from tui.widgets.ink import ink

FIELD_WIDTH = 50
LABEL_WIDTH = 18
LEAST_OWNER, MOST_OWNER = 18, 30
NOTES_WIDTH = 44
"""What stands beside the name of an owner"""
NOT_TOLD = "not reported"


@dataclass(frozen=True, slots=True)
class Inks:
    """The styles of the theme that is used."""

    ours: Style
    others: Style
    muted: Style
    warning: Style
    bad: Style


Lines = Callable[[Inks, int], Iterable[Text]]
"""What is to be said, in so many cells"""


class GpuText(Static):
    """Updated only when the text is another."""

    COMPONENT_CLASSES = {f"gpu-text--{name}" for name in Inks.__slots__}
    DEFAULT_CSS = """
    GpuText {
        height: auto; width: 1fr; min-height: 1;
        & > .gpu-text--ours { color: $primary; }
        & > .gpu-text--others { color: $secondary; }
        & > .gpu-text--muted { color: $text-muted; }
        & > .gpu-text--warning { color: $text-warning; }
        & > .gpu-text--bad { color: $text-error; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._plain = terminal_is_plain()
        self._lines: Lines = lambda _inks, _width: ()
        self._said = Text()

    def on_resize(self) -> None:
        self.say(self._lines)

    def say(self, lines: Lines) -> None:
        """What stands in columns is cut where there is no room; a sentence, which says that it folds, is wrapped."""
        self._lines = lines
        width = self.size.width
        inks = Inks(*(ink(self, f"gpu-text--{name}") for name in Inks.__slots__))
        text = Text("\n").join(_cut(line, width) for line in lines(inks, width)) if width else self._said
        if self._plain:
            text = Text(text.plain.translate(PLAIN).replace("█", "#").replace("░", "-"), spans=text.spans)
        if text != self._said or text.spans != self._said.spans:
            self._said = text
            self.update(text)


def _cut(line: Text, width: int) -> Text:
    if line.overflow != "fold":
        line.truncate(width, overflow="ellipsis")
    return line


def memory(gpu: Gpu, inks: Inks, width: int) -> Iterable[Text]:
    """Who has how much of its memory, against what was planned; then the processes."""
    for sentence in words.wrong((gpu,)):
        yield Text(f"▲ {sentence}", style=inks.bad if words.is_lost(gpu) else inks.warning, overflow="fold")
    split = words.memory_split(gpu)
    if split is None or not gpu.memory_total:
        yield Text("How its memory is used is not known.", style=inks.muted, overflow="fold")
    else:
        yield _bar(split, gpu.memory_total, inks, width)
        room = min(MOST_OWNER, max(LEAST_OWNER, width - NOTES_WIDTH))
        for share in gpu.shares:
            look = ("█", inks.ours) if share.deployment else ("▒", inks.others)
            yield _owned(look, words.owner(share), share.used, gpu.memory_total, _against_plan(share), inks, room)
        if split.unclaimed:
            unlisted = gpu.processes is None and not gpu.shares
            name, note = ("used", "processes not listed") if unlisted else (words.UNCLAIMED, "the driver or unseen")
            yield _owned(("▒", inks.others), name, split.unclaimed, gpu.memory_total, note, inks, room)
        if gpu.memory_reserved is not None:
            yield _owned(("░", inks.muted), "reserved", split.reserved, gpu.memory_total, "by the driver", inks, room)
        yield _owned(
            (" ", inks.muted), "free", split.free, gpu.memory_total, f"of {gib(gpu.memory_total)} GiB", inks, room
        )
    for instance in gpu.mig:
        used = f"{gib(instance.memory_used):>5} of {gib(instance.memory_total)} GiB"
        yield Text.assemble(f"{instance.profile:<12} {used}  ", (instance.uuid, inks.muted))
    yield from _processes(gpu, inks)


def _bar(split: words.MemorySplit, total: int, inks: Inks, width: int) -> Text:
    """Parts of at least half a cell are seen."""
    cells = max(10, min(width, 100))
    ends = [0]
    for part in (split.deployments, split.others + split.unclaimed, split.free):
        ends.append(ends[-1] + part)
    edges = [round(end / total * cells) for end in ends]
    ours, others, free = (stop - start for start, stop in pairwise(edges))
    return Text.assemble(
        ("█" * ours, inks.ours), ("▒" * others, inks.others), (" " * free), ("░" * (cells - edges[-1]), inks.muted)
    )


def _owned(look: tuple[str, Style], name: str, used: int | None, total: int, note: str, inks: Inks, width: int) -> Text:
    symbol, style = look
    percent = UNKNOWN if used is None else f"{used / total * 100:.0f}"
    return Text.assemble(
        (f"{symbol} ", style), cut(name, width), f" {gib(used):>6} GiB {percent:>4} %", (f"  {note}", inks.muted)
    )


def _against_plan(share: MemoryShare) -> str:
    count = f"{share.processes} process{'' if share.processes == 1 else 'es'}"
    if share.planned is None:
        return count if not share.deployment else f"{count}, no plan"
    if share.used is None:
        return f"planned {gib(share.planned)}, {count}"
    over = share.used - share.planned
    told = f"{gib(abs(over))} {'more' if over > 0 else 'less'}" if gib(abs(over)) != "0.0" else "as planned"
    return f"planned {gib(share.planned)}: {told}"


def _processes(gpu: Gpu, inks: Inks) -> Iterable[Text]:
    if gpu.processes is None:
        return
    yield Text("")
    if not gpu.processes:
        yield Text("No process uses it.", style=inks.muted)
        return
    yield Text(f"{'PID':>8}  {'memory':>10}  {'program':<20}  of", style=inks.muted)
    for process in sorted(gpu.processes, key=lambda process: -(process.used or 0)):
        used = NOT_TOLD if process.used is None else f"{gib(process.used)} GiB"
        whose = process.deployment or "no deployment"
        yield Text.assemble(
            f"{process.pid:>8}  {used:>10}  {cut(process.name or UNKNOWN, 20)}  ",
            (whose, "" if process.deployment else inks.muted),
        )


def details(gpu: Gpu, reading: GpuReading, inks: Inks, width: int) -> Iterable[Text]:
    """Every figure, in as many columns as have room."""
    fields = list(_fields(gpu, reading))
    across = max(1, width // FIELD_WIDTH)
    rows = -(-len(fields) // across)
    for row in range(rows):
        line = Text()
        for label, value in fields[row::rows]:
            known = value not in (UNKNOWN, NOT_TOLD)
            line.append(f"{label:<{LABEL_WIDTH}} ", style=inks.muted)
            line.append(
                value if across == 1 else cut(value, FIELD_WIDTH - LABEL_WIDTH - 1), "" if known else inks.muted
            )
        yield line
    yield Text.assemble((f"{'UUID':<{LABEL_WIDTH}} ", inks.muted), gpu.uuid or UNKNOWN)
    if gpu.source:
        yield Text.assemble((f"{'figures of':<{LABEL_WIDTH}} ", inks.muted), gpu.source)


def _fields(gpu: Gpu, reading: GpuReading) -> Iterable[tuple[str, str]]:
    yield "load", _told(gpu, "utilization", "%")
    yield "memory busy", _told(gpu, "memory_busy", "%")
    yield "temperature", _told(gpu, "temperature", "°C")
    yield "fan", _told(gpu, "fan", "%")
    yield "power", _of(gpu, "power", "power_limit", "W")
    yield "clock", _of(gpu, "clock", "clock_max", "MHz")
    yield "memory clock", _told(gpu, "memory_clock", "MHz")
    nothing, none = (UNKNOWN, UNKNOWN) if words.is_lost(gpu) else ("nothing", "no instances")
    yield "slowed by", ", ".join(gpu.throttled) or (NOT_TOLD if "throttled" in gpu.unsupported else nothing)
    yield "PCIe", gpu.pcie_link or (NOT_TOLD if "pcie_link" in gpu.unsupported else UNKNOWN)
    yield "PCIe traffic", _traffic(gpu, "pcie_received", "pcie_sent")
    yield "NVLink traffic", _traffic(gpu, "nvlink_received", "nvlink_sent")
    yield "ECC errors", _ecc(gpu)
    yield "MIG", ", ".join(instance.profile for instance in gpu.mig) or none
    numa = reading.topology.numa if reading.topology else ()
    node = numa[gpu.index] if gpu.index < len(numa) else None
    yield "NUMA node", UNKNOWN if node is None else str(node)


def _told(gpu: Gpu, field: str, unit: str, decimals: int = 0) -> str:
    text = words.figure(gpu, field, decimals)
    return NOT_TOLD if text == "n/a" else text if text == UNKNOWN else f"{text} {unit}"


def _of(gpu: Gpu, field: str, most: str, unit: str, decimals: int = 0) -> str:
    text = words.figure(gpu, field, decimals)
    if text in ("n/a", UNKNOWN) or getattr(gpu, most) is None:
        return _told(gpu, field, unit, decimals)
    return f"{text} of {words.figure(gpu, most)} {unit}"


def _traffic(gpu: Gpu, received: str, sent: str) -> str:
    values = getattr(gpu, received), getattr(gpu, sent)
    if values == (None, None):
        return NOT_TOLD if received in gpu.unsupported else UNKNOWN
    return "  ".join(f"{way} {with_unit(value, 'bytes/s')}" for way, value in zip(("in", "out"), values, strict=True))


def _ecc(gpu: Gpu) -> str:
    if gpu.ecc_corrected is None and gpu.ecc_uncorrected is None:
        return NOT_TOLD if "ecc_corrected" in gpu.unsupported else UNKNOWN
    return f"{words.figure(gpu, 'ecc_corrected')} corrected, {words.figure(gpu, 'ecc_uncorrected')} not"
