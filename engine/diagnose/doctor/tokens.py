"""Secrets that profiles refer to: there or not, and of the form that is accepted. None is ever shown."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed
from engine.errors import Refused
from engine.finding import Finding, Severity
from engine.secrets import resolve_secrets

ID = "tokens"
_HF = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_FORMS = {
    **dict.fromkeys(_HF, (re.compile(r"hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}"), "hf_ and 34 letters")),
    "NGC_API_KEY": (re.compile(r"nvapi-[\w-]{40,}|[A-Za-z0-9+/=]{80,}"), "nvapi- and more"),
}


def look(facts: Facts) -> Iterator[Finding]:
    users: dict[tuple[str, str], list[str]] = {}
    for need in facts.needs().profiles:
        for variable, reference in need.secrets.items():
            users.setdefault((variable, reference), []).append(need.name)
    for (variable, reference), names in users.items():
        yield _secret(facts, variable, reference, names)
        if reference.startswith("file:"):
            yield from _file(Path(reference.removeprefix("file:")), variable)
    hub = [need.name for need in facts.needs().profiles if need.model and not need.cached]
    if hub and not any(variable in _HF for variable, _ in users):
        yield Finding(
            ID,
            "No Hugging Face token",
            Severity.INFO,
            f"No profile refers to one, and {listed(hub)} would fetch from the hub: public models only.",
            "For gated models add `secrets: {HF_TOKEN: env}` to the profile.",
        )


def _secret(facts: Facts, variable: str, reference: str, names: list[str]) -> Finding:
    used = f"It is for {listed(names)}."
    absent = Severity.ERROR if facts.needs().wanted else Severity.INFO
    try:
        value = resolve_secrets({variable: reference})[variable]
    except Refused as error:
        return Finding(
            ID,
            f"The secret {variable} is missing",
            absent,
            f"{error.what} {used}",
            error.remedy,
            _asked(variable, reference),
        )
    form = _FORMS.get(variable)
    where = f"{variable} ({reference})"
    if wrong := _wrong(value, form):
        return Finding(
            ID,
            f"The secret {variable} has not the form of one",
            Severity.WARNING,
            f"{where}: {wrong}. Its value is not shown. {used}",
            "Set it anew, the token alone.",
            _asked(variable, reference),
        )
    told = f"has the form {form[1]}" if form else "is set"
    return Finding(ID, f"The secret {variable}", Severity.OK, f"{where} {told}. {used}")


def _asked(variable: str, reference: str) -> str:
    """What sets it without a trace in the shell's history; empty for a file."""
    kind, _, source = reference.partition(":")
    name = source or variable
    return f"read -rs {name} && export {name}" if kind == "env" else ""


def _wrong(value: str, form: tuple[re.Pattern[str], str] | None) -> str:
    """What is wrong with its form, without a character of it."""
    if value != value.strip() or re.search(r"\s", value):
        return "there are spaces or line breaks in it, or around it"
    if value[:1] in "'\"" or value[-1:] in "'\"":
        return "there are quotation marks around it"
    if form and not form[0].fullmatch(value):
        return f"it has {len(value)} characters, and is not {form[1]}"
    return ""


def _file(path: Path, variable: str) -> Iterator[Finding]:
    try:
        mode = path.expanduser().stat().st_mode
    except (OSError, RuntimeError):
        return  # that it cannot be read has been told
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(
            ID,
            f"Others can read the file of {variable}",
            Severity.WARNING,
            f"{path} has the mode {stat.S_IMODE(mode):04o}.",
            "Keep it to yourself.",
            f"chmod 600 {quote(str(path.expanduser()))}",
        )
