r"""A pasted piece of shell as commands of words: quotes, backslashes, comments, and what a shell would replace.

Nothing is carried out. The home folder and the working folder are filled in; other variables stay as references
(`engine.authoring.spec.REFERENCE`), since a value may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.authoring.spec import REFERENCE, private
from engine.errors import InvalidProfile
from engine.text import clean

LONGEST = 200_000
_SPACE = " \t"
_END = "\n;&|"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)((?::?[-?=+])[^}\n]{0,1000})?\})")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_PROMPT = re.compile(r"\s*[$#%>][ \t]+(?=(?:sudo[ \t]+)?(?:docker|podman|nvidia-docker|export)\b)")
_NEXT_PROMPT = re.compile(r"(?<=\n)>[ \t]+")
PLACEHOLDER = re.compile(r"<[A-Za-z][\w .-]*>")
"""As in `tritonserver:<xx.yy>-py3`, which a shell would take for files to read and to write"""
_CAT = re.compile(r"(?:cat\s+|<\s*)(.+)")
_TYPESET = str.maketrans({"\u00a0": " ", "“": '"', "”": '"', "‘": "'", "’": "'"})
"""What word processors and blogs make of a line"""
_TYPESET_DASH = re.compile(r"(?<!\S)[–—](?=[a-z])")


@dataclass(frozen=True, slots=True)
class Command:
    words: tuple[str, ...]
    assigned: Mapping[str, str] = field(default_factory=dict)
    """Before it on its line, and by the commands before it"""


def commands(text: str, home: str, working_dir: str) -> list[Command]:
    """Raises `InvalidProfile` for an open quote, and for what is too long."""
    if len(text) > LONGEST:
        raise InvalidProfile(f"That is more than {LONGEST} characters: no line for a shell.", "Paste the line alone.")
    text = "".join(clean(line) + "\n" for line in re.sub("[\ue000\ue001]", "", text).splitlines())
    text = _TYPESET_DASH.sub("--", text.translate(_TYPESET))
    if _PROMPT.match(text):
        text = _NEXT_PROMPT.sub("", _PROMPT.sub("", text, count=1))
    text = re.sub(r"\\[ \t]*\n", "\\\n", text)  # a space after the backslash is the commonest slip
    reader = _Reader(text, home, working_dir)
    found: list[Command] = []
    assigned: dict[str, str] = {}
    for words in reader.commands():
        here: dict[str, str] = {}
        rest = words[1:] if words[0] in ("export", "env") else words[:]
        while rest and (match := _ASSIGNMENT.fullmatch(rest[0])):
            here[match[1]] = _filled(match[2], assigned)
            rest.pop(0)
        if rest:
            found.append(Command(tuple(rest), {**assigned, **here}))
        else:
            assigned |= here
    return found


def _filled(value: str, assigned: Mapping[str, str]) -> str:
    """With the variables that are set by now, but for secrets. Raises `InvalidProfile`."""

    def stands_for(match: re.Match[str]) -> str:
        name = match["name"]
        return match[0] if name not in assigned or private(name, assigned[name]) else assigned[name]

    filled = REFERENCE.sub(stands_for, value)
    if len(filled) > LONGEST:
        raise InvalidProfile("The variables of that text come to too much.", "Paste the line alone.")
    return filled


class _Reader:
    """One pass over the text, character by character."""

    def __init__(self, text: str, home: str, working_dir: str) -> None:
        self._text = text
        self._at = 0
        self._home = home
        self._working_dir = working_dir

    def commands(self) -> list[list[str]]:
        found: list[list[str]] = []
        words: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in _SPACE:
                self._at += 1
            elif self._text.startswith("\\\n", self._at):
                self._at += 2
            elif char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in _END:
                self._at += 1
                if words:
                    found.append(words)
                words = []
            elif char in "<>" and not PLACEHOLDER.match(self._text, self._at):
                self._at += 1
                self._skip_redirection()
            else:
                word = self._word()
                if re.fullmatch(r"\d", word) and self._peek() in "<>" and self._peek():
                    continue  # 2>&1
                words.append(word)
        return [*found, words] if words else found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_redirection(self) -> None:
        while self._peek() and self._peek() in "<>&" + _SPACE:
            self._at += 1
        if self._peek() and self._peek() not in _END:
            self._word()

    def _word(self) -> str:
        parts: list[str] = []
        if self._peek() == "~" and re.match(r"~(?=[/\s:]|$)", self._text[self._at : self._at + 2]):
            parts.append(self._home)
            self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            placeholder = PLACEHOLDER.match(self._text, self._at)
            if placeholder:
                parts.append(placeholder[0])
                self._at = placeholder.end()
            elif char in _SPACE + _END + "<>":
                break
            elif char == "'":
                parts.append(self._until("'"))
            elif char == '"':
                parts.append(self._double())
            elif char == "\\":
                following = self._text[self._at + 1 : self._at + 2]
                self._at += 2
                if following != "\n":
                    parts.append(following)
            elif char in "$`":
                parts.append(self._replaced())
            else:
                parts.append(char)
                self._at += 1
        word = "".join(parts)
        # A shell leaves ~ alone in `--volume=~/models`; whoever wrote it meant the home folder.
        return re.sub(r"^(--?[\w-]+=)~(?=/)", lambda match: match[1] + self._home, word)

    def _until(self, quote: str) -> str:
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            raise _open_quote(quote)
        text = self._text[self._at + 1 : end]
        self._at = end + 1
        return text

    def _double(self) -> str:
        parts: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return "".join(parts)
            if char == "\\" and self._text[self._at + 1 : self._at + 2] in ("$", "`", '"', "\\", "\n"):
                following = self._text[self._at + 1]
                parts.append("" if following == "\n" else following)
                self._at += 2
            elif char in "$`":
                parts.append(self._replaced())
            else:
                parts.append(char)
                self._at += 1
        raise _open_quote('"')

    def _replaced(self) -> str:
        if self._text.startswith("$(", self._at):
            return self._substituted(self._closing(), 2)
        if self._peek() == "`":
            return self._substituted(self._text.find("`", self._at + 1), 1)
        match = _VARIABLE.match(self._text, self._at)
        if not match:
            self._at += 1
            return "$"
        self._at = match.end()
        name, rest = match[1] or match[2], match[3] or ""
        return {"HOME": self._home, "PWD": self._working_dir}.get(name, f"\ue000{name}{rest}\ue001")

    def _substituted(self, end: int, opening: int) -> str:
        if end < 0:
            raise _open_quote("$(" if opening > 1 else "`")
        command = self._text[self._at + opening : end].strip()
        self._at = end + 1
        if command == "pwd":
            return self._working_dir
        read = _CAT.fullmatch(command)
        plain = read is not None and not set("$`") & set(read[1])
        words = _Reader(read[1], self._home, self._working_dir).commands() if read and plain else []
        if len(words) == 1 and len(words[0]) == 1:
            return f"\ue000<{words[0][0]}\ue001"
        return f"\ue000({command}\ue001"

    def _closing(self) -> int:
        """Where the parenthesis ends that is opened here; -1 when it does not."""
        depth = 0
        for found in re.compile(r"[()]").finditer(self._text, self._at):
            depth += 1 if found[0] == "(" else -1
            if not depth:
                return found.start()
        return -1


def _open_quote(quote: str) -> InvalidProfile:
    return InvalidProfile(f"The line is cut off: {quote} is opened and never closed.", "Paste all of it.")
