"""A model repository on this machine, read as Triton's core reads it, without loading anything."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidProfile
from engine.stacks.model_config import LARGEST_BYTES, messages, read_config
from engine.text import clean_line

CONFIG = "config.pbtxt"
LARGEST_REPOSITORY = 1000
"""Models, and versions of one: more of them is somebody's home folder by mistake"""
LONGEST_CONFIGS = 8 * LARGEST_BYTES
"""All of them together, some seconds of parsing"""
NO_VERSIONS = ("warmup", "initial_state", "configs")
"""Folders beside the versions that have a meaning of their own (core, `VersionsToLoad`)"""
PLATFORMS = {
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "libtorch": "pytorch",
    "torch_aoti": "pytorch",
}
"""What says the backend when the configuration does not (core, `AutoCompleteBackendFields` and constants.h)"""
FILES = {
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.pt2": "pytorch",
    "model.py": "python",
}
"""In the order in which the core looks for them"""
_PLACEHOLDER = re.compile(r"\$\{\w*\}?")
_STRING_VALUE = re.compile(r"string_value\s*:\s*[\"']")


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    folder: Path
    config: Any
    """Triton's `ModelConfig`; an empty one when there is no file"""
    backend: str = ""
    """Empty for an ensemble, and for a model that has a problem"""
    problem: str = ""
    """Why Triton could not load it, as one sentence"""
    remedy: str = ""
    unreadable: bool = False
    """To this user; the server in a container may well be able to"""
    own_library: bool = False
    """It has the backend's library beside it, where Triton looks first"""

    @property
    def steps(self) -> tuple[str, ...]:
        """The models that an ensemble is made of."""
        return tuple(dict.fromkeys(step.model_name for step in self.config.ensemble_scheduling.step))


def read_repository(folder: Path, *, autocomplete: bool = True, config_name: str = "") -> dict[str, Model]:
    """Every model of it by name, those with a problem too.

    `autocomplete` and `config_name`: as the server's `--disable-auto-complete-config` and `--model-config-name` say.
    Raises `InvalidProfile` for what is too large to be one, OSError when the folder cannot be read.
    """
    names = sorted(_subfolders(folder))
    length = sum(_size(folder / name / CONFIG) for name in names)
    if len(names) > LARGEST_REPOSITORY or length > LONGEST_CONFIGS:
        raise InvalidProfile(
            f"The model repository {folder} has more than {LARGEST_REPOSITORY} folders, or configurations of more than"
            f" {LONGEST_CONFIGS >> 20} MiB.",
            "Name the folder that holds the models, one folder each.",
        )
    return {name: _read_model(folder / name, autocomplete=autocomplete, config_name=config_name) for name in names}


def _read_model(folder: Path, *, autocomplete: bool, config_name: str) -> Model:
    name, config = clean_line(folder.name), messages().ModelConfig()
    try:
        config = _config(folder, autocomplete=autocomplete, config_name=config_name)
        backend = _backend(folder, config)
        library = f"libtriton_{backend}.so"
        own = bool(backend) and any((place / library).is_file() for place in (folder, *_versions(folder)))
        return Model(name, folder, config, backend, own_library=own)
    except InvalidProfile as error:
        return Model(name, folder, config, problem=clean_line(error.what), remedy=clean_line(error.remedy))
    except OSError as error:
        where = clean_line(str(error.filename or folder))
        return Model(name, folder, config, problem=f"{where} cannot be read: {error.strerror}.", unreadable=True)


def _config(folder: Path, *, autocomplete: bool, config_name: str) -> Any:
    file = folder / CONFIG
    if config_name and os.path.lexists(named := folder / "configs" / f"{config_name}.pbtxt"):
        file = named
    if os.path.lexists(file):
        text = _text_of(file)
        _refuse_placeholders(text, file)
        return read_config(text, str(file))
    if autocomplete:
        return messages().ModelConfig()
    raise InvalidProfile(f"{folder} has no {CONFIG}.", "Write one, or let Triton complete configurations.")


def _backend(folder: Path, config: Any) -> str:
    """What the core would choose. Raises `InvalidProfile` for what it would refuse."""
    if config.name and config.name != folder.name:
        raise InvalidProfile(
            f"The folder {folder} holds a configuration for the model {config.name}: Triton wants the"
            " folder's name and the model's to be the same.",
            "Rename one of them, or take `name` out of the configuration.",
        )
    versions = _versions(folder)
    wanted = set(config.version_policy.specific.versions)
    loaded = [version for version in versions if not wanted or int(version.name) in wanted]
    if not loaded:
        which = f"none of the versions {sorted(wanted)} that its policy asks for" if wanted else "no version folder"
        raise InvalidProfile(
            f"The model {folder.name} has {which}: at least one version must be available.",
            f"Put its files into {folder}/{min(wanted, default=1)}/.",
        )
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        return ""
    file = config.default_model_filename
    backend = config.backend or PLATFORMS.get(config.platform) or FILES.get(file)
    if not backend and not config.platform and not file:
        backend = next((FILES[name] for name in FILES if any((version / name).exists() for version in loaded)), None)
        backend = backend or folder.name.partition(".")[2]
    if not backend:
        raise InvalidProfile(
            f"Triton could not tell the backend of the model {folder.name}: neither its configuration nor"
            f" the files in {loaded[0]} say it.",
            "Write `backend` into its configuration.",
        )
    if backend == "python" and not any((version / (file or "model.py")).is_file() for version in loaded):
        raise InvalidProfile(
            f"The Python model {folder.name} has no {file or 'model.py'} in {loaded[0]}.",
            "Put it there.",
        )
    return str(backend)


def _versions(folder: Path) -> list[Path]:
    """Numbers without a leading zero; what is named otherwise Triton passes over."""
    names = [name for name in _subfolders(folder) if name not in NO_VERSIONS and re.fullmatch(r"0|[1-9]\d{0,17}", name)]
    return [folder / name for name in sorted(names, key=int)]


def _subfolders(folder: Path) -> Iterator[str]:
    """At most one more than `LARGEST_REPOSITORY`; raises OSError."""
    found = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if found <= LARGEST_REPOSITORY and entry.is_dir():
                found += 1
                yield entry.name


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # said when the model is read


def _text_of(file: Path) -> str:
    """Raises `InvalidProfile` for what is no text file of a sensible size, OSError for what cannot be read."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
        raise InvalidProfile(f"{file} is no file, or longer than {LARGEST_BYTES >> 20} MiB.", "Correct it.")
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InvalidProfile(f"{file} is no UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from error


def _refuse_placeholders(text: str, file: Path) -> None:
    """In a parameter's text `${…}` means the default to who reads it; anywhere else it is a parse error or worse."""
    for number, line in enumerate(text.split("\n"), 1):
        found = _PLACEHOLDER.search(line.partition("#")[0])
        if found and not _STRING_VALUE.search(line):
            raise InvalidProfile(
                f"{file}:{number}: the placeholder {found[0]} is not filled in.",
                "Put the value there, or use TensorRT-LLM's fill_template.py.",
            )
