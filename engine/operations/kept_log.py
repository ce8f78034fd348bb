"""Keeps the log of what failed, before its deployment is removed with it."""

import os
import time
from collections import deque
from itertools import chain
from pathlib import Path

from engine.observe.log_tail import read_lines
from engine.runtimes.base import Runtime
from engine.settings import Settings
from engine.text import clean_line, mask_secrets

LINES = 20_000
FILES = 50


def keep_log(settings: Settings, runtime: Runtime, name: str, cause: str) -> Path:
    """Writes the last `LINES` of its log, cleaned and masked, under the cause; the oldest of such files go.

    Raises `EngineError` when the log cannot be read, and OSError when the file cannot be written.
    """
    folder = settings.state_dir / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    kept = deque(read_lines(runtime, name, tail=LINES, follow=False), maxlen=LINES)
    lines = (f"{line.time} {line.text}".lstrip() for line in kept)
    text = "".join(f"{mask_secrets(line)}\n" for line in chain((f"# {clean_line(cause)}",), lines))
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    for old in sorted(folder.glob("*.log"), key=lambda found: found.stat().st_mtime)[:-FILES]:
        old.unlink(missing_ok=True)
    return path
