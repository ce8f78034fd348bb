"""`tritontui profiles …`: profiles checked, described, made anew, and taken over from what runs already."""

import os
import shlex
import sys
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import Exit, InvalidProfile
from engine.settings import Settings
from tui import cli_output as out
from tui.cli_questions import Question, ask_for

if TYPE_CHECKING:
    from engine.authoring.imported import Imported

Command = Callable[[Settings, Namespace], int]
Add = Callable[[str, Command, str], ArgumentParser]


def add_commands(add: Add) -> None:
    """`add` makes the parser of one subcommand."""
    one = add("check", check, "check profiles, each with its plan; without arguments all that are found")
    one.add_argument("paths", nargs="*", type=Path, metavar="FILE|DIR")

    add("schema", schema, "print the JSON Schema of a profile, for editors")

    one = add("new", new, "write a new profile; what no option says is asked for")
    one.add_argument("name", nargs="?", metavar="NAME")
    one.add_argument("--stack", help="triton-vllm, triton-trtllm, vllm or triton")
    one.add_argument("--model", metavar="ID|DIR", help="a Hugging Face repository, or a folder")
    one.add_argument("--repository", metavar="DIR", help="triton: the folder of the model repository")
    one.add_argument("--image", help="the container image; that of a recent release unless told")
    one.add_argument("--gpus", metavar="N|all|0,1", help="how many or which; one unless told, for triton none")
    one.add_argument("--runtime", choices=("docker", "process"), default="docker")
    _where(one)

    one = add("import", import_, "make a profile of a `docker run` line, or of a container")
    one.formatter_class = RawDescriptionHelpFormatter
    one.epilog = (
        "The line as it stands, or quoted, or on standard input with -. Options of this command come before it."
    )
    one.add_argument("--name", help="the profile's name; the container's or the model's unless told")
    _where(one)
    one.add_argument("--container", metavar="NAME|ID", help="a container of this machine instead of a line")
    one.add_argument("line", nargs=REMAINDER, metavar="LINE", help="docker run …")


def _where(parser: ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, metavar="DIR", help="another folder than the user's own for profiles")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--print", action="store_true", dest="to_output", help="print it, and write nothing")


def check(settings: Settings, args: Namespace) -> int:
    from engine.authoring.check import check as check_all

    found = check_all(settings, args.paths)
    wrong = [one for one in found if one.problems]
    if args.json:
        out.print_json({"profiles": out.plain(found), "wrong": len(wrong)})
        return Exit.INVALID if wrong else Exit.DONE
    for one in found:
        for problem in one.problems:
            print(problem)
        for note in one.notes:
            print(f"{one.path}: note: {note}")
    count = f"{len(found)} profile{'' if len(found) == 1 else 's'}"
    out.talk(f"{count}, {len(wrong)} wrong." if wrong else f"{count}, none wrong.")
    return Exit.INVALID if wrong else Exit.DONE


def schema(_settings: Settings, _args: Namespace) -> int:
    from engine.authoring.schema import schema_text

    print(schema_text(), end="")
    return Exit.DONE


def new(settings: Settings, args: Namespace) -> int:
    from engine.authoring.new import NEEDS_REPOSITORY, STACKS, Wish, new_profile, parse_gpus, suggested_name
    from engine.catalog import NAME

    def is_stack(text: str) -> str:
        return "" if text in STACKS else f"It is one of {', '.join(STACKS)}."

    def is_name(text: str) -> str:
        return "" if NAME.fullmatch(text) else "It takes lower-case letters, digits, dots and hyphens."

    def is_gpus(text: str) -> str:
        try:
            parse_gpus(text)
        except InvalidProfile as error:
            return str(error)
        return ""

    asked = ask_for(
        {"stack": args.stack, "model": args.model, "repository": args.repository, "name": args.name, "gpus": args.gpus},
        lambda given: [
            Question("stack", "--stack", "How is it served?", default="triton-vllm", wrong=is_stack, choices=STACKS),
            Question("repository", "--repository", "Folder of the model repository")
            if given.get("stack") in NEEDS_REPOSITORY
            else Question("model", "--model", "Model: a Hugging Face repository, or a folder"),
            Question(
                "name",
                "NAME",
                "Name of the profile",
                default=suggested_name(given.get("model") or given.get("repository") or ""),
                wrong=is_name,
            ),
            Question(
                "gpus",
                "",
                "GPUs: a count, all, or which",
                default="0" if given.get("stack") in NEEDS_REPOSITORY else "1",
                wrong=is_gpus,
            ),
        ],
    )
    wish = Wish(
        asked["name"],
        asked["stack"],
        settings.working_dir,
        asked.get("model"),
        asked.get("repository"),
        args.image,
        parse_gpus(asked["gpus"]),
        args.runtime,
    )
    return _hand_over(settings, args, wish.name, lambda schema: new_profile(wish, schema=schema))


