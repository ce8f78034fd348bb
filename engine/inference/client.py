"""Sends prompts to a deployment and times what comes back, by whichever protocol."""

import time
from collections.abc import Callable

from engine.deployment import Protocol, Service
from engine.inference.channel import Channel, PromptFailed
from engine.inference.measured import Measured
from engine.inference.prompt import PromptRequest, PromptResult, Token, Transport


class PromptClient:
    """Open ways to one deployment, used again by the next prompt. Belongs to one event loop.

    What is learnt of the server, such as its models, is asked once.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._channels: dict[Transport, Channel] = {}

    @property
    def lag_s(self) -> float:
        """The longest time that something had arrived before it was read: what this process was late by.

        It is not in the timings, which are the system's own; but for gRPC, where it is: there it is by how much a timer
        was late.
        """
        return max((channel.lag_s for channel in self._channels.values()), default=0.0)

    async def send(self, request: PromptRequest, on_token: Callable[[Token], None] | None = None) -> PromptResult:
        """Never raises for what a server does: whatever goes wrong is a result. `on_token`: told the text as it comes.

        When the calling task is cancelled, the connection is closed, by which the server cancels too, and
        `asyncio.CancelledError` goes on as usual; who wants to know what had come by then uses `carry_out`.
        """
        return await self.carry_out(Measured(request, on_token))

    async def carry_out(self, measured: Measured) -> PromptResult:
        """As `send`; `measured` knows at any time what has come of it."""
        request = measured.request
        try:
            channel = self._channel(request)
            measured.transport = channel.transport
            try:
                await channel.carry_out(request, measured)
            finally:
                measured.ended(time.perf_counter())
        except PromptFailed as failure:
            return measured.failed(failure)
        return measured.done()

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, request: PromptRequest) -> Channel:
        """The way that the request asks for, or the deployment's own. Raises `PromptFailed`; connects to nothing."""
        own = Transport.OPENAI if self._service.protocol is Protocol.OPENAI else Transport.TRITON_HTTP
        transport = request.transport or own
        if transport not in self._channels:
            self._channels[transport] = _open(self._service, transport)
        return self._channels[transport]


def _open(service: Service, transport: Transport) -> Channel:
    match transport:
        case Transport.TRITON_HTTP:
            from engine.inference.triton_http import TritonHttp

            return TritonHttp(service)
        case Transport.TRITON_GRPC:
            from engine.inference.triton_grpc import TritonGrpc

            return TritonGrpc(service)
        case Transport.OPENAI:
            from engine.inference.openai import OpenAi

            return OpenAi(service)
