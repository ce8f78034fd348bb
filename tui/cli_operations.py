"""The subcommands that change something, and those that follow, cancel and settle what was begun."""

import sys
from argparse import Namespace
from collections.abc import Callable

from engine.errors import Exit, InvalidProfile, NotFound, Refused
from engine.request import Action, Origin, Request
from engine.snapshot import LeaseStatus, OperationStatus, Outcome, StepKind
from tui import cli_output as out
from tui import format as write
from tui.cli_engine import Engine, Performer
from tui.cli_plan import print_adoption
from tui.cli_progress import Progress, short_id
from tui.cli_questions import Question, ask_for
from tui.operation_words import finished, undone, what

Follow = Callable[[Callable[[OperationStatus], None]], OperationStatus]


class _Begun(Exception):
    """What was asked for is under way, and nobody wants to wait for more."""


def change(engine: Performer, args: Namespace) -> int:
    """up, down, restart and rm."""
    request = Request(
        args.action,
        args.name,
        runtime=getattr(args, "runtime", None),
        wait=getattr(args, "wait", True),
        timeout_s=getattr(args, "timeout", None),
        force=getattr(args, "force", False),
        origin=Origin.here("command"),
    )
    return _carry_out(engine, request, args)


def swap(engine: Performer, args: Namespace) -> int:
    request = Request(
        Action.SWAP,
        args.name,
        outgoing=tuple(args.outgoing),
        runtime=args.runtime,
        timeout_s=args.timeout,
        drain_s=args.settings.drain_s if args.drain is None else args.drain,
        force=args.force,
        full=args.full,
        remove_outgoing=args.remove,
        origin=Origin.here("command"),
    )
    return _carry_out(engine, request, args, wait=args.wait)


ONLY_PERFORM = (change, swap)
"""Commands for which a `Performer` is enough"""


def attach(engine: Engine, args: Namespace) -> int:
    found = _under_way(engine, args.which, ended=True)
    return _tell(_followed(lambda progress: engine.follow(found.id, progress)), args)


def cancel(engine: Engine, args: Namespace) -> int:
    """Its exit code says whether it was rolled back, not how the operation ended."""
    found = _under_way(engine, args.which)
    if not found.rolling_back:
        engine.cancel(found.id)
    ended = _followed(lambda progress: engine.follow(found.id, progress))
    code = _tell(ended, args, wanted=Outcome.ROLLED_BACK)
    return Exit.DONE if ended.outcome is Outcome.ROLLED_BACK else code or Exit.FAILED


def recover(engine: Engine, args: Namespace) -> int:
    unsettled = [operation for operation in engine.operations() if operation.unsettled]
    if args.which is not None:
        unsettled = [_one(unsettled, args.which, "was interrupted")]
    if args.action is None:
        if args.json:
            out.print_json({"interrupted": out.plain(unsettled)})
        elif unsettled:
            for operation in unsettled:
                _print_interrupted(operation)
        else:
            out.talk("There is nothing to recover.")
        return Exit.DONE
    if not unsettled:
        out.talk("There is nothing to recover.")
        if args.json:
            out.print_json({"interrupted": []})
        return Exit.DONE
    found = _one(unsettled, None, "was interrupted")
    return _carry_out(engine, Request(args.action, found.id, origin=Origin.here("command")), args)


def adopt(engine: Engine, args: Namespace) -> int:
    adoption = engine.plan_adoption(args.name)
    if args.dry_run and args.json:
        out.print_json(out.plain(adoption))
        return Exit.DONE
    if not args.json:
        print_adoption(adoption)
    if args.dry_run:
        return Exit.DONE
    if not args.yes and not _agreed(f"Write this profile and adopt {adoption.container}", args):
        out.talk("Nothing was changed.")
        return Exit.REFUSED
    return _carry_out(engine, Request(Action.ADOPT, args.name, origin=Origin.here("command")), args)


def _agreed(question: str, args: Namespace) -> bool:
    """Raises `Refused` where nobody can be asked."""
    if args.json or not sys.stdin.isatty():
        raise Refused(f"{args.name} is adopted only with your yes.", "Look at it with --dry-run, then add --yes.")
    asked = Question("agreed", "", f"{question}? y/n", "n", _wrong_answer)
    return _ANSWERS[ask_for({}, lambda _: [asked])["agreed"]]


_ANSWERS = {"y": True, "yes": True, "Y": True, "n": False, "no": False, "N": False}


def _wrong_answer(answer: str) -> str:
    return "" if answer in _ANSWERS else "Answer y or n."


def _carry_out(engine: Performer, request: Request, args: Namespace, *, wait: bool = True) -> int:
    """Without `wait` only until its check has passed, or has refused it."""

    def perform(show: Callable[[OperationStatus], None]) -> OperationStatus:
        latest: list[OperationStatus] = []

        def until_begun(status: OperationStatus) -> None:
            show(status)
            if any(step.kind is StepKind.CHECK and step.outcome is Outcome.DONE for step in status.steps):
                latest.append(status)
                raise _Begun

        try:
            return engine.perform(request, show if wait else until_begun)
        except _Begun:
            return latest[-1]

    return _tell(_followed(perform), args)


def _followed(follow: Follow) -> OperationStatus:
    with Progress() as progress:
        try:
            return follow(progress.show)
        except KeyboardInterrupt:
            latest = progress.latest
    out.talk(_interrupted(latest))
    raise KeyboardInterrupt


