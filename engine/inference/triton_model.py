"""A Triton model that takes text: how it is found, what it is sent, and how its answers read, whatever the protocol."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.inference.channel import Chunk, NoTextModel, PromptFailed, to_bytes
from engine.inference.prompt import PromptRequest
from engine.inference.sse import excerpt

# TensorRT-LLM repositories serve one model under several names; these are its front doors, the better one first.
FRONT_DOORS = ("ensemble", "tensorrt_llm_bls")


@dataclass(frozen=True, slots=True)
class Tensor:
    datatype: str
    """Triton's word: BYTES, BOOL, INT32 …"""
    rank: int


@dataclass(frozen=True, slots=True)
class TritonModel:
    name: str
    inputs: Mapping[str, Tensor]
    decoupled: bool
    """May answer one request with many responses, so it can be asked to stream"""

    @property
    def streams_whole_text(self) -> bool:
        """Whether each chunk may repeat all text so far. The vLLM backend's interface is known to send what is new."""
        return "sampling_parameters" not in self.inputs

    def values(self, request: PromptRequest) -> dict[str, str | bool | int | float]:
        """Values for those of the usual input tensors that this model declares."""
        sampling: dict[str, int | float] = {"max_tokens": request.sampling.max_tokens}
        if request.sampling.temperature is not None:
            sampling["temperature"] = request.sampling.temperature
        usual: dict[str, str | bool | int | float] = {
            "text_input": request.prompt,
            "stream": self.decoupled,
            "streaming": self.decoupled,
            "exclude_input_in_output": True,
            "sampling_parameters": json.dumps(sampling),
            "return_finish_reason": True,
            "return_num_input_tokens": True,
            "return_num_output_tokens": True,
        }
        for key, value in sampling.items():
            usual[key] = usual[f"sampling_param_{key}"] = value
        return {name: value for name, value in usual.items() if name in self.inputs}


class Repository(Protocol):
    """What a server says about its models; each raises `PromptFailed`."""

    async def index(self) -> list[dict[str, Any]]: ...

    async def metadata(self, model: str) -> dict[str, Any]: ...

    async def config(self, model: str) -> dict[str, Any]: ...


async def find_model(repository: Repository, wanted: str | None) -> TritonModel:
    """The wanted model, or the only ready one that takes text."""
    if wanted is not None:
        inputs = _inputs(await repository.metadata(wanted))
        if "text_input" not in inputs:
            raise NoTextModel(
                f"Model {wanted!r} takes no text: its inputs are {', '.join(inputs) or 'unknown'}.",
                "Choose a model with an input named text_input.",
            )
        return await _described(repository, wanted, inputs)
    ready = sorted({str(entry.get("name")) for entry in await repository.index() if entry.get("state") == "READY"})
    takers = {name: inputs for name in ready if "text_input" in (inputs := _inputs(await repository.metadata(name)))}
    if not takers:
        held = f"those ready are {excerpt(', '.join(ready))}" if ready else "none is ready"
        failure = NoTextModel if ready else PromptFailed
        raise failure(f"The server has no model that takes text ({held}).", "A model needs an input text_input.")
    name = next((door for door in FRONT_DOORS if door in takers), next(iter(takers)))
    if len(takers) > 1 and name not in FRONT_DOORS:
        raise NoTextModel(f"Several models take text: {excerpt(', '.join(takers))}.", "Say which one is meant.")
    return await _described(repository, name, takers[name])


async def _described(repository: Repository, name: str, inputs: Mapping[str, Tensor]) -> TritonModel:
    policy = (await repository.config(name)).get("model_transaction_policy")
    return TritonModel(name, inputs, decoupled=isinstance(policy, dict) and bool(policy.get("decoupled")))


def _inputs(metadata: dict[str, Any]) -> dict[str, Tensor]:
    try:
        return {
            tensor["name"]: Tensor(datatype=str(tensor["datatype"]), rank=len(tensor["shape"]))
            for tensor in metadata.get("inputs", ())
        }
    except (TypeError, KeyError) as error:
        raise PromptFailed(f"The server describes a model in an unknown way: {excerpt(str(metadata))}") from error


class Reader:
    """Turns a model's responses, given as output name and value, into chunks."""

    def __init__(self, model: TritonModel) -> None:
        self._deltas = Deltas() if model.streams_whole_text else None
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None

    def read(self, outputs: Mapping[str, Any]) -> Chunk:
        text = _first(outputs.get("text_output"))
        data = text if isinstance(text, bytes) else to_bytes(text) if isinstance(text, str) else b""
        if self._deltas is not None:
            data = self._deltas.feed(data)
        counted = _count(outputs.get("num_output_tokens"))
        if counted is not None:  # for this response alone
            self._tokens_out = (self._tokens_out or 0) + counted
        self._tokens_in = _count(outputs.get("num_input_tokens")) or self._tokens_in
        return self._chunk(data, _word(outputs.get("finish_reason")))

    def end(self) -> Chunk:
        return self._chunk(self._deltas.end() if self._deltas is not None else b"")

    def _chunk(self, data: bytes, finish_reason: str = "") -> Chunk:
        return Chunk(data, finish_reason, self._tokens_in, self._tokens_out)


class Deltas:
    """Takes streams of new text as they are and cuts what repeats from streams of the whole text so far.

    A second chunk that begins with the first could be either; it is held until the third one tells.
    """

    def __init__(self) -> None:
        self._whole: bool | None = None
        self._seen = b""
        """Whole text that was passed on, until the kind is known to be new text"""
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        if self._whole is False or not chunk:
            return chunk
        if not self._seen:
            self._seen = chunk
            return chunk
        if self._whole or (self._held and chunk.startswith(self._held)):
            self._whole = True
            new, self._seen = chunk.removeprefix(self._seen), chunk
            return new
        if not self._held and chunk.startswith(self._seen) and chunk != self._seen:
            self._held = chunk
            return b""
        self._whole = False
        return self._held + chunk

    def end(self) -> bytes:
        """What is still held, taken for whole text: few streams of new text begin one piece with the one before."""
        return self._held.removeprefix(self._seen) if self._whole is None else b""


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _count(value: Any) -> int | None:
    value = _first(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _word(value: Any) -> str:
    value = _first(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return excerpt(text, 40) if isinstance(text, str) and text != "None" else ""
