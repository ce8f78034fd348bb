"""What happens in a clip: frames (time, height, width, RGB) become the five likeliest labels."""

import json

import numpy
import torch
import triton_python_backend_utils as pb_utils
from transformers import AutoImageProcessor, AutoModelForVideoClassification

LABELS = 5


class TritonPythonModel:
    def initialize(self, args):
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._processor = AutoImageProcessor.from_pretrained(name)
        self._model = AutoModelForVideoClassification.from_pretrained(name).to(self._device).eval()

    def execute(self, requests):
        return [self._classify(request) for request in requests]

    @torch.inference_mode()
    def _classify(self, request):
        frames = pb_utils.get_input_tensor_by_name(request, "FRAMES").as_numpy()
        if not len(frames):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("The clip has no frames."))
        # As many as the model was trained on, evenly spread over the clip; a short one shows some twice.
        at = numpy.linspace(0, len(frames) - 1, self._model.config.num_frames).round().astype(int)
        seen = self._processor(list(frames[at]), return_tensors="pt").to(self._device)
        probabilities = self._model(**seen).logits[0].softmax(-1)
        best = probabilities.topk(min(LABELS, len(probabilities)))
        labels = [self._model.config.id2label[index].encode() for index in best.indices.tolist()]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("LABEL", numpy.array(labels, dtype=object)),
                pb_utils.Tensor("PROBABILITY", best.values.cpu().numpy().astype(numpy.float32)),
            ]
        )
