"""What every question before a change has in common: what speaks against it, what it does, and two buttons."""

from collections.abc import Callable
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static
from textual.widgets.button import ButtonVariant

from engine.errors import EngineError

Answer = TypeVar("Answer")
Found = TypeVar("Found")


class Dialog(ModalScreen[Answer | None]):
    """Ends with the answer when it is confirmed, and with None otherwise."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "yes", id="dialog.yes", tooltip="Do it"),
        Binding("n,escape", "no", "no", id="dialog.no", tooltip="Leave all as it is"),
        Binding("left,right", "app.focus_next", "other button", show=False, tooltip="Go to the other button"),
        Binding("down,j", "scroll(1)", "down", show=False, tooltip="Scroll what is shown down by a line"),
        Binding("up,k", "scroll(-1)", "up", show=False, tooltip="Scroll what is shown up by a line"),
        Binding("pagedown,space", "scroll(10)", "page down", show=False, tooltip="Scroll what is shown down"),
        Binding("pageup", "scroll(-10)", "page up", show=False, tooltip="Scroll what is shown up"),
    ]

    def __init__(self, title: str, yes: str, variant: ButtonVariant = "primary", *, no: str = "Cancel") -> None:
        super().__init__()
        self._heading = title
        self._yes = yes
        self._variant = variant
        self._no = no
        self._possible = False

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog-box") as box:
            box.border_title = self._heading
            # What speaks against it stays in sight, however far the rest is scrolled.
            with VerticalScroll(id="dialog-head", can_focus=False):
                yield Static("", id="dialog-trouble", markup=False)
                yield from self.compose_head()
            with VerticalScroll(id="dialog-body", can_focus=False):
                yield from self.compose_body()
            yield Static("", id="dialog-hint", markup=False)
            with Horizontal(id="dialog-buttons"):
                yield from self.compose_buttons()

    def compose_head(self) -> ComposeResult:
        """What must not be missed."""
        yield from ()

    def compose_body(self) -> ComposeResult:
        yield from ()

    def compose_buttons(self) -> ComposeResult:
        yield Button(f"{self._yes} (y)", variant=self._variant, id="yes", compact=True, disabled=True)
        yield Button(f"{self._no} (n)", id="no", compact=True)

    def answer(self) -> Answer:
        """What it ends with when it is confirmed."""
        raise NotImplementedError

    # -- what is offered ----------------------------------------------------------------------------------------------

    def offer(self, *, possible: bool, anyway: bool = False, default: bool = True) -> None:
        """The buttons. `anyway`: in spite of what speaks against it, and never by default."""
        self._possible = possible
        yes, no = self.query_one("#yes", Button), self.query_one("#no", Button)
        yes.disabled = not possible
        yes.label = f"{self._yes} anyway (y)" if anyway else f"{self._yes} (y)"
        yes.variant = "warning" if anyway else self._variant
        yes.refresh(layout=True)  # a longer label needs a wider button
        if not possible or anyway:
            no.focus()
        elif default:
            yes.focus()
        self.refresh_bindings()
        self.call_after_refresh(self._fit)

    def trouble(self, sentence: str) -> None:
        """Why it cannot be done; nothing when it is empty."""
        shown = self.query_one("#dialog-trouble", Static)
        shown.display = bool(sentence)
        shown.update(f"▲ {sentence}" if sentence else "")

    def hint(self, text: str) -> None:
        """About keys, above the buttons."""
        self.query_one("#dialog-hint", Static).update(text)

    def ask_engine(self, ask: Callable[[], Found], take: Callable[[Found | EngineError], None]) -> None:
        """Asks in a thread; `take` gets what was found, or why not. The last question counts."""

        def work() -> None:
            try:
                result: Found | EngineError = ask()
            except EngineError as error:
                result = error
            self.app.call_from_thread(self._taken, result, take)

        self.run_worker(work, thread=True, exclusive=True, group="engine")

    def _taken(self, result: Found | EngineError, take: Callable[[Found | EngineError], None]) -> None:
        if self.is_mounted:
            take(result)

    # -- layout and keys ----------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """The body takes what its head, the buttons and the border leave: they are never pushed off the screen."""
        others = sum(self.query_one(f"#dialog-{part}").outer_size.height for part in ("head", "hint", "buttons"))
        self.query_one("#dialog-body").styles.max_height = max(2, self.size.height - others - 2)

    def action_scroll(self, by: int) -> None:
        """First what has no room in the head, if anything: it is the more urgent."""
        head, body = self.query_one("#dialog-head"), self.query_one("#dialog-body")
        first, then = (head, body) if by > 0 else (body, head)
        more = first.scroll_y < first.max_scroll_y if by > 0 else first.scroll_y > 0
        (first if more else then).scroll_relative(y=by, animate=False)

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        if self._possible:
            self.dismiss(self.answer())

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
