"""The OpenAI protocol: chat completions, or plain completions where the model has no chat template."""

import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from engine.deployment import Service
from engine.inference.bodies import (
    ServedModel,
    model_to_send,
    openai_body,
    served_models,
    styles_of,
    wants_template,
)
from engine.inference.channel import PromptFailed, to_bytes, token_count
from engine.inference.event_stream import EventStream
from engine.inference.http import HttpConnection
from engine.inference.learnt import Learnt
from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptRequest, Transport
from engine.inference.server import OPENAI
from engine.inference.sse import error_in, excerpt, parse_object
from engine.inference.unfit import Unfit, named, refused

DONE = b"[DONE]"
REASONING_BEGINS, REASONING_ENDS = "<think>", "</think>"


class OpenAi:
    transport = Transport.OPENAI

    def __init__(self, service: Service) -> None:
        self._connection = HttpConnection(service.http, service.api_key)
        self._has_key = service.api_key is not None
        self._meant = service.model
        self._served: Learnt[tuple[ServedModel, ...]] = Learnt()
        self.where = self._connection.base

    @property
    def lag_s(self) -> float:
        return self._connection.lag_s

    async def carry_out(self, request: PromptRequest, measured: Measured) -> None:
        if request.tensors is not None:
            raise Unfit(f"{self.where} takes text, not tensors: it speaks the OpenAI protocol.", "Send a prompt.")
        measured.model = await self._model(request, measured)
        styles = styles_of(request)
        for style in styles:
            measured.style = style
            path, body = openai_body(request, measured.model, style)
            answer = _Answer(measured)
            stream = EventStream(measured, answer.take, self.where)
            await self._connection.stream(path, body, stream, request)
            if stream.status == 200:
                if not (stream.finished or answer.finished):
                    what = f"{self.where} ended its answer without an end mark."
                    raise PromptFailed(what, "Its log may say why.", Fault.CUT)
                return
            if not wants_template(stream.status, stream.refusal):
                raise self._refused(stream.status, stream.refusal, request)
            if style is styles[-1]:
                raise PromptFailed(
                    f"{self.where} refused the chat (HTTP {stream.status}): its model has no chat template.",
                    "Send the prompt as a completion (--completion), or give the server a template.",
                    Fault.REFUSED,
                )

    async def close(self) -> None:
        self._served.close()
        await self._connection.close()

    async def _model(self, request: PromptRequest, measured: Measured) -> str:
        """Which one is meant. What the listing that is known lacks may have been loaded since: it is asked for once."""
        wanted = request.model or self._meant
        known = self._served.known(None)
        if known is not None:
            with contextlib.suppress(Unfit):
                return model_to_send(known, self.where, wanted, request.lora)
            self._served.forget(None, known)
        served = await self._served.get(None, lambda: self._list(request, measured))
        return model_to_send(served, self.where, wanted, request.lora)

    async def _list(self, request: PromptRequest, measured: Measured) -> tuple[ServedModel, ...]:
        status, body = await self._connection.call("GET", "/v1/models", None, request)
        measured.connected_s = self._connection.connected_s
        if status in (401, 403):
            raise self._unauthorised(status)
        return served_models(parse_object(self._connection.server.expect(status, body, OPENAI)))

    def _unauthorised(self, status: int) -> PromptFailed:
        if self._has_key:
            return PromptFailed(
                f"{self.where} does not accept the API key (HTTP {status}).",
                "The server was started with another one: start it anew, or correct where the key comes from.",
                Fault.REFUSED,
            )
        return PromptFailed(
            f"{self.where} asks for an API key (HTTP {status}), and its profile names none.",
            "Write `secrets: {VLLM_API_KEY: env}` in the profile and start it anew.",
            Fault.REFUSED,
        )

    def _refused(self, status: int, body: bytes, request: PromptRequest) -> PromptFailed:
        what, reason = f"{self.where} refused the prompt (HTTP {status})", self._connection.server.reason(body)
        served = [model.name for model in self._served.known(None) or ()]
        if status == HTTPStatus.NOT_FOUND and served and request.model and request.model not in served:
            remedy = f"Choose one of those that it serves: {named(served, request.model)}."
            return PromptFailed(f"{what}: {reason.rstrip('.')}.", remedy, Fault.REFUSED)
        return refused(what, reason, request, Fault.REFUSED)


class _Answer:
    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self.finished = False
        """A reason was given for its end"""
        self._reasons = False
        """What came last was reasoning that the server sends apart"""

    def take(self, event: bytes, at: float) -> bool:
        """Whether this was the end mark. Raises `PromptFailed`."""
        if event.strip() == DONE:
            return True
        answer = parse_object(event)
        if "error" in answer or answer.get("object") == "error":
            error = error_in(answer)
            if error is not None:
                raise PromptFailed(f"The server reported an error: {error}", fault=Fault.ERROR)
        usage = answer.get("usage")
        if isinstance(usage, dict):
            self._measured.count(token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens")))
        choices = answer.get("choices")
        if isinstance(choices, list) and choices:
            self._choice(choices, at, event)
        return False

    def _choice(self, choices: Sequence[Any], at: float, event: bytes) -> None:
        choice = choices[0]
        if not isinstance(choice, dict):
            raise PromptFailed(f"The server sent a choice that is no object: {excerpt(event)}")
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finished = True
            self._measured.finish(excerpt(reason, 40), at)
        text = self._text(choice)
        if text:
            self._measured.text(to_bytes(text), at)

    def _text(self, choice: dict[str, Any]) -> str:
        """Reasoning that a server sends apart is marked as models mark it themselves."""
        delta = choice.get("delta")
        content = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        text = content if isinstance(content, str) else ""
        if not isinstance(delta, dict):
            return text
        # `reasoning_content` was renamed to `reasoning`; a server that sends both sends the same text
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            begin, self._reasons = "" if self._reasons else REASONING_BEGINS, True
            return begin + reasoning + (self._answering() + text if text else "")
        return self._answering() + text if text else ""

    def _answering(self) -> str:
        end, self._reasons = f"{REASONING_ENDS}\n\n" if self._reasons else "", False
        return end
