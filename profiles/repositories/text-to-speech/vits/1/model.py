"""Text to speech: a sentence becomes samples from -1 to 1, one channel."""

import json

import numpy
import torch
import triton_python_backend_utils as pb_utils
from transformers import AutoTokenizer, VitsModel


class TritonPythonModel:
    def initialize(self, args):
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(name)
        self._model = VitsModel.from_pretrained(name).to(self._device).eval()

    def execute(self, requests):
        return [self._speak(request) for request in requests]

    @torch.inference_mode()
    def _speak(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)[0].decode()
        tokens = self._tokenizer(text, return_tensors="pt").to(self._device)
        if tokens["input_ids"].shape[1] == 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("There is nothing to say in this text."))
        audio = self._model(**tokens).waveform[0].cpu().numpy().astype(numpy.float32)
        rate = numpy.array([self._model.config.sampling_rate], dtype=numpy.int32)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("AUDIO", audio), pb_utils.Tensor("SAMPLES_PER_SECOND", rate)]
        )
