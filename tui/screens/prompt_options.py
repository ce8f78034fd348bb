"""How prompts are put: model, adapter, transport, system prompt and sampling, with what the server takes."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Input, Select, Static, TextArea

from engine.api import EngineApi
from engine.deployment import State
from engine.errors import EngineError
from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import Sampling, Transport
from engine.snapshot import Model, Snapshot
from engine.text import clean_line
from tui.screens.prompt_dialog import PromptDialog
from tui.widgets.prompt_offers import KnownOffer
from tui.widgets.prompt_settings import PromptSettings, limits, meaning, model_of, parameters, read, written

USUAL = ""
"""In a choice: as it is without one"""
ON = "on"
FIELD_CELLS = 16
AT_ONCE, AFTER = "at once", "after it"


class PromptOptions(PromptDialog[PromptSettings]):
    """Ends with what was chosen, or with None."""

    DEFAULT_CSS = """
    #options-box { max-width: 120; }
    #options-form .label { width: 20; }
    #options-note { height: auto; max-height: 3; color: $text-warning; }
    #options-form { height: auto; max-height: 78vh; }
    #options-box.-noted #options-form { max-height: 68vh; }
    #options-form Horizontal { height: auto; }
    #options-form .limits {
        width: 1fr; padding: 0 0 0 2; color: $foreground-muted; text-wrap: nowrap; text-overflow: ellipsis;
    }
    #options-form #options-missing { color: $foreground-muted; }
    #options-form Input { width: 16; }
    #options-form .long { width: 1fr; max-width: 40; }
    #options-form Select { width: 1fr; max-width: 50; }
    #options-form TextArea { height: 3; width: 1fr; }
    #options-form #option-ignore_eos { width: 16; }
    #options-says { height: auto; color: $text-error; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "leave", id="options.no", tooltip="Leave the options as they were"),
        Binding("ctrl+o", "use", "use", id="options.use", tooltip="Use these options"),
        Binding("ctrl+r", "again", "ask again", id="options.again", tooltip="Ask the server again what it takes"),
    ]

    def __init__(
        self,
        api: EngineApi,
        model: Model,
        settings: PromptSettings,
        known: KnownOffer,
        snapshot: Snapshot | None,
        *,
        stale: bool,
    ) -> None:
        """`known`: what the server takes as far as it has been asked; it is asked again when there is nothing."""
        super().__init__()
        self._api = api
        self._model = model
        self._settings = settings
        self._offer = known.offer
        self._trouble = known.trouble
        self._stale = stale
        self._asking = False
        others = snapshot.models if snapshot else ()
        self._wrong = ""
        """The parameter whose value cannot be used"""
        self._others = [one.name for one in others if one.state is State.READY and one.name != model.name]

    def compose(self) -> ComposeResult:
        with Vertical(id="options-box", classes="box") as box:
            box.border_title = f"Prompts to {self._model.name}"
            box.border_subtitle = "enter uses them · ctrl+r asks the server again · escape leaves"
            yield Static("", id="options-note", markup=False)
            yield VerticalScroll(id="options-form", can_focus=False)
            yield Static("", id="options-says", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Use (enter)", variant="primary", id="use", compact=True)
                yield Button("Defaults", id="defaults", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    async def on_mount(self) -> None:
        await self._build(self._settings)
        self.query_one("#option-max_tokens" if self.query("#option-max_tokens") else "#use").focus()
        if self._offer is None or self._stale:
            self.action_again()
        self._note()

    # -- what the server takes ----------------------------------------------------------------------------------------

    def action_again(self) -> None:
        if self._model.state is State.READY and not self._asking:
            self._asking = True
            self._ask(self._transport())
            self._note()

    @work(thread=True)
    def _ask(self, transport: Transport | None) -> None:
        try:
            result: Offer | EngineError = self._api.offer(self._model.name, transport)
        except EngineError as error:
            result = error
        self.app.call_from_thread(self._arrived, result)

    def _arrived(self, result: Offer | EngineError) -> None:
        self.call_later(self._take, result)

    async def _take(self, result: Offer | EngineError) -> None:
        if not self.is_mounted:
            return
        self._asking = False
        if isinstance(result, EngineError):
            self._trouble = str(result)
        else:
            self._trouble, self._stale = "", False
            if result != self._offer:
                await self._rebuild(result)
        self._note()

    async def _rebuild(self, offer: Offer) -> None:
        """With what was typed so far, where it can be kept."""
        try:
            settings = self._chosen()
        except ValueError:
            settings = self._settings
        focused = self.focused.id if self.focused else None
        self._offer = offer
        await self._build(settings)
        if focused and self.query(f"#{focused}"):
            self.query_one(f"#{focused}").focus()

    def _note(self) -> None:
        words = ""
        if self._asking:
            words = "Asking the server what it takes …"
        elif self._trouble:
            known = "it may have changed." if self._offer else "any value can be typed, and the server judges it."
            words = f"▲ {self._trouble} What it takes is not known for certain: {known}"
        elif self._stale:
            words = "What is said here is of an earlier start of the deployment."
        elif self._offer and self._offer.left_out:
            words = f"{self._offer.left_out:,} more models are ready, which were not asked what they take."
        note = self.query_one("#options-note", Static)
        note.update(words)
        note.display = bool(words)
        self.query_one("#options-box").set_class(bool(words), "-noted")

    # -- the form -----------------------------------------------------------------------------------------------------

    @property
    def _asked(self) -> ModelOffer | None:
        return model_of(self._offer, self._settings.model)

    async def _build(self, settings: PromptSettings) -> None:
        self._settings = settings
        form = self.query_one("#options-form")
        await form.remove_children()
        await form.mount_all(self._rows(settings))

    def _rows(self, settings: PromptSettings) -> Iterator[Widget]:
        offer, asked = self._offer, self._asked
        if offer is None:
            yield _row("model", _text("model", settings.model or "", "automatic", long=True))
            yield _row("lora", _text("lora", settings.lora or "", "none", long=True))
        else:
            first = clean_line(offer.models[0].name) if offer.models else "none"
            models = [(clean_line(one.name), one.name) for one in offer.models]
            yield _row("model", _choice("model", [(f"automatic: {first}", USUAL), *models], settings.model))
            if asked and asked.loras:
                adapters = [(clean_line(name), name) for name in asked.loras]
                yield _row("lora", _choice("lora", [("no adapter", USUAL), *adapters], settings.lora))
        offered = offer.transports if offer else tuple(Transport)
        chosen_way = settings.transport
        ways = [(one.value, one.value) for one in offered if one is chosen_way or not offer or one is not offered[0]]
        own = f"{offered[0].value}: the deployment's own" if offer and offered else "the deployment's own"
        yield _row("transport", _choice("transport", [(own, USUAL), *ways], chosen_way))
        if self._others:
            both = [(f"{name}, {how}", f"{how} {name}") for name in self._others for how in (AFTER, AT_ONCE)]
            chosen = f"{AT_ONCE if settings.at_once else AFTER} {settings.also}" if settings.also else None
            yield _row("also send to", _choice("also", [("nobody else", USUAL), *both], chosen))
        if asked is None or asked.styles:
            system = TextArea(settings.system, id="option-system", compact=True, placeholder="none")
            yield _row("system prompt", system)
            yield from self._sampling(settings.sampling_for(asked), parameters(asked))

    def _sampling(self, sampling: Sampling, taken: list[Parameter]) -> Iterator[Widget]:
        for parameter in taken:
            name = parameter.name
            value = getattr(sampling, name)
            said = "| between texts, \\n a new line" if name == "stop" else limits(parameter) or meaning(name)
            if name == "ignore_eos":
                yield _row(name, _choice(name, [("off", USUAL), ("on", ON)], ON if value else None), meaning(name))
            else:
                default = parameter.default if len(parameter.default) < FIELD_CELLS else ""
                yield _row(name, _text(name, written(value), default or "default"), said)
        names = {parameter.name for parameter in taken}
        missing = [one.name for one in fields(Sampling) if one.name not in names]
        if missing:
            yield Static(f"Not taken by this model: {', '.join(missing)}.", id="options-missing", markup=False)

    @on(Select.Changed, "#option-model, #option-transport")
    async def _other_model(self, event: Select.Changed) -> None:
        """It takes other things."""
        chosen = _value(event.select) or None
        if event.select.id == "option-transport":
            if chosen != (self._settings.transport.value if self._settings.transport else None):
                self._settings = replace(self._settings, transport=self._transport())
                self.action_again()
        elif chosen != self._settings.model and self._offer is not None:
            self._settings = replace(self._settings, model=chosen)
            await self._rebuild(self._offer)

    def _transport(self) -> Transport | None:
        chosen = self._raw("transport")
        return Transport(chosen) if chosen else None

    def _raw(self, name: str) -> str:
        found = self.query(f"#option-{name}")
        return _value(found.first()) if found else ""

    def _chosen(self) -> PromptSettings:
        """Raises ValueError with a sentence."""
        sampling: dict[str, Any] = {}
        self._wrong = ""
        for parameter in parameters(self._asked):
            if not self.query(f"#option-{parameter.name}"):
                continue
            if parameter.name == "ignore_eos":
                sampling[parameter.name] = self._raw(parameter.name) == ON
                continue
            try:
                sampling[parameter.name] = read(self._raw(parameter.name), parameter)
            except ValueError:
                self._wrong = parameter.name
                raise
        how, _, also = self._raw("also").rpartition(" ")
        return replace(
            self._settings,
            model=self._raw("model").strip() or None,
            lora=self._raw("lora").strip() or None,
            transport=self._transport(),
            also=also,
            at_once=how == AT_ONCE,
            system=self._raw("system").strip(),
            sampling=Sampling(**sampling),
        )

    # -- keys ---------------------------------------------------------------------------------------------------------

    @on(Button.Pressed, "#use")
    @on(Input.Submitted)
    def action_use(self) -> None:
        try:
            settings = self._chosen()
        except ValueError as error:
            self._say(f"▲ {error}")
            self.query_one(f"#option-{self._wrong}").focus()
        else:
            self.dismiss(settings)

    @on(Input.Changed)
    def _typed(self) -> None:
        self._say("")

    def _say(self, sentence: str) -> None:
        says = self.query_one("#options-says", Static)
        says.update(sentence)
        says.display = bool(sentence)

    @on(Button.Pressed, "#defaults")
    async def _defaults(self) -> None:
        await self._build(PromptSettings(mode=self._settings.mode))

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)


def _row(label: str, field: Widget, said: str = "") -> Horizontal:
    parts = [Static(label, classes="label", markup=False), field]
    return Horizontal(*parts, *([Static(said, classes="limits", markup=False)] if said else []))


def _text(name: str, value: str, placeholder: str, *, long: bool = False) -> Input:
    field = Input(value, placeholder, id=f"option-{name}", compact=True, select_on_focus=False)
    field.cursor_blink = False
    field.set_class(long, "long")
    return field


def _choice(name: str, options: list[tuple[str, str]], chosen: str | None) -> Select[str]:
    """What was chosen stays a choice, though the server knows nothing of it."""
    known = chosen or USUAL
    if all(value != known for _, value in options):
        options = [*options, (f"{clean_line(known)} (not offered)", known)]
    return Select(options, value=known, allow_blank=False, id=f"option-{name}", compact=True)


def _value(field: Widget) -> str:
    if isinstance(field, TextArea):
        return field.text
    return str(field.value) if isinstance(field, Input | Select) else ""
