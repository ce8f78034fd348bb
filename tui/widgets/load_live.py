"""A load test under way: how far it is, what it measures now, and how that went over the last minutes."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from engine.load_result import LoadProgress
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.glyphs import UNKNOWN, bar, terminal_is_plain
from tui.widgets.load_inks import CLASSES, CSS, Inks, inks_of
from tui.widgets.load_run import LoadRun
from tui.widgets.load_table import failure_lines, level_table
from tui.widgets.load_words import DOUBTS, amounts, rate
from tui.widgets.metric_rows import MetricRow
from tui.widgets.state import NOTICE

WINDOWS_S = (60.0, 300.0, 900.0, 3600.0)
FIGURES_WIDTH = 42
LEAST_CHART = 30
LEAST_ROWS, COMFORTABLE_ROWS = 5, 7
TWO_CHARTS = 84
"""Columns beside the figures in which two charts stand side by side"""
TABLE_FROM_ROWS = 19
LOW_ROWS = 10
UNDER_FROM_ROWS = 13
"""Of the body: enough for what is wrong below the figures, where it moves no chart"""


class LoadLive(Widget, can_focus=True):
    COMPONENT_CLASSES = CLASSES
    DEFAULT_CSS = """
    LoadLive {
        height: 1fr; layout: vertical;
        & > #load-head { height: 2; padding: 0 1; text-wrap: nowrap; }
        & > #load-body { height: 1fr; }
        & #load-left { width: 42; height: 100%; }
        & #load-figures { height: auto; padding: 0 1; }
        & #load-under { height: 1fr; padding: 1 1 0 1; }
        & #load-beside { width: 1fr; height: 100%; }
        & #load-trouble { height: auto; max-height: 8; padding: 0 1; }
        &.-narrow #load-body { layout: vertical; }
        &.-narrow #load-left { width: 1fr; height: 1fr; }
        &.-narrow #load-beside { height: auto; max-height: 4; }
        &.-narrow.-low #load-beside { max-height: 1; }
        & #load-charts { layout: grid; grid-gutter: 0 1; width: 1fr; height: 1fr; }
        & > #load-levels { height: auto; padding: 1 1 0 1; }
        INKS
    }
    """.replace("INKS", CSS)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._run: LoadRun | None = None
        self._said: dict[str, object] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="load-head")
        with Horizontal(id="load-body"):
            with Vertical(id="load-left"):
                yield Static(id="load-figures")
                yield Static(id="load-under")
            with Vertical(id="load-beside"):
                yield Static(id="load-trouble")
                with Container(id="load-charts"):
                    yield Chart()
                    yield Chart()
        yield Static(id="load-levels")

    def show(self, run: LoadRun) -> None:
        """Paints only the parts whose text has changed."""
        self._run = run
        width = self.size.width - 2
        if width <= 0:
            return
        self.set_class(self.size.width < FIGURES_WIDTH + LEAST_CHART, "-narrow")
        self.set_class(self.size.height < LOW_ROWS, "-low")
        inks = inks_of(self)
        progress = run.progress
        self._write("head", self._head(run, width, inks))
        trouble = self._trouble(run, inks)
        narrow = self.has_class("-narrow")
        under = not narrow and self.query_one("#load-body").size.height >= UNDER_FROM_ROWS
        self._write("under", trouble if under else Text())
        moved = self._write("trouble", Text() if under else trouble)
        self._write("figures", _figures(progress, inks) if progress else Text("Waiting for its first figures …"))
        finished = progress.finished if progress and self.size.height >= TABLE_FROM_ROWS else ()
        self._show_levels(finished, width, inks)
        if moved:
            self.call_after_refresh(self._show_charts, run)
        else:
            self._show_charts(run)

    def _write(self, part: str, text: Text) -> bool:
        """Whether it is another than before."""
        known = self._said.get(part)
        if isinstance(known, Text) and known == text and known.spans == text.spans:
            return False
        self._said[part] = text
        shown = self.query_one(f"#load-{part}", Static)
        shown.display = bool(text) or part not in ("trouble", "under")
        shown.update(text)
        return True

    def _show_levels(self, finished: tuple[object, ...], width: int, inks: Inks) -> None:
        key = (finished, width)
        if self._said.get("levels") == key:
            return
        self._said["levels"] = key
        progress = self._run.progress if self._run else None
        shown = self.query_one("#load-levels", Static)
        shown.display = bool(finished)
        if finished and progress:
            tables: list[RenderableType] = list(level_table(progress.finished, width, inks)[:1])
            shown.update(Group(*tables))

    def _show_charts(self, run: LoadRun) -> None:
        room = self.size.width - FIGURES_WIDTH
        charts = self.query_one("#load-charts")
        high = self.query_one("#load-beside").size.height - self.query_one("#load-trouble").outer_size.height
        charts.display = room >= LEAST_CHART and high >= LEAST_ROWS
        if not charts.display:
            return
        output, *ttft = run.series()
        rows = (MetricRow("Output", (output,)), MetricRow("TTFT", tuple(ttft)))
        across = 2 if room >= TWO_CHARTS else 1
        two = across == 2 or high >= 2 * COMFORTABLE_ROWS
        if charts.styles.grid_size_columns != across:
            charts.styles.grid_size_columns = across
        window = next((one for one in WINDOWS_S if one >= run.seconds), WINDOWS_S[-1])
        for number, (chart, row) in enumerate(zip(self.query(Chart), rows, strict=True)):
            chart.display = two or number == 0
            if chart.display:
                chart.show(row, window, fmt.now(), run.marks)

    def _head(self, run: LoadRun, width: int, inks: Inks) -> Text:
        progress = run.progress
        if run.stopping and run.why_stopped:
            state = f"stopping: {run.why_stopped}"
        elif run.stopping:
            state = "stopping: what was measured is kept"
        elif run.waiting_s:
            state = f"{NOTICE} no answer has ended for {fmt.duration(run.waiting_s)}"
        elif run.silent_s:
            state = f"{NOTICE} nothing heard of it for {fmt.duration(run.silent_s)}"
        else:
            state = ""
        took = fmt.duration(run.seconds)
        if not progress:
            return Text.assemble(("◐ ", inks.doubt), f"beginning  {took}", (f"  {state}" if state else "", inks.doubt))
        share = progress.share
        left = _left(share, run.seconds) if share is not None and not state else ""
        percent = "" if share is None else f" {share * 100:3.0f} %"
        level = _level_share(run, progress)
        cells = max(8, min(30, (width - 44) // 2))
        return Text.assemble(
            ("◐ whole  ", inks.doubt),
            (bar(share or 0.0, cells, plain=self._plain), inks.bar),
            f"{percent:<6}  {took}{left}",
            (f"  {state}" if state else "", inks.doubt),
            "\n  level  ",
            (bar(level, cells, plain=self._plain), inks.bar),
            f" {level * 100:3.0f} %  {progress.number} of {progress.of}: {progress.level.words}"
            f"{', warming up' if progress.warming else _awaited(progress) if level >= 1 else ''}"
            f"  {fmt.duration(progress.elapsed_s)}",
            (self._hint(), inks.muted),
        )

    def _hint(self) -> str:
        """Where there is no room for charts, how to get some."""
        return "  z shows more" if self.has_class("-low") and not self.screen.has_class("-zoomed") else ""

    def _trouble(self, run: LoadRun, inks: Inks) -> Text:
        progress = run.progress
        lines = list(_troubles(progress, inks)) if progress else []
        return Text("\n").join(lines)

    def on_resize(self) -> None:
        if self._run:
            self.call_after_refresh(self.show, self._run)


def _figures(progress: LoadProgress, inks: Inks) -> Text:
    failed = f"{progress.failed:,} failed"
    text = Text.assemble(
        f"{progress.done:,} done  ",
        (failed, inks.failed if progress.failed else ""),
        f"  {progress.in_flight:,} in flight\n",
        f"{_of_ended(progress, progress.requests_per_s)} req/s  ",
        f"{_of_ended(progress, progress.output_tokens_per_s)} tok/s",
        ("  ended in 5s\n", inks.muted),
        (f"{'':9}{'p50':>7}{'p95':>7}{'p99':>7}{'n':>8}\n", inks.muted),
    )
    for title, digest in (("TTFT", progress.ttft), ("ITL", progress.itl), ("E2E", progress.e2e)):
        p50, p95, p99, unit = amounts(digest, "p50", "p95", "p99")
        text.append(f"{title:<5}{unit:<4}{p50:>7}{p95:>7}{p99:>7}{digest.n or UNKNOWN:>8}\n")
    text.rstrip()
    return text


def _of_ended(progress: LoadProgress, value: float) -> str:
    """Nothing is known of a level before its first answer has ended."""
    return rate(value if progress.done or progress.failed else None)


def _troubles(progress: LoadProgress, inks: Inks) -> Iterator[Text]:
    for line in failure_lines(progress.failures):
        yield Text(line, style=inks.failed)
    for doubt in progress.doubts:
        yield Text(f"{NOTICE} {doubt.value}: {DOUBTS[doubt]}", style=inks.doubt)


def _level_share(run: LoadRun, progress: LoadProgress) -> float:
    """By whichever ends it first."""
    plan = run.plan
    by_count = (progress.done + progress.failed) / plan.requests if plan.requests else 0.0
    by_time = progress.elapsed_s / plan.duration_s if plan.duration_s else 0.0
    return 0.0 if progress.warming else min(1.0, max(by_count, by_time))


def _left(share: float, seconds: float) -> str:
    """Nothing while it is too early to tell."""
    return f", about {fmt.roughly(seconds / share - seconds)} left" if 0.05 <= share < 1 else ""


def _awaited(progress: LoadProgress) -> str:
    """Nothing more is sent, and what was sent takes its time: with a rate beyond what is answered, a long one."""
    count, each_s = progress.in_flight, progress.requests_per_s
    if not count:
        return ""
    answers = "1 answer is" if count == 1 else f"{count:,} answers are"
    return f", {answers} awaited{f', about {fmt.roughly(count / each_s)}' if each_s else ''}"
