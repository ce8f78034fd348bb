"""What an image needs of the driver: by its own variables, or where it is not here, by its tag.

`data/image_drivers.json` is the compatibility matrix of Triton's documentation (docs/introduction/compatibility.md of
triton-inference-server/server). A Triton image has the driver that it was built for in CUDA_DRIVER_VERSION; images made
from NVIDIA's CUDA images have in NVIDIA_REQUIRE_CUDA what the container toolkit refuses to start them without.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.stacks.backends import is_nvidias
from engine.stacks.versions import ordered

_TABLE = Path(__file__).parent / "data/image_drivers.json"
_TAG = re.compile(r":(\d\d\.\d\d)-(vllm|trtllm)-")
_CONDITION = re.compile(r"(cuda|driver|brand)(>=|<=|=|<|>)([\w.]+)")
_FIRST_OF_CUDA = {13: 580, 12: 525, 11: 450}
"""CUDA's major version -> the oldest branch of drivers for it (table 2 of NVIDIA's CUDA toolkit release notes)"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Empty where it is not known."""

    driver: str = ""
    """That it was built for"""
    cuda: str = ""
    """That it has"""
    condition: str = ""
    """In the container toolkit's words"""
    gigabytes: float | None = None
    """To fetch"""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    variant: str
    triton: str
    cuda: str
    driver: str
    gigabytes: float


@cache
def rows() -> dict[tuple[str, str], Row]:
    """By release and variant."""
    table = [Row(**row) for row in json.loads(_TABLE.read_text(encoding="utf-8"))]
    return {(row.triton, row.variant): row for row in table}


def wanted_of(image: str, env: Mapping[str, str] | None) -> Wanted:
    """`env`: the image's variables; None when it is not on this machine."""
    tag = _TAG.search(image) if is_nvidias(image) else None
    row = rows().get((tag[1], tag[2])) if tag else None
    size = row.gigabytes if row else None
    if env and (env.get("CUDA_DRIVER_VERSION") or env.get("NVIDIA_REQUIRE_CUDA") or env.get("CUDA_VERSION")):
        return Wanted(
            env.get("CUDA_DRIVER_VERSION", ""),
            env.get("CUDA_VERSION", ""),
            env.get("NVIDIA_REQUIRE_CUDA", ""),
            size,
            "the image's variables",
        )
    if row:
        return Wanted(row.driver, row.cuda, "", size, "Triton's compatibility matrix")
    return Wanted()


def cuda_major(wanted: Wanted) -> int | None:
    """Of the image, by its own word or by its driver's branch; None when neither is known."""
    if numbers := ordered(wanted.cuda):
        return numbers[0]
    branch = (ordered(wanted.driver) or (0,))[0]
    return next((major for major, first in _FIRST_OF_CUDA.items() if branch >= first), None)


def allows(condition: str, cuda: tuple[int, ...], driver: tuple[int, ...]) -> bool:
    """Whether the container toolkit starts such an image: one of the alternatives, which have spaces between them.

    Of an alternative for some brands only, the brand is taken to be this one: what is refused here is refused for all.
    """
    alternatives = [_CONDITION.findall(alternative) for alternative in condition.split()]
    known = [parts for parts in alternatives if parts]
    return not known or any(
        all(
            _holds({"cuda": cuda, "driver": driver}[what], sign, ordered(version))
            for what, sign, version in parts
            if what != "brand"
        )
        for parts in known
    )


def _holds(have: tuple[int, ...], sign: str, want: tuple[int, ...]) -> bool:
    if sign == "=":
        return have[: len(want)] == want
    return {">=": have >= want, "<=": have <= want, "<": have < want, ">": have > want}[sign]
