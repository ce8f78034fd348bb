"""Triton's gRPC streaming: one request per stream, so that the end of the stream is the end of the answer.

Models such as `tensorrt_llm_bls` end with a message that carries flags only, which Triton sends to nobody unless it was
asked for, and the asyncio client cannot ask. Half-closing after the request makes the server end the stream instead.
"""

import asyncio
import re
import struct
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

from engine.deployment import Service
from engine.inference.channel import PromptFailed
from engine.inference.learnt import Learnt
from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptRequest, Style, Transport
from engine.inference.sse import NO_REASON, excerpt
from engine.inference.tensor_outputs import outputs_text
from engine.inference.triton_model import Reader, TritonModel, find_model
from engine.inference.unfit import Unfit
from engine.text import mask_secrets
from engine.wire.address import address_of
from engine.wire.failure import UnansweredError

if TYPE_CHECKING:
    from tritonclient.grpc.aio import InferenceServerClient

MAX_MESSAGE = 4 << 20
_COUNTS = {"INT32": "<i", "UINT32": "<I", "INT64": "<q", "UINT64": "<Q"}
# gRPC's own words, by which alone what happened to a connection differs from a status that the server sent.
_UNREACHED = re.compile("failed to connect|resol", re.IGNORECASE)
_LOST = re.compile("stream removed|socket closed|connection reset|recvmsg|broken pipe|goaway|transport", re.IGNORECASE)
_WHY = "Failed to connect to remote host: "
_TOO_LARGE = "larger than max"
_LENGTH = struct.Struct("<I")


class TritonGrpc:
    transport = Transport.TRITON_GRPC
    lag_s = 0.0

    def __init__(self, service: Service) -> None:
        if service.grpc is None:
            raise Unfit("The deployment exposes no gRPC port.", "Use HTTP, or expose grpc in its profile.")
        try:  # gRPC itself takes a port above 65535 for another one
            address_of(f"http://{service.grpc}")
        except UnansweredError as error:
            why = f": {error}" if str(error) else ""
            raise Unfit(f"{excerpt(service.grpc)!r} is no address of a gRPC server{why}.") from error
        self._meant = service.model
        self._client: InferenceServerClient | None = None
        self._models: Learnt[TritonModel] = Learnt()
        self._reached: Learnt[None] = Learnt()
        self.where = service.grpc

    async def carry_out(self, request: PromptRequest, measured: Measured) -> None:
        await self._reached.get(None, lambda: self._reach(request, measured))
        wanted, tensors = request.model or self._meant, request.tensors is not None
        model = await self._models.get((wanted, tensors), lambda: self._find(wanted, request))
        measured.model = model.name
        measured.style = None if tensors else Style.COMPLETION
        await self._stream(model, request, measured)

    async def close(self) -> None:
        self._reached.close()
        self._models.close()
        if self._client is not None:
            await self._client.close()

    async def _reach(self, request: PromptRequest, measured: Measured) -> None:
        """One empty call's round trip is in `connected_s`: the client does not tell them apart."""
        from tritonclient.grpc.aio import InferenceServerClient

        if self._client is None:
            # never a proxy of the environment: the server is at hand, and prompts are nobody else's business
            options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MAX_MESSAGE)]
            self._client = InferenceServerClient(self.where, channel_args=options)
        began = time.perf_counter()
        await self._call(self._client.is_server_live(client_timeout=request.connect_timeout_s), Fault.CONNECTION)
        measured.connected_s = time.perf_counter() - began

    async def _find(self, wanted: str | None, request: PromptRequest) -> TritonModel:
        return await find_model(_Repository(self, request), wanted, tensors=request.tensors is not None)

    async def _stream(self, model: TritonModel, request: PromptRequest, measured: Measured) -> None:
        import grpc  # type: ignore[import-untyped]
        from tritonclient.utils import InferenceServerException

        reader = Reader(model)
        sent = {"model_name": model.name, "inputs": _inputs(model, request)}
        measured.sent(time.perf_counter())
        answers = self.client.stream_infer(_once(sent))
        patience = _Patience(request.idle_timeout_s, answers.cancel)
        messages = 0
        try:
            async for result, error in answers:
                at = patience.heard()
                measured.began(at)
                messages += 1
                measured.check(messages, self.where)
                if error is not None:
                    raise PromptFailed(f"The model reported an error: {_details(error)}", fault=Fault.ERROR)
                if request.tensors is not None:
                    measured.text(_tensors_text(result).encode(), at)
                else:
                    measured.chunk(reader.read(_outputs(result.get_response())), at)
        except asyncio.CancelledError:
            if not patience.lost:
                raise
            raise measured.silent(self.where) from None
        except (grpc.RpcError, InferenceServerException) as error:
            if patience.lost:
                raise measured.silent(self.where) from None
            raise self._broken(error, measured) from error
        except (struct.error, ValueError) as error:
            raise PromptFailed(f"{self.where} sent a tensor that cannot be read: {excerpt(str(error))}") from error
        finally:
            patience.end()
            answers.cancel()
        if patience.lost:
            raise measured.silent(self.where)
        at = time.perf_counter()
        measured.ended(at)
        measured.chunk(reader.end(), at)

    @property
    def client(self) -> "InferenceServerClient":
        assert self._client is not None, "it is reached first"  # noqa: S101
        return self._client

    async def _call(self, call: Awaitable[Any], late: Fault = Fault.IDLE) -> Any:
        """`late`: what it is when no answer comes in time."""
        import grpc
        from tritonclient.utils import InferenceServerException

        try:
            return await call
        except (grpc.RpcError, InferenceServerException) as error:
            raise self._failure(error, late) from error

    def _broken(self, error: Exception, measured: Measured) -> PromptFailed:
        """Of a stream, which has begun when something has come of it."""
        details, code = _details(error), _code(error)
        if code == "UNAVAILABLE" and _UNREACHED.search(details):
            return self._failure(error)
        if code == "UNAVAILABLE" and _LOST.search(details):
            return measured.cut(self.where)
        if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
            return PromptFailed(f"The server sent more than {MAX_MESSAGE >> 20} MiB as one piece of its answer.")
        if measured.begun:
            return PromptFailed(f"The server ended its answer with an error ({code}): {details}", fault=Fault.ERROR)
        return PromptFailed(f"{self.where} refused the prompt ({code}): {details}", fault=Fault.REFUSED)

    def _failure(self, error: Exception, late: Fault = Fault.IDLE) -> PromptFailed:
        details, code = _details(error), _code(error)
        if code == "UNAVAILABLE" and (_UNREACHED.search(details) or _LOST.search(details)):
            return PromptFailed(
                f"Cannot talk to {self.where}: {details.rpartition(_WHY)[2]}.",
                "Start the deployment, or wait for it: a server opens its port only when its models are loaded.",
                Fault.CONNECTION,
            )
        if code == "DEADLINE_EXCEEDED":
            what = f"{self.where} did not answer in time."
            return PromptFailed(what, "Check that this is the server's gRPC port.", late)
        return PromptFailed(f"{self.where} refused ({code}): {details}", fault=Fault.REFUSED)


