"""Which model a question is about: its shape and its weights, from its files and from the profile's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.fit import files
from engine.fit.question import FitQuestion
from engine.fit.shape import ModelShape, flattened, shape_of
from engine.fit.values import block, count


@dataclass(frozen=True, slots=True)
class Model:
    shape: ModelShape
    source: str
    stored: int | None = None
    """Bytes of all its weights, as stored"""
    stored_from: str = ""
    billions: float | None = None
    """Parameters, from the profile"""
    rank: int | None = None
    """Bytes that one GPU loads, of a prebuilt engine"""


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing can be computed; sentences for the operator."""

    what: str
    remedy: str


def find_model(question: FitQuestion) -> tuple[Model | Missing, Mapping[str, Any]]:
    """The model, and the engine's options with those that a prebuilt engine fixes."""
    try:
        if question.engines is not None:
            return _prebuilt(question, question.engines)
        return _from_files(question), question.options
    except files.UnreadableError as error:
        return Missing(f"{error}.", "Repair it, or give the model's numbers under `fit.model`."), question.options


def _from_files(question: FitQuestion) -> Model | Missing:
    numbers = question.numbers
    folder = question.folder
    source = "the model's folder"
    if folder is None and question.model:
        revision = question.options.get("revision")
        folder = files.snapshot(question.cache, question.model, revision if isinstance(revision, str) else "main")
        source = "the Hugging Face cache"
    found = files.read_config(folder) if folder else None
    stored = files.weights(folder) if folder and found is not None else None
    config: dict[str, Any] = {}
    if found is not None:
        config = flattened(found)
        for key in ("hf_overrides", "rope_scaling"):
            given = question.options.get(key)
            if isinstance(given, dict):
                config |= flattened(given) if key == "hf_overrides" else {key: given}
    elif numbers is None:
        named = question.model or (str(folder) if folder else "the model")
        where = f"in {folder}" if question.folder else "in the Hugging Face cache of this machine"
        return Missing(
            f"Nothing is known of {named}: there is no config.json of it {where}.",
            f"{'Check the folder' if question.folder else 'Download it first'}, or give its numbers under `fit.model`.",
        )
    if numbers is not None:
        given = numbers.model_dump(exclude_none=True)
        source = "the profile" if found is None else f"the profile, and {source}"
        if numbers.sliding_window and "full_attention_layers" in given:
            config = {key: value for key, value in config.items() if key not in ("layer_types", "layers_block_type")}
        config |= given
    shape = shape_of(config)
    if isinstance(shape, str):
        return Missing(
            f"The model's config.json does not say `{shape}`, or nothing sensible.",
            "Give the model's numbers under `fit.model`.",
        )
    model = Model(shape, source, *(stored or (None, "")))
    if numbers is not None and numbers.weights:
        return replace(model, stored=numbers.weights, stored_from="as the profile states")
    if numbers is not None and numbers.parameters:
        return replace(model, stored=None, billions=numbers.parameters)
    return model


def _prebuilt(question: FitQuestion, folder: Path) -> tuple[Model | Missing, Mapping[str, Any]]:
    config = files.read_config(folder)
    if config is None:
        return (
            Missing(f"There is no config.json in {folder}.", "Name the folder that trtllm-build wrote."),
            question.options,
        )
    network, build = block(config, "pretrained_config"), block(config, "build_config")
    shape = shape_of(
        {
            **network,
            "quantization_config": {**block(network, "quantization"), "quant_method": None},
            **(question.numbers.model_dump(exclude_none=True) if question.numbers else {}),
        }
    )
    if isinstance(shape, str):
        what = f"The engine's config.json in {folder} does not say `{shape}`, or nothing sensible."
        return Missing(what, "Give the model's numbers under `fit.model`."), question.options
    mapping = block(network, "mapping")
    fixed = {
        "tensor_parallel_size": mapping.get("tp_size"),
        "pipeline_parallel_size": mapping.get("pp_size"),
        "max_seq_len": build.get("max_seq_len"),
        "max_batch_size": build.get("max_batch_size"),
        "max_num_tokens": build.get("max_num_tokens"),
        # Its kernels carry no graphs of their own unless the backend is told so.
        "cuda_graph_config": None,
    }
    fixed = {key: value for key, value in fixed.items() if key == "cuda_graph_config" or count(value)}
    shape = replace(shape, limit=count(build.get("max_seq_len")) or shape.limit)
    rank = files.engine_weights(folder)
    stored = question.numbers.weights if question.numbers else None
    return (
        Model(shape, "the engine's folder", rank=rank, stored=stored, stored_from="as the profile states"),
        {**question.options, **fixed},
    )
