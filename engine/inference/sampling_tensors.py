"""What a Triton model that takes text is sent: the values of a prompt by the names of the inputs that it declares.

The vLLM backend takes them as one JSON text, TensorRT-LLM's models as tensors of their own
(`triton_backend/all_models` of TensorRT-LLM: `inflight_batcher_llm` and `llmapi`).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from engine.inference.bodies import plain_text, sampling_json, values_set
from engine.inference.prompt import PromptRequest, Sampling, Style
from engine.inference.sse import excerpt
from engine.inference.tensors import Tensor, converter, inputs_named
from engine.inference.unfit import Unfit

if TYPE_CHECKING:
    from engine.inference.triton_model import TritonModel

Value = str | bool | int | float | list[str]
JSON_INPUT = "sampling_parameters"
# Where the name is not the value's own, or that with `sampling_param_` before it. The `stop` of llmapi is a BOOL that
# cancels a request.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "stop": ("stop_words",),
    "seed": ("random_seed",),
    "min_tokens": ("min_length",),
}


def values(model: "TritonModel", request: PromptRequest) -> dict[str, Value]:
    """By input. Raises `Unfit` for what was asked for and the model has no input for.

    Only `max_tokens` is then left out in silence: it is always there, nobody need have asked for it. `ignore_eos`
    becomes as many `min_tokens` as `max_tokens` where that is an input.
    """
    if request.style is Style.CHAT:
        raise Unfit("Triton's own protocols apply no chat template.", "Send it as a completion (--completion).")
    sent: dict[str, Value] = {
        "text_input": plain_text(request),
        "stream": model.decoupled,
        "streaming": model.decoupled,
        "exclude_input_in_output": True,
        "sampling_param_exclude_input_from_output": True,
        JSON_INPUT: sampling_json(request.sampling, request.lora),
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    wanted = values_set(request.sampling)
    if wanted.get("ignore_eos") and JSON_INPUT not in model.inputs and input_for(model, "min_tokens"):
        del wanted["ignore_eos"]
        wanted["min_tokens"] = request.sampling.max_tokens
    for name, value in wanted.items():
        tensor = input_for(model, name)
        if tensor:
            sent[tensor] = value
        elif JSON_INPUT not in model.inputs and name != "max_tokens":
            raise _no_input(model, name)
    if request.lora is not None and JSON_INPUT not in model.inputs:
        sent |= _adapter(model, request.lora)
    return {name: _fitting(model, name, value) for name, value in sent.items() if name in model.inputs}


def taken(model: "TritonModel") -> tuple[str, ...]:
    """Those of `Sampling` that the model has an input for."""
    names = tuple(field.name for field in fields(Sampling))
    if JSON_INPUT in model.inputs:
        return names
    found = {name for name in names if input_for(model, name)}
    return tuple(name for name in names if name in found or (name == "ignore_eos" and "min_tokens" in found))


def input_for(model: "TritonModel", name: str) -> str | None:
    """The input that takes this value of `Sampling`."""
    for tensor in (name, f"sampling_param_{name}", *_OTHER_NAMES.get(name, ())):
        declared = model.inputs.get(tensor)
        if declared is not None and (name != "stop" or declared.datatype == "BYTES"):
            return tensor
    return None


def _adapter(model: "TritonModel", lora: str) -> dict[str, Value]:
    if "lora_path" in model.inputs:
        raise Unfit(
            f"Model {model.name!r} takes a LoRA adapter by number, name and path at once, which a name does not say.",
            "Leave the adapter out (--lora).",
        )
    if "lora_name" in model.inputs:
        return {"lora_name": lora}
    if "lora_task_id" not in model.inputs:
        raise Unfit(
            f"Model {model.name!r} takes no LoRA adapter: it has no input for one.", "Leave the adapter out (--lora)."
        )
    if not lora.isascii() or not lora.isdecimal():
        raise Unfit(
            f"Model {model.name!r} knows LoRA adapters by number (lora_task_id), not as {excerpt(lora, 80)!r}.",
            "Give the adapter's number.",
        )
    return {"lora_task_id": int(lora)}


def _fitting(model: "TritonModel", name: str, value: Any) -> Any:
    tensor: Tensor = model.inputs[name]
    convert = converter(tensor.datatype)
    try:
        made = [convert(one) for one in value] if isinstance(value, list) else convert(value)
    except ValueError as error:
        raise Unfit(f"Input {name} of model {model.name!r} takes {error}, not {excerpt(str(value), 80)!r}.") from error
    return value if tensor.datatype == "BYTES" else made


def _no_input(model: "TritonModel", what: str) -> Unfit:
    return Unfit(f"Model {model.name!r} has no input for {what}.", f"Its inputs are {inputs_named(model)}.")
