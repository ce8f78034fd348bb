"""Claims: what Docker itself remembers of an adoption, or of a server that now serves another profile's model.

A claim is a volume whose labels say which container is which deployment; nothing is ever put into it. It is void, and
ignored, once its container is gone or, where it was for one run, has been started anew.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from docker.errors import NotFound as NoSuchVolume

from engine.deployment import Deployment, Lifecycle
from engine.errors import NotFound, OperationFailed, Refused
from engine.plan import CONTAINER_PREFIX, Launch
from engine.runtimes import docker_container, docker_foreign
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_container import ASIDE, LABEL_CREATED, LABEL_GPUS, LABEL_NAME, name_of, word
from engine.runtimes.docker_exec import output_of
from engine.runtimes.gpu_uuids import listed

VOLUME_PREFIX = "tritontui-claim-"
LABEL_CONTAINER = "tritontui.claim.container"
LABEL_RUN = "tritontui.claim.run"
LABEL_TOKEN = "tritontui.claim.token"  # noqa: S105 (of no secret: it tells whose claim came first)

GPUS_S = 20.0
"""A driver that has to wake many GPUs takes seconds to list them"""


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    """The deployment's"""
    container: str
    """Its id"""
    run: str
    """When the run began that it is for, in Docker's words; empty when it is for every run"""
    labels: Mapping[str, str]
    """As a container of ours has them"""

    @property
    def order(self) -> tuple[str, str]:
        """The same for everybody, whatever order Docker lists them in."""
        return self.labels.get(LABEL_CREATED, ""), self.name

    def is_void(self, report: Mapping[str, Any]) -> bool:
        return bool(self.run) and _run_of(report) != self.run


@dataclass(frozen=True, slots=True)
class Held:
    """A deployment, and the claim by which it is one."""

    deployment: Deployment
    claim: Claim | None = None
    """None: by the labels of its container"""
    aside: bool = False
    """It is set aside: another of its name may be made, and then is the deployment"""

    @property
    def spent(self) -> bool:
        """The one run that it was claimed for has ended: what starts now is what the container was made as."""
        return bool(self.claim and self.claim.run) and self.deployment.lifecycle is not Lifecycle.RUNNING


def claims(docker: DockerConnection) -> tuple[Claim, ...]:
    """Void ones included."""
    with docker.session("list the claims") as api:
        # Of the driver that makes them: another one, which may be slow or broken, is not asked.
        answer = api.volumes(filters={"label": LABEL_CONTAINER, "driver": "local"})
    try:
        found = [_read(volume) for volume in answer.get("Volumes") or ()]
    except (TypeError, AttributeError, ValueError) as error:
        raise OperationFailed(f"Docker lists its volumes in an unknown way: {word(error)}.") from error
    return tuple(sorted((claim for claim in found if claim), key=lambda claim: claim.order))


def adopted(found: Collection[Claim]) -> frozenset[str]:
    """Ids of the containers that are ours by a claim for every run."""
    return frozenset(claim.container for claim in found if not claim.run)


def locate(docker: DockerConnection, name: str) -> Held | None:
    """The deployment of that name, by its container's labels or by a claim."""
    return next(iter(shown(named(docker, name))), None)


def named(docker: DockerConnection, name: str) -> list[Held]:
    """And what is set aside for it."""
    there = claims(docker)
    inspected = reports(docker, [claim.container for claim in there if claim.name == name])
    for container in (CONTAINER_PREFIX + name, CONTAINER_PREFIX + name + ASIDE):
        if report := docker.inspect(container):
            inspected[str(report.get("Id"))] = report
    return [one for one in held(inspected, there, local=docker.is_local) if one.deployment.name == name]


def shown(found: Iterable[Held]) -> list[Held]:
    """Without what is set aside and has another in its place, which says so."""
    there = list(found)
    aside = {one.deployment.name: one.deployment.id for one in there if one.aside}
    in_place = [one for one in there if not one.aside]
    taken = {one.deployment.name for one in in_place}
    return [
        *(
            replace(one, deployment=replace(one.deployment, replaces=aside.get(one.deployment.name, "")))
            for one in in_place
        ),
        *(one for one in there if one.aside and one.deployment.name not in taken),
    ]


