"""A stand-in for Triton's vLLM backend: its files, tensors and complaints, and an answer that tells what it was given.

The real tritonserver core loads it under the name of that backend, and so checks what was generated for it: the model's
configuration, its instances, its one-to-many answers. It is read by the interpreter of Triton's stub, not by tritontui.
"""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

INPUTS = {
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
    "embedding_request": ("TYPE_STRING", 1),
}
OUTPUTS = {
    "text_output": ("TYPE_STRING", -1),
    "finish_reason": ("TYPE_STRING", -1),
    "cumulative_logprob": ("TYPE_FP32", -1),
    "logprobs": ("TYPE_STRING", -1),
    "num_input_tokens": ("TYPE_UINT32", 1),
    "num_output_tokens": ("TYPE_UINT32", -1),
}
COUNTERS = {"prompt": "vllm:prompt_tokens_total", "generation": "vllm:generation_tokens_total"}
DEFAULT_MAX_TOKENS = 16
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        given = config.as_dict()
        for key, (kind, size) in INPUTS.items():
            if key not in [tensor["name"] for tensor in given["input"]]:
                config.add_input({"name": key, "data_type": kind, "dims": [size], "optional": key != "text_input"})
        for key, (kind, size) in OUTPUTS.items():
            if key not in [tensor["name"] for tensor in given["output"]]:
                config.add_output({"name": key, "data_type": kind, "dims": [size]})
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        assert pb_utils.using_decoupled_model_transaction_policy(self.config), (
            "vLLM Triton backend must be configured to use decoupled model transaction policy"
        )
        folder = Path(pb_utils.get_model_dir())
        # Without an encoding, as the real one opens it: the surroundings of the stub decide.
        with (folder / "model.json").open() as file:
            self.engine = json.load(file)
        self.kind = args["model_instance_kind"]
        self.adapters = None
        if str(self.engine.get("enable_lora")).lower() == "true":
            listed = folder / "multi_lora.json"
            if not listed.is_file():
                raise FileNotFoundError(f"Triton backend cannot find {listed}.")
            self.adapters = json.loads(listed.read_text())
        self.counters = {}
        if self.parameter("REPORT_CUSTOM_METRICS") and not self.engine.get("disable_log_stats"):
            labels = {"model": args["model_name"], "version": args["model_version"]}
            for key, name in COUNTERS.items():
                family = pb_utils.MetricFamily(
                    name=name, description=f"{key} tokens", kind=pb_utils.MetricFamily.COUNTER
                )
                self.counters[key] = family, family.Metric(labels=labels)

    def parameter(self, name):
        return self.config["parameters"].get(name, {}).get("string_value", "").lower() == "true"

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.answer(request, sender)
            except ValueError as error:
                tensor = pb_utils.Tensor("text_output", np.asarray(["N/A"], dtype=np.object_))
                sender.send(pb_utils.InferenceResponse([tensor], pb_utils.TritonError(str(error))), flags=FINAL)

    def answer(self, request, sender):
        sampling = json.loads(self.text(request, "sampling_parameters") or request.parameters())
        adapter = self.adapter(sampling.get("lora_name"))
        prompt, streaming = self.text(request, "text_input"), self.flag(request, "stream", False)
        if not self.flag(request, "exclude_input_in_output", streaming) and streaming:
            raise ValueError(
                "Error generating stream: When streaming, `exclude_input_in_output` = False is not allowed."
            )
        told = {"prompt": prompt, "kind": self.kind, "adapter": adapter, "engine": self.engine}
        words = json.dumps(told, ensure_ascii=False).split(" ")
        limit = int(sampling.get("max_tokens", DEFAULT_MAX_TOKENS))
        pieces = [word if index == 0 else f" {word}" for index, word in enumerate(words[:limit])]
        reason = "stop" if len(words) <= limit else "length"
        read = len(prompt.split())
        for key, count in (("prompt", read), ("generation", len(pieces))):
            if key in self.counters:
                self.counters[key][1].increment(count)
        if not streaming:
            echoed = "" if self.flag(request, "exclude_input_in_output", False) else prompt
            sender.send(self.response(request, echoed + "".join(pieces), reason, read, len(pieces)), flags=FINAL)
            return
        for index, piece in enumerate(pieces, 1):
            last = index == len(pieces)
            sender.send(self.response(request, piece, reason if last else "None", read, 1), flags=FINAL if last else 0)

    def adapter(self, name):
        if name is None:
            return None
        if self.adapters is None:
            raise ValueError("LoRA feature is not enabled.")
        if name not in self.adapters:
            raise ValueError(f"LoRA {name} is not supported, we currently support {list(self.adapters)}")
        return self.adapters[name]

    def response(self, request, text, reason, read, written):
        tensors = [pb_utils.Tensor("text_output", np.asarray([text.encode()], dtype=np.object_))]
        if self.flag(request, "return_finish_reason", False):
            tensors.append(pb_utils.Tensor("finish_reason", np.asarray([reason.encode()], dtype=np.object_)))
        if self.flag(request, "return_num_input_tokens", False):
            tensors.append(pb_utils.Tensor("num_input_tokens", np.asarray([read], dtype=np.uint32)))
        if self.flag(request, "return_num_output_tokens", False):
            tensors.append(pb_utils.Tensor("num_output_tokens", np.asarray([written], dtype=np.uint32)))
        return pb_utils.InferenceResponse(tensors)

    @staticmethod
    def text(request, name):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return tensor.as_numpy().flatten()[0].decode() if tensor is not None else ""

    @staticmethod
    def flag(request, name, default):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return bool(tensor.as_numpy().flatten()[0]) if tensor is not None else default
