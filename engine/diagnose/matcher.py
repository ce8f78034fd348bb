"""Reads a log once, and notes what the catalogue knows of it, run by run.

The cost of a line is that of the search for strings (`needles.py`); only lines that have one are cut out, decoded,
cleaned and tried.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from engine.diagnose import first_error
from engine.diagnose.catalogue import Signature, catalogue, plain_name
from engine.diagnose.marks import MARKS, PROGRAMS, Kind, Mark
from engine.diagnose.needles import Needles
from engine.diagnose.run import Found, Run
from engine.diagnose.window import Line, Window
from engine.diagnosis import Proof, Weight
from engine.log_line import Level

_SOURCE = re.compile(r"\s+(?:raise |File \"|assert )")
"""A line of a program's text in a traceback: what is raised in there stands below it"""
_SHOWN = 600
_LEAD = 120
"""Characters of a proof, and those before what matches in a long line"""
_VALUE = 160
"""Characters of a captured value"""
_ENOUGH = 500
"""Lines that say the same; more say nothing new"""
_QUIETLY = 20
"""Times as many, where they only were warnings: an error may yet come"""
_TIRING = 20_000
"""Lines that tell nothing new: more, and what is in them is no longer looked for"""
_APART = 200
"""Lines: with more between them, two beginnings are of two runs even if nothing tells of an end; ranks begin within"""
_ESCAPE = b"\x1b"
"""Colours may stand within what is looked for"""
_LOUD = ("itialize Python stub", "engine core exited unexpectedly")
"""Ends of processes of which no more may be said than this, at the level of a notice or a warning"""


class _Target(NamedTuple):
    """What a string is looked for."""

    string: str
    raw: bytes
    marks: tuple[Mark, ...]
    signatures: tuple[Signature, ...]
    error: bool


@cache
def _needles() -> tuple[Needles, Mapping[bytes, tuple[_Target, ...]]]:
    """All that is looked for, and what each anchor may stand for."""
    strings = dict.fromkeys(hint for signature in catalogue().values() for hint in signature.hints)
    needles = Needles({**strings, **dict.fromkeys(mark.hint for mark in MARKS), **dict.fromkeys(first_error.HINTS)})
    targets = {
        string: _Target(
            string.strip("\n"),
            string.strip("\n").encode("ascii"),
            tuple(mark for mark in MARKS if mark.hint == string),
            tuple(signature for signature in catalogue().values() if string in signature.hints),
            string in first_error.HINTS,
        )
        for strings in needles.strings.values()
        for string in strings
    }
    return needles, {anchor: tuple(targets[string] for string in those) for anchor, those in needles.strings.items()}


def captured(signature: Signature, text: str, following: Iterable[str] = ()) -> dict[str, str] | None:
    """What it captures from a line without its prefix; None when it does not match."""
    match = signature.match.search(text)
    if match is None or (signature.unless and signature.unless.search(text)) or _SOURCE.match(text):
        return None
    values = match.groupdict()
    if signature.near:
        near = signature.near.search("\n".join(following))
        if near is None:
            return None
        values |= near.groupdict()
    return {plain_name(name): value.strip()[:_VALUE] for name, value in values.items() if value and value.strip()}


def matches(text: str) -> Iterable[tuple[Signature, dict[str, str]]]:
    """Signatures in a text that is not of a log, such as the container engine's own word."""
    for signature in catalogue().values():
        if any(hint in text for hint in signature.hints):
            values = captured(signature, text, (text,))
            if values is not None:
                yield signature, values


def proof_of(line: Line, start: int = 0) -> Proof:
    """`start`: where in the text it says so."""
    begin = max(start - _LEAD, 0) if start > _SHOWN - _LEAD else 0
    piece = line.text[begin : begin + _SHOWN]
    return Proof(line.number, f"{'… ' if begin else ''}{piece}{' …' if begin + _SHOWN < len(line.text) else ''}")


