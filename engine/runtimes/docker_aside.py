"""Sets a container aside until another of its deployment's name serves: its own name has an ending of ours meanwhile.

The ending is all that tells it, so that everybody finds the same, whatever became of who set it aside. It can be put to
any container: one that was adopted keeps its claim, and gets the name back that it was given by hand.
"""

from collections.abc import Callable
from contextlib import suppress

from engine.deployment import Lifecycle
from engine.errors import NotFound, Refused
from engine.runtimes import docker_claims
from engine.runtimes.docker_claims import Held
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_container import ASIDE, name_of


def set_aside(docker: DockerConnection, held: Held) -> None:
    name = held.deployment.name
    if held.deployment.lifecycle is Lifecycle.RUNNING:
        raise Refused(f"{name} is running.", f"Stop it first (`tritontui down {name}`).")
    if held.spent:  # no more than a name
        docker_claims.drop(docker, name)
    elif not held.aside:
        _rename(docker, held, lambda now: now + ASIDE)


def bring_back(docker: DockerConnection, name: str) -> None:
    there = docker_claims.named(docker, name)
    if all(one.aside for one in there):
        for one in there:
            _rename(docker, one, lambda now: now.removesuffix(ASIDE))


def drop(docker: DockerConnection, name: str) -> None:
    there = docker_claims.named(docker, name)
    if all(one.aside for one in there):
        return
    for one in there:
        if not one.aside:
            continue
        with suppress(NotFound), docker.session(f"remove what {name} replaces", changes=True) as api:
            # Its restart policy may have started it again.
            api.remove_container(one.deployment.id, v=not one.deployment.adopted, force=True)
        if one.claim:
            docker_claims.discard(docker, [one.claim])


def _rename(docker: DockerConnection, held: Held, to: Callable[[str], str]) -> None:
    container = held.deployment.id
    report = docker.inspect(container)
    if report is None:
        raise NotFound(f"The container {container[:12]} is not there any more.", "`docker ps -a` shows those that are.")
    now = name_of(report)
    with docker.session(f"rename {now}", changes=True) as api:
        api.rename(container, to(now))
