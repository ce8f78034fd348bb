"""The commands: their names, what each takes, and what carries it out."""

import argparse
from collections.abc import Callable

from engine import __version__
from engine.request import Action
from tui import (
    cli_ask,
    cli_doctor,
    cli_explain,
    cli_gpus,
    cli_load,
    cli_load_arguments,
    cli_metrics,
    cli_plan,
    cli_profiles,
)
from tui import cli_commands as commands
from tui import cli_operations as operations
from tui import cli_values as values
from tui.cli_common import common
from tui.cli_engine import Engine


def parser() -> argparse.ArgumentParser:
    every = argparse.ArgumentParser(
        prog="tritontui",
        description="Operate LLM serving with Triton and vLLM. Without a command it opens the console.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or invalid profile, 3 refused, 4 runtime unreachable.",
    )
    every.add_argument("--version", action="version", version=f"tritontui {__version__}")
    common(every, profiles="profiles", default=False)
    every.set_defaults(command=None, more_profiles=[], needs_no_engine=False)
    sub = every.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, run: Callable[[Engine, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        one = sub.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        common(one, profiles="more_profiles", default=argparse.SUPPRESS)
        one.add_argument("--json", action="store_true", help="print JSON to standard output")
        one.set_defaults(command=run)
        return one

    add("ls", commands.ls, "list profiles and deployments with their states")
    one = add("status", commands.status, "show this machine and what runs on it, or all about one model")
    one.add_argument("name", nargs="?", metavar="NAME")
    one = add("plan", cli_plan.plan, "show what starting a profile would do, and do nothing")
    one.add_argument("name", metavar="PROFILE")
    _runtime(one)
    one.add_argument("--swap", action="store_true", help="what swapping to it would do; --from and --full imply it")
    _choosing(one)
    _add_operations(add)
    one = add("history", commands.history, "show what was done on this machine, by whom, newest first")
    one.add_argument("name", nargs="?", metavar="NAME", help="only what was done with this model")
    one.add_argument("--limit", type=values.count, default=50, metavar="N", help="at most so many; 50 unless told")
    one.add_argument("--since", type=values.since, metavar="TIME", help="10m, 2h, 1d, or a date and time")

    one = add("logs", commands.logs, "print a deployment's log")
    one.add_argument("name", metavar="NAME")
    one.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl+C")
    one.add_argument("--since", type=values.since, metavar="TIME", help="10m, 2h, 1d, or a date and time")
    one.add_argument("--tail", type=values.count, metavar="N", help="only the last N lines, before --grep")
    one.add_argument("--grep", type=values.pattern, metavar="REGEX", help="only lines that match")
    text = "say what a log's failure is, what proves it, and what to change"
    cli_explain.add_arguments(add("explain", cli_explain.explain, text))
    cli_metrics.add_arguments(add("metrics", cli_metrics.metrics, "measure a deployment's metrics for a second"))
    cli_gpus.add_arguments(add("gpus", cli_gpus.gpus, "show the GPUs, whose their memory is, and the machine's load"))
    one = add("doctor", cli_doctor.doctor, "look over what the machine needs to serve models, and change nothing")
    one.add_argument("name", nargs="?", metavar="PROFILE", help="only what this profile needs")
    cli_ask.add_arguments(add("ask", cli_ask.ask, "send a prompt; the answer streams, with its timings"))

    text = "measure a deployment under load, at one level or several"
    cli_load_arguments.add_arguments(add("load", cli_load.load, text))
    text = "list the load tests that were made, show one, or compare two"
    cli_load_arguments.add_loads_arguments(add("loads", cli_load.loads, text))

    text = "check, describe, make and import profiles"
    profiles = sub.add_parser("profiles", help=text, description=text[0].upper() + text[1:] + ".")
    under = profiles.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add_profiles(name: str, run: cli_profiles.Command, text: str) -> argparse.ArgumentParser:
        one = under.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        common(one, profiles="more_profiles", default=argparse.SUPPRESS)
        one.add_argument("--json", action="store_true", help="print JSON to standard output")
        one.set_defaults(command=run, needs_no_engine=True)
        return one

    cli_profiles.add_commands(add_profiles)
    return every


def _add_operations(
    add: Callable[[str, Callable[[Engine, argparse.Namespace], int], str], argparse.ArgumentParser],
) -> None:
    one = add("up", operations.change, "start a profile")
    one.add_argument("name", metavar="PROFILE")
    _runtime(one)
    _waiting(one)
    _forcing(one)
    one.set_defaults(action=Action.START)
    one = add("down", operations.change, "stop a deployment")
    one.add_argument("name", metavar="NAME")
    one.set_defaults(action=Action.STOP)
    one = add("restart", operations.change, "stop a deployment and start it again")
    one.add_argument("name", metavar="NAME")
    _waiting(one)
    _forcing(one)
    one.set_defaults(action=Action.RESTART)
    one = add("rm", operations.change, "stop a deployment if it runs, and forget it with its log")
    one.add_argument("name", metavar="NAME")
    one.set_defaults(action=Action.REMOVE)

    one = add("swap", operations.swap, "stop what is in the way of a profile and start it; undo both when that fails")
    one.add_argument("name", metavar="TO", help="the profile to start")
    one.add_argument("--wait", action="store_true", help="until it has ended, and tell its steps")
    _timeout(one)
    _runtime(one)
    one.add_argument(
        "--drain", type=values.duration, metavar="TIME", help="for requests under way to end; 60s unless told"
    )
    _choosing(one)
    one.add_argument("--remove", action="store_true", help="remove what was swapped out, instead of keeping it stopped")
    _forcing(one)
    text = "only show the plan, as `plan TO --swap` does"
    one.add_argument("--dry-run", dest="command", action="store_const", const=cli_plan.swap_plan, help=text)

    one = add("attach", operations.attach, "follow an operation that is under way")
    _which(one)
    one = add("cancel", operations.cancel, "cancel an operation, and wait until it has been rolled back")
    _which(one)
    one = add("recover", operations.recover, "show operations that were interrupted, or settle one of them")
    _which(one)
    how = one.add_mutually_exclusive_group()
    for flag, action, text in (
        ("--finish", Action.FINISH, "carry it to its end"),
        ("--roll-back", Action.ROLL_BACK, "undo what it had begun"),
    ):
        how.add_argument(flag, dest="action", action="store_const", const=action, help=text)

    one = add("adopt", operations.adopt, "make a container that was started by hand yours, with a profile")
    one.add_argument("name", metavar="CONTAINER", help="as `tritontui ls` names it")
    one.add_argument("--yes", action="store_true", help="without asking")
    one.add_argument("--dry-run", action="store_true", help="only show the profile that would be written")


def _waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="until it is ready or has failed")
    _timeout(parser)


def _timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=values.some_time, metavar="TIME", help="for it to become ready, e.g. 90s or 30m"
    )


def _runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runtime", help="docker or process; by default what the profile says")


def _choosing(parser: argparse.ArgumentParser) -> None:
    """What a swap takes out, and how."""
    parser.add_argument(
        "--from",
        dest="outgoing",
        action="append",
        default=[],
        metavar="NAME",
        help="what is to go; by default what holds its GPUs or ports. May be given more than once",
    )
    parser.add_argument("--full", action="store_true", help="stop and start, though a faster way would do")


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", nargs="?", metavar="ID|NAME", help="of several: its id, or one of its models")


def _forcing(parser: argparse.ArgumentParser) -> None:
    text = "although the plan says that it does not fit, or its GPUs are taken"
    parser.add_argument("--force", action="store_true", help=text)