class _Repository:
    """What the server says about its models, within a request's limits of time."""

    def __init__(self, channel: TritonGrpc, limits: PromptRequest) -> None:
        self._channel = channel
        self._limit_s = limits.idle_timeout_s

    async def index(self) -> list[dict[str, Any]]:
        asked = self._channel.client.get_model_repository_index(as_json=True, client_timeout=self._limit_s)
        listed = await self._channel._call(asked)  # noqa: SLF001 (of this file)
        return [entry for entry in listed.get("models", ()) if isinstance(entry, dict)]

    async def metadata(self, model: str) -> dict[str, Any]:
        asked = self._channel.client.get_model_metadata(model, as_json=True, client_timeout=self._limit_s)
        return dict(await self._channel._call(asked))  # noqa: SLF001 (of this file)

    async def config(self, model: str) -> dict[str, Any]:
        asked = self._channel.client.get_model_config(model, as_json=True, client_timeout=self._limit_s)
        return dict((await self._channel._call(asked)).get("config") or {})  # noqa: SLF001 (of this file)


class _Patience:
    """Gives up when nothing is heard for too long. Its timer is moved only when it goes off."""

    def __init__(self, limit_s: float, give_up: Any) -> None:
        self.lost = False
        self._limit_s = limit_s
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._last = time.perf_counter()
        self._timer = self._loop.call_later(limit_s, self._look)

    def heard(self) -> float:
        """When, on the clock of `time.perf_counter`."""
        self._last = time.perf_counter()
        return self._last

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._last + self._limit_s - time.perf_counter()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self.lost = True
            self._give_up()


def _inputs(model: TritonModel, request: PromptRequest) -> list[Any]:
    import numpy as np
    from tritonclient.grpc import InferInput
    from tritonclient.utils import triton_to_np_dtype

    tensors = []
    for tensor in model.tensors(request):
        array = np.array(tensor.data, dtype=triton_to_np_dtype(tensor.datatype)).reshape(tensor.shape)
        tensors.append(InferInput(tensor.name, list(tensor.shape), tensor.datatype).set_data_from_numpy(array))
    return tensors


def _outputs(response: Any) -> dict[str, Any]:
    """The first value of each output: of those that text models have, read without making an array of each.

    Raises `struct.error` and `ValueError` for what is shorter than it says.
    """
    found: dict[str, Any] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.datatype == "BYTES" and raw:
            length = _LENGTH.unpack_from(raw)[0]
            if len(raw) - _LENGTH.size < length:
                raise ValueError(f"{output.name} ends after {len(raw)} bytes")
            found[output.name] = raw[_LENGTH.size : _LENGTH.size + length]
        elif output.datatype in _COUNTS and raw:
            found[output.name] = struct.unpack_from(_COUNTS[output.datatype], raw)[0]
    return found


def _tensors_text(result: Any) -> str:
    outputs = []
    for output in result.get_response().outputs:
        array = result.as_numpy(output.name)
        data = [] if array is None else array.reshape(-1).tolist()
        described = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data}
        outputs.append(described)
    return outputs_text(outputs)


def _details(error: Exception) -> str:
    message = error.message() if hasattr(error, "message") else getattr(error, "details", lambda: str(error))()
    return excerpt(mask_secrets(str(message))).rstrip(".") or NO_REASON


def _code(error: Exception) -> str:
    return str(error.status() if hasattr(error, "status") else getattr(error, "code", str)()).rpartition(".")[2]


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request
