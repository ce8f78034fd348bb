"""One request under way: what was asked for, and the tokens of its answer."""

import json
from dataclasses import dataclass, fields

from prose_ngram import END, Sampler, split


@dataclass(frozen=True)
class SamplingParameters:
    """The names and defaults of vLLM where it has them."""

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    seed: "int | None" = None
    ignore_eos: bool = False
    stop: "str | list | None" = None

    @classmethod
    def from_dict(cls, given, *, ignore_unknown=False):
        """Raises ValueError, with a sentence for the client."""
        known = {field.name: field.type for field in fields(cls)}
        unknown = [name for name in given if name not in known]
        if unknown and not ignore_unknown:
            raise ValueError(f"Unexpected sampling parameter '{unknown[0]}'; known are {', '.join(known)}.")
        given = {name: value for name, value in given.items() if name in known and value is not None}
        for name in ("max_tokens", "min_tokens", "top_k", "seed"):
            if name in given and (not isinstance(given[name], int) or isinstance(given[name], bool)):
                raise ValueError(f"Sampling parameter '{name}' must be a whole number.")
        for name in ("temperature", "top_p"):
            if name in given and (not isinstance(given[name], (int, float)) or isinstance(given[name], bool)):
                raise ValueError(f"Sampling parameter '{name}' must be a number.")
        result = cls(**given)
        if result.max_tokens < 1:
            raise ValueError("Sampling parameter 'max_tokens' must be at least 1.")
        if result.temperature < 0:
            raise ValueError("Sampling parameter 'temperature' must not be negative.")
        if not 0 < result.top_p <= 1:
            raise ValueError("Sampling parameter 'top_p' must be above 0 and at most 1.")
        if result.seed is not None and result.seed < 0:
            raise ValueError("Sampling parameter 'seed' must not be negative.")
        stops = [result.stop] if isinstance(result.stop, str) else result.stop or []
        if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
            raise ValueError("Sampling parameter 'stop' must be a string or a list of strings.")
        return result

    @classmethod
    def from_json(cls, text):
        """Raises ValueError, with a sentence for the client."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"sampling_parameters is not JSON: {error}.") from error
        if not isinstance(given, dict):
            raise ValueError("sampling_parameters must be a JSON object.")  # noqa: TRY004
        return cls.from_dict(given)


class Sequence:
    def __init__(self, model, prompt, parameters):
        self._model = model
        self._parameters = parameters
        self._sampler = Sampler(parameters.temperature, parameters.top_k, parameters.top_p, parameters.seed)
        self._stops = [parameters.stop] if isinstance(parameters.stop, str) else parameters.stop or []
        self._prompt_keys = model.read(prompt)
        self._context = model.context(self._prompt_keys)
        self.num_input_tokens = len(split(prompt))
        self.num_output_tokens = 0
        self.text = ""
        self.finish_reason = None
        """`stop` or `length` once it has ended"""

    def step(self):
        """Adds a token and returns its text, which is empty at the end of the text."""
        probabilities = self._model.probabilities(self._context, self._prompt_keys)
        if self._parameters.ignore_eos or self.num_output_tokens < self._parameters.min_tokens:
            probabilities[END] = 0.0
        token = self._sampler.choose(probabilities)
        self.num_output_tokens += 1
        if token == END:
            self.finish_reason = "stop"
            return ""
        self._context = self._model.extend(self._context, token)
        before = len(self.text)
        self.text += self._model.vocabulary[token]
        found = [place for place in (self.text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            # What was sent already cannot be taken back when the stop string began in it.
            self.text = self.text[: max(before, min(found))]
            self.finish_reason = "stop"
        elif self.num_output_tokens >= self._parameters.max_tokens:
            self.finish_reason = "length"
        return self.text[before:]
