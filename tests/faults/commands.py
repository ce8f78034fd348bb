"""A swap as an operator begins it, with the product's own process: killed, cancelled and settled by commands."""

import subprocess
import sys

from engine.errors import Exit
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.store import Journal
from tests.faults import strikes
from tests.faults.holds import Came
from tests.faults.lab import ROOT, Lab, until
from tests.faults.table import Cell

LIMIT_S = 120.0
SWAP = ("swap", "b", "--wait")


def by_command(cell: Cell, lab: Lab) -> tuple[Came, list[str]]:
    """While `b` loads, which takes it some seconds."""
    with _begun(lab, *SWAP) as swap:
        try:
            status = until(lambda: _waiting(lab), "b to be waited for")
            if cell.fault.strike is strikes.cancelled:
                return _cancelled(lab, swap, status)
            return _killed(cell, lab, swap, status)
        finally:
            swap.kill()


def _cancelled(lab: Lab, swap: "subprocess.Popen[bytes]", status: OperationStatus) -> tuple[Came, list[str]]:
    findings = _expect(_run(lab, "cancel"), Exit.DONE, "cancel")
    code = swap.wait(LIMIT_S)
    return Came(_ended(lab, status.id), code), findings


def _killed(cell: Cell, lab: Lab, swap: "subprocess.Popen[bytes]", status: OperationStatus) -> tuple[Came, list[str]]:
    subprocess.run(["kill", "-KILL", str(status.pid)], check=True, timeout=10)
    findings = _expect(swap.wait(LIMIT_S), Exit.FAILED, "swap")
    if _ended(lab, status.id).outcome is not Outcome.INTERRUPTED:
        findings.append("the journal does not say that it was interrupted")
    code = _run(lab, "recover", "--finish" if cell.fault.settle == "finish" else "--roll-back")
    newest = Journal(lab.settings().history_path).recent(1)[0]
    return Came(newest, code, settled=status.id), findings


def _begun(lab: Lab, *words: str) -> "subprocess.Popen[bytes]":
    given = {"STATE": lab.state, "CONFIG": lab.folder / "config", "CACHE": lab.folder / "cache"}
    return subprocess.Popen(
        [sys.executable, "-m", "tui", "--profiles", str(lab.profiles), *words],
        cwd=ROOT,
        env={**lab.environment(), **{f"TRITONTUI_{key}_DIR": str(folder) for key, folder in given.items()}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _run(lab: Lab, *words: str) -> int:
    with _begun(lab, *words) as process:
        return process.wait(LIMIT_S)


def _expect(code: int, expected: Exit, command: str) -> list[str]:
    return [] if code == expected else [f"`{command}` exited with {code}, and was to with {expected.value}"]


def _waiting(lab: Lab) -> OperationStatus | None:
    newest = Journal(lab.settings().history_path).recent(1)
    current = newest[0].current if newest else None
    return newest[0] if current and current.kind is StepKind.WAIT else None


def _ended(lab: Lab, operation: str) -> OperationStatus:
    entry = Journal(lab.settings().history_path).entry(operation)
    if not entry:
        raise RuntimeError("the journal has lost the operation")
    return entry.status
