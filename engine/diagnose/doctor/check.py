"""Carries checks out: all at once, each with a deadline, so that what hangs or fails hides nothing of the others."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from engine.diagnose.doctor.facts import Facts
from engine.errors import EngineError
from engine.finding import Finding, Severity
from engine.observe.nvml import DriverError, DriverMissingError
from engine.text import clean_line, mask_secrets

LIMIT_S = 15.0
ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO, Severity.OK)


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    subject: str
    """What it looks at, in a word or two"""
    look: Callable[[Facts], Iterable[Finding]]
    limit_s: float = LIMIT_S


def carry_out(
    checks: Sequence[Check], facts: Facts, found: Callable[[Finding], None] = lambda _: None
) -> tuple[Finding, ...]:
    """`found` is told each finding as it comes, in the caller's thread. Returns all, the gravest first."""
    answers: queue.SimpleQueue[tuple[Check, list[Finding] | str]] = queue.SimpleQueue()
    every: list[Finding] = []
    unseen: dict[str, list[Check]] = {}
    """Why -> what could not be looked at for it"""
    began = time.monotonic()
    waiting = {check.id: check for check in checks}
    for check in checks:
        # Daemons: what hangs must not keep the program from ending.
        threading.Thread(target=_look, args=(check, facts, answers), name=f"doctor {check.id}", daemon=True).start()
    while waiting:
        next_deadline = began + min(check.limit_s for check in waiting.values())
        try:
            check, answer = answers.get(timeout=max(0.0, next_deadline - time.monotonic()))
        except queue.Empty:
            for late in [one for one in waiting.values() if began + one.limit_s <= time.monotonic()]:
                unseen.setdefault(f"No answer within {late.limit_s:g} s.", []).append(waiting.pop(late.id))
            continue
        if check.id not in waiting:
            continue
        del waiting[check.id]
        if isinstance(answer, str):
            unseen.setdefault(answer, []).append(check)
            continue
        for finding in answer:
            every.append(_cleaned(finding))
            found(every[-1])
    for why, hidden in unseen.items():
        every.append(_cleaned(_unknown(why, hidden)))
        found(every[-1])
    return in_order(every, checks)


def in_order(findings: Iterable[Finding], checks: Sequence[Check] = ()) -> tuple[Finding, ...]:
    """The gravest first; alike ones in the order of the checks."""
    places = {check.id: place for place, check in enumerate(checks)}
    return tuple(sorted(findings, key=lambda one: (ORDER.index(one.severity), places.get(one.check, len(places)))))


def _look(check: Check, facts: Facts, answers: "queue.SimpleQueue[tuple[Check, list[Finding] | str]]") -> None:
    try:
        answers.put((check, list(check.look(facts))))
    except DriverMissingError:
        answers.put((check, []))  # there is nothing to look at, as the check of the driver tells
    except EngineError as error:
        answers.put((check, error.what))
    except DriverError as error:
        answers.put((check, str(error)))
    except Exception as error:  # noqa: BLE001 (a check that nobody foresaw to fail becomes a finding, as any other)
        answers.put((check, f"Unexpected {type(error).__name__}: {error}."))


def _cleaned(finding: Finding) -> Finding:
    """What names, paths and others' messages bring with them goes no further."""
    texts = (finding.title, finding.evidence, finding.remedy, finding.command)
    title, evidence, remedy, command = (mask_secrets(clean_line(text)) for text in texts)
    return replace(finding, title=title, evidence=evidence, remedy=remedy, command=command)


def _unknown(why: str, checks: Sequence[Check]) -> Finding:
    subjects = ", ".join(check.subject for check in checks)
    return Finding(checks[0].id, f"Not looked at: {subjects}", Severity.UNKNOWN, why)