def reports(docker: DockerConnection, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """What Docker says of these containers, by id; those that are gone are left out."""
    found = {container: docker.inspect(container) for container in dict.fromkeys(ids)}
    return {container: report for container, report in found.items() if report is not None}


def held(inspected: Mapping[str, Mapping[str, Any]], found: Collection[Claim], *, local: bool) -> Iterator[Held]:
    """The deployments that these containers are. Raises `OperationFailed` when Docker describes one unintelligibly."""
    for container, report in inspected.items():
        own = [claim for claim in found if claim.container == container and not claim.is_void(report)]
        try:
            aside = name_of(report).endswith(ASIDE)
            for one in _of_container(report, own, local=local):
                yield replace(one, aside=aside and not (one.claim and one.claim.run))
        except (TypeError, AttributeError, ValueError) as error:
            raise OperationFailed(f"Docker describes a container in an unknown way: {word(error)}.") from error


def _of_container(report: Mapping[str, Any], own: Collection[Claim], *, local: bool) -> Iterator[Held]:
    labelled = docker_container.deployment(report, local=local)
    base = Held(labelled) if labelled else None
    lasting = next((claim for claim in own if not claim.run), None)
    if lasting:
        base = Held(_described(report, lasting, adopted=labelled is None, local=local), lasting)
    of_run = next((claim for claim in reversed(tuple(own)) if claim.run), None)
    if base is None or of_run is None:
        if base:
            yield base
        return
    served = _described(report, of_run, adopted=base.deployment.adopted, local=local)
    now = Held(replace(served, made_as=base.deployment.name), of_run)
    if not now.spent:
        yield now
        return
    # Ended, it is shown under both names: what it was last, and what a start would make of it again.
    yield base
    yield replace(now, deployment=replace(now.deployment, profile_digest=""))


def _described(report: Mapping[str, Any], claim: Claim, *, adopted: bool, local: bool) -> Deployment:
    said = docker_container.described(report, claim.name, claim.labels, local=local)
    there = docker_foreign.of_report(report, local=local) if adopted and not claim.run else None
    if not there or not there.service.http:
        return replace(said, adopted=adopted)
    # Where it is now: what was published on any free port is on another one after each start.
    at = there.service
    service = replace(said.service, http=at.http, health=at.health, grpc=at.grpc, metrics=at.metrics)
    return replace(said, adopted=adopted, service=service)


def claim(docker: DockerConnection, container: str, launch: Launch, *, this_run_only: bool) -> None:
    """Raises `NotFound` when there is no such container, and `Refused` when the name is taken."""
    report = docker.inspect(container)
    if report is None or report.get("Id") != container:
        raise NotFound(f"The container {container[:12]} is not there any more.", "`docker ps -a` shows those that are.")
    there = claims(docker)
    others = {one.container for one in there if one.name == launch.name}
    seen = {container: report, **reports(docker, others)}
    if named := docker.inspect(launch.container_name):
        seen[str(named.get("Id"))] = named
    deployments = list(held(seen, there, local=docker.is_local))
    _refuse_taken(launch, container, named, deployments)
    lasting = [one for one in there if not one.run]
    itself = next(held({container: report}, lasting, local=docker.is_local), None)
    if not this_run_only:
        _refuse_adopted(launch, container, report, lasting)
    elif itself is None:
        raise Refused(f"{name_of(report)} was started by hand: it is watched, and never changed.", "Adopt it first.")
    elif not (report.get("State") or {}).get("Running"):
        raise Refused(f"{name_of(report)} does not run, so it serves nothing as {launch.name}.", "Start it first.")
    if not (this_run_only and itself and itself.deployment.name == launch.name):
        discard(docker, [one for one in there if one.name == launch.name])
        _keep(docker, launch, container, _run_of(report) if this_run_only else "", report)
    discard(docker, [one for one in there if one.container == container and one.run and one.name != launch.name])


def refuse_taken(docker: DockerConnection, launch: Launch) -> None:
    """Before a container is created; a void claim on its name is cleared away. Raises `Refused`."""
    there = [one for one in claims(docker) if one.name == launch.name]
    found = locate(docker, launch.name)
    if found and not found.aside:
        raise Refused(f"The deployment {launch.name} exists already.", "Stop and remove it first.")
    if not found:
        discard(docker, there)
    report = docker.inspect(launch.container_name)
    if report is None:
        return
    taken = launch.container_name
    if one := next(held({str(report.get("Id")): report}, claims(docker), local=docker.is_local), None):
        now = one.deployment.name
        raise Refused(f"The container {taken} is the deployment {now} at present.", f"Stop and remove {now} first.")
    raise Refused(_strange(taken))


def name_taken(docker: DockerConnection, launch: Launch) -> str:
    """What to do about a container of its name that is no deployment of ours; empty when there is none."""
    report = docker.inspect(launch.container_name)
    if report is None or any(held({str(report.get("Id")): report}, claims(docker), local=docker.is_local)):
        return ""
    return _strange(launch.container_name)


def _strange(name: str) -> str:
    return (
        f"A container named {name} exists that tritontui did not make; it is left alone. "
        f"Rename it (`docker rename {name} OTHER`), remove it, or give the profile another name."
    )


def drop(docker: DockerConnection, name: str) -> None:
    """None of that name is no error."""
    discard(docker, [one for one in claims(docker) if one.name == name])


def discard(docker: DockerConnection, found: Collection[Claim]) -> None:
    """These and no later ones of the same names; a volume that is no claim is left alone."""
    for one in found:
        with docker.session(f"forget the claim on {one.name}", changes=True) as api:
            try:
                if _read(api.inspect_volume(VOLUME_PREFIX + one.name)) == one:
                    api.remove_volume(VOLUME_PREFIX + one.name)
            except NoSuchVolume:
                continue


def _refuse_taken(
    launch: Launch, container: str, named: Mapping[str, Any] | None, deployments: Collection[Held]
) -> None:
    if named and named.get("Id") != container:
        raise Refused(
            f"There is a container {launch.container_name} already.",
            f"Remove {launch.name} first, or choose another name.",
        )
    for one in deployments:
        if one.deployment.name == launch.name and one.deployment.id != container and not one.spent:
            raise Refused(f"The deployment {launch.name} exists already.", "Choose another name, or remove it first.")


def _refuse_adopted(launch: Launch, container: str, report: Mapping[str, Any], lasting: Collection[Claim]) -> None:
    for one in lasting:
        if one.container == container and one.name != launch.name:
            raise Refused(
                f"The container {name_of(report)} has been adopted already, as {one.name}.", "Use it under that name."
            )


def _keep(docker: DockerConnection, launch: Launch, container: str, run: str, report: Mapping[str, Any]) -> None:
    labels = {
        **docker_container.labels(launch),
        LABEL_CONTAINER: container,
        LABEL_RUN: run,
        LABEL_TOKEN: uuid.uuid4().hex,
    }
    if launch.gpus and not labels[LABEL_GPUS] and (report.get("State") or {}).get("Running"):
        # Which it got was left to Docker; what is placed beside it must know.
        seen = output_of(docker, container, ("nvidia-smi", "-L"), GPUS_S)
        labels[LABEL_GPUS] = ",".join(listed(seen or ""))
    with docker.session(f"keep the claim on {launch.name}", changes=True) as api:
        volume = api.create_volume(VOLUME_PREFIX + launch.name, driver="local", labels=labels)
    if (volume.get("Labels") or {}).get(LABEL_TOKEN) != labels[LABEL_TOKEN]:
        # Docker gives back the one that there is.
        raise Refused(
            f"Somebody else has just taken the name {launch.name}: the volume {VOLUME_PREFIX}{launch.name} exists.",
            "Look again, and choose another name.",
        )


def _read(volume: Mapping[str, Any]) -> Claim | None:
    labels: Mapping[str, str] = volume.get("Labels") or {}
    name, container = labels.get(LABEL_NAME, ""), labels.get(LABEL_CONTAINER, "")
    if not container or volume.get("Name") != VOLUME_PREFIX + name:
        return None
    return Claim(name, container, labels.get(LABEL_RUN, ""), labels)


def _run_of(report: Mapping[str, Any]) -> str:
    return str((report.get("State") or {}).get("StartedAt") or "")
