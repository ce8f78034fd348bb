"""What an image or a program holds: the versions of Triton, vLLM and TensorRT-LLM.

`data/triton_releases.json` is the compatibility matrix of Triton's documentation (docs/introduction/compatibility.md of
triton-inference-server/server), with the server's version from the TRITON_VERSION of each release's branch.
"""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.stacks.backends import NGC, is_nvidias
from engine.stacks.context import PlanContext

_TABLE = Path(__file__).parent / "data/triton_releases.json"
_VERSION = re.compile(r"v?(\d+(?:\.\d+)+(?:\.?(?:post|rc|dev)\d+)?)(?=$|[-+_])")
_RELEASE = re.compile(r"(\d\d\.\d\d)(?=$|[-+_])")

Part = Literal["vllm", "tensorrt_llm"]
_ENGINE: dict[str, tuple[Part, str, str]] = {
    "vllm": ("vllm", "vLLM", ""),
    "triton-vllm": ("vllm", "vLLM", "vllm"),
    "triton-trtllm": ("tensorrt_llm", "TensorRT-LLM", "trtllm"),
}
"""Stack -> its engine, the engine's name, and the word by which Triton's tags tell the image that has it"""


@dataclass(frozen=True, slots=True)
class Versions:
    """Each None when it is not there, or not known."""

    triton: str | None = None
    """The release, e.g. 25.12"""
    vllm: str | None = None
    tensorrt_llm: str | None = None
    source: str = ""
    """How they are known, in a few words"""
    at_least: bool = False
    """The release is later than the table: the engine's version is the newest one's in it, and so a lower bound"""

    def facts(self) -> dict[str, str]:
        """For `Plan.versions`: only what is known."""
        later = " or later" if self.at_least else ""
        known = {
            "Triton": self.triton,
            "vLLM": self.vllm and self.vllm + later,
            "TensorRT-LLM": self.tensorrt_llm and self.tensorrt_llm + later,
        }
        return {name: version for name, version in known.items() if version}


@dataclass(frozen=True, slots=True)
class Release:
    triton: str
    server: str
    vllm: str
    tensorrt_llm: str


def versions_of(context: PlanContext, program: Path | None = None) -> Versions:
    """By the profile's `version`, the image's tag, the image's variables, or what is installed beside `program`.

    Warns when the engine's version cannot be told. Raises `InvalidProfile` for a `version` that is none, and for an
    image of NVIDIA's that is known not to hold the stack's engine.
    """
    stated, engine = context.profile.version, _ENGINE.get(context.profile.stack)
    if context.on_docker:
        found = _of_image(context, context.image(), complete=bool(stated))
    else:
        found = _of_program(program) if program else Versions()
    if not engine:
        return found
    part, name, _ = engine
    if stated:
        version = _VERSION.match(stated)
        if not version:
            raise context.invalid(f"`version: {stated}` is no version.", f"Write {name}'s, e.g. `version: 1.2.3`.")
        if part == "vllm":
            return replace(found, vllm=version[1], source="the profile", at_least=False)
        return replace(found, tensorrt_llm=version[1], source="the profile", at_least=False)
    if not getattr(found, part):
        where = context.profile.image if context.on_docker else program or "the program"
        context.warnings.append(
            f"Which {name} {where} has is not known, so its options are not checked: state it as `version:`."
        )
        return replace(found, source="")
    if found.at_least:
        context.warnings.append(f"{found.source}: options that it does not know are let pass.")
    return found


