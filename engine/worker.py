"""The process of one operation: `python -m engine.worker`, with what it is to do as JSON on standard input.

It belongs to no terminal and outlives whoever began it. It tells its status on standard output, one JSON object a line,
as long as somebody reads it; the journal holds it for everybody else. SIGTERM cancels the operation.
"""

import json
import os
import signal
import sys
import threading
from typing import NoReturn, TextIO

from engine.operation_json import to_json
from engine.request import Request
from engine.settings import Settings
from engine.snapshot import OperationStatus

LAST_WORDS_S = 2.0
"""How long a reader may take to read the outcome"""


class Teller:
    """Writes the latest status from a thread of its own: a console that is suspended must not hold the operation."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._news = threading.Condition()
        self._latest: OperationStatus | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="teller", daemon=True)
        self._thread.start()

    def tell(self, status: OperationStatus) -> None:
        with self._news:
            self._latest = status
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(LAST_WORDS_S)

    def _write_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._latest is not None or self._closed)
                status, self._latest = self._latest, None
            if status is None:
                return
            try:
                self._out.write(f"{to_json(status)}\n")
                self._out.flush()
            except (OSError, ValueError):
                return  # nobody reads any more


def main() -> NoReturn:
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: cancelled.set())
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    # What a library prints must not stand between the statuses.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    teller = Teller(out)
    from engine.operating import Parts

    conductor = Parts(Settings.from_json(order["settings"])).conductor
    request, operation = Request.from_json(order["request"]), order["operation"]
    try:
        status = conductor.run(request, operation=operation, progress=teller.tell, cancelled=cancelled)
        teller.tell(status)
    finally:
        teller.close()
    # Threads that hang, such as in the NVIDIA driver, must not keep the process.
    sys.stderr.flush()
    os._exit(status.exit_code or 0)


if __name__ == "__main__":
    main()
