"""What gives containers the GPUs: NVIDIA's container toolkit, and that Docker knows of it."""

import re
from collections.abc import Iterator

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed
from engine.finding import Finding, Severity
from engine.observe.nvml import DriverError
from engine.stacks.versions import ordered

ID = "container-toolkit"
HOOK = "nvidia-container-runtime-hook"
"""Docker serves a request for GPUs when it finds this program as it starts (daemon/nvidia_linux.go of moby)"""
_ESCAPES = "1.17.8"
"""Earlier ones let a container out: CVE-2025-23266, CVE-2024-0132"""
_CONFIGURE = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
_INSTALL = {
    "ubuntu": "sudo apt install nvidia-container-toolkit && sudo systemctl restart docker",
    "debian": "sudo apt install nvidia-container-toolkit && sudo systemctl restart docker",
    "rhel": "sudo dnf install nvidia-container-toolkit && sudo systemctl restart docker",
    "fedora": "sudo dnf install nvidia-container-toolkit && sudo systemctl restart docker",
    "suse": "sudo zypper install nvidia-container-toolkit && sudo systemctl restart docker",
}


def look(facts: Facts) -> Iterator[Finding]:
    daemon, needs = facts.daemon(), facts.needs()
    if not daemon.local:
        return
    host = facts.host
    programs = {name: host.which(name) for name in (HOOK, "nvidia-ctk", "nvidia-container-cli")}
    wanting = [need.name for need in needs.on_gpus if need.on_docker]
    there = [path for path in programs.values() if path]
    specs = [
        f"{folder}/{name}" for folder in ("/etc/cdi", "/var/run/cdi") for name in host.names(folder) if "nvidia" in name
    ]
    seen = (
        f"Programs: {listed(there) or 'none'}; Docker's runtimes: {listed(daemon.runtimes)}, by default "
        f"{daemon.default_runtime or 'none'} (docker info); CDI: {listed(daemon.cdi_devices or specs) or 'none'}."
    )
    if not programs[HOOK]:
        yield _without(facts, seen, wanting, cdi=bool(daemon.cdi_devices or specs))
        return
    if not programs["nvidia-container-cli"]:
        yield Finding(
            ID,
            "The container toolkit is not whole",
            needs.error,
            f"{HOOK} is there, and nvidia-container-cli, which it calls, is not. {seen}",
            "Install the toolkit again.",
            _INSTALL.get(host.distribution(), ""),
        )
        return
    version = re.search(
        r"\d+\.\d+\.\d+", host.output([programs["nvidia-ctk"], "--version"]) if programs["nvidia-ctk"] else ""
    )
    if version and ordered(version[0]) < ordered(_ESCAPES):
        yield Finding(
            ID,
            "The container toolkit lets containers out",
            Severity.WARNING,
            f"Version {version[0]} (nvidia-ctk --version). In those before {_ESCAPES} a hostile image can take over"
            " the "
            "machine (CVE-2025-23266).",
            "Update it.",
            _INSTALL.get(host.distribution(), ""),
        )
    else:
        yield Finding(ID, f"Container toolkit {version[0] if version else ''}".strip(), Severity.OK, seen)
    yield from _reload(facts, daemon.cgroup_driver)


def _without(facts: Facts, seen: str, wanting: list[str], *, cdi: bool) -> Finding:
    needs = facts.needs()
    wanted_by = f" GPUs in containers are wanted by {listed(wanting)}." if wanting else ""
    if not wanting or not _has_driver(facts):
        why = (
            "There is no GPU that it could give to containers." if wanting else "No profile wants GPUs in a container."
        )
        return Finding(ID, "No NVIDIA container toolkit", Severity.INFO, f"{seen} {why}")
    if cdi:
        return Finding(
            ID,
            "GPUs for containers only by CDI",
            Severity.UNKNOWN,
            f"{HOOK} is not there. {seen} Whether this Docker serves `--gpus` so is seen at the first start.",
        )
    return Finding(
        ID,
        "No NVIDIA container toolkit",
        needs.error,
        f"Docker would say: could not select device driver with capabilities [[gpu]]. {seen}{wanted_by}",
        "Install it from NVIDIA's package repository, and restart Docker.",
        _INSTALL.get(facts.host.distribution(), _CONFIGURE),
    )


def _has_driver(facts: Facts) -> bool:
    try:
        return bool(facts.driver().devices)
    except DriverError:
        return bool(facts.host.cards())


def _reload(facts: Facts, cgroup_driver: str) -> Iterator[Finding]:
    """`systemctl daemon-reload` takes the devices away that systemd does not know (nvidia-container-toolkit#48)."""
    devices = [name for name in facts.host.names("/dev") if re.fullmatch(r"nvidia\d+", name)]
    if cgroup_driver != "systemd" or not devices or not facts.needs().on_docker:
        return
    if any(name.startswith("195:") for name in facts.host.names("/dev/char")):
        return
    yield Finding(
        ID,
        "Containers may lose their GPUs while they run",
        Severity.WARNING,
        f"Docker's cgroup driver is systemd (docker info), and /dev/char has no links for {listed(devices)}: "
        "a `systemctl daemon-reload` then takes the GPUs from running containers (NVML: Unknown Error).",
        "Make the links, and let a udev rule make them at every start, as NVIDIA describes it.",
        "sudo nvidia-ctk system create-dev-char-symlinks --create-all",
    )
