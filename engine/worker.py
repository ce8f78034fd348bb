"""The process of one operation: `python -m engine.worker`, with what it is to do as JSON on standard input.

It belongs to no terminal and outlives whoever began it. It tells its status on standard output, one JSON object a line,
as long as somebody reads it; the journal holds it for everybody else. SIGTERM cancels the operation.
"""

import json
import os
import signal
import sys
import threading
from typing import NoReturn

from engine.operation_json import to_json
from engine.request import Request
from engine.settings import Settings
from engine.teller import Teller

LAST_WORDS_S = 2.0
"""How long a reader may take to read the outcome"""


def main() -> NoReturn:
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: cancelled.set())
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    # What a library prints must not stand between the statuses.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    teller = Teller(out, to_json, LAST_WORDS_S)
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
