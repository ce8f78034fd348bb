"""Questions on the terminal for what the command line leaves open."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import InvalidProfile
from tui import cli_output as out


@dataclass(frozen=True, slots=True)
class Question:
    key: str
    flag: str
    """How the command line says it; empty when the default will do there"""
    text: str
    default: str = ""
    wrong: Callable[[str], str] = lambda _: ""
    """What is wrong with an answer; empty when nothing is"""
    choices: Mapping[str, str] = field(default_factory=dict)
    """With what each of them is"""


def ask_for(
    given: Mapping[str, str | None], questions: Callable[[Mapping[str, str]], Sequence[Question]]
) -> dict[str, str]:
    """`given` with the answers to what it lacks. `questions` is told what is known so far, each time.

    Raises `InvalidProfile` for a wrong value and, where nobody can be asked, for what is missing; KeyboardInterrupt
    when whoever is asked has had enough.
    """
    known = {key: value for key, value in given.items() if value is not None}
    missing: list[str] = []
    asking = sys.stdin.isatty()
    done: set[str] = set()
    while question := next((one for one in questions(known) if one.key not in done), None):
        done.add(question.key)
        if question.key in known:
            if problem := question.wrong(known[question.key]):
                raise InvalidProfile(f"{question.flag or '--' + question.key}: {problem}")
        elif asking:
            known[question.key] = _answer(question)
        elif question.flag:
            missing.append(question.flag)
        else:
            known[question.key] = question.default
    if missing:
        *others, last = missing
        named = f"{', '.join(others)} and {last}" if others else last
        raise InvalidProfile(f"{named} must be given where there is no terminal to ask on.")
    return known


def _answer(question: Question) -> str:
    for name, what in question.choices.items():
        out.talk(f"  {name.ljust(max(map(len, question.choices)))}  {what}")
    while True:
        default = f" [{question.default}]" if question.default else ""
        print(f"{question.text}{default}: ", end="", file=sys.stderr, flush=True)
        try:
            answer = input().strip() or question.default
        except (EOFError, KeyboardInterrupt):
            out.talk("")
            raise KeyboardInterrupt from None
        problem = question.wrong(answer) if answer else "It is needed."
        if not problem:
            return answer
        out.talk(problem)
