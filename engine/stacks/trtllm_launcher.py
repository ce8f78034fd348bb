"""Fills the TensorRT-LLM templates of an image and runs the server on them. It is put into the container as a file.

So it is alone there: the standard library of Python 3.10 or newer and nothing else. It reads `launch.json` beside
itself, copies each template folder into a model repository, fills the placeholders of its config.pbtxt, and becomes the
server; an engine for several GPUs is run by mpirun with one server a rank, and its end is this program's end.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

SETTINGS = "launch.json"
EXIT_FAILED = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
# What a config.pbtxt is made of, as far as it matters here: strings, comments, and placeholders that are in neither.
_PIECE = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<comment>\#[^\n]*)|\$\{(?P<bare>\w+)\}"""
)
_BARE_VALUE = re.compile(r"[A-Za-z0-9_.+-]+")
_NAME_LINE = re.compile(r'^name\s*:\s*"[^"\n]*"', re.MULTILINE)


class LaunchError(Exception):
    """The server cannot be started; the text says why and what to do."""


def main() -> int:
    """Does not return when there is one rank: the process becomes the server."""
    folder = Path(__file__).resolve().parent
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        make_repository(settings, folder)
        return run(settings)
    except LaunchError as error:
        say(str(error))
    except OSError as error:
        say(f"{error}.")
    return EXIT_FAILED


def say(text: str) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"tritontui: {line}\n")
    sys.stderr.flush()


def make_repository(settings: dict[str, Any], folder: Path) -> None:
    """Copies and fills every template; what an earlier start of the same container left is replaced."""
    repository = Path(settings["repository"])
    values: dict[str, str] = settings["values"]
    for model in settings["models"]:
        if not Path(model["template"], "config.pbtxt").is_file():
            raise LaunchError(_no_template(Path(model["template"])))
    shutil.rmtree(repository, ignore_errors=True)
    found: set[str] = set()
    problems: list[str] = []
    for model in settings["models"]:
        template, target = Path(model["template"]), repository / model["name"]
        _copy(template, target)
        for path, source in model["files"].items():
            Path(target, path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / source, target / path)
        filled, names, wrong = fill((target / "config.pbtxt").read_text("utf-8", "surrogateescape"), values)
        problems += [f"{template / 'config.pbtxt'}:{line}: {what}" for line, what in wrong]
        problems += [
            f"{template / 'config.pbtxt'}: it has no placeholder ${{{name}}}, which it must have."
            for name in model["required"]
            if name not in names
        ]
        found |= names
        (target / "config.pbtxt").write_text(named(filled, model["name"]), "utf-8", "surrogateescape")
    for name in settings["asked"]:
        if name not in found:
            problems.append(f"No template of this image has `{name}`. It has {', '.join(sorted(found)) or 'none'}.")
    if problems:
        problems.append("The server was not started. Correct `engine:` in the profile, or take another image.")
        raise LaunchError("\n".join(problems))
    for name in values.keys() - found:
        say(f"`{name}` was left out: no template of this image has it.")
    say(f"{repository} holds {', '.join(model['name'] for model in settings['models'])}.")


def fill(text: str, values: dict[str, str]) -> tuple[str, set[str], list[tuple[int, str]]]:
    """The filled text, the names of its placeholders, and what is wrong with line numbers.

    Inside a string a placeholder without a value stays: the backends read it as their default. Anywhere else it would
    not be a config.pbtxt.
    """
    names: set[str] = set()
    wrong: list[tuple[int, str]] = []

    def in_string(match: "re.Match[str]") -> str:
        names.add(match[1])
        # A JSON string's escapes are those of a protobuf text string, but for \u, which this leaves out.
        return json.dumps(values[match[1]], ensure_ascii=False)[1:-1] if match[1] in values else match[0]

    def piece(match: "re.Match[str]") -> str:
        if match["string"]:
            return _PLACEHOLDER.sub(in_string, match[0])
        name = match["bare"]
        if name is None:
            return match[0]
        names.add(name)
        line = text.count("\n", 0, match.start()) + 1
        if name not in values:
            wrong.append((line, f"${{{name}}} must have a value, and there is none: give `{name}` under `engine:`."))
        elif not _BARE_VALUE.fullmatch(values[name]):
            wrong.append((line, f"${{{name}}} takes a number or a word, and `{values[name]}` is neither."))
        else:
            return values[name]
        return match[0]

    return _PIECE.sub(piece, text), names, wrong


def named(config: str, name: str) -> str:
    """The server refuses a model whose folder has another name than its config."""
    return _NAME_LINE.sub(f'name: "{name}"', config, count=1)


def _copy(template: Path, target: Path) -> None:
    # Without the modes of the templates: those of a read-only mount could not be written to.
    shutil.copytree(template, target, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o755)


def _no_template(template: Path) -> str:
    what = f"{template} has no config.pbtxt: this image has no such TensorRT-LLM template."
    above = next(folder for folder in template.parents if folder.is_dir())
    try:
        there = sorted(entry.name for entry in above.iterdir())
    except OSError:
        there = []
    return f"{what} {above} holds {', '.join(there) or 'nothing'}.\nTake a -trtllm- image."


def commands(settings: dict[str, Any]) -> list[list[str]]:
    """One server's command line for each rank."""
    server = settings["server"]
    return [
        [
            server["program"],
            f"--model-repository={settings['repository']}",
            *server["options"],
            *(server["others"] if rank else server["first"]),
            # Servers that share /dev/shm take each other's regions unless each has names of its own.
            f"--backend-config=python,shm-region-prefix-name={server['shm_prefix']}{rank}_",
        ]
        for rank in range(server["ranks"])
    ]


def run(settings: dict[str, Any]) -> int:
    """The server's exit code, 128 and the signal's number when one ended it."""
    ranks = commands(settings)
    try:
        if len(ranks) == 1:
            os.execvp(ranks[0][0], ranks[0])  # noqa: S606 (no shell is wanted)
        words = list(settings["server"]["mpirun"])
        for number, rank in enumerate(ranks):
            words += [*([":"] if number else []), "-n", "1", *rank]
        return supervise(words)
    except FileNotFoundError as error:
        raise LaunchError(f"{error.filename or ranks[0][0]} is not in the image. Take a -trtllm- image.") from error


def supervise(command: list[str]) -> int:
    """Runs mpirun to its end. A signal goes to its ranks, a second one to mpirun itself.

    mpirun would kill its ranks a second after passing the signal on, in the middle of the server's orderly shutdown.
    """
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if child is None:
            return
        ranks = _children(child.pid) if len(received) == 1 else []
        for pid in ranks or [child.pid]:
            with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
                os.kill(pid, number)

    for number in SIGNALS:
        signal.signal(number, pass_on)
    child = subprocess.Popen(command)
    if received:
        child.send_signal(received[0])
    status = child.wait()
    return status if status >= 0 else 128 - status


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name before it may hold spaces and brackets.
            after = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if after[1:2] == [str(parent)]:
            found.append(int(stat.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
