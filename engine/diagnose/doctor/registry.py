"""Docker's logins: whether images that need one can be fetched, and how the passwords are kept. None is shown."""

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed
from engine.errors import EngineError
from engine.finding import Finding, Severity

ID = "registry"
NGC = "nvcr.io"
_PUBLIC = "nvcr.io/nvidia/"
"""Fetched without a login"""


def look(facts: Facts) -> Iterator[Finding]:
    environ = facts.host.environ
    file = (
        Path(environ["DOCKER_CONFIG"] if environ.get("DOCKER_CONFIG") else facts.host.home / ".docker") / "config.json"
    )
    try:
        config, mode = _read(file), file.stat().st_mode
    except FileNotFoundError:
        config, mode = {}, 0
    except (OSError, ValueError) as error:
        yield Finding(
            ID,
            "Docker's configuration of this user cannot be read",
            Severity.WARNING,
            f"{file}: {getattr(error, 'strerror', None) or 'it is no JSON'}. No image can be fetched so.",
            "Correct the file, or log in anew after moving it away.",
        )
        return
    auths, helpers = _block(config, "auths"), _block(config, "credHelpers")
    default = str(config.get("credsStore") or "")
    yield from _helpers(facts, file, {default, *map(str, helpers.values())} - {""})
    if mode & (stat.S_IRGRP | stat.S_IROTH) and any(
        isinstance(one, dict) and one.get("auth") for one in auths.values()
    ):
        yield Finding(
            ID,
            "Others can read the passwords of registries",
            Severity.WARNING,
            f"{file} has passwords in it and the mode {stat.S_IMODE(mode):04o}.",
            "Keep it to yourself.",
            f"chmod 600 {quote(str(file))}",
        )
    logged_in = NGC in auths or NGC in helpers
    closed = [image for image in _missing(facts) if image.startswith(f"{NGC}/") and not image.startswith(_PUBLIC)]
    if closed and not logged_in:
        yield Finding(
            ID,
            f"No login to {NGC}",
            facts.needs().error,
            f"{listed(closed)} are not public, nor here, and {file} has no login to {NGC}.",
            "Log in with the user name $oauthtoken and an NGC API key.",
            f"docker login {NGC}",
        )
    elif logged_in:
        yield Finding(ID, f"Login to {NGC}", Severity.OK, f"{file} has one.")


def _helpers(facts: Facts, file: Path, helpers: set[str]) -> Iterator[Finding]:
    missing = [name for name in sorted(helpers) if not facts.host.which(f"docker-credential-{name}")]
    if missing:
        yield Finding(
            ID,
            "Docker's helper for passwords is missing",
            Severity.WARNING,
            f"{file} names {listed(missing)}, and there is no"
            f" {listed(f'docker-credential-{name}' for name in missing)}: "
            "`docker pull` fails, of public images too.",
            "Install it, or take credsStore and credHelpers out of the file.",
        )


def _missing(facts: Facts) -> list[str]:
    images = list(facts.needs().images)
    try:
        env = facts.stock().env
    except EngineError:
        return images
    return [image for image in images if env.get(image) is None]


def _read(file: Path) -> dict[str, Any]:
    """Raises OSError and ValueError."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("no object")  # noqa: TRY004 (as what is no JSON)
    return data


def _block(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, dict) else {}
