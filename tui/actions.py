"""Every action of the console in one place: it feeds the key bindings, the footer, the help and the command palette."""

from collections.abc import Callable
from dataclasses import dataclass

from textual.binding import Binding

from engine.deployment import State
from engine.request import Action
from engine.snapshot import Model

MODEL_GROUP = "Model"
"""Actions on the selected model"""
RUNNING = (State.STARTING, State.READY, State.STOPPING, State.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class ConsoleAction:
    id: str
    """Keymaps refer to it; `pane.logs` is the screen's method `action_pane("logs")`"""
    keys: str
    label: str
    """A word or two for the footer"""
    help: str
    group: str
    change: Action | None = None
    """What it asks of the engine, for the selected model"""
    refusal: Callable[[Model | None], str] = lambda _: ""
    """Why it cannot be done now; empty when it can"""
    on_problem: bool = False
    """It can also be done with the row of an invalid profile"""
    footer: bool = True

    @property
    def call(self) -> str:
        """As Textual calls it"""
        method, _, argument = self.id.partition(".")
        return f"{method}('{argument}')" if argument else method

    def binding(self) -> Binding:
        return Binding(self.keys, self.call, self.label, show=self.footer, id=self.id, tooltip=self.help)


def _start(model: Model | None) -> str:
    if not model:
        return "No model is selected."
    if model.state in RUNNING:
        return f"{model.name} is {model.state.value} already."
    return "" if model.has_profile else f"{model.name} has no profile any more; it can only be removed."


def _stop(model: Model | None) -> str:
    if not model:
        return "No model is selected."
    return "" if model.state in RUNNING else f"{model.name} is not running."


def _restart(model: Model | None) -> str:
    return _stop(model) or ("" if model and model.has_profile else "It has no profile any more: it cannot be started.")


def _remove(model: Model | None) -> str:
    if not model:
        return "No model is selected."
    return "" if model.deployment else f"{model.name} has not been started: there is nothing to remove."


def _edit(model: Model | None) -> str:
    if not model:
        return "No model is selected."
    return "" if model.has_profile else f"{model.name} has no profile any more."


ACTIONS = (
    ConsoleAction("start", "enter", "start", "Start the selected model", MODEL_GROUP, Action.START, _start),
    ConsoleAction(
        "stop", "x", "stop", "Stop the selected model; it is kept, with its log", MODEL_GROUP, Action.STOP, _stop
    ),
    ConsoleAction(
        "restart", "R", "restart", "Stop the selected model and start it again", MODEL_GROUP, Action.RESTART, _restart
    ),
    ConsoleAction(
        "remove", "d", "remove", "Remove the selected model's deployment and log", MODEL_GROUP, Action.REMOVE, _remove
    ),
    ConsoleAction(
        "edit", "e", "edit", "Edit its profile in $VISUAL or $EDITOR", MODEL_GROUP, refusal=_edit, on_problem=True
    ),
    ConsoleAction("duplicate", "c", "duplicate", "Copy its profile under another name", MODEL_GROUP, refusal=_edit),
    ConsoleAction("pane.logs", "1", "logs", "The log of the selected model, live", "Panes", footer=False),
    ConsoleAction("pane.metrics", "2", "metrics", "Its metrics, as values and as charts", "Panes", footer=False),
    ConsoleAction(
        "pane.playground",
        "3",
        "playground",
        "Send it prompts, and see how long the answers take",
        "Panes",
        footer=False,
    ),
    ConsoleAction(
        "pane.launch", "4", "launch", "What was done to start or stop it, step by step", "Panes", footer=False
    ),
    ConsoleAction("pane.plan", "5", "plan", "What starting it would do", "Panes", footer=False),
    ConsoleAction("pane.profile", "6", "profile", "The file of its profile", "Panes", footer=False),
    ConsoleAction("zoom", "z", "zoom", "Give the whole screen to the pane, or take it back", "Panes"),
    ConsoleAction(
        "next_area", "tab", "next area", "From the list into the pane, through it, and back", "Panes", footer=False
    ),
    ConsoleAction("previous_area", "shift+tab", "previous area", "The same the other way round", "Panes", footer=False),
    ConsoleAction("leave", "escape", "list", "Back to the list of models; closes messages, too", "Panes"),
    ConsoleAction("help", "question_mark", "help", "All keys, and what the states mean", "Console"),
    ConsoleAction("palette", "ctrl+p", "palette", "Find a command by typing", "Console", footer=False),
    ConsoleAction(
        "suspend",
        "ctrl+z",
        "suspend",
        "Back to the shell for a while; fg brings the console back",
        "Console",
        footer=False,
    ),
    ConsoleAction("quit", "q", "quit", "Leave the console; what runs goes on running", "Console"),
)
