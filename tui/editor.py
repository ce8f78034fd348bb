"""The operator's own editor: which it is, and a file in it while the console steps aside."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from textual.app import App, SuspendNotSupported

from engine.errors import NotFound, OperationFailed

USUAL = ("vi", "nano")
TAKES_LINE = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "micro")
"""Those that begin at a line when it is given as +N before the file"""
REMEDY = "Name one in $EDITOR, e.g. export EDITOR=nano."


def editor_words(environment: Mapping[str, str]) -> list[str]:
    """The command without the file: $VISUAL, $EDITOR, or what is usually there. Raises `EngineError`."""
    for variable in ("VISUAL", "EDITOR"):
        if given := environment.get(variable, "").strip():
            try:
                return shlex.split(given)
            except ValueError as error:
                raise OperationFailed(f"${variable} is no command: {error}.", REMEDY) from error
    for program in USUAL:
        if shutil.which(program, path=environment.get("PATH")):
            return [program]
    raise NotFound("Neither $VISUAL nor $EDITOR is set, and there is no vi or nano here.", REMEDY)


def edit(app: App[None], path: Path, line: int | None = None) -> bool:
    """Blocks until the editor has ended, with the terminal as its own; True when the file is not what it was.

    Raises `EngineError` when there is no editor, or it failed.
    """
    words = editor_words(os.environ)
    program = Path(words[0]).name
    if line and program in TAKES_LINE:
        words.append(f"+{line}")
    before = _stamp(path)
    failure: OSError | None = None
    code = 0
    try:
        with app.suspend(), _signals_to_editor():
            try:
                code = subprocess.run([*words, str(path)], check=False).returncode
            except OSError as error:
                failure = error  # raised in here it would leave the console suspended
    except SuspendNotSupported as error:
        raise OperationFailed("This terminal cannot be given to an editor.", f"Edit {path} in another.") from error
    if failure:
        raise OperationFailed(f"The editor {words[0]} cannot be run: {failure.strerror}.", REMEDY) from failure
    changed = _stamp(path) != before
    if code and not changed:
        raise OperationFailed(f"The editor {program} ended with exit code {code}.", f"{path} is as it was.")
    return changed


@contextmanager
def _signals_to_editor() -> Iterator[None]:
    """Ctrl+C and Ctrl+\\ in an editor that leaves them to the terminal must not end the console with it."""
    kinds = (signal.SIGINT, signal.SIGQUIT)
    # Not SIG_IGN, which the editor would inherit.
    before = [signal.signal(kind, lambda _number, _frame: None) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """None for a file that is not there; an editor may write a new one in its place."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
