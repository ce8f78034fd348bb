"""The command line: `tritontui` opens the console, its subcommands do one thing and exit."""

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError, Exit
from engine.settings import Settings
from tui import collecting
from tui.cli_common import common
from tui.cli_interrupts import heard

if TYPE_CHECKING:
    from tui.cli_engine import Engine, Performer

INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + the signal, as shells report programs that Ctrl+C or a closed pipe ended"""

EngineFactory = Callable[[Settings], "Engine"]


def main(argv: Sequence[str] | None = None, engine_factory: EngineFactory | None = None) -> int:
    """Runs one command and returns its exit code (docs/commands.md). Wrong usage exits with 2, as argparse does it."""
    with heard():
        return _main(argv, engine_factory)


def _main(argv: Sequence[str] | None, engine_factory: EngineFactory | None) -> int:
    # Where a shell has closed them (`<&-`), Python has none.
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 (for as long as this runs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without ● is no reason to fail
    try:
        with _beginning():
            args = _parsed(argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    try:
        code = _run(args, engine_factory)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except EngineError as error:
        _say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 (the outermost border: what nobody foresaw is told in one line)
        if args.debug:
            traceback.print_exc()
        else:
            _say(f"unexpected {type(error).__name__}: {error}. Run it again with --debug for the details.")
        return Exit.FAILED
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Of the console without what is there for commands alone: its first paint need not wait for that."""
    console = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    common(console, profiles="profiles", default=False)
    console.set_defaults(command=None, more_profiles=[])
    with contextlib.suppress(argparse.ArgumentError):  # told below, with the usage
        args, more = console.parse_known_args(argv)
        if not more:
            return args
    from tui.cli_arguments import parser

    return parser().parse_args(argv)


def _run(args: argparse.Namespace, engine_factory: EngineFactory | None) -> int:
    settings = Settings.load((*args.profiles, *args.more_profiles), read_only=args.read_only)
    if args.command is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            _say("The console needs a terminal. `tritontui --help` shows the commands that do not.")
            return Exit.INVALID
        collecting.hold()
        from tui.app import run

        return run(settings)
    if args.needs_no_engine:
        return int(args.command(settings, args))
    args.settings = settings
    if engine_factory is None:
        from tui.cli_operations import ONLY_PERFORM

        if args.command in ONLY_PERFORM:
            return int(args.command(_performer(settings), args))
    with _beginning():
        engine = (engine_factory or _engine)(settings)
    try:
        return int(args.command(engine, args))
    finally:
        engine.close()


def _performer(settings: Settings) -> "Performer":
    from engine.launcher import Launcher
    from engine.store import Journal

    return Launcher(settings, Journal(settings.history_path))


def _engine(settings: Settings) -> "Engine":
    from engine import facade

    return facade.Engine(settings)


@contextlib.contextmanager
def _beginning() -> Iterator[None]:
    """What takes a moment before the command itself begins, and is for it to say what an interrupt has left."""
    try:
        yield
    except KeyboardInterrupt:
        _say("It was stopped before it had begun; nothing was done.")
        raise


def _say(text: str) -> None:
    from engine.text import clean_line

    print(f"tritontui: {clean_line(text)}", file=sys.stderr)
