"""Whether each GPU is well: memory errors, heat, what holds it back, and the modes it is in."""

from collections.abc import Callable, Iterator, Sequence

from engine.diagnose.doctor.devices import Device
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import gpus, listed
from engine.finding import Finding, Severity

ID = "gpu-health"
_NEAR_C = 5.0
_LOWER = 0.98
"""Of the default power limit: less is a limit that somebody set"""
_CAP, _HOT = "power cap", ("software thermal slowdown", "hardware thermal slowdown")


def look(facts: Facts) -> Iterator[Finding]:
    devices = [device for device in facts.driver().devices if not device.readout.lost]
    if not devices:
        return
    findings = [*_memory(facts, devices), *_heat(devices), *_power(devices), *_modes(facts, devices)]
    yield from findings
    if not any(one.severity in (Severity.ERROR, Severity.WARNING) for one in findings):
        hottest = max((device.readout.temperature or 0 for device in devices), default=0)
        ecc = (
            "no uncorrected ECC errors" if any(one.uncorrected is not None for one in devices) else "ECC is not counted"
        )
        yield Finding(
            ID, "The GPUs are well", Severity.OK, f"{ecc}, nothing slows them down, {hottest:.0f} °C at most (NVML)."
        )


def _memory(facts: Facts, devices: Sequence[Device]) -> Iterator[Finding]:
    for device in devices:
        if device.repair_failed:
            yield Finding(
                ID,
                f"{gpus([device.index])} has broken memory",
                facts.needs().error,
                f"Rows of its memory could not be remapped ({device.repaired} were; NVML).",
                "Have it replaced; until then serve on the others.",
                f"nvidia-smi -i {device.index} -q -d ROW_REMAPPER,ECC",
            )
        elif device.repair_pending:
            yield Finding(
                ID,
                f"{gpus([device.index])} waits for a reset",
                Severity.WARNING,
                "Memory that went bad is taken out of use at the next reset (pending row remapping or page"
                " retirement; NVML).",
                "Stop what runs on it and reset it, or restart the machine.",
                f"sudo nvidia-smi -i {device.index} --gpu-reset",
            )
        if device.uncorrected:
            yield Finding(
                ID,
                f"{gpus([device.index])} has had memory errors",
                Severity.WARNING,
                f"{device.uncorrected} uncorrected ECC errors since the driver was loaded (NVML); {device.repaired}"
                " rows or"
                " pages are out of use.",
                "What runs there may have ended with an Xid error: stop it and reset the GPU. If they come back,"
                " have it"
                " replaced.",
                f"nvidia-smi -i {device.index} -q -d ECC",
            )
    off = [device.index for device in devices if device.ecc is False]
    if off:
        yield Finding(
            ID,
            f"{gpus(off)} without ECC",
            Severity.INFO,
            "ECC is switched off (NVML): errors of memory are not noticed.",
            "Switch it on; it takes a restart, and on GPUs with GDDR memory some of it.",
            f"sudo nvidia-smi -i {_commas(off)} -e 1",
        )


def _heat(devices: Sequence[Device]) -> Iterator[Finding]:
    for device in devices:
        temperature, limit = device.readout.temperature, device.slowdown_at
        hot = [reason for reason in device.held_back if reason in _HOT]
        near = temperature is not None and limit is not None and temperature >= limit - _NEAR_C
        if hot or near:
            yield Finding(
                ID,
                f"{gpus([device.index])} is too hot",
                Severity.WARNING,
                f"{'–' if temperature is None else f'{temperature:.0f}'} °C"
                + (f", and it slows down at {limit:.0f} °C" if limit else "")
                + (f"; now: {listed(hot)}" if hot else "")
                + " (NVML).",
                "Look to fans and air; a lower power limit helps meanwhile.",
                f"nvidia-smi -i {device.index} -q -d TEMPERATURE,PERFORMANCE",
            )


def _power(devices: Sequence[Device]) -> Iterator[Finding]:
    for device in devices:
        limit, default = device.readout.power_limit, device.default_limit
        if limit is not None and default is not None and limit < default * _LOWER:
            yield Finding(
                ID,
                f"{gpus([device.index])} may take less power than usual",
                Severity.WARNING,
                f"Its limit is {limit:.0f} W, by default {default:.0f} W (NVML): it computes more slowly.",
                "If nobody wants it so, set it back.",
                f"sudo nvidia-smi -i {device.index} -pl {default:.0f}",
            )
        slowed = [reason for reason in device.held_back if reason not in (_CAP, *_HOT)]
        # A hardware slowdown is reported beside its cause, too.
        if slowed and not any(reason in _HOT for reason in device.held_back):
            yield Finding(
                ID,
                f"{gpus([device.index])} is held back by the hardware",
                Severity.WARNING,
                f"Now: {listed(slowed)} (NVML, clocks event reasons): the power supply or the board slows it down.",
                "Check its power cables and the machine's power supply.",
                f"nvidia-smi -i {device.index} -q -d PERFORMANCE,POWER",
            )
    capped = [device.index for device in devices if _CAP in device.held_back]
    if capped:
        yield Finding(
            ID,
            f"{gpus(capped)} at the power limit",
            Severity.INFO,
            "The power cap holds the clocks now (NVML), as under load.",
        )


def _modes(facts: Facts, devices: Sequence[Device]) -> Iterator[Finding]:
    def those(chosen: Callable[[Device], bool]) -> list[int]:
        return [device.index for device in devices if chosen(device)]

    if prohibited := those(lambda one: one.compute == "prohibited"):
        yield Finding(
            ID,
            f"{gpus(prohibited)} may not compute",
            facts.needs().error,
            "Compute mode prohibited (NVML): no program can use it.",
            "Set it back.",
            f"sudo nvidia-smi -i {_commas(prohibited)} -c DEFAULT",
        )
    if exclusive := those(lambda one: one.compute.startswith("exclusive")):
        yield Finding(
            ID,
            f"{gpus(exclusive)} for one process only",
            Severity.INFO,
            "Compute mode exclusive process (NVML): a second server on it, or one of several processes a GPU, fails"
            " with"
            " `all CUDA-capable devices are busy or unavailable`.",
            "Set it back unless that is wanted.",
            f"sudo nvidia-smi -i {_commas(exclusive)} -c DEFAULT",
        )
    if mig := those(lambda one: bool(one.mig)):
        whole = [need.name for need in facts.needs().on_gpus]
        yield Finding(
            ID,
            f"{gpus(mig)} is divided (MIG)" if len(mig) == 1 else f"{gpus(mig)} are divided (MIG)",
            Severity.INFO,
            "MIG is on (NVML): a whole GPU cannot be used, only its instances"
            + (f"; {listed(whole)} want GPUs." if whole else "."),
            "Name an instance's UUID in `gpus` of the profile.",
            "nvidia-smi -L",
        )
    if sleepy := those(lambda one: one.persistent is False):
        yield Finding(
            ID,
            f"{gpus(sleepy)} without persistence",
            Severity.INFO,
            "Persistence mode is off (NVML): with nothing running the driver lets the GPU go, and the next start"
            " and every"
            " look at it take seconds longer.",
            "Switch it on.",
            "sudo systemctl enable --now nvidia-persistenced || sudo nvidia-smi -pm 1",
        )


def _commas(indices: Sequence[int]) -> str:
    return ",".join(map(str, indices))
