"""The rows of the list of models: in which order, what each says, and which of them a filter leaves."""

from collections.abc import Iterable

from rich.cells import cell_len

from engine.deployment import State
from engine.snapshot import Model, ProfileProblem, Snapshot
from tui import format as write
from tui.widgets.state import DRIFT, FOREIGN, LOOKS, NOTICE

TICKING = (State.STARTING, State.READY, State.ASLEEP, State.STOPPING, State.UNREACHABLE)
AT_REST = (State.ABSENT, State.STOPPED)
"""Nobody needs to look at it"""
WORD_CELLS = 12
NOTICED = "noticed"
Row = Model | ProfileProblem


def in_order(snapshot: Snapshot) -> tuple[Row, ...]:
    """What runs or has failed, what was started by hand, what could be started, and what is no profile: by name each.

    However a start, a stop or a server goes, a row stays where it is until it has stopped, or is not there any more.
    """
    return (*models_in_order(snapshot), *snapshot.problems)


def models_in_order(snapshot: Snapshot) -> list[Model]:
    return sorted(snapshot.models, key=_place)


def _place(model: Model) -> tuple[int, str]:
    group = 1 if model.foreign else 2 if model.state in AT_REST else 0
    return group, model.name


def row_key(row: Row) -> str:
    """A model's name, or the path of a file that is no profile; never the same, for a name has no space."""
    return row.name if isinstance(row, Model) else f"file {row.path}"


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
    if row.foreign:
        right = _clock(row) if row.state is State.READY else look.word
        kind = NOTICED if row.notices else "foreign"
        return kind, FOREIGN.symbol, row.name, _marked(FOREIGN.word, row), _in_short(row) or right
    right = _in_short(row) or _clock(row)
    if row.state is State.FAILED:
        right = row.cause.title if row.cause else row.detail
    elif row.state is State.ABSENT:
        right = row.summary or row.stack
    kind = NOTICED if row.notices and row.state is State.READY else row.state.value
    return kind, look.symbol, row.name, _marked(look.word, row), right


def _in_short(row: Model) -> str:
    return ", ".join(notice.short for notice in row.notices)


def _clock(row: Model) -> str:
    return write.duration(write.now() - row.since) if row.state in TICKING and row.since is not None else ""


def _marked(word: str, row: Model) -> str:
    for mark, holds in ((DRIFT, row.drift), (NOTICE, row.notices)):
        marked = f"{word} {mark}"
        if holds and cell_len(marked) < WORD_CELLS:
            word = marked
    return word


def row_endpoint(row: Row) -> str:
    """Where it answers, while it runs; what needs to be looked at takes its place."""
    shown = isinstance(row, Model) and row.state in TICKING and not row.notices
    return row.endpoint.removeprefix("http://") if isinstance(row, Model) and shown else ""


def matches(row: Row, words: Iterable[str]) -> bool:
    """Every word (in lower case) stands somewhere in its name, summary, stack, runtime or state."""
    if isinstance(row, Model):
        said = [row.name, row.summary, row.stack, row.runtime, row.state.value]
        said += [FOREIGN.word] * row.foreign + ["drifted"] * bool(row.drift) + ["notice"] * bool(row.notices)
    else:
        said = [row.path.rsplit("/", 1)[-1], "invalid", row.message]
    text = "\n".join(said).lower()
    return all(word in text for word in words)
