"""The runtime for containers. Docker is the truth: every answer is read from it."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.plan import Launch
from engine.runtimes import docker_container
from engine.runtimes.docker_container import FOREIGN, word
from engine.runtimes.docker_events import EVENTS, Events
from engine.runtimes.docker_logs import Demultiplexer, DockerLog, secrets_of
from engine.runtimes.docker_stream import StreamBrokenError
from engine.runtimes.gpu_uuids import listed
from engine.secrets import resolve_secrets
from engine.startup import PhaseProgress
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.runtimes.base import LogSource
    from engine.runtimes.docker_claims import Held
    from engine.runtimes.docker_client import DockerConnection
    from engine.settings import Settings

CLOSING_CHECK_S = 0.25
GPUS_S = 20.0
"""A driver that has to wake many GPUs takes seconds to list them"""


class DockerRuntime:
    """Implements `Runtime`; safe to use from several threads."""

    name = "docker"

    def __init__(self, _settings: "Settings") -> None:
        self._lock = threading.Lock()
        self._connected: DockerConnection | None = None
        self._unstarted: dict[str, Launch] = {}
        """Created here with limits that the engine may turn out not to grant, which only a start tells"""
        self._adopted: frozenset[str] = frozenset()
        """Ids, as of the last look"""

    @property
    def _docker(self) -> "DockerConnection":
        # The SDK takes long to import: not for a command or a first paint that does not ask Docker.
        from engine.runtimes.docker_client import DockerConnection

        with self._lock:
            self._connected = self._connected or DockerConnection()
            return self._connected

    def check(self) -> str:
        with self._docker.session("tell its version") as api:
            return f"Docker {word(api.version().get('Version', '(unknown version)'))}"

    def deployments(self) -> tuple[Deployment, ...]:
        from engine.runtimes import docker_claims

        with self._docker.session("list the deployments") as api:
            rows = api.containers(all=True, filters={"label": docker_container.LABEL_SCHEMA})
        try:
            ids = [str(row["Id"]) for row in rows]
        except (TypeError, KeyError) as error:
            raise OperationFailed(f"Docker lists its containers in an unknown way: {word(error)}.") from error
        claims = docker_claims.claims(self._docker)
        self._adopted = docker_claims.adopted(claims)
        inspected = docker_claims.reports(self._docker, [*ids, *(claim.container for claim in claims)])
        held = docker_claims.shown(docker_claims.held(inspected, claims, local=self._docker.is_local))
        return tuple(sorted((one.deployment for one in held), key=lambda ours: ours.name))

    def create(self, launch: Launch) -> None:
        from engine.runtimes import docker_claims
        from engine.runtimes.docker_create import create_container

        if not launch.image:
            raise Refused(f"{launch.name} has no image to run.", "Give `image` in the profile.")
        docker_claims.refuse_taken(self._docker, launch)
        secrets = resolve_secrets(launch.secrets)
        try:
            with self._docker.session(f"create {launch.name}", changes=True) as api:
                container = create_container(api, launch, secrets)
        except OperationFailed:
            # Someone else may have taken the name in between.
            docker_claims.refuse_taken(self._docker, launch)
            raise
        if launch.files:
            self._put_files(container, launch)
        if launch.ulimits:
            self._unstarted[launch.name] = launch

    def set_aside(self, name: str) -> None:
        from engine.runtimes import docker_aside

        docker_aside.set_aside(self._docker, self._held(name))

    def bring_back(self, name: str) -> None:
        from engine.runtimes import docker_aside

        docker_aside.bring_back(self._docker, name)

    def drop_aside(self, name: str) -> None:
        from engine.runtimes import docker_aside

        docker_aside.drop(self._docker, name)

    def missing(self, launch: Launch) -> str:
        from engine.runtimes import docker_claims
        from engine.runtimes.docker_create import no_room

        if not launch.image:
            return f"{launch.name} has no image to run. Give `image` in the profile."
        with self._docker.session("look at its disk") as api:
            if self._docker.is_local and (said := no_room(api)):
                return said
        return docker_claims.name_taken(self._docker, launch)

    def pull(self, image: str, told: Callable[[PhaseProgress], None], cancelled: threading.Event) -> bool:
        from engine.runtimes.docker_pull import pull

        return pull(self._docker, image, told, cancelled)

    def image_env(self, image: str) -> Mapping[str, str]:
        from engine.runtimes.docker_create import image_report

        with self._docker.session(f"look at the image {image}") as api:
            report = image_report(api, image) if image else None
        words = ((report or {}).get("Config") or {}).get("Env") or ()
        return dict(clean_line(str(word)).split("=", 1) for word in words if "=" in str(word))

    def image_id(self, image: str) -> str:
        from engine.runtimes.docker_create import image_report

        with self._docker.session(f"look at the image {image}") as api:
            report = image_report(api, image) if image else None
        return clean_line(str((report or {}).get("Id") or ""))

    def foreign(self) -> tuple[Deployment, ...]:
        from engine.runtimes import docker_claims, docker_foreign

        return docker_foreign.foreign(self._docker, docker_claims.adopted(docker_claims.claims(self._docker)))

    def claim(self, id: str, launch: Launch, *, this_run_only: bool) -> None:  # noqa: A002 (what it is called everywhere)
        from engine.runtimes import docker_claims

        docker_claims.claim(self._docker, id, launch, this_run_only=this_run_only)

    def unclaim(self, name: str) -> None:
        from engine.runtimes import docker_claims

        docker_claims.drop(self._docker, name)

    def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
        from engine.runtimes import docker_records

        return docker_records.keep(self._docker, name, facts)

    def record(self, name: str) -> Mapping[str, str] | None:
        from engine.runtimes import docker_records

        return docker_records.read(self._docker, name)

    def drop_record(self, name: str) -> None:
        from engine.runtimes import docker_records

        docker_records.drop(self._docker, name)

    def gpus(self, name: str) -> tuple[str, ...] | None:
        from engine.runtimes.docker_exec import output_of

        text = output_of(self._docker, self._find(name).id, ("nvidia-smi", "-L"), GPUS_S)
        return None if text is None else listed(text)

    def stranger(self, name: str) -> str:
        """Nobody: Docker takes a container's ports itself, and refuses to start it without them."""
        del name
        return ""

    def start(self, name: str) -> None:
        """An engine without root, or in a container itself, may not raise every limit: it is started without those."""
        held = self._held(name)
        if held.spent:
            raise Refused(
                f"{name} was loaded into a running server, which has ended since; it cannot be started again so.",
                f"Remove it and start it from its profile (`tritontui rm {name}`, `tritontui up {name}`).",
            )
        if held.aside:
            self.bring_back(name)
        container = held.deployment
        launch = self._unstarted.pop(name, None)
        try:
            with self._docker.session(f"start {name}", changes=True) as api:
                api.start(container.id)
        except OperationFailed as error:
            refused = docker_container.refused_limit(error.__cause__)
            if not launch or refused not in launch.ulimits:
                raise
            self.remove(name)
            self.create(replace(launch, ulimits={key: launch.ulimits[key] for key in launch.ulimits if key != refused}))
            self.start(name)

    def stop(self, name: str, timeout_s: float) -> None:
        container = self._find(name)
        with self._docker.session(f"stop {name}", changes=True) as api:
            # Docker answers when it has ended; the SDK adds this timeout to the client's own.
            api.stop(container.id, timeout=math.ceil(timeout_s))

    def remove(self, name: str) -> None:
        from engine.runtimes import docker_aside, docker_claims

        try:
            held = self._held(name)
        except NotFound:
            docker_claims.drop(self._docker, name)
            raise
        container = held.deployment
        if container.lifecycle is Lifecycle.RUNNING:
            raise Refused(f"{name} is running.", f"Stop it first (`tritontui down {name}`).")
        if not held.spent:
            with self._docker.session(f"remove {name}", changes=True) as api:
                # What somebody else's container keeps in volumes without a name is not ours to throw away.
                api.remove_container(container.id, v=not container.adopted)
            if held.aside:
                docker_aside.forget(self._docker, container.id)
        if held.claim:
            docker_claims.drop(self._docker, name)

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> "LogSource":
        opened = self._watched(name)
        parameters: dict[str, Any] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if tail is None else tail,
        }
        if since is not None:
            parameters["since"] = f"{since:.9f}"
        secrets = secrets_of(opened, self._docker.inspect(opened.id) or {})
        stream = self._docker.stream(f"read the log of {name}", f"containers/{opened.id}/logs", parameters)

        def still_running() -> bool:
            try:
                now = self._watched(name)
            except NotFound:
                return False
            same = (now.id, now.started_at) == (opened.id, opened.started_at)
            return same and now.lifecycle is Lifecycle.RUNNING

        frames = Demultiplexer(began=opened.started_at, from_start=since is None and tail is None)
        return DockerLog(name, stream, follow=follow, still_running=still_running, frames=frames, secrets=secrets)

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        # Not by label: what was adopted has none of ours.
        filters = {"type": ["container"], "event": EVENTS}
        events = Events(docker_container.LABEL_SCHEMA, lambda: self._adopted)
        stream = self._docker.stream("report events", "events", {"filters": json.dumps(filters)})
        try:
            while not closing.is_set() and (body := stream.read(CLOSING_CHECK_S)) is not None:
                if body and events.any_of_ours(body):
                    changed()
        except StreamBrokenError as error:
            raise _no_more_events(str(error)) from error
        finally:
            stream.close()
        if not closing.is_set():
            raise _no_more_events("the daemon ended them")

    def _put_files(self, container: str, launch: Launch) -> None:
        """A container without its files is taken away again."""
        from engine.by_hand import archive

        try:
            with self._docker.session(f"put the generated files into {launch.name}", changes=True) as api:
                api.put_archive(container, "/", archive(launch, launch.files_root))
        except EngineError as error:
            try:
                with self._docker.session(f"remove {launch.name} again", changes=True) as api:
                    api.remove_container(container, v=True, force=True)
            except EngineError as left:
                raise type(error)(str(error), f"What was created is still there: {left}") from error
            raise

    def _find(self, name: str) -> Deployment:
        """Raises `NotFound` for what does not exist or is not ours, and `Refused` for a name out of `foreign`."""
        return self._held(name).deployment

    def _held(self, name: str) -> "Held":
        from engine.runtimes import docker_claims

        if name.startswith(FOREIGN):
            raise Refused(
                f"{clean_line(name)} was started by hand: it is watched, and never changed.",
                f"Adopt it first (`tritontui adopt {clean_line(name)}`).",
            )
        held = docker_claims.locate(self._docker, name)
        if held is None:
            raise NotFound(f"Docker has no deployment named {name}.", "`tritontui ls` shows those there are.")
        return held

    def _watched(self, name: str) -> Deployment:
        """As `_find`, and those of `foreign`."""
        from engine.runtimes import docker_claims, docker_foreign

        if not name.startswith(FOREIGN):
            return self._find(name)
        return docker_foreign.find(self._docker, name, docker_claims.adopted(docker_claims.claims(self._docker)))


def _no_more_events(why: str) -> RuntimeUnreachable:
    return RuntimeUnreachable(f"Docker's events broke off: {why}.", "They are followed again once Docker answers.")
