"""What a container of ours is: from a launch to Docker's words for it, and from what Docker reports to a deployment."""

import re
import resource
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.drift import launch_facts
from engine.plan import CONTAINER_PREFIX, Launch
from engine.runtimes.gpu_uuids import uuids
from engine.text import clean_line

SCHEMA = "1"
LABEL_SCHEMA = "tritontui.schema"
LABEL_NAME = "tritontui.name"
LABEL_STACK = "tritontui.stack"
LABEL_SERVICE = "tritontui.service"
LABEL_PROFILE = "tritontui.profile"
LABEL_CREATED = "tritontui.created"
LABEL_GPUS = "tritontui.gpus"
LABEL_LAUNCH = "tritontui.launch"

FOREIGN = "docker/"
"""Before the name of a container that somebody started by hand: no profile can have a name with a slash"""
ASIDE = "_set-aside"
"""After the name of a container that is set aside: no profile can have a name with an underscore"""
_LIFECYCLES = {
    "created": Lifecycle.CREATED,
    "running": Lifecycle.RUNNING,
    "paused": Lifecycle.RUNNING,
    "restarting": Lifecycle.RUNNING,
}
_ID = re.compile(r"\b[0-9a-f]{64}\b")
_LONGEST_WORD = 300


def labels(launch: Launch) -> dict[str, str]:
    return {
        LABEL_SCHEMA: SCHEMA,
        LABEL_NAME: launch.name,
        LABEL_STACK: launch.stack,
        LABEL_SERVICE: launch.service.to_json(),
        LABEL_PROFILE: launch.profile_digest,
        LABEL_CREATED: f"{time.time():.3f}",
        LABEL_GPUS: ",".join(uuids(launch.gpus)) if isinstance(launch.gpus, tuple) else "",
        LABEL_LAUNCH: launch_facts(launch),
    }


def owned_name(container_name: str, container_labels: Mapping[str, str] | None) -> str | None:
    """The deployment's name; None for a container that is not ours.

    The label alone proves nothing: `docker commit` copies it into an image, and so into every container of that image.
    """
    name = (container_labels or {}).get(LABEL_NAME)
    return name if name and container_name.removeprefix("/").removesuffix(ASIDE) == CONTAINER_PREFIX + name else None


def deployment(report: Mapping[str, Any], *, local: bool) -> Deployment | None:
    """From an `inspect`; None when the container is not ours. `local`: its process ids are this machine's."""
    found: Mapping[str, str] = (report.get("Config") or {}).get("Labels") or {}
    name = owned_name(report.get("Name", ""), found)
    return None if name is None else described(report, name, found, local=local)


def described(report: Mapping[str, Any], name: str, found: Mapping[str, str], *, local: bool) -> Deployment:
    """As `found`, which are labels as `labels` makes them, says what the container is."""
    config: Mapping[str, Any] = report.get("Config") or {}
    state: Mapping[str, Any] = report.get("State") or {}
    host: Mapping[str, Any] = report.get("HostConfig") or {}
    lifecycle = _LIFECYCLES.get(state.get("Status", ""), Lifecycle.EXITED)
    ended = lifecycle is Lifecycle.EXITED
    error = word(state.get("Error") or "")
    if state.get("Paused"):
        error = f"It is paused: `docker unpause {name_of(report)}` lets it go on."
    try:
        service = Service.from_json(found.get(LABEL_SERVICE, ""))
    except (ValueError, TypeError, KeyError):
        # It is still ours to see, stop and remove.
        service = Service(protocol=Protocol.OPENAI, http="", health="")
        error = error or f"Its labels cannot be read (schema {word(found.get(LABEL_SCHEMA, '?'))}, not {SCHEMA})."
    return Deployment(
        name=name,
        runtime="docker",
        stack=clean_line(found.get(LABEL_STACK, "")),
        id=report.get("Id", ""),
        what=clean_line(config.get("Image") or ""),
        lifecycle=lifecycle,
        service=service,
        created_at=epoch(report.get("Created")) or 0.0,
        started_at=epoch(state.get("StartedAt")),
        finished_at=epoch(state.get("FinishedAt")) if ended else None,
        exit_code=state.get("ExitCode") if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=error,
        pid=(state.get("Pid") or None) if local else None,
        profile_digest=found.get(LABEL_PROFILE, ""),
        gpus=uuids(found.get(LABEL_GPUS, "").split(",")),
        image_id=clean_line(str(report.get("Image") or "")),
        launch_facts=found.get(LABEL_LAUNCH, ""),
        restarts_itself=(host.get("RestartPolicy") or {}).get("Name") not in (None, "", "no"),
        removed_when_stopped=bool(host.get("AutoRemove")),
        restarts=int(report.get("RestartCount") or 0),
    )


def name_of(report: Mapping[str, Any]) -> str:
    return clean_line(str(report.get("Name", ""))).removeprefix("/")


def epoch(stamp: str | None) -> float | None:
    """Docker's times; its year 1 stands for never."""
    if not stamp or stamp.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def word(explanation: object) -> str:
    """Docker's own word on one line, without ids, cut to what fits in a sentence."""
    text = _ID.sub(lambda match: match.group()[:12], " ".join(clean_line(str(explanation)).split()))
    return text if len(text) <= _LONGEST_WORD else text[: _LONGEST_WORD - 1] + "…"


def refused_limit(error: object) -> str:
    """The name of the limit that Docker could not set, as in `--ulimit`; empty for another error."""
    match = re.search(r"error setting rlimit type (\d+)", str(getattr(error, "explanation", "") or ""))
    names = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    return names.get(int(match[1]), "").removeprefix("RLIMIT_").lower() if match else ""


_REMEDIES = (
    (
        r"port is already allocated|address already in use",
        "Stop what listens on it, or choose another port in `expose`.",
    ),
    (r"could not select device driver", "Install nvidia-container-toolkit and restart Docker."),
    (r"nvidia-container-cli.*(?:nvml|driver)", "Check the driver with nvidia-smi; after a driver update, reboot."),
    (r"unknown device|no such device", "Compare `gpus` in the profile with `nvidia-smi -L`."),
    (r"bind source path does not exist", "Correct the path in the profile."),
    (r"executable file not found|no such file or directory: unknown", "Check the command against the image."),
    (r"error setting rlimit", "The engine may not raise this limit: remove the deployment, and start it again."),
    (r"no space left on device", "Free disk space: docker system df shows what takes it."),
    (
        r"manifest.* not found|manifest unknown|not found: manifest|repository .* not found",
        "Check the image's name and tag; for a new release, whether it is out.",
    ),
    (
        r"pull access denied|unauthorized|authentication required|no basic auth|access forbidden|403 Forbidden|denied:",
        "Check its name, and log in to its registry: `docker login`, and for nvcr.io with the user `$oauthtoken`.",
    ),
    (r"toomanyrequests|429 Too Many", "The registry limits how often it is asked: log in to it, or try again later."),
    (
        r"no such host|i/o timeout|connection refused|TLS handshake|context deadline|Client.Timeout|network is unreach",
        "The registry cannot be reached from here: check the network, its proxy, and the name.",
    ),
    (r"cannot assign requested address", "The machine does not have the address in `bind`."),
)


def remedy(explanation: str) -> str:
    """What to do about the refusals that are met most; empty for others."""
    return next((advice for pattern, advice in _REMEDIES if re.search(pattern, explanation, re.IGNORECASE)), "")