def import_(settings: Settings, args: Namespace) -> int:
    from engine.authoring.write import profile_text

    found = _imported(settings, args)
    head = ["Taken over by `tritontui profiles import`.", *(f"- {note}" for note in found.notes)]
    return _hand_over(
        settings,
        args,
        str(found.data["name"]),
        lambda schema: profile_text(found.data, head=head, schema=schema),
        found.notes,
    )


def _imported(settings: Settings, args: Namespace) -> "Imported":
    from engine.authoring.container import from_container
    from engine.authoring.docker_line import from_line
    from engine.authoring.imported import imported

    folder = settings.working_dir
    if args.container and args.line:
        raise InvalidProfile("Both a line and a container are given.", "Name one of them.")
    if args.container:
        spec, origin = from_container(args.container), f"as the container {args.container} has it"
    else:
        spec, origin = from_line(_line(args.line), os.environ, folder), "from a docker run line"
    return imported(spec, os.environ, folder, name=args.name or "", origin=origin)


def _line(words: list[str]) -> str:
    from engine.authoring.shell import LONGEST

    if words[:1] == ["--"]:
        words = words[1:]
    if not words and sys.stdin.isatty():
        out.talk("Paste the line, then press Enter and Ctrl+D.")
        words = ["-"]
    if not words:
        raise InvalidProfile("There is no line to import.", "Give it, or - to read it from standard input.")
    if words == ["-"]:
        return sys.stdin.read(LONGEST + 1)
    # Several words have been through a shell already; joined like this they mean the same once more.
    return words[0] if len(words) == 1 else shlex.join(words)


def _hand_over(
    settings: Settings, args: Namespace, name: str, text_of: Callable[[bool], str], notes: Sequence[str] = ()
) -> int:
    """Writes the profile, or prints it, and says whether it can be started. `text_of`: with the line for editors?"""
    from engine.authoring.check import check_entry
    from engine.authoring.write import checked, save, user_folder

    text = text_of(not args.to_output)
    folder = _folder(args.to) if args.to else user_folder(settings)
    path = None if args.to_output else save(text, folder, name, overwrite=args.force)
    found = check_entry(settings, checked(text, folder / f"{name}.yaml")).problems
    # What is only printed has no place yet.
    problem = " ".join(str(one) if path else one.message for one in found)
    if args.json:
        told = {"notes": list(notes), "problem": problem or None}
        out.print_json({"name": name, "path": str(path) if path else None, "text": text, **told})
    else:
        print(text if path is None else path, end="" if path is None else "\n")
    for note in notes:
        out.talk(f"note: {note}")
    if problem:
        out.talk(f"It cannot be started as it stands: {problem}")
    elif path:
        _say_next(settings, path, name)
    return Exit.INVALID if problem else Exit.DONE


def _folder(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise InvalidProfile(f"--to {path} cannot be found: {error}", "Name another folder.") from error


def _say_next(settings: Settings, path: Path, name: str) -> None:
    from engine.catalog import CatalogReader

    found = CatalogReader(settings).load().entries.get(name)
    if found and found.path.parent.resolve() == path.parent.resolve():
        out.talk(f"Next: tritontui plan {name}")
        return
    if found:
        out.talk(f"{found.path} has that name too, and is found first.")
    out.talk(f"Next: tritontui plan {name} --profiles {shlex.quote(str(path.parent))}")
