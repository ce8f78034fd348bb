"""Triton's model configuration, `config.pbtxt`: made from Triton's own protobuf messages, and read back as such."""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import InvalidProfile
from engine.text import clean_line

LARGEST_BYTES = 1 << 20
"""Of a file that is worth reading: real ones are a hundredth of it, and the parser takes half a second for so much"""
_MODULE = "tritonclient.grpc.model_config_pb2"
_LONGEST_COMPLAINT = 200


@functools.cache
def messages() -> ModuleType:
    """Triton's generated messages: `ModelConfig`, `ModelInstanceGroup` and so on, as `tritonclient` carries them.

    Loaded by their file where they are not loaded yet: the package around them loads gRPC and numpy, which takes five
    times as long. Either way they are the same classes, as protobuf keeps one set for each message.
    """
    if loaded := sys.modules.get(_MODULE):
        return loaded
    package = importlib.util.find_spec("tritonclient")
    for folder in package.submodule_search_locations or () if package else ():
        file = Path(folder, "grpc", "model_config_pb2.py")
        spec = importlib.util.spec_from_file_location("tritontui_model_config_pb2", file) if file.is_file() else None
        if spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(_MODULE)


def config_text(config: Any) -> str:
    """A `ModelConfig` as a `config.pbtxt` says it."""
    from google.protobuf import text_format

    return text_format.MessageToString(config, as_utf8=True)


def read_config(text: str, where: str = "config.pbtxt") -> Any:
    """The `ModelConfig` of a `config.pbtxt`. Raises `InvalidProfile` with the place; `where` is the file's name."""
    from google.protobuf import text_format

    config = messages().ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        place = f"{where}:{error.GetLine() or 1}:{error.GetColumn() or 1}"
        raise InvalidProfile(
            f"{place}: this is no model configuration: {_complaint(str(error))}.", "Correct it there."
        ) from error
    return config


def _complaint(message: str) -> str:
    """The parser's own words without the place, and without the line of the file that it may quote."""
    _, _, words = message.partition(" : ")
    if words.startswith("'"):
        words = words.rpartition("': ")[2]
    text = clean_line(words or message).strip().rstrip(".")
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + "…"
