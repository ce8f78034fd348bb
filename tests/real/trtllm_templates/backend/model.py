"""Stands in for the backend `tensorrtllm`: reads its parameters and answers with the prompt's own tokens, reversed."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

EXPECTED = {
    "gpt_model_type": "inflight_fused_batching",
    "batch_scheduler_policy": "max_utilization",
    "exclude_input_in_output": "true",
    "enable_chunked_context": "true",
    "kv_cache_free_gpu_mem_fraction": "0.7",
    "max_beam_width": "${max_beam_width}",
}


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        if not Path(parameters["gpt_model_path"], "rank0.engine").is_file():
            raise pb_utils.TritonModelException(f"{parameters['gpt_model_path']} holds no engine")
        for key, value in EXPECTED.items():
            if parameters[key] != value:
                raise pb_utils.TritonModelException(f"{key} is {parameters[key]}, not {value}")

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            tokens = given["input_ids"].reshape(-1).tolist()[::-1][: int(given["request_output_len"].flat[0])]
            streaming = "streaming" in given and bool(given["streaming"].flat[0])
            steps = [[token] for token in tokens] if streaming else [tokens]
            for number, step in enumerate(steps, 1):
                tensors = [
                    pb_utils.Tensor("output_ids", np.array([[step]], dtype=np.int32)),
                    pb_utils.Tensor("sequence_length", np.array([[len(step)]], dtype=np.int32)),
                    pb_utils.Tensor("context_logits", np.zeros((1, 1, 1), dtype=np.float32)),
                ]
                last = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if number == len(steps) else 0
                sender.send(pb_utils.InferenceResponse(tensors), flags=last)
