"""Sends a prompt to a deployment and times what comes back, by whichever protocol."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from itertools import pairwise

from engine.deployment import Protocol, Service
from engine.inference.channel import Channel, Chunk, NoTextModel, PromptFailed
from engine.inference.output import MAX_CHARACTERS, Output
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token, Transport


async def stream_prompt(service: Service, request: PromptRequest) -> AsyncIterator[PromptEvent]:
    """Tokens as they arrive and, always last, one result: whatever goes wrong is a result, not an exception.

    When the task that iterates is cancelled, the connection is closed, by which the server cancels too, and
    `asyncio.CancelledError` goes on as usual; `PromptRunner` makes a result of it.
    """
    exchange = Exchange(service, request)
    async with aclosing(exchange.events()) as events:
        async for event in events:
            yield event


class Exchange:
    """One prompt and what has come of it so far."""

    def __init__(self, service: Service, request: PromptRequest) -> None:
        self._service = service
        self._request = request
        self._channel: Channel | None = None
        self._output = Output()
        self._first_byte_s: float | None = None
        self._times: list[float] = []
        """Of the chunks with text, in seconds since the prompt was sent"""
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None
        self._finish_reason = ""
        self._no_text_model = False

    async def events(self) -> AsyncGenerator[PromptEvent, None]:
        outcome, error, ended_at = PromptOutcome.DONE, "", None
        try:
            channel = self._channel = open_channel(self._service, self._request)
            try:
                await channel.open()
                async with aclosing(channel.stream()) as chunks:
                    async for chunk in self._patiently(chunks):
                        token = self._take(chunk)
                        if token is not None:
                            yield token
                        if self._output.full:
                            raise PromptFailed(
                                f"The answer passed {MAX_CHARACTERS >> 20} Mi characters and was stopped there.",
                                "Ask for fewer tokens.",
                            )
            finally:
                ended_at = time.perf_counter()
                await channel.close()
        except PromptFailed as failure:
            outcome, error = PromptOutcome.FAILED, str(failure)
            self._no_text_model = isinstance(failure, NoTextModel)
        rest = self._output.end()
        if rest:
            yield Token(rest, self._times[-1] if self._times else 0.0)
        yield self.result(outcome, error, ended_at)

    def result(self, outcome: PromptOutcome, error: str = "", ended_at: float | None = None) -> PromptResult:
        """What is known now. `ended_at` is on the clock of `time.perf_counter`; now, when it is left out."""
        channel, times = self._channel, self._times
        sent_at = channel.sent_at if channel else None
        counted = self._tokens_out is not None
        return PromptResult(
            request=self._request,
            outcome=outcome,
            text=self._output.text,
            model=channel.model if channel else "",
            transport=channel.transport if channel else self._request.transport,
            finish_reason=self._finish_reason,
            error=error,
            no_text_model=self._no_text_model,
            timing=Timing(
                connected_s=channel.connected_s if channel else None,
                first_byte_s=self._first_byte_s,
                first_token_s=times[0] if times else None,
                last_token_s=times[-1] if times else None,
                total_s=(ended_at or time.perf_counter()) - sent_at if sent_at is not None else None,
                tokens_in=self._tokens_in,
                tokens_out=self._tokens_out if counted else len(times) if self._first_byte_s is not None else None,
                token_source="server" if counted else "chunks",
            ),
            gaps_s=tuple(later - earlier for earlier, later in pairwise(times)),
        )

    def _take(self, chunk: Chunk) -> Token | None:
        assert self._channel is not None  # noqa: S101
        at = time.perf_counter() - (self._channel.sent_at or 0.0)
        if self._first_byte_s is None:
            self._first_byte_s = at
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._tokens_in = chunk.tokens_in if chunk.tokens_in is not None else self._tokens_in
        self._tokens_out = chunk.tokens_out if chunk.tokens_out is not None else self._tokens_out
        if not chunk.text:
            return None
        self._times.append(at)
        text = self._output.feed(chunk.text)
        return Token(text, at) if text else None

    async def _patiently(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncIterator[Chunk]:
        """The chunks, while no silence between them is longer than the request allows."""
        limit = self._request.idle_timeout_s
        while True:
            try:
                async with asyncio.timeout(limit):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                assert self._channel is not None  # noqa: S101
                silence = "sent nothing more" if self._times else "took the prompt and sent nothing"
                raise PromptFailed(
                    f"{self._channel.where} {silence} for {limit:g} s.",
                    "Its log and metrics say whether it still works.",
                ) from error
            yield chunk


def open_channel(service: Service, request: PromptRequest) -> Channel:
    """The way that the request asks for, or the deployment's own. Raises `PromptFailed`; connects to nothing yet."""
    match request.transport or (Transport.OPENAI if service.protocol is Protocol.OPENAI else Transport.TRITON_HTTP):
        case Transport.TRITON_HTTP:
            from engine.inference.triton_http import TritonHttp

            return TritonHttp(service, request)
        case Transport.TRITON_GRPC:
            from engine.inference.triton_grpc import TritonGrpc

            return TritonGrpc(service, request)
        case Transport.OPENAI:
            from engine.inference.openai import OpenAi

            return OpenAi(service, request)
