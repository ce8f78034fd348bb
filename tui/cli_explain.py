"""`tritontui explain`: what a log's failure is, what proves it, and what to change."""

import shutil
import sys
import textwrap
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.diagnosis import Cause, Change, Diagnosis, Evidence, Proof, Weight
from engine.errors import EngineError, Exit, InvalidProfile, NotFound, OperationFailed
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.profile_diff import diff_lines

if TYPE_CHECKING:
    import io
    from argparse import ArgumentParser

    from engine.profile import Profile

STDIN = "-"
INDENT = "  "
WIDEST = 110
NO_TELLING = {
    Weight.HINT: "It may have to do with it, and does not stop a server by itself.",
    Weight.WRAPPER: "That only says that something else went wrong, which is none of the known causes.",
}


def add_arguments(parser: "ArgumentParser") -> None:
    parser.add_argument("what", nargs="?", metavar="FILE|-|NAME", help="a log, also gzipped; or a deployment's name")
    parser.add_argument("--deployment", metavar="NAME", help="what failed, where a file has the same name")
    parser.add_argument("--profile", metavar="NAME", help="what was started, for the change to make in it")


def explain(engine: Engine, args: Namespace) -> int:
    """Exit 0 when a cause is known, 1 when none is."""
    if (args.what is None) == (args.deployment is None):
        raise InvalidProfile(
            "One thing is to be explained.", "Name a file, - for standard input, or --deployment NAME."
        )
    source, profile, diagnosis = _diagnosed(engine, args)
    best = diagnosis.best
    diff, trouble = _diff(engine, profile, best.changes) if best and best.changes and profile else ([], "")
    if args.json:
        told = {**out.plain(diagnosis), "versions": dict(diagnosis.versions)}
        out.print_json({"source": source, **told, "profile": profile or None, "diff": "".join(f"{x}\n" for x in diff)})
    else:
        _print(diagnosis, diff)
        _print_requests(diagnosis)
        if diagnosis.log:
            print()
            _print_text(diagnosis.log)
    if trouble:
        out.talk(f"tritontui: {trouble}")
    return Exit.DONE if best and best.weight is Weight.CAUSE else Exit.FAILED


def _diagnosed(engine: Engine, args: Namespace) -> tuple[str, str, Diagnosis]:
    """What was looked at, the profile that belongs to it (empty: none), and what came of it."""
    if args.what == STDIN:
        return (
            "standard input",
            args.profile or "",
            _of_log(cast("io.BufferedReader", sys.stdin.buffer), "standard input", args),
        )
    path = Path(args.what) if args.what else None
    if path and _is_there(path):
        with _opened(path) as file:
            return str(path), args.profile or "", _of_log(file, str(path), args)
    if args.profile:
        raise InvalidProfile(
            f"There is no file {args.what or args.deployment}.", "--profile is for a file: a deployment has its own."
        )
    name = args.deployment or args.what
    try:
        diagnosis = engine.diagnose(name)
    except NotFound as error:
        if args.deployment:
            raise
        raise NotFound(f"There is no file {name}, and no deployment either: {error.what}", error.remedy) from error
    try:
        engine.profile_source(name)
    except EngineError:  # it was started by hand, or its profile is gone
        return name, "", diagnosis
    return name, name, diagnosis


def _is_there(path: Path) -> bool:
    """A folder is no log: what has its name alone is a deployment's."""
    try:
        return path.exists() and not (path.is_dir() and str(path) == path.name)
    except OSError:  # a name that can be none, or a folder that may not be looked into
        return False


def _opened(path: Path) -> "io.BufferedReader":
    try:
        return path.open("rb")
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}.", "Name a file that you may read.") from error


def _of_log(file: "io.BufferedReader", name: str, args: Namespace) -> Diagnosis:
    from engine.diagnose.explain import explain_text
    from engine.diagnose.of_file import blocks_of

    profile: Profile | None = None
    if args.profile:
        from engine.catalog import CatalogReader

        profile = CatalogReader(args.settings).load().get(args.profile).profile
    evidence = Evidence(stack=profile.stack if profile else "")
    with closing(blocks_of(file, name)) as blocks:
        return explain_text(blocks, evidence, profile)


def _diff(engine: Engine, profile: str, changes: tuple[Change, ...]) -> tuple[list[str], str]:
    """The lines of the diff, and why there are none."""
    try:
        before = engine.profile_source(profile)
        after = engine.with_changes(profile, changes)
    except EngineError as error:
        return [], str(error)
    return diff_lines(before.text, after, str(before.path)), ""


# -- for people -------------------------------------------------------------------------------------------------------


def _print(diagnosis: Diagnosis, diff: list[str]) -> None:
    best = diagnosis.best
    if best is None:
        _print_unknown(diagnosis)
        return
    print(best.title)
    _print_text(best.cause)
    if best.weight is not Weight.CAUSE:
        _print_text(NO_TELLING[best.weight])
    _print_text(best.remedy, mark="→ ")
    if best.ranks:
        _print_text(f"Said by {', '.join(best.ranks)}.")
    if best.reference:
        _print_text(f"See {best.reference}")
    _print_proofs("proved by", best.proofs)
    if diagnosis.first_error:
        _print_proofs("the first error", diagnosis.first_error)
    _print_changes(best, diff)
    if diagnosis.causes[1:]:
        print("\nalso possible")
        for other in diagnosis.causes[1:]:
            _print_text(f"{other.title}: {other.cause}", mark="- ")
            _print_text(other.remedy, mark="  → ")


def _print_requests(diagnosis: Diagnosis) -> None:
    if diagnosis.requests:
        print("\nwhat failed single requests, and not the server")
    for one in diagnosis.requests:
        _print_text(f"{one.title}: {one.cause}", mark="- ")
        _print_text(one.remedy, mark="  → ")
        for proof in one.proofs[:1]:
            _print_line(f"{INDENT}    {proof.line}  {proof.text}")


def _print_unknown(diagnosis: Diagnosis) -> None:
    versions = " ".join(f"{program} {version}" for program, version in diagnosis.versions)
    print(f"No known cause in {diagnosis.lines:,} line{'' if diagnosis.lines == 1 else 's'}.")
    _print_text(versions)
    if diagnosis.first_error:
        _print_proofs("the first error", diagnosis.first_error)
    elif not diagnosis.requests:
        _print_text("Nor is there any error that is marked as one.")


def _print_changes(cause: Cause, diff: list[str]) -> None:
    if diff:
        print("\nwhat would mend it in the profile")
        print("\n".join(diff))
    elif cause.changes:
        print("\nwhat would mend it in the profile")
        for change in cause.changes:
            new = "taken out" if change.value is None else change.value
            print(f"{INDENT}{change.path}: {new}{'' if change.before is None else f' (now {change.before})'}")


def _print_proofs(title: str, proofs: tuple[Proof, ...]) -> None:
    print(f"\n{title}")
    width = max((len(str(proof.line)) for proof in proofs if proof.line is not None), default=0)
    for proof in proofs:
        place = f"{'' if proof.line is None else proof.line:>{width}}  " if width else ""
        _print_line(f"{INDENT}{place}{proof.text}")


def _print_line(text: str) -> None:
    """A log's line is cut where the terminal ends, and whole elsewhere."""
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(text if limit is None or len(text) <= limit else text[: limit - 1] + "…")


def _print_text(text: str, mark: str = "") -> None:
    if text:
        width = min(WIDEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDEST
        begin = INDENT + mark
        print(
            textwrap.fill(
                text,
                width,
                initial_indent=begin,
                subsequent_indent=" " * len(begin),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
