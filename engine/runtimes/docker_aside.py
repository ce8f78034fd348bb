"""Sets a container aside until another of its deployment's name serves: its own name has an ending of ours meanwhile.

The ending is all that tells it, so that everybody finds the same, whatever became of who set it aside. It can be put to
any container: one that was adopted keeps its claim, and gets the name back that it was given by hand. A restart policy
is taken from it meanwhile, lest Docker starts it beside the other one; which it was, is kept as a record.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from engine.deployment import Lifecycle
from engine.errors import NotFound, Refused
from engine.runtimes import docker_claims, docker_records
from engine.runtimes.docker_claims import Held
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_container import ASIDE, name_of

RECORD_PREFIX = "tritontui-restart-policy-"
"""And the beginning of the container's id"""
NEVER = "no"


def set_aside(docker: DockerConnection, held: Held) -> None:
    name = held.deployment.name
    if held.deployment.lifecycle is Lifecycle.RUNNING:
        raise Refused(f"{name} is running.", f"Stop it first (`tritontui down {name}`).")
    if held.spent:  # no more than a name
        docker_claims.drop(docker, name)
        return
    report = _report(docker, held.deployment.id)
    _keep_down(docker, report)
    if not held.aside:
        _rename(docker, report, lambda now: now + ASIDE)


def bring_back(docker: DockerConnection, name: str) -> None:
    there = docker_claims.named(docker, name)
    for one in [one for one in there if not one.aside] or there:
        _let_restart(docker, one.deployment.id)
        if one.aside:
            _rename(docker, _report(docker, one.deployment.id), lambda now: now.removesuffix(ASIDE))


def drop(docker: DockerConnection, name: str) -> None:
    there = docker_claims.named(docker, name)
    if all(one.aside for one in there):
        return
    for one in there:
        if not one.aside:
            continue
        with suppress(NotFound), docker.session(f"remove what {name} replaces", changes=True) as api:
            # Somebody may have started it again.
            api.remove_container(one.deployment.id, v=not one.deployment.adopted, force=True)
        if one.claim:
            docker_claims.discard(docker, [one.claim])
        forget(docker, one.deployment.id)


def forget(docker: DockerConnection, container: str) -> None:
    """What was kept of a container that is gone."""
    docker_records.drop(docker, _record(container))


def _keep_down(docker: DockerConnection, report: Mapping[str, Any]) -> None:
    policy = (report.get("HostConfig") or {}).get("RestartPolicy") or {}
    name = str(policy.get("Name") or NEVER)
    if name == NEVER:
        return
    container = str(report.get("Id"))
    retries = str(policy.get("MaximumRetryCount") or 0)
    docker_records.keep(docker, _record(container), {"name": name, "retries": retries})
    _update(docker, container, NEVER, 0)


def _let_restart(docker: DockerConnection, container: str) -> None:
    """As it did before it was set aside."""
    kept = docker_records.read(docker, _record(container))
    if not kept:
        return
    retries = kept.get("retries", "")
    _update(docker, container, kept.get("name", NEVER), int(retries) if retries.isdecimal() else 0)
    docker_records.drop(docker, _record(container))


def _update(docker: DockerConnection, container: str, name: str, retries: int) -> None:
    policy: Any = {"Name": name, "MaximumRetryCount": retries}
    with docker.session(f"set the restart policy of the container {container[:12]}", changes=True) as api:
        api.update_container(container, restart_policy=policy)


def _record(container: str) -> str:
    return RECORD_PREFIX + container[:12]


def _report(docker: DockerConnection, container: str) -> Mapping[str, Any]:
    report = docker.inspect(container)
    if report is None:
        raise NotFound(f"The container {container[:12]} is not there any more.", "`docker ps -a` shows those that are.")
    return report


def _rename(docker: DockerConnection, report: Mapping[str, Any], to: Callable[[str], str]) -> None:
    now = name_of(report)
    with docker.session(f"rename {now}", changes=True) as api:
        api.rename(str(report.get("Id")), to(now))
