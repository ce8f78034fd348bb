"""The runtime for containers. Docker is the truth: every answer is read from it."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.plan import CONTAINER_PREFIX, Launch
from engine.runtimes import docker_container
from engine.runtimes.docker_container import word
from engine.runtimes.docker_logs import DockerLog
from engine.runtimes.docker_stream import StreamBrokenError
from engine.runtimes.gpu_uuids import listed
from engine.secrets import resolve_secrets
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.runtimes.base import LogSource
    from engine.runtimes.docker_client import DockerConnection
    from engine.settings import Settings

EVENTS = ("create", "start", "die", "destroy", "oom", "pause", "unpause", "rename", "restart", "stop")
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
        with self._docker.session("list the deployments") as api:
            rows = api.containers(all=True, filters={"label": docker_container.LABEL_SCHEMA})
        try:
            ids = [str(row["Id"]) for row in rows]
        except (TypeError, KeyError) as error:
            raise OperationFailed(f"Docker lists its containers in an unknown way: {word(error)}.") from error
        reports = (self._docker.inspect(container) for container in ids)
        found = (self._read(report) for report in reports if report is not None)
        return tuple(sorted((ours for ours in found if ours is not None), key=lambda ours: ours.name))

    def create(self, launch: Launch) -> None:
        from engine.runtimes.docker_create import create_container

        if not launch.image:
            raise Refused(f"{launch.name} has no image to run.", "Give `image` in the profile.")
        self._refuse_taken(launch)
        secrets = resolve_secrets(launch.secrets)
        try:
            with self._docker.session(f"create {launch.name}", changes=True) as api:
                container = create_container(api, launch, secrets)
        except OperationFailed:
            # Someone else may have taken the name in between.
            self._refuse_taken(launch)
            raise
        if launch.files:
            self._put_files(container, launch)
        if launch.ulimits:
            self._unstarted[launch.name] = launch

    def missing(self, launch: Launch) -> str:
        from engine.runtimes.docker_create import image_missing, image_report

        if not launch.image:
            return f"{launch.name} has no image to run. Give `image` in the profile."
        with self._docker.session(f"look at the image {launch.image}") as api:
            return "" if image_report(api, launch.image) is not None else image_missing(launch.image)

    def image_env(self, image: str) -> Mapping[str, str]:
        from engine.runtimes.docker_create import image_report

        with self._docker.session(f"look at the image {image}") as api:
            report = image_report(api, image) if image else None
        words = ((report or {}).get("Config") or {}).get("Env") or ()
        return dict(clean_line(str(word)).split("=", 1) for word in words if "=" in str(word))

    def gpus(self, name: str) -> tuple[str, ...] | None:
        from engine.runtimes.docker_exec import output_of

        text = output_of(self._docker, self._find(name).id, ("nvidia-smi", "-L"), GPUS_S)
        return None if text is None else listed(text)

    def start(self, name: str) -> None:
        """An engine without root, or in a container itself, may not raise every limit: it is started without those."""
        container = self._find(name)
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
        container = self._find(name)
        if container.lifecycle is Lifecycle.RUNNING:
            raise Refused(f"{name} is running.", f"Stop it first (`tritontui down {name}`).")
        with self._docker.session(f"remove {name}", changes=True) as api:
            api.remove_container(container.id, v=True)

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> "LogSource":
        opened = self._find(name)
        parameters: dict[str, Any] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if tail is None else tail,
        }
        if since is not None:
            parameters["since"] = f"{since:.9f}"
        stream = self._docker.stream(f"read the log of {name}", f"containers/{opened.id}/logs", parameters)

        def still_running() -> bool:
            try:
                now = self._find(name)
            except NotFound:
                return False
            same = (now.id, now.started_at) == (opened.id, opened.started_at)
            return same and now.lifecycle is Lifecycle.RUNNING

        return DockerLog(name, stream, follow=follow, still_running=still_running)

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        filters = {"type": ["container"], "event": EVENTS, "label": [docker_container.LABEL_SCHEMA]}
        stream = self._docker.stream("report events", "events", {"filters": json.dumps(filters)})
        try:
            while not closing.is_set() and (body := stream.read(CLOSING_CHECK_S)) is not None:
                if body:
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
        """Raises `NotFound` for what does not exist or is not ours."""
        report = self._docker.inspect(CONTAINER_PREFIX + name)
        found = self._read(report) if report is not None else None
        if found is None or found.name != name:
            raise NotFound(f"Docker has no deployment named {name}.", "`tritontui ls` shows those there are.")
        return found

    def _read(self, report: dict[str, Any]) -> Deployment | None:
        try:
            return docker_container.deployment(report, local=self._docker.is_local)
        except (TypeError, AttributeError, ValueError) as error:
            raise OperationFailed(f"Docker describes a container in an unknown way: {word(error)}.") from error

    def _refuse_taken(self, launch: Launch) -> None:
        report = self._docker.inspect(launch.container_name)
        if report is None:
            return
        if self._read(report) is not None:
            raise Refused(f"The deployment {launch.name} exists already.", "Stop and remove it first.")
        taken = launch.container_name
        raise Refused(
            f"A container named {taken} exists that tritontui did not make; it is left alone.",
            f"Rename it (`docker rename {taken} OTHER`), remove it, or give the profile another name.",
        )


def _no_more_events(why: str) -> RuntimeUnreachable:
    return RuntimeUnreachable(f"Docker's events broke off: {why}.", "They are followed again once Docker answers.")
