"""The stack `triton-trtllm`: TensorRT-LLM under Triton, by its LLM API or, with `engines:`, from a prebuilt engine.

The model repositories are made of the image's own templates, inside the container, by `trtllm_launcher.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.plan import GeneratedFile, Launch, Mount, Plan
from engine.stacks import tritonserver
from engine.stacks.context import GIB, PlanContext
from engine.stacks.huggingface import HOME_OF_THE_CACHE, Located, cache_mount, model_of, tokenizer_of
from engine.stacks.mounts import warn_of_links
from engine.stacks.placement import ALL
from engine.stacks.trtllm_engine import check_version, read_engine
from engine.stacks.trtllm_templates import (
    BLS,
    CORE,
    FRONT,
    REQUIRED,
    check_parameters,
    in_template_words,
    values,
    written,
)

if TYPE_CHECKING:
    from engine.stacks.versions import Versions

TEMPLATES = "/app/all_models"
"""Where NVIDIA's -trtllm- images have them"""
REPOSITORY = "/tmp/tritontui-models"  # noqa: S108 (in the container; its own folder may belong to another user)
LAUNCHER, SETTINGS, MODEL_YAML = "launch.py", "launch.json", "model.yaml"
FIRST_LLM_API = (0, 19)
"""The first TensorRT-LLM whose templates have `llmapi`: `all_models` of tensorrtllm_backend at v0.18.2 and v0.19.0"""
ENGINES_IN_CONTAINER = "/engines"
MPIRUN = ("mpirun", "--allow-run-as-root")
_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size")
_FROM_VLLM = {
    "gpu_memory_utilization": "`kv_cache_config: {free_gpu_memory_fraction: …}`, a share of what is free",
    "max_model_len": "`max_seq_len`",
    "max_num_seqs": "`max_batch_size`",
    "max_num_batched_tokens": "`max_num_tokens`",
    "enable_prefix_caching": "`kv_cache_config: {enable_block_reuse: …}`",
    "kv_cache_dtype": "`kv_cache_config: {dtype: …}`",
}
"""What a hand used to vLLM writes, and the LLM API's own words for it"""
_CONTROL = {"model_control_mode", "load_model", "repository_poll_secs"}


