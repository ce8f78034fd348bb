"""The stack `triton-vllm`: a Triton Inference Server with its vLLM backend, on a model repository made for it."""

import json
from collections.abc import Mapping
from typing import Any

from engine.plan import GeneratedFile, Launch, Plan
from engine.stacks import openai_frontend, tritonserver
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import HOME_OF_THE_CACHE, Located, adapters_of, cache_mount, model_of, tokenizer_of
from engine.stacks.model_config import config_text, messages
from engine.stacks.parallel import check_parallel, shared_memory
from engine.stacks.versions import versions_of
from engine.stacks.vllm_options import check_engine_options

REPOSITORY = "models"
_INPUTS = {
    "text_input": ("TYPE_STRING", 1),
    "image": ("TYPE_STRING", -1),
    "stream": ("TYPE_BOOL", 1),
    "sampling_parameters": ("TYPE_STRING", 1),
    "exclude_input_in_output": ("TYPE_BOOL", 1),
    "return_finish_reason": ("TYPE_BOOL", 1),
    "return_cumulative_logprob": ("TYPE_BOOL", 1),
    "return_logprobs": ("TYPE_BOOL", 1),
    "return_num_input_tokens": ("TYPE_BOOL", 1),
    "return_num_output_tokens": ("TYPE_BOOL", 1),
}
"""As the backend itself would add them (vllm_backend, src/model.py); all but the first are optional"""
_OUTPUTS = {
    "text_output": ("TYPE_STRING", -1),
    "finish_reason": ("TYPE_STRING", -1),
    "cumulative_logprob": ("TYPE_FP32", -1),
    "logprobs": ("TYPE_STRING", -1),
    "num_input_tokens": ("TYPE_UINT32", 1),
    "num_output_tokens": ("TYPE_UINT32", -1),
}


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when there is no model, or an option is wrong for the image's vLLM or for its GPUs.

    On the process runtime also when the local server has no vLLM backend.
    """
    from engine.stacks.memory import fitted

    profile = context.profile
    context.refuse("repository", "engines", *(() if profile.frontend else ("tokenizer",)))
    model = model_of(context)
    versions = versions_of(context)
    given = _given(context)
    check_engine_options(context, given, versions.vllm, at_least=versions.at_least)
    check_parallel(context, given)
    _warn(context, given)

    adapters = adapters_of(context)
    if adapters:
        given = {**given, "enable_lora": True}
    options, fit = fitted(context, "vllm", given, model=model, version=versions.vllm)
    launch = _launch(context, model, adapters, options, versions.triton)
    return context.plan(launch, fit, versions.facts())


def _given(context: PlanContext) -> Mapping[str, Any]:
    options = context.profile.engine
    if "model" in options:
        raise context.invalid("`engine` names a model.", "The profile's own key `model` says it.")
    for key, value in options.items():
        if value is None:
            raise context.invalid(f"the engine option `{key}` has no value.", "Give it one, or take the line out.")
    if context.profile.lora and options.get("enable_lora") is False:
        raise context.invalid("`lora` lists adapters, and `enable_lora: false` forbids them.", "Take one of them out.")
    if options.get("enable_lora") and not context.profile.lora:
        raise context.invalid(
            "`enable_lora` is set, and the profile lists no adapters, without which the backend does not start.",
            "List them under `lora`, by the names that clients use.",
        )
    return options


def _warn(context: PlanContext, options: Mapping[str, Any]) -> None:
    if options.get("trust_remote_code"):
        context.warnings.append(
            f"`trust_remote_code` lets {context.profile.model} run code of its own, with the server's rights."
        )
    if options.get("disable_log_stats"):
        context.warnings.append("`disable_log_stats` leaves vLLM's own metrics out; Triton's remain.")
    separators = {"lora_separator", "lora-separator"} & context.profile.server.keys()
    if context.profile.frontend and context.profile.lora and not separators:
        context.warnings.append(
            "Clients of the frontend can name an adapter only with `lora_separator` under `server`."
        )
    if context.on_docker and context.placement.gpus == 0:
        context.warnings.append("The profile asks for no GPU, and vLLM in NVIDIA's images needs one: set `gpus`.")


def _launch(
    context: PlanContext,
    model: Located,
    adapters: Mapping[str, Located],
    options: Mapping[str, Any],
    release: str | None,
) -> Launch:
    profile, name = context.profile, tritonserver.model_name(context)
    mounts = (cache_mount(), *model.mounts, *(mount for adapter in adapters.values() for mount in adapter.mounts))
    if profile.frontend:
        tokenizer = tokenizer_of(context)
        if tokenizer:
            mounts += tokenizer.mounts
        server = {"tokenizer": (tokenizer or model).word, **openai_frontend.named(context, release)}
    else:
        server = tritonserver.named(context, profile.server)
        _require_backend(context, server)
    files = {
        f"{name}/config.pbtxt": config_text(_config(name, options, server)),
        f"{name}/1/model.json": _json({"model": model.word, **options}),
    }
    if adapters:
        files[f"{name}/1/multi_lora.json"] = _json({key: adapter.word for key, adapter in adapters.items()})
    start = openai_frontend.launch if profile.frontend else tritonserver.launch
    return start(
        context,
        repository=f"{context.files_root}/{REPOSITORY}",
        model=name,
        options=tritonserver.loading(server, name),
        mounts=mounts if context.on_docker else (),
        files=tuple(GeneratedFile(f"{REPOSITORY}/{path}", text) for path, text in files.items()),
        env=HOME_OF_THE_CACHE if context.on_docker else None,
        default_shm=shared_memory(options),
    )


def _require_backend(context: PlanContext, server: Mapping[str, Any]) -> None:
    """An image's tag tells what it has; a local server's folder does."""
    folder = tritonserver.backends(context, server)
    if folder and not (folder / "vllm").is_dir():
        raise context.invalid(
            f"the local tritonserver has no vLLM backend: {folder} has no folder vllm.",
            "Install it there, name another folder as `backend_directory` under `server`, or use the docker runtime.",
        )


def _config(name: str, options: Mapping[str, Any], server: Mapping[str, Any]) -> Any:
    """The `ModelConfig`.

    KIND_MODEL is always stated: left out, Triton makes an instance for every GPU that it sees, each a whole engine
    (core, `NormalizeInstanceGroup`; python_backend prefers KIND_GPU), and vLLM finds its GPUs by itself.
    """
    types = messages()
    config = types.ModelConfig(name=name, backend="vllm")
    config.instance_group.add(count=1, kind=types.ModelInstanceGroup.KIND_MODEL)
    if not options.get("disable_log_stats"):
        config.parameters["REPORT_CUSTOM_METRICS"].string_value = "true"
    if tritonserver.is_explicit(server):
        # A dead engine then unloads its model, where otherwise it stays READY; that takes explicit control.
        config.parameters["ENABLE_VLLM_HEALTH_CHECK"].string_value = "true"
    if server.get("disable_auto_complete_config"):
        config.model_transaction_policy.decoupled = True
        for key, (kind, size) in _INPUTS.items():
            config.input.add(name=key, data_type=types.DataType.Value(kind), dims=[size], optional=key != "text_input")
        for key, (kind, size) in _OUTPUTS.items():
            config.output.add(name=key, data_type=types.DataType.Value(kind), dims=[size])
    return config


def _json(data: Mapping[str, Any]) -> str:
    """In ASCII, as the backend opens its files in whatever encoding its surroundings have."""
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
