"""Drivers that answer, and not with the truth."""

from pathlib import Path

import pytest

from tests import fakenvml

pytestmark = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakenvml.build(tmp_path_factory.mktemp("nvml"))


def test_what_stands_for_no_number_is_no_number(library: Path) -> None:
    numbers = ("util", "busy", "temperature", "power", "limit", "used", "reserved", "fan", "clock", "pcie_rx")
    control = "count=1\n" + "".join(f"0.{what}=-1\n" for what in numbers) + "0.process=4294967295,-1\n0.process=0,5\n"
    told = fakenvml.watch(library, control)
    gpu = told["readings"][0]["gpus"][0]
    fields = ("utilization", "memory_busy", "temperature", "power", "power_limit", "memory_used", "memory_reserved")
    assert {field: gpu[field] for field in (*fields, "fan", "clock")} == dict.fromkeys((*fields, "fan", "clock"))
    assert gpu["memory_total"] is not None
    assert gpu["error"] == ""
    assert [(one["pid"], one["used"]) for one in gpu["processes"]] == [(4294967295, None), (0, 5)]
    assert {one["key"] for one in told["histories"][0]}.isdisjoint({"utilization", "memory_used", "power"})


def test_gpus_that_are_added_and_taken_away_are_seen(library: Path) -> None:
    counts = (4, 2, 2, 8, 8, 0, 0, 1)
    readings = fakenvml.sample(library, [f"count={count}\n" for count in counts])
    assert [len(reading["gpus"]) for reading in readings] == [4, 4, 2, 2, 8, 8, 0, 1]
    assert not any(gpu["error"] for reading in readings for gpu in reading["gpus"])


def test_two_with_one_uuid_do_not_pass_for_each_other(library: Path) -> None:
    control = "count=2\n0.uuid=GPU-a\n1.uuid=GPU-a\n0.util=5\n1.util=90\n"
    told = fakenvml.watch(library, control, control)
    assert [gpu["utilization"] for gpu in told["readings"][-1]["gpus"]] == [5, 90]
    first, second = told["histories"]
    assert next(one["values"] for one in first if one["key"] == "utilization")[-1] == 5
    assert second == []


def test_names_and_processes_that_would_steer_a_terminal(library: Path) -> None:
    gpu = fakenvml.watch(library, "count=1\n0.name=\x1b[2JH100\x07\n0.uuid=GPU-\x1b]0;x\x07a\n")["readings"][0]["gpus"][
        0
    ]
    assert (gpu["name"], gpu["uuid"]) == ("H100", "GPU-a")
