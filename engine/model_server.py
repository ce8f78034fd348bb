"""Model servers, known by the words of their command lines: which one it is, and on which ports it listens."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Server = Literal["vllm", "tritonserver", "openai_frontend"]

PORTS: Mapping[Server, Mapping[str, int]] = {
    "vllm": {"http": 8000},
    "tritonserver": {"http": 8000, "grpc": 8001, "metrics": 8002},
    "openai_frontend": {"http": 9000},
}
"""Where each listens unless it is told. The second is `tritonserver --help`'s, the third Triton's
`openai_frontend/main.py`; both OpenAI-compatible servers have their metrics on the same port"""
SHELLS = ("sh", "bash", "dash", "zsh")
_HINTS = ("vllm", "tritonserver", "openai_frontend", "openai/main.py")
_MODULE = "vllm.entrypoints.openai.api_server"
_OTHER_MODULES = "vllm.entrypoints."
_FRONTENDS = ("openai_frontend/main.py", "openai/main.py")
_ENDS = set(";&|()\n")
_NO = ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class Started:
    """A server that a command line starts."""

    server: Server
    words: tuple[str, ...] = ()
    """Its arguments"""
    before: tuple[str, ...] = ()
    """What stands before its name"""

    def ports(self) -> dict[str, int]:
        """By purpose: where it listens, as its arguments say it. What it does not open is left out."""
        if self.server != "tritonserver":
            flag = "openai-port" if self.server == "openai_frontend" else "port"
            return {"http": self._port(flag, PORTS[self.server]["http"])}
        return {
            purpose: self._port(f"{purpose}-port", usual)
            for purpose, usual in PORTS["tritonserver"].items()
            if self._option(f"allow-{purpose}").lower() not in _NO
        }

    def _port(self, flag: str, usual: int) -> int:
        """What is filled in only where it runs, such as `$PORT`, cannot be known here."""
        text = self._option(flag)
        return int(text) if text.isdecimal() and 0 < int(text) < 1 << 16 else usual

    def _option(self, flag: str) -> str:
        value = ""
        for at, word in enumerate(self.words):
            name, equals, attached = word.partition("=")
            if name.startswith("--") and name[2:].replace("_", "-") == flag:
                value = attached if equals else "".join(self.words[at + 1 : at + 2])
        return value


def started(words: Sequence[str]) -> Started | None:
    """The server whose own command stands in `words`, without looking into a shell's script."""
    for at, word in enumerate(words):
        rest, before = tuple(words[at + 1 :]), tuple(words[:at])
        name = PurePosixPath(word).name
        if name == "vllm" and rest[:1] == ("serve",):
            return Started("vllm", rest[1:], before)
        if (word == "-m" and rest[:1] == (_MODULE,)) or word.endswith("vllm/entrypoints/openai/api_server.py"):
            return Started("vllm", rest[1:] if word == "-m" else rest, before)
        if name == "tritonserver":
            return Started("tritonserver", rest, before)
        if word.endswith(_FRONTENDS):
            return Started("openai_frontend", rest, before)
    return None


def script(words: Sequence[str]) -> str | None:
    """What a shell is given to do."""
    for at, word in enumerate(words[:-2]):
        if PurePosixPath(word).name in SHELLS and words[at + 1].startswith("-") and words[at + 1].endswith("c"):
            return words[at + 2]
    return None


def by_image(image: str) -> Server | None:
    """What its name says it serves; the image of Triton's clients (`-sdk`) serves nothing."""
    name, _, tag = PurePosixPath(image.partition("@")[0]).name.partition(":")
    if "tritonserver" in name:
        return None if tag.endswith("-sdk") else "tritonserver"
    return "vllm" if "vllm" in name else None


def may_be_server(image: str, command: str) -> bool:
    """Cheap: whether it is worth a closer look."""
    return any(hint in text for text in (image, command) for hint in _HINTS)


def recognised(image: str, words: Sequence[str]) -> Started | None:
    """`words`: entry point and command. By them, and otherwise by the image's name with the server's usual ports."""
    text = script(words)
    for command in [words] if text is None else _commands(text):
        if found := started(command):
            return found
    if any(word.startswith(_OTHER_MODULES) for word in words):
        return Started("vllm", tuple(words))
    server = by_image(image)
    return Started(server, tuple(words)) if server else None


def _commands(text: str) -> Iterator[list[str]]:
    """Of a shell's script, read for its words alone: nothing in it is replaced, and quoting that is wrong is no error.

    `engine.authoring.shell` reads one in full, for a profile.
    """
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split, lexer.commenters = True, ""
    command: list[str] = []
    try:
        for word in lexer:
            if word and set(word) <= _ENDS:
                yield command
                command = []
            else:
                command.append(word)
    except ValueError:  # a quotation without its end
        yield text.split()
        return
    yield command
