"""A Triton model that takes text: how it is found, what it is sent, and how its answers read, whatever the protocol."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.inference import sampling_tensors
from engine.inference.channel import Chunk, NoTextModel, PromptFailed, to_bytes, token_count
from engine.inference.prompt import Fault, PromptRequest
from engine.inference.sse import excerpt
from engine.inference.tensors import Input, Tensor, converter, parse_inputs
from engine.inference.unfit import LONGEST_NAME, Unfit, named

TEXT_INPUT = "text_input"
CONTEXT_PARAMETERS = ("max_model_len", "max_seq_len")
"""Parameters of a model's configuration that say how many tokens prompt and answer may have together"""

# TensorRT-LLM repositories serve one model under several names; these are its front doors, the better one first.
FRONT_DOORS = ("ensemble", "tensorrt_llm_bls")


@dataclass(frozen=True, slots=True)
class TritonModel:
    name: str
    inputs: Mapping[str, Tensor]
    decoupled: bool
    """May answer one request with many responses, so it can be asked to stream"""
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    batched: bool = False
    """The first dimension of its tensors counts requests"""
    context_tokens: int | None = None
    """Prompt and answer together, where its configuration says so"""

    @property
    def takes_text(self) -> bool:
        return TEXT_INPUT in self.inputs

    @property
    def streams_whole_text(self) -> bool:
        """Whether each chunk may repeat all text so far. The vLLM backend's interface is known to send what is new."""
        return sampling_tensors.JSON_INPUT not in self.inputs

    def values(self, request: PromptRequest) -> dict[str, sampling_tensors.Value]:
        """What a prompt's text and values are by the names of the inputs that this model declares. Raises `Unfit`."""
        return sampling_tensors.values(self, request)

    def tensors(self, request: PromptRequest) -> tuple[Input, ...]:
        """The same as tensors of the declared datatypes and ranks, or those that the request gives. Raises `Unfit`."""
        if request.tensors is not None:
            return parse_inputs(self, request.tensors)
        return tuple(_sent(name, self.inputs[name], value) for name, value in self.values(request).items())


def _sent(name: str, tensor: Tensor, value: sampling_tensors.Value) -> Input:
    convert = converter(tensor.datatype)
    data = [convert(one) for one in (value if isinstance(value, list) else [value])]
    return Input(name, tensor.datatype, (1,) * (tensor.rank - 1) + (len(data),) * min(tensor.rank, 1), data)


class Repository(Protocol):
    """What a server says about its models; each raises `PromptFailed`."""

    async def index(self) -> list[dict[str, Any]]: ...

    async def metadata(self, model: str) -> dict[str, Any]: ...

    async def config(self, model: str) -> dict[str, Any]: ...


async def find_model(repository: Repository, wanted: str | None, *, tensors: bool = False) -> TritonModel:
    """The wanted model, or the only ready one that takes text; for `tensors` the only ready one.

    Raises `PromptFailed`.
    """
    if wanted is not None:
        metadata = await _metadata(repository, wanted)
        if not tensors and TEXT_INPUT not in (inputs := _tensors(metadata, "inputs")):
            raise NoTextModel(
                f"Model {wanted!r} takes no text: its inputs are {', '.join(inputs) or 'unknown'}.",
                f"Choose a model with an input named {TEXT_INPUT}, or send tensors.",
            )
        return described(wanted, metadata, await repository.config(wanted))
    ready = ready_names(await repository.index())
    if tensors:
        if len(ready) != 1:
            held = f"Several models are ready: {excerpt(', '.join(ready))}." if ready else "No model is ready."
            raise Unfit(held, "Say which one the tensors are for." if ready else "")
        return described(ready[0], await repository.metadata(ready[0]), await repository.config(ready[0]))
    takers = {name: found for name in ready if takes_text(found := await repository.metadata(name))}
    if not takers:
        held = f"those ready are {excerpt(', '.join(ready))}" if ready else "none is ready"
        failure = NoTextModel if ready else Unfit
        raise failure(f"The server has no model that takes text ({held}).", f"A model needs an input {TEXT_INPUT}.")
    name = front_door(takers)
    if name is None:
        raise NoTextModel(f"Several models take text: {excerpt(', '.join(takers))}.", "Say which one is meant.")
    return described(name, takers[name], await repository.config(name))


async def _metadata(repository: Repository, wanted: str) -> dict[str, Any]:
    """Raises `PromptFailed`: where there is no such model, with those that there are."""
    try:
        return await repository.metadata(wanted)
    except PromptFailed as failure:
        if failure.fault is not Fault.REFUSED:
            raise
        try:
            ready = ready_names(await repository.index())
        except PromptFailed:
            raise failure from None
        if wanted in ready:
            raise
        there = f"Choose one of those that are: {named(ready, wanted)}." if ready else "None is: load one first."
        raise Unfit(f"No model {excerpt(wanted, LONGEST_NAME)!r} is ready on the server.", there) from failure


def ready_names(index: Sequence[Mapping[str, Any]]) -> list[str]:
    """By name, each once, whatever versions it has."""
    return sorted({str(entry.get("name")) for entry in index if entry.get("state") == "READY"})


def front_door(takers: Collection[str]) -> str | None:
    """Which of those that take text is meant when none is named; None: nobody can say."""
    door = next((door for door in FRONT_DOORS if door in takers), None)
    return door or (next(iter(takers)) if len(takers) == 1 else None)


def takes_text(metadata: Mapping[str, Any]) -> bool:
    return TEXT_INPUT in _tensors(metadata, "inputs")


def described(name: str, metadata: Mapping[str, Any], config: Mapping[str, Any]) -> TritonModel:
    """Raises `PromptFailed` when the metadata are none."""
    policy, parameters = config.get("model_transaction_policy"), config.get("parameters")
    declared = config.get("input")
    optional = frozenset(
        str(tensor.get("name"))
        for tensor in (declared if isinstance(declared, list) else ())
        if isinstance(tensor, dict) and tensor.get("optional") is True
    )
    batch = config.get("max_batch_size")
    return TritonModel(
        name,
        _tensors(metadata, "inputs", optional),
        decoupled=isinstance(policy, dict) and bool(policy.get("decoupled")),
        outputs=_tensors(metadata, "outputs"),
        batched=isinstance(batch, int) and batch > 0,
        context_tokens=_context(parameters if isinstance(parameters, dict) else {}),
    )


def _context(parameters: Mapping[str, Any]) -> int | None:
    for key in CONTEXT_PARAMETERS:
        value = parameters.get(key)
        text = value.get("string_value") if isinstance(value, dict) else None
        if isinstance(text, str) and text.isascii() and text.isdecimal():
            return int(text)
    return None


def _tensors(metadata: Mapping[str, Any], key: str, optional: Collection[str] = ()) -> dict[str, Tensor]:
    """By name. The JSON of gRPC has lengths as text, and leaves out what is empty."""
    try:
        return {
            str(tensor["name"]): Tensor(
                str(tensor.get("datatype", "")),
                tuple(int(length) for length in tensor.get("shape", ())),
                tensor["name"] in optional,
            )
            for tensor in metadata.get(key, ())
        }
    except (TypeError, KeyError, ValueError, AttributeError) as error:
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
    return token_count(_first(value))


def _word(value: Any) -> str:
    value = _first(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return excerpt(text, 40) if isinstance(text, str) and text != "None" else ""
