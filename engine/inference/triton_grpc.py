"""Triton's gRPC streaming: one request per stream, so that the end of the stream is the end of the answer.

Models such as `tensorrt_llm_bls` end with a message that carries flags only, which Triton sends to nobody unless it was
asked for. To a client that has said all it will, it ends the stream instead. So `ModelStreamInfer` is called as one
that takes a single message: on the wire that is the same, and the request goes out at once and whole.

gRPC receives in threads of its own, and does not tell when: see `Arrivals` for what the times of messages are.
"""

import asyncio
import re
import struct
import time
from typing import TYPE_CHECKING, Any

from engine.deployment import Service
from engine.inference.arrivals import Arrivals
from engine.inference.channel import PromptFailed
from engine.inference.grpc_messages import first_values, infer_request, tensors_text
from engine.inference.learnt import Learnt
from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptRequest, Style, Transport
from engine.inference.sse import NO_REASON, excerpt
from engine.inference.triton_model import Reader, TritonModel, find_model
from engine.inference.unfit import Unfit, no_grpc, refused
from engine.text import mask_secrets
from engine.wire.address import address_of
from engine.wire.failure import UnansweredError

if TYPE_CHECKING:
    import grpc.aio  # type: ignore[import-untyped]

MAX_MESSAGE = 4 << 20
MOST_BACKOFF_MS = 1000
"""That a lost connection is not tried anew, and every prompt refused; gRPC's own is two minutes"""
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
# gRPC's own words, by which alone what happened to a connection differs from a status that the server sent.
_UNREACHED = re.compile("failed to connect|resol", re.IGNORECASE)
_LOST = re.compile("stream removed|socket closed|connection reset|recvmsg|broken pipe|goaway|transport", re.IGNORECASE)
_WHY = "Failed to connect to remote host: "
_TOO_LARGE = "larger than max"


