"""What `tritontui load` and `loads` take, and the plan of a load test that it says."""

import re
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from engine.inference.prompt import Sampling, Style, Transport
from engine.load_plan import MOST_IN_FLIGHT, MOST_RATE, Arrival, Lengths, Level, LoadPlan, Objectives, Workload
from engine.prompts.options import OPTIONS, Option
from tui import cli_values as values
from tui.cli_sampling import add_options, given

T = TypeVar("T")

LEAST_REQUESTS = 100
ROUNDS = 4
"""Of each level, unless told: requests that each of those under way at once is followed by"""
_NOT_ASKED = ("max_tokens", "min_tokens", "ignore_eos", "stop", "seed")
"""Sampling options that the workload says"""
_SLO_NAMES = ("ttft", "itl", "e2e")


def add_arguments(one: ArgumentParser) -> None:
    one.add_argument("name", metavar="NAME")
    how = one.add_mutually_exclusive_group()
    how.add_argument(
        "--concurrency",
        type=_several(_at_once),
        action="extend",
        metavar="N,…",
        help="so many requests always under way; 1",
    )
    how.add_argument(
        "--rate", type=_several(_rate), action="extend", metavar="R,…", help="so many requests a second are begun"
    )
    one.add_argument("--constant", action="store_true", help="with --rate: evenly, not at random (Poisson)")
    one.add_argument("--requests", type=values.count, metavar="N", help="of each level; 100, or 4 times --concurrency")
    one.add_argument("--duration", type=values.some_time, metavar="T", help="of each level, e.g. 30s")
    one.add_argument("--warmup", type=_count_or_0, default=1, metavar="N", help="requests before each level; 1")
    one.add_argument("--repeats", type=values.count, default=1, metavar="N", help="from two on, noise is known; 1")
    one.add_argument("--input-tokens", type=lengths, metavar="N[±S]", help="mean length of prompts, and spread; 128")
    one.add_argument("--output-tokens", type=lengths, default=Lengths(64), metavar="N[±S]", help="of answers; 64")
    one.add_argument("--prefix-tokens", type=_count_or_0, default=0, metavar="N", help="that all prompts begin with; 0")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="the same one: the same prompts and times; 0")
    one.add_argument("--file", type=Path, metavar="PATH", help="prompts to send: a line each, or JSON Lines")
    text = "no: the model may end its answers before --output-tokens; without either they go on where it takes that"
    one.add_argument("--ignore-eos", action=BooleanOptionalAction, help=text)
    text = "ttft, itl, e2e; goodput"
    one.add_argument("--slo", type=_limits, action="extend", default=[], metavar="ttft=T,…", help=text)
    one.add_argument("--model", metavar="MODEL", help="of a server that has several")
    one.add_argument("--lora", metavar="ADAPTER", help="a LoRA adapter that the server has")
    one.add_argument("--transport", choices=[str(transport) for transport in Transport])
    style = one.add_mutually_exclusive_group()
    style.add_argument("--chat", dest="style", action="store_const", const=Style.CHAT, help="as a chat's turn")
    style.add_argument("--completion", dest="style", action="store_const", const=Style.COMPLETION, help="as plain text")
    _out(one)
    sampling = one.add_argument_group("sampling", "the server's own unless told")
    add_options(sampling.add_argument, _sampling())
    one.set_defaults(wrong=one.error)


def add_loads_arguments(one: ArgumentParser) -> None:
    one.add_argument("name", nargs="?", metavar="NAME", help="only those of this deployment")
    which = one.add_mutually_exclusive_group()
    which.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two of them, by id: what changed, beyond noise")
    which.add_argument("--show", metavar="ID", help="one of them, as it was printed")
    one.add_argument("--limit", type=values.count, default=20, metavar="N", help="at most so many; 20 unless told")
    _out(one)
    one.set_defaults(wrong=one.error)


