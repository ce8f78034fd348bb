"""Stands in for the LLM API's model: the same tensors, model.yaml read the same way, all text so far in each chunk."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
import yaml


def configuration():
    return yaml.safe_load(Path(pb_utils.get_model_dir(), "model.yaml").read_text(encoding="utf-8"))


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        triton = configuration()["triton_config"]
        config.set_model_transaction_policy({"decoupled": bool(triton["decoupled"])})
        config.set_max_batch_size(int(triton["max_batch_size"]))
        return config

    def initialize(self, args):
        self.config = configuration()
        self.decoupled = self.config.pop("triton_config")["decoupled"]

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
            limit = int(pb_utils.get_input_tensor_by_name(request, "sampling_param_max_tokens").as_numpy()[0])
            said = "; ".join(f"{key}={value}" for key, value in self.config.items())
            words = [prompt, *said.split("; ")][:limit]
            for count in range(1, len(words) + 1):
                text = np.array([" ".join(words[:count]).encode()], dtype=np.object_)
                reason = np.array([b"stop" if count == len(words) else b"None"], dtype=np.object_)
                tensors = [pb_utils.Tensor("text_output", text), pb_utils.Tensor("finish_reason", reason)]
                last = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if count == len(words) else 0
                sender.send(pb_utils.InferenceResponse(tensors), flags=last)
