"""The rows of the list of models: what each says, and which of them a filter leaves."""

from engine.deployment import State
from engine.snapshot import Model, ProfileProblem
from tui import format as write
from tui.widgets.state import LOOKS

TICKING = (State.STARTING, State.READY, State.STOPPING, State.UNREACHABLE)
Row = Model | ProfileProblem


def row_key(row: Row) -> str:
    """A model's name, or the path of a file that is no profile: never the same, for a path has a slash."""
    return row.name if isinstance(row, Model) else row.path


def row_file(row: Row) -> str:
    """The file it comes from; empty for a model that has no profile."""
    return row.profile_path if isinstance(row, Model) else row.path


def row_cells(row: Row) -> tuple[str, str, str, str, str]:
    """Component class of the state, symbol, name, word, and what stands at the right."""
    if not isinstance(row, Model):
        return "problem", "▲", row.path.rsplit("/", 1)[-1], "invalid", f"line {row.line}" if row.line else ""
    look = LOOKS[row.state]
    if row.stale_since is not None:
        return row.state.value, "?", row.name, f"{look.word}?", "not known"
    right = ""
    if row.state in TICKING and row.since is not None:
        right = write.duration(write.now() - row.since)
    elif row.state is State.FAILED:
        right = row.detail
    elif row.state is State.ABSENT:
        right = row.summary or row.stack
    return row.state.value, look.symbol, row.name, look.word, right


def row_endpoint(row: Row) -> str:
    """Where it answers, while it runs."""
    return row.endpoint.removeprefix("http://") if isinstance(row, Model) and row.state in TICKING else ""


def matches(row: Row, words: list[str]) -> bool:
    """Every word (in lower case) stands somewhere in its name, summary, stack, runtime or state."""
    if not words:
        return True
    if isinstance(row, Model):
        said = [row.name, row.summary, row.stack, row.runtime, row.state.value]
    else:
        said = [row.path.rsplit("/", 1)[-1], "invalid", row.message]
    text = "\n".join(said).lower()
    return all(word in text for word in words)