def plan(args: Namespace) -> LoadPlan:
    """What the options say. Ends the program with the usage when they contradict each other."""
    if args.constant and args.rate is None:
        args.wrong("--constant says how the requests of --rate are spread: give a rate")
    if args.file is not None and (args.input_tokens is not None or args.prefix_tokens):
        args.wrong("the prompts of --file have their own lengths: leave out --input-tokens and --prefix-tokens")
    if args.rate is None:
        levels = tuple(Level(Arrival.CLOSED, amount) for amount in dict.fromkeys(args.concurrency or (1,)))
    else:
        arrival = Arrival.CONSTANT if args.constant else Arrival.POISSON
        levels = tuple(Level(arrival, amount) for amount in dict.fromkeys(args.rate))
    workload = Workload(
        args.input_tokens or Lengths(128),
        args.output_tokens,
        args.prefix_tokens,
        args.seed,
        _found(args.file) if args.file is not None else None,
    )
    return LoadPlan(
        levels,
        requests=_requests(args),
        duration_s=args.duration,
        warmup=args.warmup,
        repeats=args.repeats,
        workload=workload,
        sampling=Sampling(ignore_eos=args.ignore_eos is not False, **given(args, _sampling())),
        insists_on_ignore_eos=bool(args.ignore_eos),
        objectives=_objectives(args),
        style=args.style,
        model=args.model,
        lora=args.lora,
        transport=Transport(args.transport) if args.transport else None,
    )


def _found(file: Path) -> Path:
    """From wherever the test runs."""
    try:
        return file.expanduser().absolute()
    except RuntimeError:  # nobody's home: reading it says so
        return file


def lengths(text: str) -> Lengths:
    """`128`, `128±32`, or for keyboards `128+-32`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:(?:±|\+/?-)(\d+(?:\.\d+)?))?", text)
    if not match or float(match[1]) < 1:
        raise ArgumentTypeError(f"{text} is no length; write 128 or 128±32, in tokens")
    return Lengths(float(match[1]), float(match[2] or 0))


def _limits(text: str) -> tuple[tuple[str, float], ...]:
    """Objectives by their names, in seconds."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+(?:\.\d+)?)(ms|s)\s*", part)
        if not match or match[1] not in _SLO_NAMES:
            raise ArgumentTypeError(f"{part.strip()!r} is no objective; write e.g. ttft=200ms,itl=20ms,e2e=5s")
        if not float(match[2]):
            raise ArgumentTypeError(f"{part.strip()!r} can be kept by no request; write more than 0")
        found.append((match[1], float(match[2]) * (1e-3 if match[3] == "ms" else 1.0)))
    return tuple(found)


def _objectives(args: Namespace) -> Objectives:
    """Of all --slo together."""
    found: dict[str, float] = {}
    for name, limit in args.slo:
        if name in found:
            args.wrong(f"argument --slo: {name} is given twice")
        found[name] = limit
    return Objectives(found.get("ttft"), found.get("itl"), found.get("e2e"))


def _requests(args: Namespace) -> int | None:
    if args.requests is not None or args.duration is not None:
        found: int | None = args.requests
        return found
    return max(LEAST_REQUESTS, ROUNDS * max(args.concurrency or (1,)))


def _out(one: ArgumentParser) -> None:
    one.add_argument(
        "--out", action="append", default=[], type=Path, metavar="FILE", help="also to .json, .csv, .svg or .html"
    )


def _sampling() -> tuple[Option, ...]:
    return tuple(option for option in OPTIONS if option.name not in _NOT_ASKED)


def _several(one: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Some of them between commas."""

    def parse(text: str) -> tuple[T, ...]:
        return tuple(one(part.strip()) for part in text.split(","))

    return parse


def _at_once(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_IN_FLIGHT:
        raise ArgumentTypeError(f"{text} is not a whole number from 1 to {MOST_IN_FLIGHT:,}")
    return int(text)


def _rate(text: str) -> float:
    if not re.fullmatch(r"\d+(?:\.\d+)?|\.\d+", text) or not 0 < float(text) <= MOST_RATE:
        raise ArgumentTypeError(
            f"{text} is no rate; write requests per second, at most {MOST_RATE:,.0f}, e.g. 0.5 or 20"
        )
    return float(text)


def _count_or_0(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text} is not a number from 0 upwards")
    return int(text)
