"""Serves the n-gram model as the vLLM backend serves a large one: decoupled, batched continuously, cancellable."""

import json
import queue
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from prose_ngram import NgramModel
from prose_sequence import SamplingParameters, Sequence

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]


class Generation:
    """A request with its sequence and where its responses go."""

    def __init__(self, request, sender, model):
        """Raises ValueError, with a sentence for the client."""
        self.sender = sender
        self.arrived = time.monotonic()
        self.stream = _flag(request, "stream", default=False)
        # As in the vLLM backend: a stream never repeats the prompt, a whole answer does unless it is asked not to.
        exclude = _flag(request, "exclude_input_in_output", default=self.stream)
        if self.stream and not exclude:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
        self.returns = {
            name: _flag(request, f"return_{name}", default=False)
            for name in ("finish_reason", "num_input_tokens", "num_output_tokens")
        }
        prompt = _text(request, "text_input")
        given = _text(request, "sampling_parameters")
        if given:
            parameters = SamplingParameters.from_json(given)
        else:
            parameters = SamplingParameters.from_dict(json.loads(request.parameters() or "{}"), ignore_unknown=True)
        self.sequence = Sequence(model, prompt, parameters)
        self.echo = "" if exclude else prompt

    def send(self, text, num_output_tokens):
        """One response; the last one says so itself."""
        reason = self.sequence.finish_reason
        tensors = [pb_utils.Tensor("text_output", np.array([text.encode()], dtype=np.object_))]
        if self.returns["finish_reason"]:
            tensors.append(pb_utils.Tensor("finish_reason", np.array([str(reason).encode()], dtype=np.object_)))
        if self.returns["num_input_tokens"]:
            tensors.append(pb_utils.Tensor("num_input_tokens", np.array([self.sequence.num_input_tokens], np.uint32)))
        if self.returns["num_output_tokens"]:
            tensors.append(pb_utils.Tensor("num_output_tokens", np.array([num_output_tokens], np.uint32)))
        self.sender.send(pb_utils.InferenceResponse(tensors), flags=FINAL if reason else 0)


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self._interval = float(parameters["token_interval_ms"]["string_value"]) / 1000
        self._most = int(parameters["max_num_seqs"]["string_value"])
        corpus = Path(__file__).with_name("corpus.txt").read_text(encoding="utf-8")
        self._model = NgramModel(corpus)
        pb_utils.Logger.log_info(f"[prose] learnt {len(self._model.vocabulary)} tokens from {len(corpus)} characters")
        self._metrics = Metrics({"model": args["model_name"], "version": args["model_version"]})
        self._waiting = queue.SimpleQueue()
        self._engine = threading.Thread(target=self._run, name="engine")
        self._engine.start()

    def execute(self, requests):
        """Only takes the requests in; the engine's thread answers them."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._waiting.put(Generation(request, sender, self._model))
            except ValueError as error:
                _refuse(sender, pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))

    def finalize(self):
        """The server has waited for the requests by now."""
        self._waiting.put(None)
        self._engine.join()

    def _run(self):
        """Continuous batching: each round gives one token to each request under way, and takes in who waits."""
        running = []
        while True:
            began = time.monotonic()
            while len(running) < self._most and (not running or not self._waiting.empty()):
                generation = self._waiting.get()
                if generation is None:
                    return
                if not running:
                    began = time.monotonic()
                running.append(generation)
                self._metrics.prompt_tokens.increment(generation.sequence.num_input_tokens)
            running = [generation for generation in running if self._step(generation)]
            time.sleep(max(0.0, began + self._interval - time.monotonic()))

    def _step(self, generation):
        """Whether the request goes on."""
        if generation.sender.is_cancelled():
            _refuse(generation.sender, pb_utils.TritonError("Request was cancelled", pb_utils.TritonError.CANCELLED))
            return False
        sequence = generation.sequence
        text = sequence.step()
        self._metrics.generation_tokens.increment(1)
        if sequence.num_output_tokens == 1:
            self._metrics.time_to_first_token.observe(time.monotonic() - generation.arrived)
        if generation.stream:
            generation.send(text, 1)
        elif sequence.finish_reason:
            generation.send(generation.echo + sequence.text, sequence.num_output_tokens)
        if sequence.finish_reason:
            self._metrics.e2e_latency.observe(time.monotonic() - generation.arrived)
        return sequence.finish_reason is None


class Metrics:
    """Named as the vLLM backend names its own."""

    def __init__(self, labels):
        self._families = []  # a family that is let go of takes its metrics with it
        counter, histogram = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.HISTOGRAM
        seconds = {"labels": labels, "buckets": SECONDS}
        self.prompt_tokens = self._metric(
            "vllm:prompt_tokens_total", "Number of prefill tokens processed.", counter, labels=labels
        )
        self.generation_tokens = self._metric(
            "vllm:generation_tokens_total", "Number of generation tokens processed.", counter, labels=labels
        )
        self.time_to_first_token = self._metric(
            "vllm:time_to_first_token_seconds", "Time to first token in seconds.", histogram, **seconds
        )
        self.e2e_latency = self._metric(
            "vllm:e2e_request_latency_seconds", "End to end latency in seconds.", histogram, **seconds
        )

    def _metric(self, name, description, kind, **options):
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._families.append(family)
        return family.Metric(**options)


def _text(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor.as_numpy().flatten()[0].decode("utf-8", errors="replace") if tensor is not None else ""


def _flag(request, name, *, default):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return bool(tensor.as_numpy().flatten()[0]) if tensor is not None else default


def _refuse(sender, error):
    sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)
