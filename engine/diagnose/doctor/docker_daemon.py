"""The Docker Engine: whether it answers, what it is, and how it is set up."""

import json
from collections.abc import Iterator
from shlex import quote

from engine.diagnose.doctor.daemon import Daemon
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed
from engine.errors import EngineError, RuntimeAbsent
from engine.finding import Finding, Severity

ID = "docker"
CONFIGURATION = "/etc/docker/daemon.json"
_SLOW = ("vfs", "devicemapper", "aufs", "overlay")
_OPEN = "without encryption"
"""As in `WARNING: API is accessible on http://0.0.0.0:2375 without encryption.`"""


def look(facts: Facts) -> Iterator[Finding]:
    needs = facts.needs()
    on_docker = [need.name for need in needs.on_docker]
    try:
        daemon = facts.daemon()
    except EngineError as error:
        wanted = f" Wanted by {listed(on_docker)}." if on_docker else ""
        absent = isinstance(error, RuntimeAbsent)
        severity = needs.error if on_docker else Severity.INFO if absent else Severity.WARNING
        title = "Docker is not here" if absent else "Docker cannot be used"
        yield Finding(ID, title, severity, f"{error.what}{wanted}", error.remedy)
        return
    cgroups = f"cgroup {daemon.cgroup_version or '?'} by {daemon.cgroup_driver}"
    rootless = ", rootless" if daemon.rootless else ""
    yield Finding(
        ID,
        f"Docker {daemon.version}",
        Severity.OK,
        f"It answers at {daemon.url}{rootless}: API {daemon.api}, storage {daemon.storage}, {cgroups} (docker info).",
    )
    yield from _set_up(daemon)
    if daemon.local:
        yield from _configuration(facts, daemon)


def _set_up(daemon: Daemon) -> Iterator[Finding]:
    if daemon.storage in _SLOW:
        yield Finding(
            ID,
            f"Docker's storage driver is {daemon.storage}",
            Severity.WARNING,
            f"Storage driver {daemon.storage} (docker info): every container costs a copy, or time, with images of"
            " 10 to"
            " 30 GB.",
            "Set `storage-driver` to overlay2 in daemon.json, and fetch the images anew.",
        )
    if daemon.rootless:
        yield Finding(
            ID,
            "Docker runs without root",
            Severity.INFO,
            "Security option rootless (docker info): the container toolkit needs `no-cgroups = true` there.",
            "Set it once in the toolkit's configuration.",
            "sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place",
        )
    if not daemon.live_restore and not daemon.swarm:
        yield Finding(
            ID,
            "A restart of Docker stops every model",
            Severity.INFO,
            "live-restore is off (docker info): containers end with Docker, also when an update restarts it.",
            f'Set `"live-restore": true` in {CONFIGURATION}; Docker takes that up without a restart.',
            "sudo systemctl reload docker",
        )
    for warning in daemon.warnings:
        said = warning.removeprefix("WARNING: ")
        if _OPEN in warning:
            yield Finding(
                ID,
                "Docker's API is open to the network",
                Severity.WARNING,
                f"Docker says: {said}",
                "Whoever reaches that port is root on this machine: take the tcp address out of `hosts`, or protect it"
                " with TLS.",
                f"sudo grep -rn tcp:// {CONFIGURATION} /etc/systemd/system/docker.service.d",
            )
        else:
            yield Finding(ID, "Docker's own warning", Severity.INFO, f"{said} (docker info)")


def _configuration(facts: Facts, daemon: Daemon) -> Iterator[Finding]:
    file = str(facts.host.home / ".config/docker/daemon.json") if daemon.rootless else CONFIGURATION
    text, options = facts.host.text(file), {}
    if text.strip():
        try:
            options = json.loads(text)
        except ValueError as error:
            yield Finding(
                ID,
                "Docker's configuration is no JSON",
                Severity.WARNING,
                f"{file}: {error}. Docker goes on as it is, and will not start again.",
                "Correct the file.",
                f"python3 -m json.tool {quote(file)}",
            )
            return
    if not isinstance(options, dict) or facts.host.forbids(file):
        return
    runtimes = options.get("runtimes")
    nvidia = runtimes.get("nvidia") if isinstance(runtimes, dict) else None
    program = str(nvidia.get("path") or "") if isinstance(nvidia, dict) else ""
    if program and not facts.host.which(program):
        yield Finding(
            ID,
            "Docker's runtime nvidia has no program",
            Severity.WARNING,
            f"{file} names {program} for it, and there is no such program.",
            "Install the container toolkit again, or take that runtime out of the file.",
            "sudo nvidia-ctk runtime configure --runtime=docker",
        )
    log_options = options.get("log-opts")
    if daemon.log_driver == "json-file" and not (isinstance(log_options, dict) and log_options.get("max-size")):
        yield Finding(
            ID,
            "Logs of containers grow without limit",
            Severity.INFO,
            f"Log driver json-file (docker info), and no `max-size` in {file}.",
            'Set `"log-driver": "local"` there, which rotates; it holds for containers that are created afterwards.',
            "sudo systemctl restart docker",
        )
