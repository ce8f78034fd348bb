"""What the doctor reads of GPUs, through the real ctypes path, from a library compiled for the purpose."""

from pathlib import Path

import pytest

from tests import fakenvml

NOT_SUPPORTED, DRIVER_NOT_LOADED, MISMATCH = 3, 9, 18
needs_compiler = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs gcc to build the stand-in for NVML")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakenvml.build(tmp_path_factory.mktemp("nvml"))


@needs_compiler
def test_a_machine_that_is_well(library: Path) -> None:
    told = fakenvml.looked_over(library, "count=2", "0.1.nvlink=0", "0.links=1111", "1.links=1111")
    assert (told["version"], told["cuda"]) == ("580.95.05", [13, 0])
    assert told["paths"] == {"0-1": "NVLink"}
    assert told["blocked"] == []
    for device in told["devices"]:
        del device["readout"]
        assert device == {
            "capability": [9, 0],
            "ecc": True,
            "uncorrected": 0,
            "repair_pending": False,
            "repair_failed": False,
            "repaired": 0,
            "held_back": [],
            "slowdown_at": 89,
            "default_limit": 700,
            "persistent": True,
            "mig": False,
            "compute": "",
            "links": [True] * 4,
            "fabric": "",
        }


@needs_compiler
def test_one_that_is_not(library: Path) -> None:
    told = fakenvml.looked_over(
        library,
        "count=3",
        "cuda=12090",
        "0.ecc_errors=3",
        "0.rows=4,1,1,0",
        f"0.reasons={0x8 | 0x40 | 0x1}",
        "0.slowdown=95",
        "0.default_limit=350000",
        "0.persistent=0",
        "0.mig=1",
        "0.compute=3",
        "0.links=110",
        "0.fabric=2",
        "1.rows=9,9,1,1",
        "1.ecc=0",
        f"2.rows.code={NOT_SUPPORTED}",
        "2.retired=7",
        "2.retired_pending=1",
        f"2.mig.code={NOT_SUPPORTED}",
        f"2.slowdown.code={NOT_SUPPORTED}",
        f"2.fabric.code={NOT_SUPPORTED}",
        "0.1.level=10",
        "0.2.level=30",
        "0.2.reads=1",
        "1.2.nvlink=0",
        "no_event_reasons=1",
    )
    first, second, third = told["devices"]
    assert told["cuda"] == [12, 9]
    assert (first["uncorrected"], first["repair_pending"], first["repair_failed"], first["repaired"]) == (
        3,
        True,
        False,
        5,
    )
    assert first["held_back"] == ["hardware slowdown", "hardware thermal slowdown"]
    assert (first["slowdown_at"], first["default_limit"], first["persistent"]) == (95, 350, False)
    assert (first["mig"], first["compute"], first["fabric"]) == (True, "exclusive process", "in progress")
    assert first["links"] == [True, True, False]
    assert (second["repair_failed"], second["ecc"], second["uncorrected"]) == (True, False, None)
    assert (third["repaired"], third["repair_pending"], third["mig"], third["slowdown_at"]) == (7, True, None, None)
    assert told["paths"] == {"0-1": "one PCIe switch", "0-2": "the PCIe root of one CPU", "1-2": "NVLink"}
    assert told["blocked"] == ["0-2"]


@needs_compiler
def test_a_driver_that_does_not_work(library: Path) -> None:
    assert "not loaded" in fakenvml.looked_over(library, f"init={DRIVER_NOT_LOADED}")["error"]
    assert "different versions" in fakenvml.looked_over(library, f"init={MISMATCH}")["error"]


@needs_compiler
def test_the_command_on_a_machine_with_gpus(library: Path, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    profile = "name: mine\nstack: vllm\nimage: nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3\nmodel: a/b\ngpus: 3\n"
    (tmp_path / "profiles/mine.yaml").write_text(profile.replace("stack: vllm", "stack: triton-vllm"))
    control = ("count=2", "driver=570.86.10", "cuda=12080", "1.ecc_errors=2", "0.used=0", "1.process=1,9000000000")
    code, found = fakenvml.doctor(library, tmp_path, *control)
    assert code == 1
    told = {(one["severity"], one["title"]) for one in found}
    assert {
        ("ok", "NVIDIA driver 570.86.10"),
        ("error", "Fewer GPUs than profiles want"),
        ("warning", "The driver is older than an image's CUDA"),
        ("warning", "GPU 1 has had memory errors"),
        ("warning", "GPU 1 is used by others"),
        ("error", "Docker is not here"),
    } <= told
