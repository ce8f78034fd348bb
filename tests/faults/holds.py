"""What has to be true after every cell, whatever the fault was."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import Exit
from engine.snapshot import OperationStatus, Outcome
from engine.store import Journal
from tests.faults.lab import PREFIX, Lab
from tests.faults.strikes import container_killed
from tests.faults.table import Cell

EXITS = {
    "done": (Exit.DONE,),
    "rolled back": (Exit.FAILED,),
    "failed": (Exit.FAILED,),
    "refused": (Exit.REFUSED,),
    "unreachable": (Exit.UNREACHABLE,),
}
BAD_ANSWER = "illegal memory access"
"""What `b` says when it is asked, and why a swap to it rolls back"""
SAYS_SO = ("does not run", "is gone", "could not be rolled back", "cannot be told", "was not running", "is stopped")


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a cell's operation, or of settling it."""

    status: OperationStatus
    code: int
    settled: str = ""
    """The id of the operation that it settles"""
    journal_lost: bool = False
    """The state folder could not be written at its end"""

    @property
    def word(self) -> str:
        if self.status.outcome is Outcome.DONE and self.status.kind == "roll back":
            return "rolled back"
        if self.status.outcome is Outcome.FAILED:
            return {Exit.REFUSED: "refused", Exit.UNREACHABLE: "unreachable"}.get(Exit(self.code), "failed")
        return self.status.outcome.value


def broken(cell: Cell, came: Came, lab: Lab) -> Iterator[str]:
    """Each in a sentence."""
    status = came.status
    if came.word != cell.outcome:
        yield f"it is {came.word}, and was to be {cell.outcome}"
    if came.code != status.exit_code:
        yield f"its process exited with {came.code}, and it says {status.exit_code}"
    if came.code not in (EXITS[came.word] if not came.settled else (Exit.DONE,)):
        yield f"the exit code of {came.word} is {came.code}"
    causes = (BAD_ANSWER,) if cell.operation == "rolling back" else cell.fault.causes
    if causes and status.exit_code != Exit.DONE and not any(cause in status.message for cause in causes):
        yield f"its message does not say {' or '.join(causes)!r}"
    yield from _serving(cell, came, lab)
    yield from _strays(cell, came, lab)
    yield from _journal(came, lab)


def _serving(cell: Cell, came: Came, lab: Lab) -> Iterator[str]:
    there, serving, word = lab.containers(), lab.serving(), came.word
    running = [name for name in ("a", "b") if there.get(PREFIX + name)]
    if len(running) > 1:
        yield "both are on one GPU"
    if strange := set(there) - {f"{PREFIX}a", f"{PREFIX}b"}:
        yield f"containers are left: {', '.join(strange)}"
    right = {
        ("swap", "done"): ("b",),
        ("swap", "rolled back"): ("a",),
        ("swap", "refused"): ("a",),
        ("rolling back", "rolled back"): ("a",),
        ("swap by command", "done"): ("b",),
        ("swap by command", "rolled back"): ("a",),
        ("start", "done"): ("b",),
        ("start", "rolled back"): (),
        ("start", "refused"): (),
        ("stop", "done"): (),
        ("stop", "rolled back"): ("a",),
        ("restart", "done"): ("b",),
        ("restart", "rolled back"): ("b",),
    }.get((cell.operation, word))
    if right == ("a",) and cell.step == "check" and cell.fault.strike is container_killed:
        right = ()  # nobody has begun to swap what is dead
    if right is not None and serving != right:
        yield f"{' and '.join(serving) or 'none'} serves, and the operation is {word}"
    if cell.operation == "restart" and word in ("done", "rolled back"):
        yield from _which(cell, came, lab)
    elif cell.operation != "stop" and word in ("rolled back", "refused") and f"{PREFIX}b" in there:
        yield "b is left"
    silent = cell.operation != "start" and not serving and word in ("failed", "unreachable")
    if silent and not any(words in came.status.message for words in SAYS_SO):
        yield "none serves, and its message does not say so"


def _which(cell: Cell, came: Came, lab: Lab) -> Iterator[str]:
    """Of the two that b was: as its profile is now, or as it was."""
    mounts = {mount["Source"] for mount in lab.docker.api.inspect_container(f"{PREFIX}b")["Mounts"]}
    now = str(lab.folder / cell.way.replace(" ", "-")) in mounts
    if now is not (came.word == "done"):
        yield f"b is as its profile {'is now' if now else 'was'}, and the operation is {came.word}"


def _strays(cell: Cell, came: Came, lab: Lab) -> Iterator[str]:
    if volumes := lab.volumes():
        yield f"volumes are left: {', '.join(volumes)}"
    files = [file for file in (*lab.state.rglob("*"), *lab.scratch.rglob("*")) if file.is_file()]
    known = {lab.settings().history_path, lab.state / "audit.jsonl", lab.state / "records" / "lock"}
    if came.status.log_path or (came.settled and cell.operation == "rolling back"):
        known |= set((lab.state / "logs").glob("b-*.log"))
    if unknown := [file for file in files if file not in known]:
        yield f"files are left: {', '.join(str(file.relative_to(lab.folder)) for file in unknown)}"


def _journal(came: Came, lab: Lab) -> Iterator[str]:
    status = came.status
    journal = Journal(lab.settings().history_path)
    entry = journal.entry(status.id)
    if came.journal_lost:
        if not status.notes:
            yield "nothing tells that its outcome could not be recorded"
        return
    if not entry:
        yield "the journal does not know of it"
    elif (entry.status.outcome, entry.status.message) != (status.outcome, status.message):
        yield f"the journal says {entry.status.outcome.value}: {entry.status.message}"
    if left := [one.title for one in journal.recent() if one.unsettled or one.outcome is Outcome.RUNNING]:
        yield f"unsettled: {', '.join(left)}"
    if came.settled and not ((settled := journal.entry(came.settled)) and settled.status.settled_by):
        yield "what was interrupted is not settled"
    last = json.loads((lab.state / "audit.jsonl").read_text().splitlines()[-1])
    event = "refused" if status.exit_code == Exit.REFUSED else status.outcome.value
    if (last["operation"], last["event"]) != (status.id, event):
        yield f"the audit's last line is of {last['what']}: {last['event']}"
