"""Triton's gRPC streaming: one request per stream, so that the end of the stream is the end of the answer.

Models such as `tensorrt_llm_bls` end with a message that carries flags only, which Triton sends to nobody unless it was
asked for, and the asyncio client cannot ask. Half-closing after the request makes the server end the stream instead.
"""

import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

from engine.deployment import Service
from engine.inference.channel import Chunk, PromptFailed
from engine.inference.prompt import PromptRequest, Transport
from engine.inference.sse import excerpt
from engine.inference.triton_model import Reader, TritonModel, find_model

if TYPE_CHECKING:
    from tritonclient.grpc.aio import InferenceServerClient

_OUTPUTS = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens")


class TritonGrpc:
    transport = Transport.TRITON_GRPC

    def __init__(self, service: Service, request: PromptRequest) -> None:
        if service.grpc is None:
            raise PromptFailed("The deployment exposes no gRPC port.", "Use HTTP, or expose grpc in its profile.")
        self._request = request
        self._wanted = request.model or service.model
        self._client: InferenceServerClient | None = None
        self._model: TritonModel | None = None
        self.where = service.grpc
        self.connected_s: float | None = None
        """One empty call's round trip included: the client does not tell them apart"""
        self.sent_at: float | None = None

    @property
    def model(self) -> str:
        return self._model.name if self._model else ""

    async def open(self) -> None:
        from tritonclient.grpc.aio import InferenceServerClient

        # never a proxy of the environment: the server is at hand, and prompts are nobody else's business
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 4 << 20)]
        self._client = InferenceServerClient(self.where, channel_args=options)
        began = time.perf_counter()
        await self._call(self._client.is_server_live(client_timeout=self._request.connect_timeout_s))
        self.connected_s = time.perf_counter() - began
        self._model = await find_model(self, self._wanted)

    async def stream(self) -> AsyncGenerator[Chunk, None]:
        import grpc  # type: ignore[import-untyped]
        from tritonclient.utils import InferenceServerException

        assert self._client is not None  # noqa: S101
        assert self._model is not None, "open() comes first"  # noqa: S101
        reader = Reader(self._model)
        request = {"model_name": self._model.name, "inputs": _tensors(self._model, self._request)}
        self.sent_at = time.perf_counter()
        answers = self._client.stream_infer(_once(request))
        try:
            async for result, error in answers:
                if error is not None:
                    raise PromptFailed(f"The model reported an error: {_details(error)}")
                yield reader.read({name: _value(result.as_numpy(name)) for name in _OUTPUTS})
        except (grpc.RpcError, InferenceServerException) as error:
            raise self._failure(error) from error
        except (struct.error, ValueError) as error:
            raise PromptFailed(f"{self.where} sent a tensor that cannot be read: {excerpt(str(error))}") from error
        finally:
            answers.cancel()
        yield reader.end()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def index(self) -> list[dict[str, Any]]:
        client = self._opened()
        listed = await self._call(client.get_model_repository_index(as_json=True, client_timeout=self._idle))
        return [entry for entry in listed.get("models", ()) if isinstance(entry, dict)]

    async def metadata(self, model: str) -> dict[str, Any]:
        call = self._opened().get_model_metadata(model, as_json=True, client_timeout=self._idle)
        return dict(await self._call(call))

    async def config(self, model: str) -> dict[str, Any]:
        answer = await self._call(self._opened().get_model_config(model, as_json=True, client_timeout=self._idle))
        return dict(answer.get("config") or {})

    @property
    def _idle(self) -> float:
        return self._request.idle_timeout_s

    def _opened(self) -> "InferenceServerClient":
        assert self._client is not None, "open() comes first"  # noqa: S101
        return self._client

    async def _call(self, call: Awaitable[Any]) -> Any:
        import grpc
        from tritonclient.utils import InferenceServerException

        try:
            return await call
        except (grpc.RpcError, InferenceServerException) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> PromptFailed:
        code = str(error.status() if hasattr(error, "status") else getattr(error, "code", str)())
        details = _details(error)
        if code.endswith("UNAVAILABLE"):
            return PromptFailed(
                f"Cannot talk to {self.where}: {details}.",
                "Start the deployment, or wait for it: a server opens its port only when its models are loaded.",
            )
        if code.endswith("DEADLINE_EXCEEDED"):
            return PromptFailed(f"{self.where} did not answer in time.", "Check that this is the server's gRPC port.")
        return PromptFailed(f"{self.where} refused: {details}")


def _tensors(model: TritonModel, request: PromptRequest) -> list[Any]:
    import numpy as np
    from tritonclient.grpc import InferInput
    from tritonclient.utils import triton_to_np_dtype

    tensors = []
    for name, value in model.values(request).items():
        tensor = model.inputs[name]
        shape = [1] * tensor.rank
        array = np.array(
            [value.encode() if isinstance(value, str) else value], dtype=triton_to_np_dtype(tensor.datatype)
        )
        tensors.append(InferInput(name, shape, tensor.datatype).set_data_from_numpy(array.reshape(shape)))
    return tensors


def _value(array: Any) -> Any:
    return None if array is None else array.reshape(-1).tolist()


def _details(error: Exception) -> str:
    message = error.message() if hasattr(error, "message") else getattr(error, "details", lambda: str(error))()
    return excerpt(str(message)).rstrip(".")


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request
