"""All that is known of the GPUs: a table of them, and below it the one under the cursor."""

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from engine.api import Cancel, EngineApi
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.snapshot import Snapshot
from tui import format as write
from tui.screens.behind import Behind
from tui.widgets import gpu_words as words
from tui.widgets.gpu_charts import GpuCharts
from tui.widgets.gpu_links import links
from tui.widgets.gpu_panel import GpuPanel
from tui.widgets.gpu_table import GpuTable
from tui.widgets.gpu_text import GpuText, details, memory
from tui.widgets.key_bar import KeyBar
from tui.widgets.page import Page
from tui.widgets.tab_bar import TabBar
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from textual.geometry import Region

VIEWS = (("memory", "Memory"), ("details", "Details"), ("history", "History"), ("links", "Links"))
BESIDE_COLUMNS = 110
"""From here on charts stand beside what is told in words"""
BELOW_ROWS = 12
"""Lines of the lower part in which memory and details have room below each other"""
LEAST_TABLE = 4
MOST_SAID = 5
"""Lines of what is wrong and what could be better; on tall screens `SAID_OF` of the height"""
SAID_OF = 5
FIXED_ROWS = 3
"""Top line, tabs, keys"""


class Gpus(Behind[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+g", "close", "close", id="gpus.close", tooltip="Close the GPUs"),
        Binding(
            "1",
            "view('memory')",
            "memory",
            show=False,
            id="gpus.memory",
            tooltip="Who has its memory, and which processes",
        ),
        Binding("2", "view('details')", "details", show=False, id="gpus.details", tooltip="All its figures"),
        Binding("3", "view('history')", "history", show=False, id="gpus.history", tooltip="Its past, as charts"),
        Binding("4", "view('links')", "links", show=False, id="gpus.links", tooltip="How the GPUs reach each other"),
        Binding("left_square_bracket", "window(-1)", "shorter", id="gpus.shorter", tooltip="Chart a shorter time"),
        Binding("right_square_bracket", "window(1)", "longer", id="gpus.longer", tooltip="Chart a longer time"),
        Binding("space", "page(1)", "scroll", id="gpus.page_down", tooltip="Scroll what is told of the GPU down"),
        Binding("b", "page(-1)", "back", show=False, id="gpus.page_up", tooltip="Scroll it up"),
        Binding("question_mark", "help", "help", id="gpus.help", tooltip="All keys"),
    ]
    DEFAULT_CSS = """
    Gpus {
        overflow: hidden;
        & > #gpus-says { height: auto; max-height: 50%; padding: 0 1; color: $text-warning; display: none; }
        & > GpuTable { padding: 0 1; }
        & > #gpus-body { height: 1fr; border: round $border-blurred; }
        & > #gpus-host { height: 1fr; display: none; }
        & #gpus-page { width: 5fr; }
        & #gpus-details.-below { margin-top: 1; }
        & GpuCharts { width: 4fr; height: 100%; display: none; }
        &.-empty > #gpus-host { display: block; }
        &.-empty > GpuTable, &.-empty > TabBar, &.-empty > #gpus-body { display: none; }
    }
    """

    class Arrived(Message):
        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Gpus.Arrived)

    def __init__(self, api: EngineApi, snapshot: Snapshot, model: str) -> None:
        """`model`: the name of the selected one, whose GPUs are marked; empty when none is."""
        super().__init__()
        self._api = api
        self._snapshot = snapshot
        self._model = model
        self._view = "memory"
        self._shown_view = ""
        self._unsubscribe: Cancel | None = None
        self._top = TopLine()
        self._says = Static(id="gpus-says", markup=False)
        self._table = GpuTable(id="gpus-table")
        self._tabs = TabBar(VIEWS)
        self._memory, self._details = GpuText(id="gpus-memory"), GpuText(id="gpus-details")
        self._links = GpuText(id="gpus-links")
        self._page = Page(self._memory, self._details, self._links, id="gpus-page")
        self._charts = GpuCharts(id="gpus-charts")
        self._host = GpuPanel(id="gpus-host")

    def compose(self) -> ComposeResult:
        yield self._top
        yield self._says
        yield self._host
        yield self._table
        yield self._tabs
        yield Horizontal(self._page, self._charts, id="gpus-body")
        yield KeyBar()

    def on_mount(self) -> None:
        self._table.focus()
        self.call_after_refresh(self._show)
        self._unsubscribe = self._api.subscribe(lambda snapshot: self._arrived(snapshot))
        self.set_interval(1.0, self._top.tick)

    def refresh(self, *regions: "Region", repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """What is painted on the screen behind it is not seen; Textual would paint all of this one for it."""
        return self if regions else super().refresh(repaint=repaint, layout=layout, recompose=recompose)

    def on_unmount(self) -> None:
        if self._unsubscribe:
            self._unsubscribe()

    def _arrived(self, snapshot: Snapshot) -> None:
        """From a thread of the engine."""
        self.post_message(self.Arrived(snapshot))

    def on_gpus_arrived(self, message: Arrived) -> None:
        self._snapshot = message.snapshot
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @on(GpuTable.RowHighlighted)
    def _moved(self) -> None:
        self._show_chosen()

    @on(TabBar.Picked)
    def _picked(self, event: TabBar.Picked) -> None:
        self.action_view(event.key)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "window":
            return self._charts.display and not self.has_class("-empty")
        if action == "page":
            return self._page.display and self._page.max_scroll_y > 0
        return action != "view" or not self.has_class("-empty")

    def action_close(self) -> None:
        self.dismiss()

    def action_view(self, view: str) -> None:
        self._view = view
        self._show()
        self.call_after_refresh(self._turn_page)

    def _turn_page(self) -> None:
        """To the beginning of what was asked for."""
        if self._view == "details":
            self._page.scroll_to_widget(self._details, animate=False, top=True)
        else:
            self._page.scroll_home(animate=False)

    def action_window(self, step: int) -> None:
        self._charts.widen(step)
        self._show_chosen()

    def action_page(self, direction: int) -> None:
        if direction > 0:
            self._page.scroll_page_down(animate=False)
        else:
            self._page.scroll_page_up(animate=False)

    def action_help(self) -> None:
        from tui.screens.help import Help

        self.app.push_screen(Help(self.focused or self))

    @property
    def _reading(self) -> GpuReading | None:
        return self._snapshot.gpus

    @property
    def _chosen(self) -> Gpu | None:
        index = self._table.chosen
        return next((gpu for gpu in self._reading.gpus if gpu.index == index), None) if self._reading else None

    def _show(self) -> None:
        if not (self.is_attached and self._table.is_attached):
            return
        reading = self._reading
        self._top.show(self._snapshot)
        gpus = reading.gpus if reading else ()
        if self.has_class("-empty") == bool(gpus):
            self.set_class(not gpus, "-empty")
            self.refresh_bindings()
        self._say(reading)
        if reading is None or not gpus:
            self._host.show(reading)
            return
        self._fit(len(gpus))
        model = self._snapshot.model(self._model) if self._model else None
        mine = [gpu.index for gpu in gpus if words.of_model(gpu, model)]
        first = next(iter(mine), gpus[0].index)
        self._table.show(gpus, mine, first, stale=reading.freshness is Freshness.STALE)
        self._show_chosen()

    def _say(self, reading: GpuReading | None) -> None:
        """What is wrong, and what could be better: in sight whatever is looked at."""
        told = reading if reading and reading.gpus else None
        said = [f"▲ {sentence}" for sentence in ((told.message,) if told.message else ()) + told.hints] if told else []
        by = words.source(told.gpus) if told else ""
        said = _fitting(said, self.size.width - 2, max(MOST_SAID, self.size.height // SAID_OF))
        text = "\n".join([*said, *([f"These figures are not the driver's: they are from {by}."] if by else [])])
        self._says.display = bool(text)
        if self._says.content != text:
            self._says.update(text)
            self.call_after_refresh(self._show)  # there is more room for the rest, or less

    def _fit(self, count: int) -> None:
        """The table is as high as it has GPUs, as far as that leaves the view below what it needs."""
        says = self._says.size.height if self._says.display else 0
        room = self.size.height - FIXED_ROWS - says - 2
        needs = {"memory": 9, "details": 8, "history": 13, "links": count + 3}[self._view]
        height = min(count + 1, max(LEAST_TABLE, room - needs))
        if self._table.styles.height is None or self._table.styles.height.value != height:
            self._table.styles.height = height
        beside = self.size.width >= BESIDE_COLUMNS and self._view != "links"
        both = room - height >= BELOW_ROWS and self._view in ("memory", "details")
        self._memory.display = self._view == "memory" or both
        self._details.display = self._view == "details" or both
        self._links.display = self._view == "links"
        self._page.display = self._view != "history"
        self._charts.display = beside or self._view == "history"
        self._details.set_class(both, "-below")
        if self._shown_view != self._view:
            self._shown_view = self._view
            self.call_after_refresh(self.refresh_bindings)

    def _show_chosen(self) -> None:
        gpu, reading = self._chosen, self._reading
        if gpu is None or reading is None or not self._page.is_attached:
            return
        minutes = f"last {self._charts.window_s / 60:.0f} min" if self._charts.display else ""
        kind = words.kind(gpu) if self._page.display else ""
        self._tabs.show(self._view, " · ".join(part for part in (f"GPU {gpu.index}", kind, minutes) if part))
        if self._memory.display:
            self._memory.say(partial(memory, gpu))
        if self._details.display:
            self._details.say(partial(details, gpu, reading))
        if self._links.display:
            self._links.say(partial(links, reading, gpu.index))
        if self._charts.display:
            limits = {"memory_used": gpu.memory_total, "power": gpu.power_limit}
            self._charts.show(self._api.gpu_history(gpu.index), write.now(), limits)


def _fitting(said: Sequence[str], width: int, most: int) -> list[str]:
    """The sentences that have room whole in `most` lines, but always the first; then how many more there are."""
    shown: list[str] = []
    lines = 0
    for place, sentence in enumerate(said):
        more = len(said) - place
        lines += len(textwrap.wrap(sentence, max(1, width)))
        if shown and lines + (more > 1) > most:
            return [*shown, f"▲ {more} more: `tritontui gpus` tells all."]
        shown.append(sentence)
    return shown
