"""Speech to text: each request is one recording of at most 30 s, 16 kHz, one channel, samples from -1 to 1."""

import json

import numpy
import torch
import triton_python_backend_utils as pb_utils
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

SAMPLES_PER_SECOND = 16_000
LONGEST_S = 30


class TritonPythonModel:
    def initialize(self, args):
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        self._type = torch.float16 if on_gpu else torch.float32
        self._processor = AutoProcessor.from_pretrained(name)
        self._model = AutoModelForSpeechSeq2Seq.from_pretrained(name).to(self._device, self._type).eval()

    def execute(self, requests):
        """All requests that wait are one batch for the model; one that cannot be heard is refused by itself."""
        recordings = [pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy() for request in requests]
        heard = [0 < audio.shape[-1] <= LONGEST_S * SAMPLES_PER_SECOND for audio in recordings]
        rows = [row for audio, fits in zip(recordings, heard, strict=True) if fits for row in audio]
        texts = iter(self._recognise(rows) if rows else ())
        return [
            self._answer([next(texts) for _ in audio]) if fits else self._refuse(audio)
            for audio, fits in zip(recordings, heard, strict=True)
        ]

    @torch.inference_mode()
    def _recognise(self, recordings):
        heard = self._processor(recordings, sampling_rate=SAMPLES_PER_SECOND, return_tensors="pt")
        tokens = self._model.generate(heard.input_features.to(self._device, self._type))
        return [text.strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]

    def _answer(self, texts):
        rows = [[text.encode()] for text in texts]
        return pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", numpy.array(rows, dtype=object))])

    def _refuse(self, audio):
        seconds = audio.shape[-1] / SAMPLES_PER_SECOND
        error = f"The recording lasts {seconds:.1f} s; it must be more than 0 and at most {LONGEST_S} s."
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(error))
