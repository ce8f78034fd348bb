"""How a line of a log looks: its level, and its time on this machine's clock."""

import re
from datetime import datetime

# Triton's `W1120 23:44:48.551677`, or with --log-format=ISO8601 `2025-11-20T23:44:48Z 5040 W`; vLLM's `(APIServer
# pid=5364) WARNING 11-20`; and how Python's errors begin.
_LEVEL = re.compile(
    r"(?:\([^)]{1,80}\) )?(?:\d{4}-\d\d-\d\dT[\d:.]+Z? \d+ )?"
    r"(?:([IWEF])(?:\d{4} \d\d:|\b(?= ))|(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL)\b"
    r"|Traceback \(|error:|[\w.]*(?:Error|Exception):)"
)
_KINDS = {"I": "", "INFO": "", "DEBUG": "debug", "W": "warning", "WARNING": "warning"}


def level(text: str) -> str:
    """`debug`, `warning`, `error`, or nothing when the line says nothing of the kind."""
    match = _LEVEL.match(text)
    return _KINDS.get(match[1] or match[2] or "", "error") if match else ""


def local_time(stamp: str) -> str:
    """HH:MM:SS.mmm of an RFC 3339 time in UTC; empty when there is none."""
    try:
        moment = datetime.fromisoformat(stamp[:26] + "+00:00")
    except ValueError:
        return ""
    return moment.astimezone().strftime("%H:%M:%S.%f")[:12]
