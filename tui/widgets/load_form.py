"""The form of a load test: what is to be sent, how much of it, and what it comes to."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.load_plan import LoadPlan
from tui.widgets.load_choice import Choice
from tui.widgets.load_fields import ENDS, LOADS, TRANSPORTS, FieldError, Values, plan_of
from tui.widgets.load_words import what_is_sent

CHOICES = {"load": LOADS, "end": ENDS, "transport": TRANSPORTS}
ROWS: tuple[tuple[str, tuple[tuple[str, str, int], ...]], ...] = (
    ("load", (("load", "", 0), ("amounts", "at once", 22))),
    (
        "each level",
        (
            ("requests", "requests", 7),
            ("seconds", "or seconds", 6),
            ("warmup", "warm-up", 4),
            ("repeats", "repeats", 3),
        ),
    ),
    (
        "tokens",
        (
            ("tokens-in", "in", 7),
            ("spread-in", "±", 5),
            ("tokens-out", "out", 7),
            ("spread-out", "±", 5),
            ("end", "", 0),
        ),
    ),
    ("good if", (("ttft", "TTFT ms ≤", 7), ("itl", "ITL ms ≤", 7), ("e2e", "E2E s ≤", 7))),
    ("prompts", (("file", "", -1), ("prefix", "shared prefix", 6), ("seed", "seed", 7))),
    ("model", (("model", "", 20), ("lora", "LoRA", 12), ("transport", "by", 0))),
)
"""Title of a row; of each field its key, what stands before it, and its width: -1 for all that is left"""
PLACEHOLDERS = {
    "requests": "any",
    "seconds": "any",
    "ttft": "any",
    "itl": "any",
    "e2e": "any",
    "file": "synthetic; or a file",
    "model": "automatic",
    "lora": "none",
}


class LoadForm(VerticalScroll, can_focus=False):
    class Ready(Message):
        """The plan is to be begun."""

        def __init__(self, plan: LoadPlan) -> None:
            super().__init__()
            self.plan = plan

    class Left(Message):
        """No test after all."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # Both through this widget's own queue, in order with what is typed.
        Binding("enter", "go", "begin", id="load.begin", priority=True, tooltip="In the form: begin, after a question"),
        Binding("escape", "leave_form", "leave", id="load.leave_form", tooltip="In the form: back, without a test"),
        Binding("down", "row(1)", "down", show=False, tooltip="In the form: go to the next row"),
        Binding("up", "row(-1)", "up", show=False, tooltip="In the form: go to the previous row"),
    ]
    DEFAULT_CSS = """
    LoadForm {
        height: 1fr; padding: 0 1; overflow-x: auto;
        & > Horizontal { height: 1; min-width: 76; }
        & Label { color: $text-muted; padding: 0 1 0 0; }
        & .-title { width: 11; }
        & Input { margin: 0 2 0 0; background: $surface; }
        & Input:focus { background: $panel; }
        & Input.-wrong { color: $text-error; }
        & #load-says { height: auto; margin: 1 0 0 0; color: $text-muted; }
        & #load-says.-wrong { color: $text-error; }
        &.-low #load-says { margin: 0; }
    }
    """

    def compose(self) -> ComposeResult:
        for title, fields in ROWS:
            with Horizontal():
                yield Label(title, classes="-title")
                for key, before, width in fields:
                    if before:
                        yield Label(before, id=f"before-{key}")
                    yield self._field(key, width)
        yield Static(id="load-says", markup=False)

    def _field(self, key: str, width: int) -> Widget:
        if key in CHOICES:
            return Choice(CHOICES[key], id=f"load-{key}")
        field = Input(id=f"load-{key}", compact=True, placeholder=PLACEHOLDERS.get(key, ""), select_on_focus=False)
        field.cursor_blink = False  # nothing moves that means nothing
        field.styles.width = "1fr" if width < 0 else width
        return field

    def _fields(self) -> dict[str, Input | Choice]:
        found: dict[str, Input | Choice] = {}
        for key in (key for _, fields in ROWS for key, _, _ in fields):
            found[key] = self.query_one(f"#load-{key}", Choice if key in CHOICES else Input)  # type: ignore[assignment]
        return found

    @property
    def values(self) -> Values:
        return {key: field.value for key, field in self._fields().items()}

    def fill(self, values: Values) -> None:
        for key, field in self._fields().items():
            field.value = values[key]
        self._check()

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self, event: Message) -> None:
        event.stop()
        self._check()

    def _check(self) -> LoadPlan | None:
        """Says what would be sent, or what is wrong."""
        values, wrong, plan = self.values, "", None
        try:
            plan = plan_of(values)
        except FieldError as error:
            wrong, said = error.field, f"▲ {error}"
        else:
            said = f"{what_is_sent(plan)}."
        says = self.query_one("#load-says", Static)
        if says.content != said:
            says.update(said)
            says.set_class(bool(wrong), "-wrong")
        for key, field in self._fields().items():
            field.set_class(key == wrong, "-wrong")
        self.query_one("#before-amounts", Label).update("at once" if values["load"] == LOADS[0] else "per second")
        return plan

    def action_go(self) -> None:
        plan = self._check()
        if plan:
            self.post_message(self.Ready(plan))
        else:
            wrong = next(field for field in self._fields().values() if field.has_class("-wrong"))
            self.screen.set_focus(wrong)

    def action_leave_form(self) -> None:
        self.post_message(self.Left())

    def action_row(self, by: int) -> None:
        """The field of the next row that stands where this one does."""
        rows = [[self.query_one(f"#load-{key}") for key, _, _ in fields] for _, fields in ROWS]
        focused = self.screen.focused
        at = next((y for y, row in enumerate(rows) if focused in row), None)
        if at is None or focused is None:
            return
        row = rows[max(0, min(at + by, len(rows) - 1))]
        self.screen.set_focus(min(row, key=lambda field: abs(field.region.x - focused.region.x)))

    def on_resize(self) -> None:
        self.set_class(self.size.height < 9, "-low")
