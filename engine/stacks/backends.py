"""Which backends a Triton server has: an image of NVIDIA's by its tag, a local one by its folder."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

NGC = "nvcr.io/nvidia/tritonserver"
_REFERENCE = re.compile(r"(?P<repository>(?:.+/)?nvidia/tritonserver)(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]+)?")
"""NVIDIA's own repository, or a mirror of it"""
_TAG = re.compile(r"(?P<release>\d\d\.\d\d)-(?P<variant>[a-z0-9-]+)")

FULL = frozenset(
    {"dali", "fil", "identity", "onnxruntime", "openvino", "python", "pytorch", "repeat", "square", "tensorrt"}
)
"""Of `-py3`: `enable_all` of the server's build.py, without the ensemble scheduler, which is in every server"""
LAST_TENSORFLOW = "25.02"
"""build.py of 2.55 (25.02) builds the TensorFlow backend, that of 2.56 (25.03) does not know it"""
NO_ONNX = "24.02"
"""Left out of this one release (github.com/triton-inference-server/server/issues/6991)"""
VARIANTS: dict[str, frozenset[str]] = {
    "py3": FULL,
    # Each has the engine that it is named for and nothing else: issues 7346 and 7445 of the server's repository.
    "vllm-python-py3": frozenset({"vllm", "python"}),
    "trtllm-python-py3": frozenset({"tensorrtllm", "python"}),
    "pyt-python-py3": frozenset({"pytorch", "python"}),
    "tf2-python-py3": frozenset({"tensorflow", "python"}),
}
SERVERLESS = {
    "py3-min": "it is the base for building images, without the server",
    "py3-sdk": "it has the clients and their tools, without the server",
}
"""By the overview of the images (issue 6806), and compose.py, which copies the server into `-py3-min`"""
LARGEST_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server has."""

    what: str
    """The image, or the folder of backends"""
    backends: frozenset[str]
    release: str = ""
    """Of an image, e.g. 25.12"""
    repository: str = ""
    """Of an image, without its tag"""
    lacks_server: str = ""
    """Why the image can serve nothing"""

    def remedy(self, needed: Collection[str]) -> str:
        """Where all that is needed is to be had."""
        if not self.release:
            return f"Install what is missing under {self.what}, or give `backend_directory`."
        for variant in VARIANTS:
            release = self.release
            if "tensorflow" in needed and release > LAST_TENSORFLOW:
                release = LAST_TENSORFLOW
            if set(needed) <= _backends(variant, release):
                return f"Use {self.repository}:{release}-{variant}."
        return (
            f"No image of NVIDIA's has {', '.join(sorted(needed))} together: serve them apart, or build one with the"
            " server's compose.py."
        )


def of_image(image: str) -> Offer | None:
    """None for an image that is not NVIDIA's, or whose tag says nothing that is known."""
    reference = _REFERENCE.fullmatch(image)
    tag = _TAG.fullmatch(reference["tag"] or "") if reference else None
    if not reference or not tag:
        return None
    release, variant, repository = tag["release"], tag["variant"], reference["repository"]
    if variant in SERVERLESS:
        return Offer(image, frozenset(), release, repository, SERVERLESS[variant])
    if variant not in VARIANTS:
        return None
    return Offer(image, _backends(variant, release), release, repository)


def is_nvidias(image: str) -> bool:
    return bool(_REFERENCE.fullmatch(image))


def of_folder(folder: Path) -> Offer | None:
    """A local server's; None when the folder cannot be read."""
    try:
        names = [entry.name for entry, _ in zip(folder.iterdir(), range(LARGEST_FOLDER), strict=False)]
        return Offer(str(folder), frozenset(name for name in names if (folder / name).is_dir()))
    except OSError:
        return None


def _backends(variant: str, release: str) -> frozenset[str]:
    had = VARIANTS[variant]
    if variant == "py3":
        had = had | {"tensorflow"} if release <= LAST_TENSORFLOW else had
        had = had - {"onnxruntime"} if release == NO_ONNX else had
    elif variant == "tf2-python-py3" and release > LAST_TENSORFLOW:
        had = frozenset()
    return had