@dataclass(frozen=True, slots=True)
class _Repository:
    """What the launcher is to make, and how the server is to be run on it."""

    door: str
    """The model that prompts go to"""
    models: list[dict[str, Any]]
    mounts: tuple[Mount, ...]
    files: tuple[GeneratedFile, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    """Placeholders that the profile names: a template must have them"""
    options: tuple[str, ...] = ()
    ranks: int = 1
    """Servers, each with a GPU and the same engine"""
    workers: int = 1
    """Processes that talk to each other about one model"""


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when the profile cannot be served so, or its engine does not fit the image and GPUs."""
    from engine.stacks.memory import fitted
    from engine.stacks.versions import versions_of

    profile = context.profile
    if not context.on_docker:
        raise context.invalid(
            "the stack triton-trtllm runs on Docker alone: it needs the templates and libraries of NVIDIA's image.",
            "Set `runtime: docker`.",
        )
    context.refuse("repository", "frontend", "lora")
    versions = versions_of(context)
    if profile.engines:
        folder = context.resolve(profile.engines)
        warn_of_links(context, folder)
        options, fit = fitted(context, "tensorrt-llm", profile.engine, engines=folder, version=versions.tensorrt_llm)
        repository = _prebuilt(context, folder, in_template_words(options), versions)
    else:
        model = model_of(context)
        options, fit = fitted(context, "tensorrt-llm", profile.engine, model=model, version=versions.tensorrt_llm)
        repository = _llm_api(context, model, options, versions)
    return context.plan(_launch(context, repository), fit, versions.facts())


def _llm_api(context: PlanContext, model: Located, options: Mapping[str, Any], versions: "Versions") -> _Repository:
    import yaml

    from engine.stacks.versions import ordered

    profile = context.profile
    if versions.tensorrt_llm and ordered(versions.tensorrt_llm) < FIRST_LLM_API:
        raise context.invalid(
            f"the image has TensorRT-LLM {versions.tensorrt_llm}, whose templates have no LLM API.",
            "Take Triton 25.05 or later, or name a built engine as `engines`.",
        )
    if "LLM_CONFIG_PATH" in profile.env:
        raise context.invalid("`env: LLM_CONFIG_PATH` would replace what `engine:` says.", "Take it out.")
    for key in options:
        if key in _FROM_VLLM:
            raise context.invalid(f"`engine: {key}` is vLLM's word.", f"TensorRT-LLM's LLM API has {_FROM_VLLM[key]}.")
    for key in ("model", "tokenizer"):
        if key in options:
            raise context.invalid(f"`engine: {key}` stands apart: `{key}:` of the profile names it.", "Move it there.")
    workers = 1
    for key in _SIZES:
        size = options.get(key, 1)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise context.invalid(f"`engine: {key}` is {size!r}, no whole number from 1.", "Correct it.")
        workers *= size
    idle = "Raise `tensor_parallel_size` to use them all."
    _check_gpus(context, workers, "product of the parallel sizes", "lower them", idle)
    tokenizer = tokenizer_of(context)
    config: dict[str, Any] = {"model": model.word, "backend": "pytorch"}
    if tokenizer:
        config["tokenizer"] = tokenizer.word
    config |= {key: value for key, value in options.items() if key != "triton_config"}
    # Batches are the engine's own business there (`max_batch_size`); Triton's would only wait for each other.
    config["triton_config"] = {"max_batch_size": 0, **_triton_config(context, options), "decoupled": True}
    door, template = tritonserver.model_name(context), f"{TEMPLATES}/llmapi/{CORE}"
    return _Repository(
        door,
        [{"template": template, "name": door, "required": [], "files": {"1/model.yaml": MODEL_YAML}}],
        (*model.mounts, *(tokenizer.mounts if tokenizer else ())),
        (GeneratedFile(MODEL_YAML, yaml.safe_dump(config, sort_keys=False)),),
        workers=workers,
    )


def _prebuilt(context: PlanContext, folder: Path, options: Mapping[str, Any], versions: "Versions") -> _Repository:
    engine = read_engine(folder)
    check_version(context, engine, versions)
    built = f"engine, built for tensor × pipeline parallel {engine.tensor_parallel} × {engine.pipeline_parallel},"
    _check_gpus(context, engine.world_size, built, "build it for fewer", "Build the engine for as many.")
    served = tritonserver.model_name(context)
    check_parameters(context, engine, options, served)
    tokenizer = tokenizer_of(context) or (model_of(context) if context.profile.model else None)
    if tokenizer is None:
        raise context.invalid(
            "`tokenizer` is missing: an engine holds none.", "Name the folder or repository of the model's tokenizer."
        )
    if served in REQUIRED.keys() - {FRONT, BLS}:
        raise context.invalid(f"`served_model_name: {served}` is a part of the pipeline.", "Take another name.")
    names = {model: served if model == FRONT and served != BLS else model for model in REQUIRED}
    return _Repository(
        served,
        [
            {
                "template": f"{TEMPLATES}/inflight_batcher_llm/{model}",
                "name": names[model],
                "required": list(required),
                "files": {},
            }
            for model, required in REQUIRED.items()
        ],
        (Mount(str(folder), ENGINES_IN_CONTAINER), *tokenizer.mounts),
        values=written({**values(engine, ENGINES_IN_CONTAINER, tokenizer.word, served), **options}),
        asked=tuple(options),
        # The templates are complete, and the backends have nothing to add to them; as the image's own script has it.
        options=("--disable-auto-complete-config",),
        ranks=engine.world_size,
        workers=engine.world_size,
    )


def _launch(context: PlanContext, repository: _Repository) -> Launch:
    server = tritonserver.named(context, context.profile.server)
    if "disable_auto_complete_config" in server:
        raise context.invalid("`server: disable_auto_complete_config` is not set by hand.", "Take it out.")
    tritonserver.refuse_open_control(context, server)
    for model in repository.models:
        server = tritonserver.loading(server, model["name"])
    ends = tritonserver.endpoints(context, repository.door, explicit=tritonserver.is_explicit(server))
    control = {key: value for key, value in server.items() if key in _CONTROL}
    common = {key: value for key, value in server.items() if key not in _CONTROL}
    settings = {
        "repository": REPOSITORY,
        "models": repository.models,
        "values": repository.values,
        "asked": repository.asked,
        "server": {
            "program": "tritonserver",
            "mpirun": MPIRUN,
            "ranks": repository.ranks,
            "shm_prefix": f"tritontui_{context.profile.name}_",
            "options": [*repository.options, *tritonserver.option_line(common)],
            "first": [*tritonserver.switches(ends), *tritonserver.option_line(control)],
            # They serve nobody: the first rank hands them their share of each request.
            "others": [
                "--model-control-mode=explicit",
                f"--load-model={CORE}",
                *(f"{switch}=false" for switch in tritonserver.SWITCHES.values()),
            ],
        },
    }
    launcher = Path(__file__).with_name("trtllm_launcher.py").read_text(encoding="utf-8")
    return context.launch(
        command=("python3", f"{context.files_root}/{LAUNCHER}"),
        service=ends.service,
        ports=ends.ports,
        env=HOME_OF_THE_CACHE,
        mounts=(cache_mount(), *repository.mounts),
        files=(
            GeneratedFile(LAUNCHER, launcher, executable=True),
            GeneratedFile(SETTINGS, json.dumps(settings, indent=2) + "\n"),
            *repository.files,
        ),
        # NCCL puts its buffers between GPUs there when they have no path of their own, for every worker some more.
        default_shm=GIB * max(1, repository.workers),
        ulimits=tritonserver.ULIMITS,
    )


def _triton_config(context: PlanContext, options: Mapping[str, Any]) -> dict[str, Any]:
    given = options.get("triton_config", {})
    if not isinstance(given, dict):
        raise context.invalid("`engine: triton_config` is no mapping.", "Write e.g. {max_batch_size: 0}.")
    if given.get("decoupled", True) is not True:
        raise context.invalid("`triton_config: decoupled` must be true: answers are streamed.", "Take it out.")
    return given


def _check_gpus(context: PlanContext, needed: int, what: str, instead: str, idle: str) -> None:
    """Raises `InvalidProfile` when the engine would need more GPUs than it gets; warns of those that stay unused."""
    placement = context.placement
    if placement.gpus == ALL:
        return
    given = placement.count
    if given == 0 and needed == 1:
        context.warnings.append("The profile gets no GPU, and TensorRT-LLM runs on nothing else. Set `gpus: 1`.")
    elif needed > given:
        raise context.invalid(
            f"the {what} needs {needed} GPUs, and the profile gets {given}.", f"Set `gpus: {needed}`, or {instead}."
        )
    elif needed < given:
        context.warnings.append(f"TensorRT-LLM uses {needed} of the {given} GPUs. {idle}")
