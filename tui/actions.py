"""Every action of the console in one place: it feeds the key bindings, the footer, the help and the command palette."""

from collections.abc import Callable
from dataclasses import dataclass

from textual.binding import Binding

from engine.deployment import State
from engine.request import Action
from engine.snapshot import Model, Snapshot
from tui import operations

MODEL_GROUP = "Model"
"""Actions on the selected model"""
OPERATION_GROUP = "Operations"
RUNNING = (State.STARTING, State.READY, State.ASLEEP, State.STOPPING, State.UNREACHABLE)
NO_MODEL = "No model is selected."


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
    refusal: Callable[[Model | None, Snapshot | None], str] = lambda _model, _snapshot: ""
    """Why it cannot be done now; empty when it can"""
    on_problem: bool = False
    """It can also be done with the row of an invalid profile"""
    footer: bool = True
    changes: bool = False
    """It changes something besides, e.g. a profile: not in a console that is read-only"""

    @property
    def call(self) -> str:
        """As Textual calls it"""
        method, _, argument = self.id.partition(".")
        return f"{method}('{argument}')" if argument else method

    def binding(self) -> Binding:
        return Binding(self.keys, self.call, self.label, show=self.footer, id=self.id, tooltip=self.help)

    def forbidden(self, snapshot: Snapshot | None) -> str:
        """Why it must not be done from here, whatever is selected; empty when it may."""
        if snapshot and snapshot.read_only and (self.changes or self.change):
            return f"Nothing may be changed from here: tritontui is read-only ({snapshot.read_only})."
        return ""

    def why_not(self, model: Model | None, snapshot: Snapshot | None) -> str:
        """Why it cannot be done; empty when it can."""
        return self.forbidden(snapshot) or self.refusal(model, snapshot)


def _ours(model: Model | None) -> str:
    """Why nothing of ours can be done with it."""
    if not model:
        return NO_MODEL
    if model.foreign:
        return f"{model.name} was started by hand, and is only watched: a adopts it."
    return ""


def _start(model: Model | None, _: Snapshot | None) -> str:
    if not model or model.foreign:
        return _ours(model)
    if model.state is State.ASLEEP:
        return f"{model.name} is asleep: s swaps to it, which wakes it."
    if model.state in RUNNING:
        return f"{model.name} is {model.state.value} already."
    return "" if model.has_profile else f"{model.name} has no profile any more; it can only be removed."


def _swap(model: Model | None, _: Snapshot | None) -> str:
    if not model or model.foreign:
        return _ours(model)
    if model.state in RUNNING and model.state is not State.ASLEEP:
        return "It runs already: put the cursor on what should come instead."
    return "" if model.has_profile else f"{model.name} has no profile any more; it can only be removed."


def _stop(model: Model | None, _: Snapshot | None) -> str:
    if not model or model.foreign:
        return _ours(model)
    return "" if model.state in RUNNING else f"{model.name} is not running."


def _restart(model: Model | None, snapshot: Snapshot | None) -> str:
    if refusal := _stop(model, snapshot):
        return refusal
    return "" if model and model.has_profile else "It has no profile any more: it cannot be started."


def _remove(model: Model | None, _: Snapshot | None) -> str:
    if not model or model.foreign:
        return _ours(model)
    return "" if model.deployment else f"{model.name} has not been started: there is nothing to remove."


def _adopt(model: Model | None, _: Snapshot | None) -> str:
    if not model:
        return NO_MODEL
    return "" if model.foreign else f"{model.name} was not started by hand: there is nothing to adopt."


def _edit(model: Model | None, _: Snapshot | None) -> str:
    if not model:
        return NO_MODEL
    if model.foreign:
        return f"{model.name} was started by hand, and has no profile: a adopts it, and writes one."
    return "" if model.has_profile else f"{model.name} has no profile any more."


def _explain(model: Model | None, snapshot: Snapshot | None) -> str:
    if not model:
        return NO_MODEL
    if model.state in (State.READY, State.ASLEEP):
        return f"{model.name} is {model.state.value}: there is no failure to explain."
    kept = any(status.log_path and status.target == model.name for status in snapshot.operations) if snapshot else False
    return "" if model.deployment or kept else f"{model.name} has not been started: there is nothing to explain."


