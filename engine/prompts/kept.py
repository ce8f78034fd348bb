"""Runs of prompts and what came of them, in SQLite: one file in the state folder, which only its owner may read."""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.database import Database
from engine.deployment import Deployment
from engine.errors import OperationFailed
from engine.inference.prompt import PromptEvent, PromptRequest, PromptResult
from engine.prompt_record import KeptPrompt

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = """
CREATE TABLE IF NOT EXISTS prompts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, deployment TEXT NOT NULL, run TEXT NOT NULL,
    what TEXT NOT NULL, asked TEXT NOT NULL, bytes INTEGER NOT NULL, result BLOB NOT NULL
);
"""
MOST_RUNS = 2000
MOST_BYTES = 64 << 20
"""Of all that is kept"""
MOST_BYTES_OF_ONE = 16 << 20
PATIENCE_S = 5.0
"""How long a reader waits for what is being written"""
_BOUND = """
DELETE FROM prompts WHERE id NOT IN (
    SELECT id FROM (
        SELECT id, SUM(bytes) OVER newest AS held, ROW_NUMBER() OVER newest AS place
        FROM prompts WINDOW newest AS (ORDER BY id DESC)
    ) WHERE held <= ? AND place <= ?
)
"""
_SELECT = """
SELECT id, at, deployment, run, what, result FROM prompts
WHERE (?1 IS NULL OR deployment = ?1) AND (?2 IS NULL OR asked = ?2) ORDER BY id DESC LIMIT ?3
"""
_adapter: "TypeAdapter[PromptResult] | None" = None

_Row = tuple[Any, ...]


class KeptPrompts:
    """The newest ones: `MOST_RUNS` at most, and `MOST_BYTES`. Safe to use from several threads and processes.

    Writing is a thread's, which begins with something to write and ends when nothing is left: the result of a prompt
    does not wait for it, but the end of the program does. Failures to write are kept in `problem` and not raised.
    """

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        """`keep`: False when nothing new is to be written; what is there can be read all the same."""
        self._path = path
        self._keep = keep
        self._database = Database(path, SCHEMA, "file of kept prompts")
        self._lock = threading.Lock()
        self._waiting: deque[_Row] = deque()
        self._writer: threading.Thread | None = None
        self._too_large = ""
        self._damaged = ""

    @property
    def problem(self) -> str:
        """Why what is kept is not whole; empty when all is well. Waits for what is being written."""
        self._written()
        return self.known_problem

    @property
    def known_problem(self) -> str:
        """As `problem`, of what has been written and read by now. Waits for nothing."""
        return self._database.problem or self._damaged or self._too_large

    def keeping(self, deployment: Deployment, on_event: Callable[[PromptEvent], None]) -> Callable[[PromptEvent], None]:
        """What hands events on to `on_event`, and keeps the result after that. Call it when the prompt is sent."""
        if not self._keep:
            return on_event
        at = time.time()

        def take(event: PromptEvent) -> None:
            try:
                on_event(event)
            finally:
                if isinstance(event, PromptResult):
                    self._put((at, deployment, event))

        return take

    def last(
        self, deployment: str | None = None, limit: int = 200, same_as: PromptRequest | None = None
    ) -> list[KeptPrompt]:
        """Newest first. `same_as`: only those with the same texts and tensors, whatever their other options.

        Damaged ones are left out, and told by `problem`. Blocks. Raises `OperationFailed` when the file cannot be read.
        """
        self._written()
        self._damaged = ""
        if self._database.changed_at == 0:
            return []
        rows = self._database.read(_SELECT, (deployment, same_as and _asked(same_as), limit), tuple)
        if rows is None:
            raise OperationFailed(self._database.problem)
        found = [kept for row in rows if (kept := _kept(row))]
        if lost := len(rows) - len(found):
            what = "One run is" if lost == 1 else f"{lost} runs are"
            self._damaged = f"{what} damaged in {self._path}, and left out."
        return found

    # -- the thread that writes ---------------------------------------------------------------------------------------

    def _put(self, one: _Row) -> None:
        with self._lock:
            self._waiting.append(one)
            if self._writer is None:
                # No daemon: a command that has shown its result ends only when that is kept.
                self._writer = threading.Thread(target=self._write, name="kept prompts", daemon=False)
                self._writer.start()

    def _written(self) -> None:
        writer = self._writer
        if writer and writer is not threading.current_thread():
            writer.join(PATIENCE_S)

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._writer = None
                    return
                at, deployment, result = self._waiting.popleft()
            self._insert(at, deployment, result)

    def _insert(self, at: float, deployment: Deployment, result: PromptResult) -> None:
        text = _to_json(result)
        if len(text) > MOST_BYTES_OF_ONE:
            self._too_large = f"A run of more than {MOST_BYTES_OF_ONE >> 20} MiB was not kept."
            return
        self._make_private()
        row = (at, deployment.name, run_of(deployment), deployment.what, _asked(result.request), len(text), text)
        self._database.write(
            ("INSERT INTO prompts (at, deployment, run, what, asked, bytes, result) VALUES (?,?,?,?,?,?,?)", row),
            (_BOUND, (MOST_BYTES, MOST_RUNS)),
        )

    def _make_private(self) -> None:
        """A file that was copied back may have become readable to others; what cannot be changed, writing tells."""
        try:
            if self._path.stat().st_mode & 0o077:
                self._path.chmod(0o600)
        except OSError:
            return


def run_of(deployment: Deployment) -> str:
    """Which start of it this is: another after a restart or a swap."""
    started = deployment.started_at
    return deployment.id if started is None else f"{deployment.id} {started:.3f}"


def _asked(request: PromptRequest) -> str:
    """The same for requests with the same texts and tensors."""
    turns = [[turn.role.value, turn.text] for turn in request.history]
    text = json.dumps([request.system, turns, request.prompt, request.tensors])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _to_json(result: PromptResult) -> bytes:
    # The clock of `sent_at` means nothing to another process; gaps are measured no finer than this.
    slim = replace(result, sent_at=None, gaps_s=tuple(round(gap, 6) for gap in result.gaps_s))
    return json.dumps(asdict(slim), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _kept(row: _Row) -> KeptPrompt | None:
    global _adapter  # made once: that takes longer than to read a thousand runs
    if _adapter is None:
        from pydantic import TypeAdapter

        _adapter = TypeAdapter(PromptResult)
    number, at, deployment, run, what, text = row
    try:
        return KeptPrompt(int(number), float(at), str(deployment), str(run), str(what), _adapter.validate_json(text))
    except (ValueError, TypeError):  # pydantic's error is a ValueError
        return None
