"""Where in a log the places are that one wants to jump to: errors, the beginnings of runs and of phases."""

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter

from engine.log_line import Level, LineKind, LogMark, MarkKind
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_lines import CONTEXT, is_first_of_run, reader_after, text_of
from engine.observe.log_words import LineReader, Words
from engine.observe.startup_lines import FORMS, PHASE_HINTS, phase_at
from engine.startup import Phase
from engine.text import kinds_of_lines, squeezed

MOST_ERRORS = 2_000
"""Half of them the first there were, half the last"""
MOST_OTHERS = 1_000
"""The last ones"""
BATCH = 1_024
"""Lines looked at without letting another thread run"""
_ERROR_HINTS = ("ERROR", "FATAL", "CRITICAL", "Traceback (most", "rror: ", "atal: ", "[E", "[F", " E ")
"""A line that is an error has one of these, or begins with an E or F"""
_FIRST_PHASES = (Phase.PULL, Phase.BOOT, Phase.ENGINE, Phase.MODELS)
"""Those that come after the last one, `SERVE`, when a new start begins: of the server, or of a model in it"""


def _hints(*hints: str) -> dict[str, bytes]:
    return {hint: squeezed(hint) for hint in (*_ERROR_HINTS, *hints)}


_STARTING = _hints(*PHASE_HINTS)
_SERVING = _hints(*(form.hint for form in FORMS if form.phase in _FIRST_PHASES))
"""Once a start has come to its end, only those of a new one are looked for"""
_FIRST = frozenset("EF")
_RUN = frozenset("@}|")
_SEQ = attrgetter("seq")


class MarkIndex:
    """Looks through the finished lines of a buffer as they come. One thread advances it, any thread reads it."""

    def __init__(self) -> None:
        self._next = 0
        self._before: list[str] = []
        """The last lines before the next one"""
        self._phases: set[Phase] = set()
        """Those that have begun in this run"""
        self._found: list[LogMark] = []
        self._marks: tuple[LogMark, ...] = ()

    def marks(self, first: int) -> tuple[LogMark, ...]:
        """In their order, without those of lines before `first`."""
        marks = self._marks
        return marks[bisect_left(marks, first, key=_SEQ) :]

    def advance(self, buffer: LogBuffer) -> bool:
        """Looks at the next lines; whether there may be more."""
        start, lines = buffer.finished(self._next, BATCH)
        if not lines:
            return False
        if start != self._next:
            self._before = []
        count = len(self._found)
        self._look(start, lines)
        self._next = start + len(lines)
        self._before = (self._before + lines[-CONTEXT:])[-CONTEXT:]
        if len(self._found) != count:
            self._trim(buffer.first)
            self._marks = tuple(self._found)
        return len(lines) == BATCH

    def _look(self, start: int, lines: list[str]) -> None:
        reading = _Reading(self._before, lines)
        for index in sorted(self._candidates(lines)):
            seq = start + index
            if is_first_of_run(lines[index]):
                self._phases.clear()
                self._found.append(LogMark(seq, MarkKind.RUN))
            text = text_of(lines[index])
            if (phase := phase_at(text)) and self._begins(phase):
                self._found.append(LogMark(seq, MarkKind.PHASE, phase.value))
            before, words = reading.at(index)
            if _is_error(words) and not (before and (_is_error(before) or before[2] is LineKind.FRAME)):
                self._found.append(LogMark(seq, MarkKind.ERROR))

    def _candidates(self, lines: list[str]) -> Iterator[int]:
        text = "\n".join([line[30:] for line in lines])
        found = {i for i, line in enumerate(lines) if line[31:32] in _FIRST or line[30:31] in _RUN}
        kinds = kinds_of_lines(text)
        hints = _SERVING if Phase.SERVE in self._phases else _STARTING
        for hint in [hint for hint, short in hints.items() if short in kinds]:
            at, index, counted = text.find(hint), 0, 0
            while at >= 0:
                index += text.count("\n", counted, at)
                found.add(index)
                counted = text.find("\n", at)
                at = text.find(hint, counted) if counted >= 0 else -1
        return iter(found)

    def _begins(self, phase: Phase) -> bool:
        """Whether it is the first time in this run; that a new one has begun, Docker does not tell of older ones."""
        if phase in _FIRST_PHASES and Phase.SERVE in self._phases:
            self._phases.clear()
        if phase in self._phases:
            return False
        self._phases.add(phase)
        return True

    def _trim(self, first: int) -> None:
        errors = [mark for mark in self._found if mark.kind is MarkKind.ERROR and mark.seq >= first]
        others = [mark for mark in self._found if mark.kind is not MarkKind.ERROR and mark.seq >= first]
        if len(errors) > MOST_ERRORS:
            errors = errors[: MOST_ERRORS // 2] + errors[-MOST_ERRORS // 2 :]
        self._found = sorted((*errors, *others[-MOST_OTHERS:]), key=_SEQ)


class _Reading:
    """What lines say of themselves, asked in their order, with each line's words those of the line before."""

    def __init__(self, before: list[str], lines: list[str]) -> None:
        self._lines = before + lines
        self._offset = len(before)
        self._reader = LineReader()
        self._next = 0
        self._last: Words | None = None

    def at(self, index: int) -> tuple[Words | None, Words]:
        index += self._offset
        if index - self._next > CONTEXT:
            self._next = index - 1
            self._reader = reader_after(self._lines[index - 1 - CONTEXT : index - 1])
            self._last = None
        while self._next < index:
            self._read()
        before = self._last
        return before, self._read()

    def _read(self) -> Words:
        self._last = self._reader.read(text_of(self._lines[self._next]))
        self._next += 1
        return self._last


def _is_error(words: Words) -> bool:
    level, _, kind = words
    return kind is LineKind.TRACEBACK or (level is not None and level >= Level.ERROR)
