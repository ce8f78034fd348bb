"""What `tritontui ask` is told: its options, and the prompt that they make."""

import argparse
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import EngineError, Exit, OperationFailed
from engine.inference.prompt import PromptRequest, Style, Transport
from engine.prompts.options import OPTIONS
from engine.text import clean_line
from tui import cli_values as values
from tui.cli_engine import Engine
from tui.cli_sampling import add_options, given

STDIN = "-"
LAST = "last"
"""In place of a second deployment: the last run on the first one"""
MAX_BYTES = 8 << 20
"""Of a text that is read"""


class WrongUsage(EngineError):
    """The command line makes no prompt."""

    exit_code = Exit.INVALID


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    text = "the prompt; - or nothing takes standard input"
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help=text)
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--file", metavar="NAME|PATH", help="a saved prompt")
    text = "fill in a blank of the saved prompt; @FILE or @- (standard input) for the value's text"
    parser.add_argument("--set", type=_blank, action="append", default=[], metavar="NAME=VALUE", help=text)
    parser.add_argument("--tensors", metavar="JSON|@FILE", help="inputs of a model that takes no text")
    style = parser.add_mutually_exclusive_group()
    for one, text in (
        (Style.CHAT, "as a turn of a chat"),
        (Style.COMPLETION, "as the text that the model goes on with"),
    ):
        style.add_argument(f"--{one}", dest="style", action="store_const", const=one, help=text)
    parser.add_argument("--model", metavar="NAME", help="of several that the server has")
    parser.add_argument("--lora", metavar="NAME", help="a LoRA adapter that the server has")
    parser.add_argument("--transport", choices=[str(transport) for transport in Transport])
    text = "the longest silence that is waited for; 60s unless told"
    parser.add_argument("--timeout", type=values.some_time, metavar="TIME", help=text)
    add_options(parser.add_argument, OPTIONS)
    several = parser.add_mutually_exclusive_group()
    several.add_argument("--repeat", type=values.count, metavar="N", help="so many times, one after the other")
    text = "the same prompt to another deployment, too; last: beside its last run on this one"
    several.add_argument("--against", metavar=f"NAME|{LAST}", help=text)
    several.add_argument("--history", action="store_true", help="list the runs that were kept, and send nothing")
    text = "with --history: at most so many; 50 unless told"
    parser.add_argument("--limit", type=values.count, metavar="N", help=text)
    parser.add_argument("--save", metavar="NAME", help="also save the prompt, in your folder of prompts")
    parser.add_argument("--force", action="store_true", help="with --save: over the one of that name in your folder")
    parser.set_defaults(wrong=parser.error)


def _blank(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def request_of(engine: Engine, args: Namespace) -> PromptRequest:
    """Raises `EngineError` when the command line makes no prompt."""
    request = _texts(engine, args)
    changes: dict[str, Any] = {
        "system": args.system,
        "style": args.style,
        "model": args.model,
        "lora": args.lora,
        "tensors": args.tensors and _tensors(args.tensors),
        "transport": args.transport and Transport(args.transport),
        "idle_timeout_s": args.timeout,
    }
    changed = {key: value for key, value in changes.items() if value is not None}
    request = replace(request, sampling=replace(request.sampling, **given(args, OPTIONS)), **changed)
    try:
        "\0".join((request.prompt, request.system, request.model or "", *request.sampling.stop)).encode()
    except UnicodeEncodeError:
        raise WrongUsage("The prompt is not UTF-8 text.", "Convert it first, e.g. with iconv.") from None
    return request


def _texts(engine: Engine, args: Namespace) -> PromptRequest:
    if args.file is not None:
        from engine.prompts.saved import BlanksLeft, fill

        if args.prompt is not None:
            raise WrongUsage("Both PROMPT and --file are given.", "Leave one out; --set fills in blanks of a file.")
        values = {name: _text(value[1:]) if value.startswith("@") else value for name, value in args.set}
        try:
            return fill(engine.saved_prompt(args.file), values)
        except BlanksLeft as error:
            options = " ".join(f"--set {name}=VALUE" for name in error.names)
            raise WrongUsage(error.what, f"Give each a value: {options}.") from error
    if args.set:
        raise WrongUsage("--set fills in blanks of a saved prompt.", "Name one with --file.")
    if args.prompt is not None and args.prompt != STDIN:
        return PromptRequest(args.prompt)
    if args.tensors and args.prompt is None:
        return PromptRequest("")
    if args.prompt is None and sys.stdin.isatty():
        raise WrongUsage("There is no prompt.", "Give PROMPT, --file NAME, or a text on standard input.")
    prompt = _text(STDIN)
    if not prompt:
        raise WrongUsage("The prompt on standard input is empty.")
    return PromptRequest(prompt)


def _tensors(text: str) -> str | None:
    from engine.prompts.prompt_file import json_tensors

    try:
        return json_tensors(_read(text[1:]) if text.startswith("@") else text)
    except ValueError as error:
        raise WrongUsage(f"--tensors: {clean_line(str(error))}.") from error


def _text(path: str) -> str:
    """As `_read`, without the line break that echo and editors add at the end."""
    return _read(path).removesuffix("\n")


def _read(path: str) -> str:
    """A file's text, or that of standard input. Raises `EngineError`."""
    name = "standard input" if path == STDIN else clean_line(path)
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).expanduser().open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OperationFailed(f"{name} cannot be read: {clean_line(str(reason))}.") from error
    if len(content) > MAX_BYTES:
        raise WrongUsage(f"{name} is larger than {MAX_BYTES >> 20} MiB.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WrongUsage(f"{name} is not UTF-8 text (byte {error.start}).") from error
