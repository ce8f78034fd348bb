"""Runs cells, one after the other, inside a lab: `python -m tests.faults.bench FOLDER`.

Reads the keys of cells from standard input, a line each, and answers each with a line of JSON.
"""

import json
import os
import queue
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from docker.errors import DockerException

from engine.request import Action, Request
from engine.store import Journal
from tests.faults import strikes
from tests.faults.commands import by_command
from tests.faults.holds import Came, broken
from tests.faults.lab import PREFIX, Lab, until
from tests.faults.operation import Operation, perform
from tests.faults.servers import NEVER_S, write_profile
from tests.faults.table import Cell, Result, cells

REQUESTS = {
    "start": Request(Action.START, "b"),
    "stop": Request(Action.STOP, "a"),
    "restart": Request(Action.RESTART, "b"),
    "swap": Request(Action.SWAP, "b", drain_s=5),
    "rolling back": Request(Action.SWAP, "b", drain_s=5),
}
STATE_FAULTS = (strikes.state_full, strikes.state_read_only)
AGAIN_S = 15.0
OF_OUTGOING = ("check", "create", "drain", "stop")


def run(cell: Cell, lab: Lab) -> Result:
    began = time.monotonic()
    try:
        prepare(cell, lab)
        came, findings = _carry_out(cell, lab)
        findings += broken(cell, came, lab)
        word, message = came.word, came.status.message
        if came.status.notes:
            message += " | " + " | ".join(came.status.notes)
    except (RuntimeError, TimeoutError, DockerException, OSError, queue.Empty, subprocess.TimeoutExpired) as error:
        word, message, findings = "broken", f"{type(error).__name__}: {error}", ["the cell itself broke off"]
    return Result(cell.key, word, message, tuple(findings), round(time.monotonic() - began, 1))


def _carry_out(cell: Cell, lab: Lab) -> tuple[Came, list[str]]:
    if cell.operation == "swap by command":
        return by_command(cell, lab)
    rolling = cell.operation == "rolling back"
    request = REQUESTS[cell.operation]
    if cell.way == "never ready":
        request = replace(request, timeout_s=NEVER_S)
    with Operation(lab, request, (cell.step, rolling)) as operation:
        operation.reach()
        if cell.fault.strike is None:
            return _settle(cell, lab, operation)
        strike = cell.fault.strike
        if strike is strikes.second_operator and cell.operation == "start" and cell.step in ("wait", "prompt"):
            strike = strikes.second_operator_stops
        if cell.way == "exits at once":
            strike = strikes.process_exited
        with strike(lab, operation, _subject(cell)) as findings:
            operation.go()
            status, code = operation.end()
        findings += [f"a process is left: {line}" for line in operation.left_processes()]
    came = Came(status, code, journal_lost=cell.fault.strike in STATE_FAULTS)
    if came.journal_lost:
        findings += _mended(cell, lab)
    return came, findings


def _settle(cell: Cell, lab: Lab, operation: Operation) -> tuple[Came, list[str]]:
    """What kill -9 left is found in the journal, and settled by the next one who is asked to."""
    operation.kill()
    left = [f"a process is left: {line}" for line in operation.left_processes()]
    journal_id = _interrupted(lab)
    status, code = perform(lab, Request(Action(cell.fault.settle), journal_id))
    return Came(status, code, settled=journal_id), left


def _interrupted(lab: Lab) -> str:
    unsettled = [one.id for one in Journal(lab.settings().history_path).recent() if one.unsettled]
    if len(unsettled) != 1:
        raise RuntimeError(f"the journal has {len(unsettled)} interrupted operations")
    return unsettled[0]


def _mended(cell: Cell, lab: Lab) -> list[str]:
    """What could not be recorded can be settled when the state folder can be written again."""
    found = []
    for one in Journal(lab.settings().history_path).recent():
        if one.unsettled:
            action = Action.FINISH if cell.outcome == "done" else Action.ROLL_BACK
            status, code = perform(lab, Request(action, one.id))
            if code:
                found.append(f"it could not be settled afterwards: {status.message}")
    return found


def _subject(cell: Cell) -> str:
    """The deployment that a fault is about."""
    if cell.operation == "stop":
        return "a"
    if cell.fault.strike is strikes.container_killed and cell.operation == "rolling back":
        return "b" if cell.step == "stop" else "a"
    if cell.fault.strike in (strikes.container_killed, strikes.second_operator) and cell.operation == "swap":
        return "a" if cell.step in OF_OUTGOING or cell.fault.strike is strikes.second_operator else "b"
    if cell.operation == "rolling back":
        return "a"
    return "b"


def prepare(cell: Cell, lab: Lab) -> None:
    """What every cell begins with: b absent, and a serves, or is stopped where b is to be started beside it.

    For a restart b serves, and its profile has been changed since.
    """
    lab.remove(f"{PREFIX}b")
    lab.remove(f"{PREFIX}b_set-aside")
    for volume in lab.volumes():
        lab.docker.api.remove_volume(volume)
    lab.clear_state()
    write_profile(lab.profiles, "b", cell.way)
    there = lab.containers()
    if cell.operation in ("start", "restart"):
        if there.get(f"{PREFIX}a"):
            lab.docker.api.stop(f"{PREFIX}a", timeout=0)
        if cell.operation == "restart":
            write_profile(lab.profiles, "b")
            _start(lab, "b")
            write_profile(lab.profiles, "b", cell.way)
        return
    if f"{PREFIX}a" in there and not there[f"{PREFIX}a"]:
        lab.docker.api.start(f"{PREFIX}a")
    try:
        until(lambda: lab.answers("a"), "a to serve", AGAIN_S if f"{PREFIX}a" in there else 0)
    except TimeoutError:
        # The engine's disk was full when it wrote what it knows of it.
        lab.remove(f"{PREFIX}a")
        _start(lab, "a")


def _start(lab: Lab, name: str) -> None:
    status, code = perform(lab, Request(Action.START, name))
    if code:
        raise RuntimeError(status.message)
    lab.clear_state()


def main() -> None:
    # Whatever a program that is called here prints must not meet the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lab = Lab(Path(sys.argv[1]))
    lab.open()
    known = {cell.key: cell for cell in cells()}
    answers.write("ready\n")
    answers.flush()
    try:
        for line in sys.stdin:
            answers.write(f"{json.dumps(asdict(run(known[line.strip()], lab)))}\n")
            answers.flush()
    finally:
        lab.close()


if __name__ == "__main__":
    main()