def _interrupted(status: OperationStatus | None) -> str:
    if status is None:
        return "Interrupted; `tritontui status` shows whether it was begun."
    which = short_id(status.id)
    if status.cancelled or status.rolling_back:
        return f"Interrupted; {status.title} is rolled back all the same. `tritontui attach {which}` follows it."
    return (
        f"Interrupted; {status.title} goes on. `tritontui attach {which}` follows it, "
        f"`tritontui cancel {which}` rolls it back."
    )


def _tell(status: OperationStatus, args: Namespace, wanted: Outcome = Outcome.DONE) -> int:
    """How it ended, or that it is under way. Returns the exit code."""
    if args.json:
        out.print_json(out.plain(status))
    if status.outcome is Outcome.RUNNING:
        which = short_id(status.id)
        out.talk(
            f"{status.title} is under way, and goes to its end by itself. `tritontui attach {which}` follows it, "
            f"`tritontui cancel {which}` rolls it back."
        )
        return Exit.DONE
    told = status.message or f"{status.title}: {status.outcome.value}."
    out.talk(told if status.outcome is wanted else f"tritontui: {told}")
    if status.log_path and status.log_path not in told:
        out.talk(f"The log of what failed is kept: {status.log_path}")
    if status.unsettled and "tritontui recover" not in told:  # its last word may have said so
        out.talk(f"`tritontui recover {short_id(status.id)}` shows how to finish it or to roll it back.")
    if status.exit_code is not None:
        return status.exit_code
    return Exit.DONE if status.outcome is Outcome.DONE else Exit.FAILED


def _under_way(engine: Engine, which: str | None, *, ended: bool = False) -> OperationStatus:
    """The one that is meant: by its id (with `ended` also of one that has), by a deployment, or the only one.

    Raises `NotFound`, `InvalidProfile` when several could be meant, and `Refused` when its journal is not at hand.
    """
    operations = engine.operations()
    running = [operation for operation in operations if operation.outcome is Outcome.RUNNING]
    if _matching(running, which):
        return _one(running, which, "is under way")
    if ended and which is not None and (by_id := _with_id(operations, which)):
        return _one(by_id, None, "has this id")
    lease = engine.lease()
    if lease and lease.alive is not False and (which is None or _is_about(lease.operation, lease.what, which)):
        raise _out_of_reach(lease)
    interrupted = _matching([operation for operation in operations if operation.unsettled], which)
    if interrupted:
        found = interrupted[0]
        raise NotFound(
            f"{found.title} was interrupted: its process is gone.",
            f"`tritontui recover {short_id(found.id)}` shows how to finish it or to roll it back.",
        )
    if which is not None and (by_id := _with_id(operations, which)):
        raise NotFound(f"{by_id[0].title} has ended already: {by_id[0].outcome.value}.")
    return _one(running, which, "is under way")


def _out_of_reach(lease: LeaseStatus) -> Refused:
    """Only the state folder that an operation was begun with has its journal."""
    here, (user, _, host) = Origin.here("command"), lease.who.partition(" from ")[0].partition("@")
    lives = "" if lease.alive else ", and whether its process still lives cannot be told from here"
    what = f"{lease.what} is under way, by {lease.who} for {write.duration(write.now() - lease.since)}{lives}."
    if (user, host) == (here.user, here.host):
        return Refused(
            f"{what} It was begun with another state folder than this one.",
            "It can be followed and cancelled with the TRITONTUI_STATE_DIR that it was begun with.",
        )
    if host:
        which = short_id(lease.operation)
        return Refused(what, f"It can be followed and cancelled by {user} on {host}: `tritontui cancel {which}`.")
    return Refused(what, "`tritontui status` shows when it has ended.")


def _one(operations: list[OperationStatus], which: str | None, what: str) -> OperationStatus:
    found = _matching(operations, which)
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(f"{short_id(one.id)} ({one.title})" for one in found)
        raise InvalidProfile(f"More than one operation {what}: {ids}.", "Name one of them by its id.")
    if which is None:
        raise NotFound(f"No operation {what}.", "`tritontui history` shows what was done.")
    names = {name for one in operations for name in one.subjects}
    hint = out.near(which, names) or (
        "`tritontui status` shows what is under way or was interrupted. A start that waits for its server is known "
        "only to the state folder that it was begun with."
    )
    raise NotFound(f"No operation with {which} {what}.", hint)


def _matching(operations: list[OperationStatus], which: str | None) -> list[OperationStatus]:
    if which is None:
        return operations
    return [one for one in operations if which in one.subjects] or _with_id(operations, which)


def _with_id(operations: list[OperationStatus] | tuple[OperationStatus, ...], which: str) -> list[OperationStatus]:
    return [one for one in operations if which and one.id.startswith(which)]


def _is_about(operation: str, what: str, which: str) -> bool:
    return which in out.names(what) or bool(operation and which and operation.startswith(which))


def _print_interrupted(operation: OperationStatus) -> None:
    done, broken_off = (
        ", ".join(what(operation, step) for step in operation.steps if step.outcome in outcomes)
        for outcomes in ((Outcome.DONE,), (Outcome.RUNNING, Outcome.INTERRUPTED))
    )
    out.print_facts(
        [
            ("operation", f"{short_id(operation.id)}  {operation.title}"),
            ("begun", f"{out.moment(operation.began_at)}, by {operation.owner}"),
            ("done", done or "nothing"),
            ("broken off", broken_off),
            ("--finish", finished(operation)),
            ("--roll-back", undone(operation)),
        ]
    )
