"""The NVIDIA driver: there, whole, and with every GPU."""

import re
from collections.abc import Iterator

from engine.diagnose.doctor.devices import Driver
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import gpus, listed, number
from engine.finding import Finding, Severity
from engine.observe.nvml import DriverError, DriverMissingError

ID = "driver"
MODULE = "/proc/driver/nvidia/version"
INSTALL = {
    "ubuntu": "sudo ubuntu-drivers install --gpgpu",
    "debian": "sudo apt install nvidia-driver",
    "rhel": "sudo dnf module install nvidia-driver:open-dkms",
    "fedora": "sudo dnf install akmod-nvidia",
}
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def look(facts: Facts) -> Iterator[Finding]:
    try:
        found = facts.driver()
    except DriverMissingError:
        yield _missing(facts)
    except DriverError as error:
        yield _broken(facts, error)
    else:
        yield from _there(facts, found)


def _missing(facts: Facts) -> Finding:
    host, needs = facts.host, facts.needs()
    cards, names = host.cards(), [need.name for need in needs.on_gpus]
    wanting = f"; GPUs are wanted by {listed(names)}" if names else ""
    pci = f"{number(len(cards), 'NVIDIA GPU')} on the PCI bus (/sys/bus/pci/devices)"
    if not cards:
        severity = needs.error if names else Severity.INFO
        remedy = "Run these profiles on a machine with NVIDIA GPUs." if names else ""
        return Finding(ID, "No NVIDIA GPU", severity, f"No driver, and {pci}{wanting}.", remedy)
    if module := _module(facts):
        return Finding(
            ID,
            "The NVIDIA driver's library is missing",
            needs.error,
            f"The kernel module {module} is loaded ({MODULE}), and libnvidia-ml.so.1 cannot be; {pci}{wanting}.",
            "Install the driver's libraries of the same version, and run ldconfig.",
            "ldconfig -p | grep libnvidia-ml",
        )
    nouveau = "nouveau" in host.text("/proc/modules")
    return Finding(
        ID,
        "The NVIDIA driver is not loaded",
        needs.error,
        f"{pci}{'; the module nouveau has them' if nouveau else ''}{wanting}.",
        "Install the driver, then restart the machine. Where it is installed already, the kernel's log says why it does"
        " not load (`sudo dmesg | grep -i nvidia`).",
        INSTALL.get(host.distribution(), "sudo modprobe nvidia"),
    )


def _broken(facts: Facts, error: DriverError) -> Finding:
    module, libraries = _module(facts), _library_versions(facts)
    if module and libraries and module not in libraries:
        return Finding(
            ID,
            "The NVIDIA driver's parts have different versions",
            facts.needs().error,
            f"The kernel module is {module} ({MODULE}), the library is {listed(libraries)}: no program can use the"
            " GPUs.",
            "Restart the machine, as after every update of the driver; or unload the module and load it again.",
            "sudo systemctl reboot",
        )
    seen = f" Kernel module: {module} ({MODULE})." if module else ""
    return Finding(
        ID,
        "The NVIDIA driver does not work",
        facts.needs().error,
        f"{error}{seen}",
        "The kernel's log says why.",
        "sudo dmesg | grep -iE 'nvrm|nvidia|xid'",
    )


def _there(facts: Facts, found: Driver) -> Iterator[Finding]:
    cards, needs = facts.host.cards(), facts.needs()
    module = _module(facts)
    cuda = f"CUDA up to {'.'.join(map(str, found.cuda))}, " if found.cuda else ""
    names = [device.readout.name for device in found.devices]
    counted = [f"{names.count(name)} × {name or 'a GPU without a name'}" for name in dict.fromkeys(names)]
    kernel = f"; kernel module {module} ({MODULE})" if module else ""
    if not found.devices:
        yield Finding(
            ID,
            "The NVIDIA driver reports no GPU",
            needs.error if needs.on_gpus else Severity.WARNING,
            f"Driver {found.version} (NVML){kernel}; {number(len(cards), 'NVIDIA GPU')} on the PCI bus.",
            "The kernel's log says why they are not taken up.",
            "sudo dmesg | grep -iE 'nvrm|xid'",
        )
        return
    yield Finding(ID, f"NVIDIA driver {found.version}", Severity.OK, f"{cuda}{listed(counted)} (NVML){kernel}.")
    lost = [device.index for device in found.devices if device.readout.lost]
    if lost:
        yield Finding(
            ID,
            f"{gpus(lost)} {'is' if len(lost) == 1 else 'are'} lost",
            needs.error,
            " ".join(device.readout.problem for device in found.devices if device.readout.lost) + " (NVML)",
            "Restart the machine. If it comes back, the kernel's log has its Xid number: have the GPU looked at.",
            "sudo dmesg | grep -i xid",
        )
    short = [f"{need.name} {need.gpus}" for need in needs.on_gpus if need.gpus > len(found.devices)]
    if short and needs.wanted and not any(device.mig for device in found.devices):
        yield Finding(
            ID,
            "Fewer GPUs than profiles want",
            Severity.ERROR,
            f"{number(len(found.devices), 'GPU')} (NVML); wanted: {listed(short)}.",
            "Lower `gpus` and the tensor parallel size in the profile, or serve it elsewhere.",
        )
    if len(cards) > len(found.devices):
        yield Finding(
            ID,
            "The driver has not taken up every GPU",
            Severity.WARNING,
            f"{number(len(cards), 'NVIDIA GPU')} on the PCI bus ({listed(cards, 8)}), and {len(found.devices)} with the"
            " driver (NVML).",
            "The kernel's log says why: a GPU that fell off the bus, or that this driver does not know.",
            "sudo dmesg | grep -iE 'nvrm|xid'",
        )


def _module(facts: Facts) -> str:
    """Version of the kernel module that is loaded; empty when none is."""
    first = facts.host.text(MODULE).partition("\n")[0]
    match = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", first)
    return match[1] if match else ""


def _library_versions(facts: Facts) -> list[str]:
    names = [name for folder in _LIBRARIES for name in facts.host.names(folder)]
    versions = (name.removeprefix("libnvidia-ml.so.") for name in names if name.startswith("libnvidia-ml.so."))
    return sorted({version for version in versions if "." in version})
