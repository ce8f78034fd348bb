"""Four figures of a text: words, words a sentence, letters a word, share of different words."""

import re

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("STATS", self._stats(request))]) for request in requests]

    def _stats(self, request):
        text = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)[0].decode()
        words = re.findall(r"\w+", text.lower())
        sentences = [part for part in re.split(r"[.!?]+", text) if part.strip()]
        count = max(1, len(words))
        figures = len(words), len(words) / max(1, len(sentences)), sum(map(len, words)) / count, len(set(words)) / count
        return numpy.array(figures, dtype=numpy.float32)
