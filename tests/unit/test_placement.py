"""Which GPUs a profile gets on a machine whose GPUs are known, and what is in its way."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import InvalidProfile
from engine.gpu_reading import Gpu
from engine.profile import Profile
from engine.runtimes.gpu_uuids import listed, uuids
from engine.stacks.placement import Credit, Machine, place

GIB = 1 << 30
UUIDS = tuple(f"GPU-00000000-0000-0000-0000-{index:012d}" for index in range(4))
MIG = "MIG-00000000-0000-0000-0000-000000000007"
GPUS = tuple(Gpu(index, uuid, "H100", 0, index * GIB, 80 * GIB, 30, 70, 700) for index, uuid in enumerate(UUIDS))


def profile(gpus: Any, **more: Any) -> Profile:
    return Profile.model_validate({"name": "m", "stack": "triton", "gpus": gpus, **more})


def test_the_emptiest_free_gpus_are_taken() -> None:
    busy = Machine(GPUS, {UUIDS[0]: ("a",)})
    placed = place(profile(2), busy)
    assert placed.gpus == UUIDS[1:3]
    assert not placed.obstacles
    assert [(gpu.index, gpu.uuid, gpu.memory_used) for gpu in placed.placed] == [
        (1, UUIDS[1], GIB),
        (2, UUIDS[2], 2 * GIB),
    ]


def test_a_lost_gpu_comes_last() -> None:
    lost = replace(GPUS[0], memory_used=None, memory_total=None, error="GPU 0 is lost.")
    assert place(profile(3), Machine((lost, *GPUS[1:]))).gpus == UUIDS[1:]


def test_those_of_the_last_run_are_had_again_while_they_are_free() -> None:
    assert place(profile(1), Machine(GPUS, kept=(UUIDS[3],))).gpus == (UUIDS[3],)
    assert place(profile(1), Machine(GPUS, {UUIDS[3]: ("a",)}, kept=(UUIDS[3],))).gpus == (UUIDS[0],)


def test_what_others_hold_is_an_obstacle_and_its_own_is_not() -> None:
    machine = Machine(GPUS, {UUIDS[0]: ("m", "a"), UUIDS[1]: ("a",), UUIDS[2]: ("b", "c")})
    placed = place(profile("all"), machine)
    assert placed.gpus == UUIDS
    assert placed.obstacles == (
        "GPU 0, 1 are used by a: stop it, or set `share_gpus: true`.",
        "GPU 2 is used by b and c: stop them, or set `share_gpus: true`.",
    )
    assert placed.placed[0].used_by == ("a",)
    assert placed.placed[0].memory_used is None, "how much of it is its own is not known"
    assert not place(profile("all", share_gpus=True), machine).obstacles
    assert not place(profile([0]), Machine(GPUS, {UUIDS[0]: ("m",)})).obstacles


def test_what_goes_is_in_nobodys_way_and_its_memory_is_free() -> None:
    holders = {UUIDS[1]: ("a",), UUIDS[2]: ("a", "b"), UUIDS[3]: ("a",)}
    credit = Credit(frozenset({"a"}), {UUIDS[1]: GIB // 2, UUIDS[2]: 5 * GIB})
    placed = place(profile("all"), Machine(GPUS, holders, credit=credit))
    assert [gpu.memory_used for gpu in placed.placed] == [0, GIB // 2, 0, None]
    assert [gpu.used_by for gpu in placed.placed] == [(), (), ("b",), ()]
    assert placed.obstacles == ("GPU 2 is used by b: stop it, or set `share_gpus: true`.",)


def test_one_takes_the_place_of_what_goes_unless_it_can_be_kept_elsewhere() -> None:
    credit = Credit(frozenset({"a"}), {UUIDS[3]: GIB})
    assert place(profile(1), Machine(GPUS, {UUIDS[3]: ("a",)}, credit=credit)).gpus == (UUIDS[3],)
    kept = Machine(GPUS, {UUIDS[3]: ("a",)}, kept=(UUIDS[2],), credit=credit)
    assert place(profile(1), kept).gpus == (UUIDS[2],)
    unknown = Machine(GPUS, credit=Credit(frozenset({"a"}), {UUIDS[3]: 3 * GIB}))
    assert place(profile([3]), unknown).placed[0].memory_used == 0, "its processes are seen, though its GPUs are not"


@pytest.mark.parametrize("named", [[1, "2"], [UUIDS[1], UUIDS[2]], ["GPU-00000000-0000-0000-0000-000000000001", 2]])
def test_gpus_by_index_and_uuid(named: list[int | str]) -> None:
    assert place(profile(named), Machine(GPUS)).gpus == UUIDS[1:3]


def test_a_mig_instance_passes_and_its_holder_is_seen() -> None:
    placed = place(profile([MIG]), Machine(GPUS, {MIG: ("a",)}))
    assert placed.gpus == (MIG,)
    assert "used by a" in placed.obstacles[0]


@pytest.mark.parametrize(
    ("gpus", "what"),
    [
        (5, "wants 5 GPUs, and this machine has 4"),
        ([4], "no GPU `4`"),
        ([0, UUIDS[0]], "twice"),
        (["GPU-0"], "any of 0 .*, 3 .*more of its UUID"),
        ([""], "no GPU ``"),
    ],
)
def test_what_the_machine_lacks(gpus: Any, what: str) -> None:
    with pytest.raises(InvalidProfile, match=what):
        place(profile(gpus), Machine(GPUS))


@pytest.mark.parametrize(("gpus", "as_launched"), [(2, 2), ("all", -1), ([0, "GPU-a"], ("0", "GPU-a")), (0, 0)])
def test_without_known_gpus_it_is_left_to_the_runtime(gpus: Any, as_launched: Any) -> None:
    placed = place(profile(gpus), Machine())
    assert (placed.gpus, placed.placed) == (as_launched, ())


def test_uuids_are_told_from_what_is_none() -> None:
    for uuid in (UUIDS[0], MIG, "MIG-GPU-00000000-0000-0000-0000-000000000001/7/0"):
        assert uuids([uuid]) == (uuid,)
    for words in (["0"], [""], ["GPU-0"], [UUIDS[0], "1"], [UUIDS[0] + "\n"], []):
        assert uuids(words) == ()


def test_what_nvidia_smi_lists() -> None:
    text = (
        f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {UUIDS[0]})\r\n"
        f"GPU 1: NVIDIA A100-SXM4-40GB (UUID: {UUIDS[1]})\r\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {MIG})\r\n"
        f"  MIG 1g.5gb      Device  1: (UUID: {MIG[:-1]}8)\r\n"
        "\x1b[31mGPU 2: (UUID: GPU-\x1b]52;c;aGk=\x07)\r\nwarning: something\r\n"
    )
    assert listed(text) == (UUIDS[0], MIG, MIG[:-1] + "8")
    assert listed("No devices found.") == ()
