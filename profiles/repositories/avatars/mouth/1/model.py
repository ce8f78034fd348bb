"""Mouth shapes from speech: for each 20 ms of sound (16 kHz, one channel) how much of each shape the mouth has.

The letters that a speech recogniser hears are weighed by the shape of the mouth that says them.
"""

import json

import numpy
import torch
import triton_python_backend_utils as pb_utils
from transformers import AutoModelForCTC, AutoProcessor

SAMPLES_PER_SECOND = 16_000
SHAPES = {"rest": "", "closed": "BMP", "teeth": "FV", "open": "AH", "wide": "EIYSZXCDTNLKGJ", "round": "OUWQR"}
"""In the order of the output's columns; what is in none of them, such as silence, is rest"""


class TritonPythonModel:
    def initialize(self, args):
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._processor = AutoProcessor.from_pretrained(name)
        self._model = AutoModelForCTC.from_pretrained(name).to(self._device).eval()
        self._shape_of = numpy.zeros((self._model.config.vocab_size, len(SHAPES)), dtype=numpy.float32)
        letters = {index: letter for letter, index in self._processor.tokenizer.get_vocab().items()}
        for index in range(self._model.config.vocab_size):
            shape = next((row for row, said in enumerate(SHAPES.values()) if letters.get(index) in set(said)), 0)
            self._shape_of[index, shape] = 1.0

    def execute(self, requests):
        return [self._move(request) for request in requests]

    @torch.inference_mode()
    def _move(self, request):
        audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy().reshape(-1)
        if len(audio) < SAMPLES_PER_SECOND // 10:
            error = pb_utils.TritonError("The sound is shorter than a tenth of a second.")
            return pb_utils.InferenceResponse(error=error)
        heard = self._processor(audio, sampling_rate=SAMPLES_PER_SECOND, return_tensors="pt").to(self._device)
        letters = self._model(**heard).logits[0].softmax(-1).cpu().numpy()
        mouth = (letters @ self._shape_of).astype(numpy.float32)
        rate = numpy.array([len(mouth) * SAMPLES_PER_SECOND / len(audio)], dtype=numpy.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor("MOUTH", mouth), pb_utils.Tensor("FRAMES_PER_SECOND", rate)])
