"""Sentence embeddings: the mean of a transformer's last hidden states, of length one."""

import json

import numpy
import torch
import triton_python_backend_utils as pb_utils
from transformers import AutoModel, AutoTokenizer


class TritonPythonModel:
    def initialize(self, args):
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(name)
        self._model = AutoModel.from_pretrained(name).to(self._device).eval()

    def execute(self, requests):
        """All requests that wait are one batch for the model."""
        texts = [
            [text.decode() for text in pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)]
            for request in requests
        ]
        embeddings = self._embed([text for some in texts for text in some])
        responses, begin = [], 0
        for some in texts:
            tensor = pb_utils.Tensor("EMBEDDING", embeddings[begin : begin + len(some)])
            responses.append(pb_utils.InferenceResponse([tensor]))
            begin += len(some)
        return responses

    @torch.inference_mode()
    def _embed(self, texts):
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self._device)
        states = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean).cpu().numpy().astype(numpy.float32)