def _cancel(model: Model | None, snapshot: Snapshot | None) -> str:
    status = operations.to_cancel(snapshot, model) if snapshot else None
    if status:
        if status.rolling_back:
            return f"{status.title} is being rolled back already."
        return f"{status.title} has been cancelled already." if status.cancelled else ""
    if snapshot and operations.under_way(snapshot):
        return "Several operations are under way: put the cursor on a model that the one is about."
    lease = operations.of_others(snapshot) if snapshot else None
    if lease and lease.alive is not False:
        return f"{lease.what} is {lease.who}'s: only they can cancel it."
    return "No operation is under way."


def _recover(_: Model | None, snapshot: Snapshot | None) -> str:
    if not snapshot or not operations.unsettled(snapshot):
        return "No operation was interrupted: there is nothing to finish or to roll back."
    running = operations.under_way(snapshot)
    return f"{running[0].title} is under way: wait for its end, or cancel it." if running else ""


ACTIONS = (
    ConsoleAction("start", "enter", "start", "Start the selected model", MODEL_GROUP, Action.START, _start),
    ConsoleAction(
        "swap",
        "s",
        "swap",
        "Swap to it: stop what is in its way, and start it",
        MODEL_GROUP,
        Action.SWAP,
        _swap,
    ),
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
        "adopt",
        "a",
        "adopt",
        "Adopt what was started by hand, with a profile",
        MODEL_GROUP,
        Action.ADOPT,
        _adopt,
    ),
    ConsoleAction(
        "explain", "w", "why", "Why it failed, and what to change", MODEL_GROUP, None, _explain, footer=False
    ),
    ConsoleAction(
        "edit",
        "e",
        "edit",
        "Edit its profile in $VISUAL or $EDITOR",
        MODEL_GROUP,
        None,
        _edit,
        on_problem=True,
        changes=True,
    ),
    ConsoleAction(
        "duplicate", "c", "duplicate", "Copy its profile under another name", MODEL_GROUP, None, _edit, changes=True
    ),
    ConsoleAction(
        "cancel_operation",
        "C",
        "cancel",
        "Cancel the operation under way: what it began is rolled back",
        OPERATION_GROUP,
        None,
        _cancel,
        changes=True,
    ),
    ConsoleAction(
        "recover",
        "u",
        "recover",
        "Finish an operation that was interrupted, or roll it back",
        OPERATION_GROUP,
        None,
        _recover,
        changes=True,
    ),
    ConsoleAction(
        "history",
        "H",
        "history",
        "What was done on this machine, by whom, and how it ended",
        OPERATION_GROUP,
        footer=False,
    ),
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
        "pane.load",
        "4",
        "load test",
        "Send it many requests at once, and measure what it holds",
        "Panes",
        footer=False,
    ),
    ConsoleAction(
        "pane.launch", "5", "launch", "What was done to start or stop it, step by step", "Panes", footer=False
    ),
    ConsoleAction("pane.plan", "6", "plan", "What starting it would do", "Panes", footer=False),
    ConsoleAction("pane.profile", "7", "profile", "The file of its profile", "Panes", footer=False),
    ConsoleAction("zoom", "z", "zoom", "Give the whole screen to the pane, or take it back", "Panes"),
    ConsoleAction(
        "next_area", "tab", "next area", "From the list into the pane, through it, and back", "Panes", footer=False
    ),
    ConsoleAction("previous_area", "shift+tab", "previous area", "The same the other way round", "Panes", footer=False),
    ConsoleAction("leave", "escape", "list", "Back to the list of models; closes messages, too", "Panes"),
    ConsoleAction(
        "gpus", "ctrl+g", "GPUs", "All of each GPU: its memory, processes, history and links", "Console", footer=False
    ),
    ConsoleAction(
        "doctor", "D", "doctor", "What this machine lacks to serve models, and what mends it", "Console", footer=False
    ),
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
