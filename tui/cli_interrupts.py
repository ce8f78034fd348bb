"""Ctrl+C that is not lost."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AGAIN_S = 0.01


@contextmanager
def heard() -> Iterator[None]:
    """Meanwhile an interrupt of the main thread is raised wherever it comes.

    Python raises KeyboardInterrupt also where nothing can be raised to, as in an import while a module's lock is let go
    of, and then only prints it (`sys.unraisablehook`): the program would go on as if nobody had asked it to end.
    """
    before = sys.unraisablehook

    def again(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        # From here it would be lost as well.
        later = threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
