"""The last steps of a start: wait until the server is ready, and until it has answered a prompt."""

import asyncio
import threading
import time
from collections.abc import Callable

from engine.deployment import Deployment, Lifecycle
from engine.errors import OperationFailed, RuntimeUnreachable
from engine.inference.client import stream_prompt
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult
from engine.observe.aside import aside
from engine.observe.log_tail import last_words
from engine.observe.probe import Health, Probe, new_client, probe
from engine.operations.record import Abandoned, Record
from engine.runtimes.base import Runtime
from engine.snapshot import StepKind
from engine.store import Journal

PROBE_EVERY_S = 0.3
LOOK_EVERY_S = 1.0
PROMPT_TOKENS = 8
LEAST_PROMPT_S = 1.0


class ReadyWait:
    """Only watches: whoever is interrupted here leaves a deployment that goes on starting."""

    def __init__(
        self, journal: Journal, runtime: Runtime, deployment: Deployment, record: Record, closing: threading.Event
    ) -> None:
        self._journal = journal
        self._runtime = runtime
        self._deployment = deployment
        self._record = record
        self._closing = closing

    def run(self, timeout_s: float) -> str:
        """Returns what to tell the operator. Raises `OperationFailed` or `Abandoned`."""
        service, name = self._deployment.service, self._deployment.name
        began = time.monotonic()
        deadline = began + timeout_s
        with self._record.step(StepKind.WAIT) as detail:
            asyncio.run(self._until_ready(deadline, timeout_s, detail))
            detail("")
        with self._record.step(StepKind.PROMPT) as detail:
            if not service.ready_prompt:
                detail("not asked for by the profile")
            else:
                result = asyncio.run(self._answer(service.ready_prompt, deadline, timeout_s))
                if result.outcome is not PromptOutcome.DONE:
                    self._not_stopped()  # it may be about to end
                    self._still_running()
                    raise OperationFailed(
                        f"{name} says that it is ready, but it did not answer a prompt: {result.error}",
                        "It was left running: see its log.",
                    )
                detail(f"{result.timing.tokens_out or 0} tokens in {result.timing.total_s or 0:.1f} s")
        return f"{name} is ready after {time.monotonic() - began:.0f} s at {service.http}."

    async def _until_ready(self, deadline: float, timeout_s: float, detail: Callable[[str], None]) -> None:
        service, name = self._deployment.service, self._deployment.name
        look_at = 0.0
        unreachable = ""
        async with new_client() as client:
            while True:
                answer: Probe = await probe(client, service.health)
                if answer.health is Health.READY:
                    return
                if time.monotonic() >= look_at:
                    try:
                        await aside(self._still_running)
                        unreachable = ""
                    except RuntimeUnreachable as error:
                        # The server may go on without it: only the deadline or the server ends the wait.
                        unreachable = str(error)
                    look_at = time.monotonic() + LOOK_EVERY_S
                if self._closing.is_set():
                    raise Abandoned("The console was closed; the start goes on.")
                if time.monotonic() > deadline:
                    raise OperationFailed(
                        f"{name} was not ready within {timeout_s:g} s: {unreachable.rstrip('.') or answer.detail}.",
                        "It was left running: see its log, or stop it.",
                    )
                detail(unreachable or answer.detail)
                await asyncio.sleep(PROBE_EVERY_S)

    def _still_running(self) -> None:
        """Raises `OperationFailed` with the cause when it has ended, `Abandoned` when it was stopped on purpose."""
        name = self._deployment.name
        now: Deployment | None = next((found for found in self._runtime.deployments() if found.name == name), None)
        same = now and (now.id, now.started_at) == (self._deployment.id, self._deployment.started_at)
        if now and now.lifecycle is Lifecycle.RUNNING:
            if not same:
                raise Abandoned(f"{name} was started anew by somebody else while it was starting.")
            return
        self._not_stopped()
        if not now:
            raise OperationFailed(f"{name} is gone from {self._runtime.name} while it was starting.")
        code = "" if now.exit_code is None else f" (exit code {now.exit_code})"
        words = last_words(self._runtime, name)
        said = f" Its last words: {words}" if words else " Its log is empty."
        raise OperationFailed(f"{name} ended before it was ready{code}.{said}")

    def _not_stopped(self) -> None:
        """Raises `Abandoned` when somebody has begun to stop it."""
        for operation in self._journal.recent():
            later = operation.began_at > self._record.status.began_at
            if operation.target == self._deployment.name and later and operation.kind in ("stop", "remove", "restart"):
                raise Abandoned(f"{self._deployment.name} was stopped while it was starting.")

    async def _answer(self, prompt: str, deadline: float, timeout_s: float) -> PromptResult:
        request = PromptRequest(prompt, max_tokens=PROMPT_TOKENS)
        try:
            async with asyncio.timeout(max(LEAST_PROMPT_S, deadline - time.monotonic())):
                async for event in stream_prompt(self._deployment.service, request):
                    if isinstance(event, PromptResult):
                        return event
        except TimeoutError as error:
            raise OperationFailed(
                f"{self._deployment.name} is ready, but it did not answer a prompt within {timeout_s:g} s.",
                "It was left running: see its log.",
            ) from error
        raise OperationFailed(f"{self._deployment.name} ended the prompt without a result.")
