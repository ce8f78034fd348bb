"""How the GPUs are joined, for models that are spread over several: NVLink, PCIe, and what is in the way."""

from collections import Counter
from collections.abc import Iterator, Sequence

from engine.diagnose.doctor.devices import NVLINK, OTHER_CPU, Device, Driver
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import gpus, listed
from engine.finding import Finding, Severity

ID = "gpu-topology"


def look(facts: Facts) -> Iterator[Finding]:
    driver = facts.driver()
    devices = [device for device in driver.devices if not device.readout.lost]
    yield from _fabric(facts, devices)
    if len(devices) < 2:
        return
    yield from _uneven(devices)
    names = [need.name for need in facts.needs().parallel]
    joined = Counter(driver.paths.values())
    if not joined:
        yield Finding(ID, "How the GPUs are joined", Severity.UNKNOWN, "The driver does not tell (NVML topology).")
        return
    seen = "; ".join(f"{count} by {what}" for what, count in joined.most_common())
    used = f" Over several GPUs goes: {listed(names)}." if names else ""
    evidence = f"{joined.total()} pairs of GPUs: {seen} (NVML topology and peer-to-peer status).{used}"
    if joined[NVLINK] == joined.total():
        yield Finding(ID, "Every pair of GPUs has NVLink", Severity.OK, evidence)
    elif joined[NVLINK]:
        pairs = [f"{a}–{b}" for (a, b), what in driver.paths.items() if what == NVLINK]
        yield Finding(
            ID,
            "Some pairs of GPUs have NVLink",
            Severity.INFO,
            f"{evidence} With NVLink: {listed(pairs, 8)}.",
            "Name such GPUs together in `gpus` for a tensor parallel size that they suffice for." if names else "",
            "nvidia-smi topo -m",
        )
    else:
        across = joined[OTHER_CPU] and names
        yield Finding(
            ID,
            "No NVLink between the GPUs",
            Severity.INFO,
            evidence,
            "Tensor parallelism is slower so; `pipeline_parallel_size` sends less between GPUs."
            + (" Choose GPUs of one CPU for it." if across else "")
            if names
            else "",
            "nvidia-smi topo -m",
        )
    yield from _blocked(facts, driver, names)


def _fabric(facts: Facts, devices: Sequence[Device]) -> Iterator[Finding]:
    waiting = [device for device in devices if device.fabric in ("not started", "in progress")]
    if waiting:
        yield Finding(
            ID,
            "The NVLink fabric is not up",
            facts.needs().error,
            f"{gpus([one.index for one in waiting])}: registration with the NVSwitches {waiting[0].fabric} (NVML)."
            " Until it is"
            " completed CUDA fails with error 802, system not yet initialized.",
            "Start the fabric manager, of the driver's own version.",
            "sudo systemctl enable --now nvidia-fabricmanager",
        )


def _uneven(devices: Sequence[Device]) -> Iterator[Finding]:
    """GPUs of one kind have equally many links up, unless one is broken or its bridge is loose."""
    kinds: dict[str, list[Device]] = {}
    for device in devices:
        kinds.setdefault(device.readout.name, []).append(device)
    for name, alike in kinds.items():
        most = max(sum(device.links) for device in alike)
        fewer = [device for device in alike if 0 < sum(device.links) < most]
        if fewer:
            yield Finding(
                ID,
                f"{gpus([one.index for one in fewer])} with fewer NVLinks than others",
                Severity.WARNING,
                f"{name}: {', '.join(f'GPU {one.index} {sum(one.links)} of {len(one.links)}' for one in alike)} are"
                " up (NVML).",
                "A link that is down slows all that work together: have its bridge or the GPU looked at.",
                "nvidia-smi nvlink --status",
            )


def _blocked(facts: Facts, driver: Driver, names: Sequence[str]) -> Iterator[Finding]:
    if not names:
        return
    if driver.blocked:
        pairs = [f"{a}–{b}" for a, b in sorted(driver.blocked)]
        yield Finding(
            ID,
            "GPUs that cannot reach each other's memory",
            Severity.INFO,
            f"Peer-to-peer is not offered between {listed(pairs, 8)} (NVML): what they exchange goes through shared"
            " memory.",
        )
    elif facts.host.names("/sys/class/iommu") and "iommu=pt" not in facts.host.text("/proc/cmdline").split():
        yield Finding(
            ID,
            "The IOMMU is on",
            Severity.INFO,
            "/sys/class/iommu has one, and the kernel was started without iommu=pt: with ACS it can make exchange"
            " over PCIe"
            " slow, or let NCCL hang.",
            "If a server of several GPUs hangs at its start, look here first (NCCL_P2P_DISABLE=1 shows whether it"
            " is that).",
            "sudo lspci -vvv | grep -i acsctl",
        )