class Scan:
    """`feed` blocks of a log, then `close`. Then `run` is its last run. For one thread."""

    def __init__(self) -> None:
        self.run = Run()
        self.earlier: Run | None = None
        """The last before it that told of a failure"""
        self.versions: dict[str, str] = {}
        self.programs: set[str] = set()
        self._needles, self._targets = _needles()
        self._idle: dict[bytes, int] = {}
        """Anchors that can tell nothing new of this run, and how often they were met since"""
        self._window = Window(self._needles.search, self._hit)
        self.feed = self._window.feed
        self.close = self._window.close

    @property
    def lines(self) -> int:
        return self._window.lines

    def _hit(self, anchor: bytes) -> None:
        if anchor in self._idle:
            self._tire(anchor)
            return
        raw = self._window.raw()
        plain = _ESCAPE not in raw
        idle = True
        for target in self._targets[anchor]:
            if plain and target.raw not in raw:
                idle = idle and self._is_done(target)
                continue
            open_ = [one for one in target.signatures if not self._is_known(one)]
            error = target.error and not self.run.first_error
            if not (target.marks or open_ or error):
                continue
            idle = False
            if target.string not in (line := self._window.line()).text:
                continue
            for mark in target.marks:
                self._mark(mark, line)
            if self.run.stopped:
                continue
            for signature in open_:
                self._try(signature, line)
            if error and first_error.is_error(line):
                before, after = self._window.before(first_error.BEFORE), self._window.following(first_error.FOLLOWING)
                self.run.first_error = tuple(map(proof_of, first_error.around(before, line, after)))
        if idle:
            self._idle[anchor] = 0

    def _is_done(self, target: _Target) -> bool:
        waits = target.marks or (target.error and not self.run.first_error)
        return not waits and all(map(self._is_known, target.signatures))

    def _tire(self, anchor: bytes) -> None:
        """In a storm of the same lines, to skip them one by one would cost the most."""
        self._idle[anchor] += 1
        if self._idle[anchor] == _TIRING:
            self._window.search = self._needles.without(self._idle.keys())

    def _wake(self) -> None:
        """The run is another, or what it had found no longer counts."""
        self._idle.clear()
        self._window.search = self._needles.search

    def _is_known(self, signature: Signature) -> bool:
        found = self.run.found.get(signature.id)
        if found is None:
            return False
        quiet = found.weight is Weight.HINT and signature.weight is not Weight.HINT
        return found.count >= (_ENOUGH * _QUIETLY if quiet else _ENOUGH)

    def _try(self, signature: Signature, line: Line) -> None:
        following = self._window.following(signature.within) if signature.near else ()
        values = captured(signature, line.body, (one.body for one in following))
        if values is None:
            return
        # What a program says in passing, at a level below an error, did not stop it.
        below = line.prefix.level is not None and line.prefix.level < Level.ERROR
        quiet = below and not any(word in line.body for word in _LOUD)
        weight = Weight.HINT if quiet and signature.weight is Weight.CAUSE else signature.weight
        found = self.run.found.get(signature.id)
        if found is None or (found.weight is Weight.HINT and weight is not Weight.HINT):
            count, ranks = (found.count, found.ranks) if found else (0, [])
            found = self.run.found[signature.id] = Found(signature, line.number, values, weight, count, ranks)
        else:
            found.learn(values)
        match = signature.match.search(line.text)
        found.add(proof_of(line, match.start() if match else 0), line.body, line.prefix.source)

    def _mark(self, mark: Mark, line: Line) -> None:
        match = mark.match.search(line.body)
        if match is None:
            return
        values = match.groupdict()
        if mark.kind is Kind.BEGIN:
            self._begin(mark, line.number)
        if mark.program:
            self.programs.add(mark.program)
        for group, program in PROGRAMS.items():
            if values.get(group):
                self.versions[program] = values[group]
        run = self.run
        if values.get("port"):
            run.context["port"] = values["port"]
        match mark.kind:
            case Kind.READY:
                run.services = True
                run.serve()
                self._wake()
            case Kind.STOP if run.serves and not run.causes:
                run.stopped = True
            case Kind.LOADING:
                run.loading(values["model"])
            case Kind.LOADED:
                run.loaded(values["model"])
                self._wake()
            case Kind.LOAD_FAILED:
                run.failed_models.add(values["model"])
            case Kind.INSTANCE:
                run.instance(values["instance"], values["device"], proof_of(line))
            case _:
                pass

    def _begin(self, mark: Mark, number: int) -> None:
        run = self.run
        before = run.began.get(mark.hint)
        if before is not None:
            over = run.ready or run.found or run.first_error
            again = bool(over) or number - before > _APART
        else:
            again = not mark.program and bool(run.began)
        if again:
            if run.causes or not (self.earlier and self.earlier.causes):
                self.earlier = run if run.failed or run.first_error else None
            elif run.ready:
                self.earlier = None
            self.run = Run()
            self._wake()
        self.run.began[mark.hint] = number
