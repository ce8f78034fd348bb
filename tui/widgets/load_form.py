"""The form of a load test: what is to be sent, how much of it, and what it comes to."""

from collections.abc import Iterator
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from engine.inference.offer import ModelOffer
from engine.inference.prompt import Transport
from engine.load_plan import LoadPlan
from tui.widgets.load_choice import Choice
from tui.widgets.load_fields import LOADS, SAMPLED, FieldError, Values, plan_of
from tui.widgets.load_offer import caution, left_out, options, server_default, takes, to_whom
from tui.widgets.load_words import what_is_sent
from tui.widgets.prompt_offers import KnownOffer
from tui.widgets.prompt_settings import model_of
from tui.widgets.state import NOTICE

CHOICES = ("load", "end", "transport", "style")
OFFERED = ("model", "lora")
"""Typed while the server has not said what it has, chosen when it has"""
ROWS: tuple[tuple[str, tuple[tuple[str, str, int], ...]], ...] = (
    ("load", (("load", "", 0), ("amounts", "at once", 22))),
    (
        "each level",
        (
            ("requests", "requests", 6),
            ("seconds", "or seconds", 5),
            ("warmup", "warm-up", 4),
            ("repeats", "repeats", 3),
        ),
    ),
    (
        "tokens",
        (
            ("tokens-in", "in", 6),
            ("spread-in", "±", 4),
            ("tokens-out", "out", 6),
            ("spread-out", "±", 4),
            ("end", "", 0),
        ),
    ),
    ("good if", (("ttft", "TTFT ms ≤", 7), ("itl", "ITL ms ≤", 7), ("e2e", "E2E s ≤", 7))),
    ("prompts", (("file", "", -1), ("prefix", "shared prefix", 6), ("seed", "seed", 7))),
    ("to", (("model", "", -1), ("lora", "LoRA", 12), ("transport", "by", 0))),
    ("as", (("style", "", 0), ("temperature", "temperature", 6), ("top_p", "top_p", 6))),
    ("others", (("others", "", -1),)),
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
    "others": "e.g. top_k=40 seed=1",
}
LEAST_MODEL = 16
LOW_ROWS = 13
"""With fewer the fields scroll, so that what will be sent stays in sight"""


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """Scrolls to the field that has the keys; the arrow keys are the form's."""


