"""The console: joins the engine to the screens."""

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, ClassVar, NoReturn

if "SSH_CONNECTION" in os.environ:
    # Read by Textual when it is imported: movement costs bytes on a slow line.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.notifications import Notify

from tui import collecting
from tui.palette import ConsoleCommands
from tui.screens.main import MainScreen
from tui.themes import DARK, PLAIN, THEMES

if TYPE_CHECKING:  # the first paint needs none of them
    from collections.abc import Callable

    from engine.api import EngineApi
    from engine.request import Request
    from engine.settings import Settings
    from engine.snapshot import Snapshot


DRAIN_S = 60.0
TERMINAL_LOST = 128 + signal.SIGHUP
TEXTUAL_WRITER = "textual-output"


class Console(App[None]):
    TITLE = "tritontui"
    CSS_PATH = "styles/app.tcss"
    COMMANDS = {ConsoleCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "command_palette", "palette", show=False, id="palette", tooltip="Find a command by typing"),
    ]
    ENABLE_COMMAND_PALETTE = True

    class SnapshotArrived(Message):
        def __init__(self, snapshot: "Snapshot") -> None:
            super().__init__()
            self.snapshot = snapshot

        def can_replace(self, message: Message) -> bool:
            """Many come while the operator's editor has the terminal."""
            return isinstance(message, Console.SnapshotArrived)

    class EngineReady(Message):
        def __init__(self, api: "EngineApi", template: "Request") -> None:
            super().__init__()
            self.api = api
            self.template = template

    def __init__(self, make_engine: "Callable[[], EngineApi]", *, drain_s: float = DRAIN_S, bell: bool = True) -> None:
        """`make_engine` is called once, in a thread, after the first paint, which its imports must not delay.

        `drain_s`: how long a swap that is asked for here waits for requests under way. `bell`: notices ring.
        """
        super().__init__()
        self._bell = bell
        self._drain_s = drain_s
        self._make_engine = make_engine
        self._engine: EngineApi | None = None
        self._main = MainScreen()
        for theme in THEMES:
            self.register_theme(theme)
        # Not by assignment: the styles would be parsed with Textual's own theme first, and then anew.
        self.set_reactive(App.theme, PLAIN.name if os.environ.get("NO_COLOR") else DARK.name)
        self.stylesheet.set_variables(self.get_css_variables())

    def get_default_screen(self) -> MainScreen:
        return self._main

    def on_mount(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit)
        self.app_resume_signal.subscribe(self, self._draw_all)
        self.call_after_refresh(self._open_engine)
        if collecting.held():
            for seconds in collecting.SETTLED_AFTER_S:
                self.set_timer(seconds, collecting.settle)

    async def action_quit(self) -> None:
        """ctrl+q, which also reaches here out of a field or a dialog: asks as q does; once more, and it leaves."""
        self._main.action_quit()

    def action_help_quit(self) -> None:
        """ctrl+c, which ends other programs."""
        self.notify("ctrl+q leaves the console; what runs goes on running.", markup=False)

    def on_notify(self, event: Notify) -> None:
        """Before Textual shows it: it takes the place of the same one, if that is still there."""
        fresh = event.notification
        for notice in list(self._notifications):
            if (notice.title, notice.message) == (fresh.title, fresh.message):
                self._unnotify(notice, refresh=False)

    def _draw_all(self, _: App[object]) -> None:
        """After a suspension nothing of the console is left in the terminal."""
        self.screen.refresh(layout=True)

    @work(thread=True)
    def _open_engine(self) -> None:
        from engine.request import Action, Origin, Request

        engine = self._engine = self._make_engine()
        template = Request(Action.START, "", drain_s=self._drain_s, origin=Origin.here("console"))
        self.post_message(self.EngineReady(engine, template))
        engine.subscribe(lambda snapshot: self._post(snapshot))
        engine.open()

    def _post(self, snapshot: "Snapshot") -> None:
        self.post_message(self.SnapshotArrived(snapshot))

    async def on_console_engine_ready(self, message: EngineReady) -> None:
        if self._main.is_attached:
            await self._main.connect(message.api, message.template, bell=self._bell)

    def on_console_snapshot_arrived(self, message: SnapshotArrived) -> None:
        if self._main.is_attached:
            self._main.take(message.snapshot)

    def leave_lost_terminal(self) -> NoReturn:
        """Ends at once: with nothing to write to, Textual would wait for its writer for ever."""
        self.close_engine()
        os._exit(TERMINAL_LOST)

    def close_engine(self) -> None:
        """After the console has left the terminal."""
        if self._engine:
            self._engine.close()


def run(settings: "Settings") -> int:
    """Opens the console and returns the exit code when it is closed."""

    def make_engine() -> "EngineApi":
        from engine.facade import Engine

        return Engine(settings)

    app = Console(make_engine, drain_s=settings.drain_s, bell=settings.bell)
    usual_hook = threading.excepthook

    def thread_failed(failure: threading.ExceptHookArgs) -> None:
        if failure.thread and failure.thread.name == TEXTUAL_WRITER and isinstance(failure.exc_value, OSError):
            app.leave_lost_terminal()
        usual_hook(failure)

    # A plain handler also runs while the event loop waits for a terminal that is gone.
    signal.signal(signal.SIGHUP, lambda _number, _frame: app.leave_lost_terminal())
    threading.excepthook = thread_failed
    try:
        app.run()
    finally:
        app.close_engine()
    return app.return_code or 0