class TritonGrpc:
    transport = Transport.TRITON_GRPC

    def __init__(self, service: Service) -> None:
        if service.grpc is None:
            raise Unfit(*no_grpc(service))
        try:  # gRPC itself takes a port above 65535 for another one
            address_of(f"http://{service.grpc}")
        except UnansweredError as error:
            why = f": {error}" if str(error) else ""
            raise Unfit(f"{excerpt(service.grpc)!r} is no address of a gRPC server{why}.") from error
        self._meant = service.model
        self._channel: grpc.aio.Channel | None = None
        self._arrivals = Arrivals()
        self._models: Learnt[TritonModel] = Learnt()
        self._reached: Learnt[None] = Learnt()
        self.where = service.grpc

    @property
    def lag_s(self) -> float:
        return self._arrivals.lag_s

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
        if self._channel is not None:
            await self._channel.close()

    async def _reach(self, request: PromptRequest, measured: Measured) -> None:
        """One empty call's round trip is in `connected_s`: gRPC does not tell them apart."""
        import grpc.aio
        from tritonclient.grpc import service_pb2

        if self._channel is None:
            # never a proxy of the environment: the server is at hand, and prompts are nobody else's business
            options = [
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                # Otherwise it is refused without a try where another client of this process was: gRPC lets them share.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_reconnect_backoff_ms", MOST_BACKOFF_MS),
            ]
            self._channel = grpc.aio.insecure_channel(self.where, options)
        began = time.perf_counter()
        await self._ask("ServerLive", service_pb2.ServerLiveRequest(), request.connect_timeout_s, Fault.CONNECTION)
        measured.connected_s = time.perf_counter() - began

    async def _find(self, wanted: str | None, request: PromptRequest) -> TritonModel:
        return await find_model(_Repository(self, request), wanted, tensors=request.tensors is not None)

    async def _stream(self, model: TritonModel, request: PromptRequest, measured: Measured) -> None:
        import grpc.aio
        from google.protobuf.message import DecodeError
        from tritonclient.grpc import service_pb2

        parse, reader, arrivals = service_pb2.ModelStreamInferResponse.FromString, Reader(model), self._arrivals
        body = infer_request(model, request)

        def going_out() -> bytes:
            measured.sent(time.perf_counter())
            return body

        # gRPC asks for a request's bytes right before it sends them
        infer = self.channel.unary_stream(STREAM_INFER, request_serializer=lambda bytes_of: bytes_of())
        answers = infer(going_out)
        patience = _Patience(request.idle_timeout_s, answers.cancel)
        messages = 0
        try:
            with arrivals:
                async for message in answers:
                    at = arrivals.now()
                    patience.heard(at)
                    measured.began(at)
                    messages += 1
                    measured.check(messages, self.where)
                    answer = parse(message)
                    if answer.error_message:
                        said = _cleaned(answer.error_message)
                        raise refused("The model reported an error", said, request, Fault.ERROR)
                    if request.tensors is not None:
                        measured.text(tensors_text(answer.infer_response).encode(), at)
                    else:
                        measured.chunk(reader.read(first_values(answer.infer_response)), at)
        except asyncio.CancelledError:
            if not patience.lost:
                raise
            raise measured.silent(self.where) from None
        except grpc.RpcError as error:
            if patience.lost:
                raise measured.silent(self.where) from None
            raise self._broken(error, measured) from error
        except DecodeError as error:
            raise PromptFailed(f"{self.where} sent a message that cannot be read.", "Check the port.") from error
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
    def channel(self) -> "grpc.aio.Channel":
        assert self._channel is not None, "it is reached first"  # noqa: S101
        return self._channel

    async def _ask(self, method: str, question: Any, limit_s: float, late: Fault = Fault.IDLE) -> Any:
        """`late`: what it is when no answer comes in time."""
        import grpc
        from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

        try:
            return await getattr(GRPCInferenceServiceStub(self.channel), method)(question, timeout=limit_s)
        except grpc.RpcError as error:
            raise self._failure(error, late) from error

    def _broken(self, error: "grpc.RpcError", measured: Measured) -> PromptFailed:
        """Of a stream, which has begun when something has come of it."""
        details, code = _cleaned(error.details()), error.code().name
        if code == "UNAVAILABLE" and _UNREACHED.search(details):
            return self._failure(error)
        if code == "UNAVAILABLE" and _LOST.search(details):
            return measured.cut(self.where)
        if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
            return PromptFailed(f"The server sent more than {MAX_MESSAGE >> 20} MiB as one piece of its answer.")
        if measured.begun:
            return PromptFailed(f"The server ended its answer with an error ({code}): {details}", fault=Fault.ERROR)
        return PromptFailed(f"{self.where} refused the prompt ({code}): {details}", fault=Fault.REFUSED)

    def _failure(self, error: "grpc.RpcError", late: Fault = Fault.IDLE) -> PromptFailed:
        details, code = _cleaned(error.details()), error.code().name
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
        from tritonclient.grpc import service_pb2

        listed = await self._ask("RepositoryIndex", service_pb2.RepositoryIndexRequest())
        return [entry for entry in listed.get("models", ()) if isinstance(entry, dict)]

    async def metadata(self, model: str) -> dict[str, Any]:
        from tritonclient.grpc import service_pb2

        return await self._ask("ModelMetadata", service_pb2.ModelMetadataRequest(name=model))

    async def config(self, model: str) -> dict[str, Any]:
        from tritonclient.grpc import service_pb2

        return (await self._ask("ModelConfig", service_pb2.ModelConfigRequest(name=model))).get("config") or {}

    async def _ask(self, method: str, question: Any) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        answer = await self._channel._ask(method, question, self._limit_s)  # noqa: SLF001 (of this file)
        return dict(MessageToDict(answer, preserving_proto_field_name=True))


class _Patience:
    """Gives up when nothing is heard for too long. Its timer is moved only when it goes off."""

    def __init__(self, limit_s: float, give_up: Any) -> None:
        self.lost = False
        self._limit_s = limit_s
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._last = time.perf_counter()
        self._timer = self._loop.call_later(limit_s, self._look)

    def heard(self, at: float) -> None:
        self._last = at

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._last + self._limit_s - time.perf_counter()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self.lost = True
            self._give_up()


def _cleaned(said: str | None) -> str:
    return excerpt(mask_secrets(said or "")).rstrip(".") or NO_REASON
