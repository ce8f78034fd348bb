"""Run in a process of its own: carries out one request, and halts where a step begins until it is told to go on.

Standard input: a line of JSON with `settings`, `request` and `halt` (the step's kind, and whether it is one of rolling
back; or null), then an empty line for go. Standard output: `{"at": …}` at the halt, and at the end how it ended.
SIGTERM cancels, as it does with the product's own process.
"""

import json
import os
import signal
import sys
import threading

from engine.operating import Parts
from engine.operation_json import to_json
from engine.request import Request
from engine.settings import Settings
from engine.snapshot import OperationStatus, Outcome

cancelled = threading.Event()
signal.signal(signal.SIGTERM, lambda _number, _frame: cancelled.set())
order = json.loads(sys.stdin.readline())
halted = False


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def halt(status: OperationStatus) -> None:
    global halted
    step = status.current
    if halted or not order["halt"] or status.outcome is not Outcome.RUNNING or not step:
        return
    if [step.kind.value, step.undo] == order["halt"]:
        halted = True
        say(json.dumps({"at": step.kind.value}))
        sys.stdin.readline()


ended = Parts(Settings.from_json(order["settings"])).conductor.run(
    Request.from_json(order["request"]), progress=halt, cancelled=cancelled
)
say(to_json(ended))
os._exit(ended.exit_code or 0)
