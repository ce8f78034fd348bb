"""What the doctor makes of drivers and GPUs: nothing of those that are well, and what is wrong of others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.diagnose.doctor.daemon import Stock
from engine.diagnose.doctor.devices import Driver
from engine.diagnose.doctor.needs import Needs
from engine.finding import Severity
from engine.gpu_reading import GpuProcess
from engine.observe.nvml import GpuUse, Readout
from tests.unit.doctor_facts import (
    BIG,
    BROKEN_DRIVER,
    DRIVER,
    GIB,
    IMAGE,
    NO_DOCKER,
    NO_DRIVER,
    SMALL,
    gpu,
    look,
    worst,
)

ERROR, WARNING, INFO, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN
CARD = "/sys/bus/pci/devices/0000:01:00.0"
MODULE = "/proc/driver/nvidia/version"
NVRM = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.48.01  Mon Dec  1\n"


def test_no_driver_is_as_bad_as_somebody_wants_one(tmp_path: Path) -> None:
    (wanted,) = look("driver", tmp_path, driver=NO_DRIVER)
    assert (wanted.severity, wanted.title) == (ERROR, "No NVIDIA GPU")
    assert "wanted by big" in wanted.evidence
    examples = Needs((BIG,), wanted=False)
    assert worst(look("driver", tmp_path, driver=NO_DRIVER, needs=examples)) == [(WARNING, "No NVIDIA GPU")]
    assert worst(look("driver", tmp_path, driver=NO_DRIVER, needs=Needs((SMALL,)))) == [(INFO, "No NVIDIA GPU")]
    for check in ("gpu-health", "gpu-topology", "gpu-users", "driver-for-images"):
        assert look(check, tmp_path, driver=NO_DRIVER) == ()


def test_a_card_without_its_driver(tmp_path: Path) -> None:
    card = {f"{CARD}/class": "0x030200\n", f"{CARD}/vendor": "0x10de\n", "/etc/os-release": "ID=debian\n"}
    (found,) = look("driver", tmp_path, {"files": {**card, "/proc/modules": "nouveau 1 0\n"}}, driver=NO_DRIVER)
    assert (found.title, found.command) == ("The NVIDIA driver is not loaded", "sudo apt install nvidia-driver")
    assert "1 NVIDIA GPU on the PCI bus" in found.evidence
    assert "nouveau" in found.evidence
    (found,) = look("driver", tmp_path, {"files": {**card, MODULE: NVRM}}, driver=NO_DRIVER)
    assert found.title == "The NVIDIA driver's library is missing"
    bridge = {f"{CARD}/class": "0x068000\n"}
    (found,) = look("driver", tmp_path, {"files": {**card, **bridge}}, driver=NO_DRIVER)
    assert found.title == "No NVIDIA GPU"


def test_a_driver_whose_parts_differ(tmp_path: Path) -> None:
    texts = {MODULE: NVRM, "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.595.45.04": ""}
    (found,) = look("driver", tmp_path, {"files": texts}, driver=BROKEN_DRIVER)
    assert (found.severity, found.command) == (ERROR, "sudo systemctl reboot")
    assert "590.48.01" in found.evidence
    assert "595.45.04" in found.evidence


def test_gpus_that_are_lost_or_too_few(tmp_path: Path) -> None:
    lost = gpu(1, readout=Readout(1, lost=True, problem="GPU 1 is lost."))
    wants = replace(BIG, gpus=4)
    found = look("driver", tmp_path, driver=replace(DRIVER, devices=(gpu(0), lost)), needs=Needs((wants,)))
    assert worst(found) == [(ERROR, "GPU 1 is lost"), (ERROR, "Fewer GPUs than profiles want")]
    assert worst(look("gpu-health", tmp_path, driver=replace(DRIVER, devices=(gpu(0), lost)))) == []


@pytest.mark.parametrize(
    ("version", "cuda", "name", "expected"),
    [
        ("590.44.01", (13, 1), "NVIDIA H100", []),
        ("580.95.05", (13, 0), "NVIDIA H100", [(INFO, "The driver is older than an image's")]),
        ("570.86.10", (12, 8), "NVIDIA H100", [(WARNING, "The driver is older than an image's CUDA")]),
        ("570.86.10", (12, 8), "NVIDIA GeForce RTX 4090", [(ERROR, "The driver is too old for an image")]),
    ],
)
def test_the_driver_against_what_an_image_was_built_for(
    tmp_path: Path, version: str, cuda: tuple[int, int], name: str, expected: list[tuple[Severity, str]]
) -> None:
    device = gpu(0, readout=replace(gpu(0).readout, name=name))
    driver = Driver(version, cuda, (device,))
    # The tag tells it while the image is not here, and the image's own word is the same.
    for env in (None, {"CUDA_DRIVER_VERSION": "590.44.01", "CUDA_VERSION": "13.1.0.036"}):
        assert worst(look("driver-for-images", tmp_path, driver=driver, stock=Stock(env={IMAGE: env}))) == expected
    assert worst(look("driver-for-images", tmp_path, driver=driver, stock=NO_DOCKER)) == expected


@pytest.mark.parametrize(
    ("condition", "cuda", "refused"),
    [
        ("cuda>=12.8", (12, 8), False),
        ("cuda>=12.9", (12, 8), True),
        ("cuda>=12.9 brand=tesla,driver>=570,driver<571", (12, 8), False),
        ("cuda>=12.9 brand=tesla,driver>=535,driver<536", (12, 8), True),
        ("something new", (12, 8), False),
    ],
)
def test_what_the_container_toolkit_would_refuse(
    tmp_path: Path, condition: str, cuda: tuple[int, int], refused: bool
) -> None:
    need = replace(BIG, image="vllm/vllm-openai:v0.11.0")
    stock = Stock(env={need.image: {"NVIDIA_REQUIRE_CUDA": condition}})
    driver = Driver("570.86.10", cuda, (gpu(0),))
    found = worst(look("driver-for-images", tmp_path, driver=driver, stock=stock, needs=Needs((need,))))
    assert found == ([(ERROR, "The driver is too old for an image")] if refused else [])
    (untold,) = look("driver-for-images", tmp_path, stock=Stock(env={need.image: None}), needs=Needs((need,)))
    assert untold.severity is INFO


@pytest.mark.parametrize(("capability", "cuda"), [((10, 0), "12.6.3"), ((12, 0), "12.4.1"), ((7, 0), "13.0.1")])
def test_an_image_without_code_for_the_gpu(tmp_path: Path, capability: tuple[int, int], cuda: str) -> None:
    driver = replace(DRIVER, devices=(gpu(0, capability=capability),))
    stock = Stock(env={IMAGE: {"CUDA_VERSION": cuda}})
    assert worst(look("driver-for-images", tmp_path, driver=driver, stock=stock)) == [
        (ERROR, "An image has no code for this GPU")
    ]
    assert worst(look("driver-for-images", tmp_path, stock=stock)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uncorrected": 2}, (WARNING, "GPU 0 has had memory errors")),
        ({"repair_pending": True}, (WARNING, "GPU 0 waits for a reset")),
        ({"repair_failed": True, "repair_pending": True}, (ERROR, "GPU 0 has broken memory")),
        ({"ecc": False, "uncorrected": None}, (INFO, "GPU 0 without ECC")),
        ({"held_back": ("hardware slowdown", "hardware thermal slowdown")}, (WARNING, "GPU 0 is too hot")),
        ({"slowdown_at": 42.0}, (WARNING, "GPU 0 is too hot")),
        ({"held_back": ("power brake",)}, (WARNING, "GPU 0 is held back by the hardware")),
        ({"held_back": ("power cap",)}, (INFO, "GPU 0 at the power limit")),
        ({"default_limit": 900.0}, (WARNING, "GPU 0 may take less power than usual")),
        ({"compute": "prohibited"}, (ERROR, "GPU 0 may not compute")),
        ({"compute": "exclusive process"}, (INFO, "GPU 0 for one process only")),
        ({"mig": True}, (INFO, "GPU 0 is divided (MIG)")),
        ({"persistent": False}, (INFO, "GPU 0 without persistence")),
    ],
)
def test_gpus_that_are_not_well(tmp_path: Path, changes: dict[str, Any], expected: tuple[Severity, str]) -> None:
    driver = replace(DRIVER, devices=(gpu(0, **changes), gpu(1)))
    assert worst(look("gpu-health", tmp_path, driver=driver)) == [expected]


def test_how_gpus_are_joined(tmp_path: Path) -> None:
    four = tuple(gpu(index) for index in range(4))
    pairs = {(a, b): "the link between CPUs" for a in range(4) for b in range(4) if a < b}
    some = Driver("590.48.01", (13, 1), four, {**pairs, (0, 1): "NVLink", (2, 3): "NVLink"})
    (found,) = look("gpu-topology", tmp_path, driver=some)
    assert "With NVLink: 0–1, 2–3." in found.evidence
    (found,) = look("gpu-topology", tmp_path, driver=replace(some, paths=pairs))
    assert found.title == "No NVLink between the GPUs"
    assert "Over several GPUs goes: big." in found.evidence
    (calm,) = look("gpu-topology", tmp_path, driver=replace(some, paths=pairs), needs=Needs((SMALL,)))
    assert calm.remedy == ""
    assert look("gpu-topology", tmp_path, driver=replace(some, devices=four[:1])) == ()
    blocked = replace(some, blocked=frozenset({(0, 2)}))
    assert (INFO, "GPUs that cannot reach each other's memory") in worst(look("gpu-topology", tmp_path, driver=blocked))
    iommu = {"files": {"/sys/class/iommu/dmar0/x": "", "/proc/cmdline": "quiet"}}
    assert (INFO, "The IOMMU is on") in worst(look("gpu-topology", tmp_path, iommu, driver=some))
    passes = {"files": {"/proc/cmdline": "quiet iommu=pt"}}
    assert (INFO, "The IOMMU is on") not in worst(look("gpu-topology", tmp_path, passes, driver=some))


def test_a_fabric_that_is_not_up_and_a_link_that_is_down(tmp_path: Path) -> None:
    one, other = gpu(0, fabric="in progress", links=(True,) * 4), gpu(1, links=(True, True, False, True))
    found = look("gpu-topology", tmp_path, driver=replace(DRIVER, devices=(one, other)))
    assert worst(found) == [
        (ERROR, "The NVLink fabric is not up"),
        (WARNING, "GPU 1 with fewer NVLinks than others"),
    ]
    unbridged = replace(other, links=(False,) * 4)
    assert worst(look("gpu-topology", tmp_path, driver=replace(DRIVER, devices=(gpu(0), unbridged)))) == []


def test_others_on_the_gpus(tmp_path: Path) -> None:
    service = Service(Protocol.TRITON, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
    ours = Deployment("big", "docker", "vllm", "id", IMAGE, Lifecycle.RUNNING, service, 1.0)
    uses = (
        GpuUse(0, "GPU-0", 60 * GIB, (GpuProcess(7, 60 * GIB, "VLLM::Worker", "big"),)),
        GpuUse(1, "GPU-1", 30 * GIB, (GpuProcess(8, 30 * GIB, "python3"), GpuProcess(9, None, "Xorg"))),
        GpuUse(2, "GPU-2", 30 * GIB, ()),
        GpuUse(3, "GPU-3", 100 << 20, (GpuProcess(10, 100 << 20, "Xorg"),)),
        GpuUse(4, "GPU-4", None, None),
    )
    driver = replace(DRIVER, devices=tuple(gpu(index) for index in range(5)))
    found = look("gpu-users", tmp_path, driver=driver, uses=uses, deployments=(ours,))
    assert worst(found) == [
        (WARNING, "GPU 1 is used by others"),
        (WARNING, "GPU 2 has memory in use by nobody"),
        (INFO, "GPU 3 is used by others"),
    ]
    held = replace(ours, gpus=("GPU-2",))
    found_held = look("gpu-users", tmp_path, driver=driver, uses=uses[2:3], deployments=(held,))
    assert worst(found_held) == [], "its processes may be out of sight"
    assert found[0].evidence.startswith("python3 (pid 8, 30 GiB), Xorg (pid 9): 30 GiB of 80 GiB")
