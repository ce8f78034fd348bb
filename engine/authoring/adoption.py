"""What adopting a container would make of it: a profile like it, and what to know before."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.authoring.check import plan_entry
from engine.authoring.container import inspected, of_report
from engine.authoring.imported import imported
from engine.authoring.new import suggested_name
from engine.authoring.schema import FILE_NAME
from engine.authoring.spec import ContainerSpec, Published
from engine.authoring.write import checked, profile_text, user_folder
from engine.catalog import SUFFIXES, Catalog, resolved
from engine.deployment import Deployment, Protocol
from engine.errors import EngineError, InvalidProfile, NotFound, OperationFailed, Refused
from engine.plan import CONTAINER_PREFIX, Adoption, Launch
from engine.runtimes.base import Runtime
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.settings import Settings

LONGEST_NAME = 63
"""As `engine.catalog.NAME` has it"""
_MANAGERS = {
    "com.docker.compose.project": "Docker Compose made it (project {}): `docker compose up` may bring it back, or"
    " replace it by another container, which is not adopted then.",
    "com.docker.swarm.service.name": "It belongs to the Swarm service {}, which starts another one when it ends.",
    "io.kubernetes.pod.name": "It belongs to the Kubernetes pod {}, which is started anew when it ends.",
    "com.hashicorp.nomad.alloc_id": "Nomad runs it (allocation {}), and starts another one when it ends.",
}
"""Labels by which whoever manages a container knows it, each with its own documentation's name"""


def plan_adoption(name: str, runtimes: Mapping[str, Runtime], catalog: Catalog, settings: "Settings") -> Adoption:
    """`name`: as `Runtime.foreign` has it, or the container's own. Nothing is written.

    Raises `NotFound` when no such container runs, `Refused` when it cannot be reached, `InvalidProfile` when no
    profile can say what it is, and `RuntimeUnreachable`.
    """
    found = _find(name, runtimes)
    if not found.service.http:
        raise Refused(f"{found.name} cannot be adopted. {found.error}".strip())
    report, image = inspected(found.id)
    folder = _folder(settings)
    try:
        spec = with_its_ports(of_report(report, image), report)
        notes = tuple(to_know_before(found, report))
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        raise OperationFailed(f"Docker describes {found.name} in an unknown way: {clean_line(str(error))}.") from error
    own = free_name(spec.name, _taken(runtimes, catalog, folder))
    return adoption(found, spec, own, folder, settings, notes)


def adoption(
    found: Deployment, spec: ContainerSpec, name: str, folder: Path, settings: "Settings", before: tuple[str, ...]
) -> Adoption:
    """`name`: of the profile, which goes into `folder`. `before`: what to know. Raises `InvalidProfile`."""
    try:
        return _adoption(found, spec, name, folder, settings, before, keep_open=True)
    except InvalidProfile as error:
        try:
            # What others on the network may not be let near keeps a profile from being planned; closed, it can be.
            return _adoption(found, spec, name, folder, settings, before, keep_open=False)
        except InvalidProfile:
            raise InvalidProfile(
                f"{found.name} cannot be adopted, since no profile says what it runs: {error.what}",
                f"Make one with `tritontui profiles import --container {spec.name}`, correct it, and start that.",
            ) from error


def _adoption(
    found: Deployment,
    spec: ContainerSpec,
    name: str,
    folder: Path,
    settings: "Settings",
    before: tuple[str, ...],
    *,
    keep_open: bool,
) -> Adoption:
    origin = f"as the container {spec.name} has it"
    taken = imported(spec, os.environ, settings.working_dir, name=name, origin=origin, keep_open=keep_open)
    notes = tuple(dict.fromkeys(map(clean_line, (*before, *taken.notes))))
    head = [f"Adopted from the container {spec.name} by `tritontui adopt`.", *(f"- {note}" for note in taken.notes)]
    text = profile_text(taken.data, head=head, schema=(folder / FILE_NAME).is_file())
    path = folder / f"{name}.yaml"
    launch = plan_entry(settings, checked(text, path), "docker").launch
    return Adoption(name, spec.name, found.id, str(path), text, _as_it_runs(launch, found), notes)


def _find(name: str, runtimes: Mapping[str, Runtime]) -> Deployment:
    for runtime in runtimes.values():
        for found in runtime.foreign():
            if name in (found.name, found.name.partition("/")[2]) or (len(name) >= 12 and found.id.startswith(name)):
                return found
    raise NotFound(
        f"No model server {clean_line(name)} runs that somebody started by hand.",
        "`tritontui ls` shows those that there are.",
    )


def with_its_ports(spec: ContainerSpec, report: Mapping[str, Any]) -> ContainerSpec:
    """With the ports that it really has: also those that Docker has chosen."""
    from engine.runtimes.docker_foreign import published

    ports = tuple(Published(inside, port, ip) for inside, (ip, port) in published(report).items())
    return replace(spec, ports=ports)


def _as_it_runs(launch: Launch, found: Deployment) -> Launch:
    """What is known of its endpoints counts, however the profile would publish them; keys and readiness are said."""
    planned = launch.service
    service = replace(
        found.service,
        # vLLM is asked: under the profile it may have another name than it has now.
        model=planned.model if found.service.protocol is Protocol.TRITON else None,
        ready_timeout_s=planned.ready_timeout_s,
        ready_prompt=planned.ready_prompt,
        api_key=planned.api_key,
    )
    return replace(launch, service=service)


def to_know_before(found: Deployment, report: Mapping[str, Any]) -> Iterator[str]:
    if found.removed_when_stopped:
        yield "It was started with `--rm`: a stop removes it, with its log. A start makes it anew, as this profile."
    if found.restarts_itself:
        policy = report["HostConfig"]["RestartPolicy"]["Name"]
        yield f"Its restart policy is `{clean_line(policy)}`: Docker may bring it back by itself, not only tritontui."
    labels = (report.get("Config") or {}).get("Labels") or {}
    for label, sentence in _MANAGERS.items():
        if label in labels:
            yield sentence.format(clean_line(str(labels[label])))


def _folder(settings: "Settings") -> Path:
    """As the catalog has it: a profile's digest counts its folder."""
    folder = user_folder(settings)
    try:
        return resolved(folder)
    except OSError as error:
        raise OperationFailed(f"The folder {folder} is no path: {error}.", "Set TRITONTUI_CONFIG_DIR.") from error


def _taken(runtimes: Mapping[str, Runtime], catalog: Catalog, folder: Path) -> frozenset[str]:
    """By profiles, right or wrong, and by deployments of all who answer."""
    names = {*catalog.entries, *(Path(problem.path).stem for problem in catalog.problems)}
    for runtime in runtimes.values():
        with suppress(EngineError):  # that another runtime is silent does not hinder, and a claim is refused once more
            names |= {deployment.name for deployment in runtime.deployments()}
    with suppress(OSError):  # written to, it says so
        names |= {path.stem for path in folder.iterdir() if path.suffix in SUFFIXES}
    return frozenset(names)


def free_name(container: str, taken: Collection[str]) -> str:
    """After the container's own, as a profile may be called."""
    wanted = suggested_name(container.removeprefix(CONTAINER_PREFIX)).rstrip("-.") or "adopted"
    ends = ("" if number == 1 else f"-{number}" for number in count(1))
    names = (wanted[: LONGEST_NAME - len(end)].rstrip("-.") + end for end in ends)
    return next(name for name in names if name not in taken)
