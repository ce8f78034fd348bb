"""The terminal and its language, as they were when tritontui was started."""

from collections.abc import Iterator

from engine.diagnose.doctor.facts import Facts
from engine.finding import Finding, Severity

ID = "terminal"
_SETTING = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first that is set counts"""
_POOR = ("dumb", "unknown", "vt52")


def look(facts: Facts) -> Iterator[Finding]:
    environ = _at_first(facts)
    name = next((name for name in _SETTING if environ.get(name)), "")
    locale, terminal = environ.get(name, ""), environ.get("TERM", "")
    seen = f"{f'{name}={locale}' if name else 'no locale is set'}, TERM={terminal or '(not set)'}"
    charset = locale.partition(".")[2].partition("@")[0].lower().replace("-", "")
    if charset != "utf8" and locale not in ("", "C", "POSIX"):
        yield Finding(
            ID,
            "The locale is not UTF-8",
            Severity.WARNING,
            f"{seen}: bars, charts and names in other scripts are shown in plain characters, or as marks.",
            "Use a UTF-8 locale.",
            "export LC_ALL=C.UTF-8",
        )
    elif charset != "utf8":
        yield Finding(
            ID,
            "The locale does not say UTF-8",
            Severity.INFO,
            f"{seen}. Python takes UTF-8 then, which is right for every terminal of today.",
            "Set one to be sure.",
            "export LC_ALL=C.UTF-8",
        )
    elif terminal in _POOR:
        yield Finding(
            ID,
            "The terminal cannot show a console",
            Severity.WARNING,
            f"{seen}: it has no cursor movement or colours; the commands work all the same.",
            "Set TERM to what the terminal is.",
            "export TERM=xterm-256color",
        )
    else:
        yield Finding(ID, "Terminal and locale", Severity.OK, f"{seen}.")


def _at_first(facts: Facts) -> dict[str, str]:
    """Python itself sets LC_CTYPE where there is no locale (PEP 538); what was given is in /proc/self/environ."""
    try:
        entries = facts.host.path("/proc/self/environ").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return dict(facts.host.environ)
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)