class LoadForm(Vertical, can_focus=False):
    class Ready(Message):
        """The plan is to be begun."""

        def __init__(self, plan: LoadPlan) -> None:
            super().__init__()
            self.plan = plan

    class TransportChosen(Message):
        """By which the server may offer something else."""

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
        height: 1fr; padding: 0 1;
        & > Fields { height: auto; overflow-x: auto; }
        &.-low > Fields { height: 1fr; }
        & Horizontal { height: 1; min-width: 72; }
        & Label { color: $text-muted; padding: 0 1 0 0; }
        & .-title { width: 11; }
        & Horizontal > *:last-child { margin: 0; }
        & Input { margin: 0 2 0 0; background: $surface; }
        & Input:focus { background: $panel; }
        & Input.-wrong { color: $text-error; }
        & #load-says { height: auto; margin: 1 0 0 0; color: $text-muted; }
        & #load-says.-wrong { color: $text-error; }
        &.-low #load-says { margin: 0; }
        & #load-doubt { height: auto; color: $text-warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._known = KnownOffer()
        self._now: object = None
        """Which start of the deployment it would be asked of"""
        self._shown: object = None
        """Of what the choices are made"""
        self._transport = ""

    def compose(self) -> ComposeResult:
        with Fields():
            for title, fields in ROWS:
                with Horizontal():
                    yield Label(title, classes="-title")
                    for key, before, width in fields:
                        if before:
                            yield Label(before, id=f"before-{key}")
                        yield from self._widgets(key, width)
        yield Static(id="load-says", markup=False)
        yield Static(id="load-doubt", markup=False)

    def _widgets(self, key: str, width: int) -> Iterator[Widget]:
        if key not in CHOICES:
            yield self._input(key, width)
        if key in CHOICES or key in OFFERED:
            choice = Choice(options(None, None)[key], id=f"{'offered' if key in OFFERED else 'load'}-{key}")
            choice.display = key in CHOICES
            if width < 0:
                choice.styles.width, choice.styles.min_width = "1fr", LEAST_MODEL
            yield choice

    def _input(self, key: str, width: int) -> Input:
        field = Input(id=f"load-{key}", compact=True, placeholder=PLACEHOLDERS.get(key, ""), select_on_focus=False)
        field.cursor_blink = False  # nothing moves that means nothing
        field.styles.width = "1fr" if width < 0 else width
        return field

    def _field(self, key: str) -> Input | Choice:
        """The one in use."""
        if key in CHOICES:
            return self.query_one(f"#load-{key}", Choice)
        if key in OFFERED and self._known.offer:
            return self.query_one(f"#offered-{key}", Choice)
        return self.query_one(f"#load-{key}", Input)

    def _fields(self) -> dict[str, Input | Choice]:
        return {key: self._field(key) for _, fields in ROWS for key, _, _ in fields}

    @property
    def values(self) -> Values:
        return {key: field.value for key, field in self._fields().items()}

    def fill(self, values: Values, known: KnownOffer, now: object) -> None:
        """`known`: what the server takes, as far as it has been asked; `now`: which start of it this is."""
        self._known, self._now, self._shown = known, now, None
        self._transport = values["transport"]
        for key, field in self._fields().items():
            field.value = values[key]
        self._offer()
        self._check()

    def show_offer(self, known: KnownOffer, now: object) -> None:
        """The server has told what it takes, or why it does not. What was typed stays."""
        typed = self.values
        focused = self.screen.focused
        at = next((key for key, field in self._fields().items() if field is focused), None)
        self._known, self._now = known, now
        for key in OFFERED:
            self._field(key).value = typed[key]
        self._offer()
        if at and self._field(at) is not focused:
            self.screen.set_focus(self._field(at))
        self._check()

    @property
    def transport(self) -> Transport | None:
        """That is asked for."""
        chosen = self._field("transport").value
        return Transport(chosen) if chosen else None

    @property
    def _model(self) -> ModelOffer | None:
        return model_of(self._known.offer, self._field("model").value.strip() or None)

    def _offer(self) -> None:
        """What can be chosen, and which fields there are, as the server has said."""
        offer, model = self._known.offer, self._model
        if self._shown == (offer, model):
            return
        self._shown = (offer, model)
        for key, found in options(offer, model).items():
            field = self._field(key)
            if isinstance(field, Choice):
                field.offer(found, only=key == "end")
        gone = left_out(model)
        for key in (*OFFERED, *SAMPLED, "others"):
            used = self._field(key)
            shown = key not in gone or bool(used.value.strip())
            for widget in self.query(f"#load-{key}, #offered-{key}"):
                widget.display = shown and widget is used
            for label in self.query(f"#before-{key}"):
                label.display = shown
        for row in self.query(Horizontal):
            row.display = any(widget.display for widget in row.query("Input, Choice"))
        for key in SAMPLED:
            self.query_one(f"#load-{key}", Input).placeholder = server_default(model, key) or "server's"

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self, event: Message) -> None:
        event.stop()
        if self.is_attached:
            self._offer()
            self._check()
            if self._transport != self._field("transport").value:
                self._transport = self._field("transport").value
                self.post_message(self.TransportChosen())

    def _check(self) -> LoadPlan | None:
        """Says what would be sent, or what is wrong."""
        values, wrong, plan = self.values, "", None
        try:
            plan = plan_of(values, self._model)
        except FieldError as error:
            wrong, said = error.field, f"▲ {error}"
        else:
            whom = to_whom(plan, self._known.offer)
            said = f"{what_is_sent(plan)}{', ' if whom else ''}{whom}."
        says = self.query_one("#load-says", Static)
        says.set_class(bool(wrong), "-wrong")
        _write(says, said)
        _write(self.query_one("#load-doubt", Static), self._doubt(plan))
        for key, field in self._fields().items():
            field.set_class(key == wrong, "-wrong")
        self.query_one("#before-amounts", Label).update("at once" if values["load"] == LOADS[0] else "per second")
        return plan

    def _doubt(self, plan: LoadPlan | None) -> str:
        known = self._known
        against = caution(plan, known.offer) if plan else ""
        taken = takes(self._model, "ignore_eos")
        freely = "" if taken else "It takes no ignore_eos: answers may end before their length."
        lines = [f"{NOTICE} {one}" for one in (against, freely) if one]
        return "\n".join(filter(None, (*lines, known.said(self._now))))

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
        used = self._fields()
        rows = [[used[key] for key, _, _ in fields if used[key].display] for _, fields in ROWS]
        rows = [row for row in rows if row]
        focused = self.screen.focused
        at = next((y for y, row in enumerate(rows) for field in row if field is focused), None)
        if at is None or focused is None:
            return
        row = rows[max(0, min(at + by, len(rows) - 1))]
        self.screen.set_focus(min(row, key=lambda field: abs(field.region.x - focused.region.x)))

    def on_resize(self) -> None:
        self.set_class(self.size.height < LOW_ROWS, "-low")


def _write(widget: Static, text: str) -> None:
    widget.display = bool(text)
    if widget.content != text:
        widget.update(text)
