"""Records that are kept with Docker: volumes whose labels are the facts. Nothing is ever put into them.

To create a volume of a name that there is already gives that one back with its own labels (Docker Engine API, checked
with 20.10), and the engine handles one request at a time for a name: of several at once exactly one makes it.
"""

from collections.abc import Mapping
from typing import Any

from docker.errors import NotFound

from engine.errors import OperationFailed, Refused
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_container import word

PREFIX = "tritontui.record."


def keep(docker: DockerConnection, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
    # Looked at first: an engine that is stuck is met by a question, which has the shorter limit.
    volume = _inspect(docker, name)
    if volume is None:
        with docker.session(f"make the volume {name}", changes=True) as api:
            labels = {PREFIX + key: value for key, value in facts.items()}
            volume = api.create_volume(name, driver="local", labels=labels)
    found = _facts(name, volume)
    if not found:
        raise Refused(
            f"Docker has a volume named {name} that tritontui did not make; it is left alone.",
            f"tritontui keeps a record of that name: remove the volume (`docker volume rm {name}`) if nobody needs it.",
        )
    return found


def read(docker: DockerConnection, name: str) -> Mapping[str, str] | None:
    volume = _inspect(docker, name)
    return None if volume is None else _facts(name, volume) or None


def drop(docker: DockerConnection, name: str) -> None:
    if not read(docker, name):
        return
    with docker.session(f"remove the volume {name}", changes=True) as api:
        try:
            api.remove_volume(name)
        except NotFound:
            return


def _inspect(docker: DockerConnection, name: str) -> dict[str, Any] | None:
    with docker.session(f"look at the volume {name}") as api:
        try:
            return api.inspect_volume(name)
        except NotFound:
            return None


def _facts(name: str, volume: dict[str, Any]) -> dict[str, str]:
    """Nothing when the volume is not ours."""
    try:
        labels = dict(volume.get("Labels") or {})
        return {key.removeprefix(PREFIX): str(value) for key, value in labels.items() if key.startswith(PREFIX)}
    except (TypeError, ValueError, AttributeError) as error:
        raise OperationFailed(f"Docker describes the volume {name} in an unknown way: {word(error)}.") from error