def ordered(version: str) -> tuple[int, ...]:
    """For comparing releases: 0.9.0rc1, 0.9 and 0.9.0.post1 count as one. Empty for what is no version."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version)
    numbers = [int(number) for number in match[1].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


@cache
def releases() -> tuple[Release, ...]:
    """Oldest first."""
    return tuple(Release(**row) for row in json.loads(_TABLE.read_text(encoding="utf-8")))


def _of_image(context: PlanContext, image: str, *, complete: bool) -> Versions:
    """`complete`: what the tag does not tell is not needed."""
    repository, tag = _split(image)
    stack = context.profile.stack
    name = repository.rpartition("/")[2]
    release = _RELEASE.match(tag) if name.endswith("tritonserver") else None
    if release:
        if is_nvidias(image):
            _refuse_without_engine(context, image, f"{repository}:{release[1]}", tag)
        return _of_release(stack, release[1], tag)
    version = _VERSION.match(tag) if "vllm" in name and tag.count(".") > 1 else None
    if name == "vllm-openai" and stack != "vllm":
        raise context.invalid(f"the image {image} has vLLM without Triton.", f"Use one of {NGC}, or `stack: vllm`.")
    if version:
        return Versions(vllm=version[1], source="the image's tag")
    return Versions() if complete else _of_variables(context, image)


def _of_variables(context: PlanContext, image: str) -> Versions:
    """As Triton's build.py, NVIDIA's vLLM images and TensorRT-LLM's Dockerfile set them."""
    try:
        env = context.machine.image_env(image)
    except (RuntimeUnreachable, OperationFailed):
        return Versions()  # a plan can be made all the same; the start will say it
    triton = _RELEASE.match(env.get("NVIDIA_TRITON_SERVER_VERSION", ""))
    server = env.get("TRITON_SERVER_VERSION", "")
    release = triton[1] if triton else next((row.triton for row in releases() if row.server == server), None)
    found = _of_release(context.profile.stack, release, "") if release else Versions()
    vllm = _VERSION.match(env.get("VLLM_VERSION", ""))
    if not vllm and (reference := env.get("VLLM_IMAGE_REF")):
        vllm = _VERSION.match(_split(reference)[1])
    tensorrt_llm = _VERSION.match(env.get("TRT_LLM_VERSION", ""))
    if vllm or tensorrt_llm:
        found = replace(
            found,
            vllm=vllm[1] if vllm else found.vllm,
            tensorrt_llm=tensorrt_llm[1] if tensorrt_llm else found.tensorrt_llm,
            at_least=False,
        )
    return replace(found, source=found.source if found.at_least else "the image's variables")


def _of_release(stack: str, release: str, tag: str) -> Versions:
    """The tag says which engine the image has; where it does not, it is the stack's."""
    rows = releases()
    newest = rows[-1]
    later = release > newest.triton
    row = newest if later else next((row for row in rows if row.triton == release), None)
    word = next((word for word in ("trtllm", "vllm") if word in tag), _ENGINE[stack][2] if stack in _ENGINE else "")
    if row is None or not word:
        return Versions(triton=release, source="the image's tag")
    source = f"Triton {release} is later than {newest.triton}, the newest known here, so it has at least its "
    return Versions(
        triton=release,
        vllm=row.vllm if word == "vllm" else None,
        tensorrt_llm=row.tensorrt_llm if word == "trtllm" else None,
        source=source + (f"vLLM {row.vllm}" if word == "vllm" else f"TensorRT-LLM {row.tensorrt_llm}")
        if later
        else "the image's tag",
        at_least=later,
    )


def _refuse_without_engine(context: PlanContext, image: str, release: str, tag: str) -> None:
    """`release`: the image's repository and release, as its tags begin."""
    part, name, _ = _ENGINE.get(context.profile.stack, (None, "", ""))
    word = "trtllm" if part == "tensorrt_llm" else part
    if word and word not in tag:
        raise context.invalid(f"the image {image} has no {name}.", f"Use {release}-{word}-python-py3.")


def _split(image: str) -> tuple[str, str]:
    """Repository with its registry, and tag; a digest tells nothing."""
    path, _, last = image.partition("@")[0].rpartition("/")
    name, _, tag = last.partition(":")
    return (f"{path}/{name}" if path else name), tag


def _of_program(program: Path) -> Versions:
    """Read from the names of the folders that pip writes: asking the program itself takes seconds."""
    for script in (program, program.resolve()):
        folders = script.parent.parent.glob("lib*/python3*/*-packages/vllm-*.dist-info")
        for folder in sorted(folders):
            version = _VERSION.match(folder.name.removeprefix("vllm-").removesuffix(".dist-info"))
            if version:
                return Versions(vllm=version[1], source=f"installed beside {program}")
    return Versions()
