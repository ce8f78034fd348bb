"""Waits until a server is ready, and until it has answered a prompt."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, NotFound, OperationFailed, RuntimeUnreachable
from engine.inference.client import PromptClient
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling
from engine.observe.aside import aside
from engine.observe.probe import Health, Probe, probe
from engine.observe.startup_watch import StartupWatch
from engine.observe.state import SIGTERM_EXITS
from engine.operations.job import Job, patiently
from engine.operations.lease import current
from engine.operations.progress import told
from engine.operations.record import Ended
from engine.operations.waiting import Cancelled, Waiting
from engine.operations.why import why
from engine.plan import Plan
from engine.request import Action
from engine.runtimes.base import Runtime
from engine.snapshot import StepKind

if TYPE_CHECKING:
    from engine.startup import Startup

PROBE_EVERY_S = 0.3
LOOK_EVERY_S = 1.0
TELL_EVERY_S = 1.0
"""Each is written to the journal"""
CANCEL_EVERY_S = 0.1
PROMPT_TOKENS = 8
LEAST_PROMPT_S = 1.0
PROMPT_S = 120.0
"""The first answer may compile kernels"""
ANY_PROMPT = "ping"
STOPPING = (Action.STOP.value, Action.REMOVE.value, Action.RESTART.value, Action.SWAP.value)


class PortTaken(OperationFailed):
    """Another program listens where the deployment was to answer."""


class ReadyWait:
    """Only watches; what to do with a deployment that does not become ready is for the operation to say."""

    def __init__(self, job: Job, runtime: Runtime, deployment: Deployment, plan: Plan | None = None) -> None:
        """`plan`: what it was started from, if it is being started."""
        self._job = job
        self._runtime = runtime
        self._deployment = deployment
        self._plan = plan
        self._watch: StartupWatch | None = None
        self.startup: Startup | None = None
        """Its phases, unless it was ready at once"""

    def run(self, timeout_s: float, *, always_prompt: bool) -> None:
        """`always_prompt`: although the profile does not ask for one.

        Raises `OperationFailed` with the cause, as `PortTaken` where another program answers in its place, `Cancelled`,
        and `Ended` when somebody else has stopped it.
        """
        deadline = time.monotonic() + timeout_s
        name = self._deployment.name
        with self._job.record.step(StepKind.WAIT, name) as waiting:
            try:
                asyncio.run(self._until_ready(deadline, timeout_s, waiting))
                self.startup = self._watch.finish(time.time()) if self._watch else None
            finally:
                if self._watch and not self.startup:
                    self.startup = self._watch.startup()
                    self._watch.close()
            waiting.detail("")
        with self._job.record.step(StepKind.PROMPT, name) as waiting:
            wanted = self._deployment.service.ready_prompt
            if not wanted and not always_prompt:
                waiting.detail("not asked for by the profile")
            else:
                limit_s = max(LEAST_PROMPT_S, min(PROMPT_S, deadline - time.monotonic()))
                self._prompt(wanted or ANY_PROMPT, limit_s, waiting, insists=bool(wanted))

    def _prompt(self, prompt: str, limit_s: float, waiting: Waiting, *, insists: bool) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            result = asyncio.run(self._answer(prompt, max(LEAST_PROMPT_S, deadline - time.monotonic()), waiting))
            if result.outcome is PromptOutcome.DONE:
                waiting.detail(f"{result.timing.tokens_out or 0} tokens in {result.timing.total_s or 0:.1f} s")
                return
            if result.no_text_model and not insists:
                waiting.detail("left out: no model of its own that a prompt could be for")
                return
            if not self._was_out_of_reach(waiting) or time.monotonic() > deadline:
                break
        self._not_stopped()  # it may be about to end
        raise OperationFailed(
            f"{self._deployment.name} says that it is ready, but it did not answer a prompt: {result.error}"
        )

    def _was_out_of_reach(self, waiting: Waiting) -> bool:
        """Docker itself carries what is sent to a loopback port: while it restarts, no server there can answer.

        Raises what `_still_running` raises.
        """
        try:
            self._still_running()
        except RuntimeUnreachable:
            patiently(waiting, self._still_running)
            return True
        return False

    async def _until_ready(self, deadline: float, timeout_s: float, waiting: Waiting) -> None:
        service = self._deployment.service
        look_at = tell_at = 0.0
        unreachable = ""
        while True:
            answer: Probe = await probe(service.health)
            if time.monotonic() >= look_at or answer.health is Health.READY:
                # What answers there may be somebody else, on a port that this one did not get.
                try:
                    await aside(self._still_running)
                    if answer.health is not Health.REFUSED:
                        await aside(self._refuse_stranger)
                    unreachable = ""
                except RuntimeUnreachable as error:
                    # The server may go on without it: only the deadline or the server ends the wait.
                    unreachable = str(error)
                look_at = time.monotonic() + LOOK_EVERY_S
            if answer.health is Health.READY:
                return
            if time.monotonic() > deadline:
                raise self._late(timeout_s, unreachable.rstrip(".") or answer.detail)
            if time.monotonic() >= tell_at:
                tell_at = time.monotonic() + TELL_EVERY_S
                phase = self._phase()
                # That it refuses, or has its port cut for it, is what a server does until it is ready.
                found = answer.detail if answer.health is Health.SILENT or not phase else ""
                waiting.detail("; ".join(one for one in (phase, unreachable or found) if one))
            await asyncio.sleep(PROBE_EVERY_S)
            waiting.check()

    def _phase(self) -> str:
        """What its log tells of its start, which is followed from the first look that did not find it ready."""
        if not self._watch:
            history, deployment = self._job.tools.history, self._deployment
            self._watch = StartupWatch(
                self._runtime,
                deployment,
                files=partial(history.files, self._plan) if self._plan else None,
                usual=partial(history.usual, deployment),
            )
        current = self._watch.startup().current
        return told(current) if current else ""

    def _late(self, timeout_s: float, found: str) -> OperationFailed:
        name = self._deployment.name
        said = f"{name} was not ready within {timeout_s:g} s: {found}."
        if phase := self._phase():
            said += f" It was at: {phase}."
        try:
            best = self._job.tools.diagnose(self._deployment).best
        except EngineError:
            best = None
        return OperationFailed(f"{said} {best.cause}", best.remedy) if best else OperationFailed(said)

    def _still_running(self) -> None:
        """Raises `OperationFailed` with the cause when it has ended, `Ended` when an operation has stopped it."""
        name = self._deployment.name
        now: Deployment | None = next((found for found in self._runtime.deployments() if found.name == name), None)
        same = now and (now.id, now.started_at) == (self._deployment.id, self._deployment.started_at)
        if now and now.lifecycle is Lifecycle.RUNNING:
            if not same:
                raise Ended(f"{name} was started anew by somebody else while it was starting.")
            return
        self._not_stopped()
        if not now:
            raise OperationFailed(f"{name} is gone from {self._runtime.name}.")
        if now.exit_code in SIGTERM_EXITS:
            # By whom is not known, nor whether on purpose: a container engine that goes down does the same.
            how = f"(exit code {now.exit_code})"
            raise OperationFailed(f"{name} was stopped from outside while it was starting {how}.")
        code = "" if now.exit_code is None else f" (exit code {now.exit_code})"
        cause, remedy = why(self._job, self._runtime, now)
        raise OperationFailed(f"{name} ended before it was ready{code}. {cause}", remedy)

    def _refuse_stranger(self) -> None:
        """Raises `PortTaken`: what answers there is no answer of this one's, which cannot listen there any more."""
        name = self._deployment.name
        try:
            used = self._runtime.stranger(name)
        except (NotFound, OperationFailed):
            return  # gone meanwhile, which the next look tells
        if used:
            raise PortTaken(
                f"{name} cannot answer: {used}, which is none of its processes.",
                "End that, or give the profile another port under `expose`, or `auto`.",
            )

    def _not_stopped(self) -> None:
        """Raises `Ended` when somebody has begun to stop it."""
        for operation in self._job.tools.journal.recent():
            later = operation.began_at > self._job.record.status.began_at
            if later and self._deployment.name in operation.subjects and operation.kind in STOPPING:
                raise Ended(f"{self._deployment.name} was stopped while it was starting: {operation.title}.")
        # Somebody else's operation is in a journal of theirs; it holds the machine's lease while it stops.
        lease = current(self._job.tools.deployments.runtimes)
        words = lease.what.replace(",", " ").split()[1:] if lease and lease.alive is not False else ()
        if lease and self._deployment.name in words and lease.operation != self._job.record.id:
            raise Ended(f"{self._deployment.name} was stopped while it was starting: {lease.what}, by {lease.who}.")

    async def _answer(self, prompt: str, limit_s: float, waiting: Waiting) -> PromptResult:
        request = PromptRequest(prompt, sampling=Sampling(max_tokens=PROMPT_TOKENS))
        name = self._deployment.name
        asking = asyncio.create_task(self._exchange(request))
        try:
            async with asyncio.timeout(limit_s):
                while not asking.done():
                    await asyncio.wait([asking], timeout=CANCEL_EVERY_S)
                    waiting.check()
                return asking.result()
        except TimeoutError as error:
            raise OperationFailed(
                f"{name} says that it is ready, but it did not answer a prompt within {limit_s:.0f} s."
            ) from error
        except Cancelled:
            asking.cancel()
            raise

    async def _exchange(self, request: PromptRequest) -> PromptResult:
        client = PromptClient(self._deployment.service)
        try:
            return await client.send(request)
        finally:
            await client.close()
