"""The driver against the images that the profiles name, and the GPUs against their CUDA."""

from collections.abc import Iterator, Mapping

from engine.diagnose.doctor.devices import Driver
from engine.diagnose.doctor.driver import INSTALL
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.image_drivers import Wanted, allows, cuda_major, wanted_of
from engine.diagnose.doctor.words import gpus, listed
from engine.errors import EngineError
from engine.finding import Finding, Severity
from engine.stacks.versions import ordered

ID = "driver-for-images"
_BLACKWELL, _CUDA_OF_BLACKWELL = (10, 0), (12, 8)
_LEAST_FOR_CUDA_13 = (7, 5)
"""CUDA 13 leaves out what came before Turing"""
_UPDATE = "Update the driver, or choose an older image."


def look(facts: Facts) -> Iterator[Finding]:
    needs, driver = facts.needs(), facts.driver()
    images = {need.image: wanted_of(need.image, None) for need in needs.on_gpus if need.image}
    for image, env in _variables(facts).items():
        if image in images and env is not None:
            images[image] = wanted_of(image, env)
    served: list[str] = []
    untold: list[str] = []
    for image, wanted in images.items():
        if not (wanted.driver or wanted.cuda or wanted.condition):
            untold.append(image)
            continue
        findings = [*_driver(facts, driver, image, wanted), *_gpus(facts, driver, image, wanted)]
        yield from findings
        if not findings:
            served.append(image)
    if served:
        yield Finding(ID, "The driver is new enough", Severity.OK, f"Driver {driver.version} for {listed(served)}.")
    if untold:
        yield Finding(
            ID,
            "The driver against some images",
            Severity.INFO,
            f"What {listed(untold)} need{'s' if len(untold) == 1 else ''} is told by their variables once they are"
            " here.",
        )


def _variables(facts: Facts) -> Mapping[str, Mapping[str, str] | None]:
    try:
        return facts.stock().env
    except EngineError:
        return {}  # the tags tell much of it


def _driver(facts: Facts, driver: Driver, image: str, wanted: Wanted) -> Iterator[Finding]:
    have = ordered(driver.version)
    if wanted.condition and driver.cuda and not allows(wanted.condition, driver.cuda, have):
        yield Finding(
            ID,
            "The driver is too old for an image",
            facts.needs().error,
            f"{image} has NVIDIA_REQUIRE_CUDA={_short(wanted.condition)}, without which the container toolkit refuses "
            f"to start it; driver {driver.version} has CUDA {_dotted(driver.cuda)} (NVML).",
            _UPDATE,
            INSTALL.get(facts.host.distribution(), ""),
        )
        return
    if not wanted.driver or have >= ordered(wanted.driver):
        return
    seen = f"{image} was built for driver {wanted.driver}{_with(wanted)} ({wanted.source}); this is {driver.version}"
    major = cuda_major(wanted)
    if major and driver.cuda and driver.cuda[0] < major:
        geforce = [device.index for device in driver.devices if "geforce" in device.readout.name.lower()]
        yield Finding(
            ID,
            "The driver is too old for an image" if geforce else "The driver is older than an image's CUDA",
            facts.needs().error if geforce else Severity.WARNING,
            f"{seen} with CUDA {_dotted(driver.cuda)} (NVML): it starts only by the image's compatibility libraries, "
            + (f"which {gpus(geforce)} (GeForce) cannot use." if geforce else "which data centre GPUs can use."),
            _UPDATE,
            INSTALL.get(facts.host.distribution(), ""),
        )
        return
    yield Finding(
        ID,
        "The driver is older than an image's",
        Severity.INFO,
        f"{seen}: {f'both CUDA {major}, so ' if major else ''}it starts in minor version compatibility.",
        "What compiles for the GPU at run time may fail so: then update the driver, or choose an older image.",
    )


def _gpus(facts: Facts, driver: Driver, image: str, wanted: Wanted) -> Iterator[Finding]:
    cuda = ordered(wanted.cuda)[:2]
    if not cuda:
        return
    new = [device for device in driver.devices if device.capability and device.capability >= _BLACKWELL]
    old = [device for device in driver.devices if device.capability and device.capability < _LEAST_FOR_CUDA_13]
    for devices, wrong, remedy in (
        (new, cuda < _CUDA_OF_BLACKWELL, "Choose an image with CUDA 12.8 or later (Triton 25.01 and later)."),
        (old, cuda >= (13,), "Choose an image with CUDA 12 (Triton 25.07 and earlier)."),
    ):
        if devices and wrong:
            named = gpus([device.index for device in devices])
            yield Finding(
                ID,
                "An image has no code for this GPU",
                facts.needs().error,
                f"{image} has CUDA {_dotted(cuda)} ({wanted.source}); {named} ({devices[0].readout.name}) "
                f"has compute capability {_dotted(devices[0].capability or ())} (NVML).",
                remedy,
            )


def _with(wanted: Wanted) -> str:
    return f" and CUDA {wanted.cuda}" if wanted.cuda else ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
