"""A load test from its first question to its result: how long prompts get, warm-up, each level, what came of it."""

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.inference.measured import Measured
from engine.inference.offer import Offer
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult
from engine.load.codec import Records
from engine.load.level import LevelRun, Sender
from engine.load.order import Target
from engine.load.prompt_file import read
from engine.load.saturation import Watch, quiet
from engine.load.server_side import ServerSide
from engine.load.statistics import level_result
from engine.load.workload import FromFile, Measure, Synthetic, Texts
from engine.load_plan import Arrival, Level, LoadPlan
from engine.load_result import (
    STOPPED_BY_HAND,
    Doubt,
    LevelResult,
    LoadOutcome,
    LoadProgress,
    LoadResult,
    RequestRecord,
)
from engine.observe.aside import aside
from engine.text import clean_line

TELL_EVERY_S = 0.5
FEW_WORDS, MANY_WORDS = 16, (256, 64)
"""Of the two prompts that the server counts the tokens of; of the second the first that fits"""
MOST_WARMING = 8
"""Warm-up requests at once, with a rate"""


class Unprepared(EngineError):
    """The first requests, before anything is measured, were not answered."""


class LoadTest:
    """Runs once, on one event loop."""

    def __init__(
        self,
        target: Target,
        plan: LoadPlan,
        sender: Sender,
        tell: Callable[[LoadProgress], None],
        offer: Callable[[], Coroutine[Any, Any, Offer]],
    ) -> None:
        """`tell` is called about twice a second, and must not block.

        `offer`: what the server says can be asked of it; raises `EngineError`.
        """
        self._target = target
        self._plan = plan
        self._sender = sender
        self._tell = tell
        self._offer = offer
        self._began_at = time.time()
        self._number = 0
        """Of prompts so far: no two are the same"""
        self._levels: list[LevelResult] = []
        self._records: list[tuple[RequestRecord, ...]] = []
        self._model = self._transport = ""
        self._current: LevelRun | None = None
        self._preparing: asyncio.Task[Texts] | None = None
        self._stopped = False
        self._why_stopped = ""
        self._streams = True
        self._free_ends = False
        """`ignore_eos` was left out"""

    def stop(self, why: str = "") -> None:
        """Ends it soon, with what was measured. `why`: a sentence for the result, when it was not asked for."""
        self._stopped, self._why_stopped = True, self._why_stopped or why
        if self._preparing:
            self._preparing.cancel()
        if self._current:
            self._current.stop()

    async def run(self) -> tuple[LoadResult, Records]:
        """Nothing that a server or a file does is raised: it is in the result."""
        try:
            self._preparing = asyncio.create_task(self._prepare())
            first = self._plan.levels[0]
            unbegun = LevelRun(self._plan, first, self._sender, lambda _: self._prompt("", "", 1), "")
            async with self._telling(first, 1, unbegun):
                texts = await self._preparing
            with quiet():
                for repeat in range(self._plan.repeats):
                    for level in self._plan.levels:
                        if not self._stopped:
                            await self._run_level(texts, level, repeat)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except EngineError as error:
            return self._result(LoadOutcome.FAILED, str(error)), tuple(self._records)
        if self._stopped:
            message = f"{self._why_stopped} {STOPPED_BY_HAND}".lstrip()
            return self._result(LoadOutcome.STOPPED, message), tuple(self._records)
        return self._result(LoadOutcome.DONE, ""), tuple(self._records)

    def _result(self, outcome: LoadOutcome, message: str) -> LoadResult:
        empty = self._target.result(self._plan, self._began_at, outcome, message)
        return replace(
            empty,
            model=self._model or empty.model,
            transport=self._transport or empty.transport,
            levels=tuple(self._levels),
            machine=machine(),
        )

    async def _look(self) -> None:
        """At what the model takes. `ignore_eos` is left out where it is not, unless the plan insists on it."""
        plan = self._plan
        try:
            models = (await self._offer()).models
        except EngineError:
            return  # the first request tells what is wrong, in words about requests
        wanted = plan.model or self._target.service.model
        unnamed = models[0] if models and plan.model is None else None
        model = next((model for model in models if model.name == wanted), unnamed)
        if model is None:
            return
        self._streams = model.streams
        taken = any(parameter.name == "ignore_eos" for parameter in model.parameters)
        if plan.sampling.ignore_eos and not taken and not plan.insists_on_ignore_eos:
            self._plan = replace(plan, sampling=replace(plan.sampling, ignore_eos=False))
            self._free_ends = True

    async def _prepare(self) -> Texts:
        """What is to be sent. Also finds out, before anything is measured, whether the server answers at all."""
        await self._look()
        workload = self._plan.workload
        if workload.file is not None:
            texts: Texts = FromFile(workload, await aside(read, workload.file))
            first = texts.text(0, 0)
            await self._ask(first.prompt, first.system)
            return texts
        run = int.from_bytes(os.urandom(5))
        guess = Synthetic(workload, Measure(), run)
        few = await self._count(guess, FEW_WORDS)
        many, words = None, 0
        for words in MANY_WORDS:
            try:
                many = await self._count(guess, words)
            except Unprepared:
                if words == MANY_WORDS[-1]:
                    raise
                continue  # more than it takes; fewer tell it less exactly
            break
        if few is None or many is None:
            return guess
        return Synthetic(workload, Measure.of((FEW_WORDS, few), (words, many)), run)

    async def _count(self, texts: Synthetic, words: int) -> int | None:
        """Tokens that the server makes of so many words; None when it does not say."""
        return (await self._ask(texts.sample(words, self._next()), "")).timing.tokens_in

    async def _ask(self, prompt: str, system: str) -> PromptResult:
        result = await self._sender.carry_out(Measured(self._prompt(prompt, system, 1)))
        if result.outcome is not PromptOutcome.DONE:
            raise Unprepared(result.error or "The first request was not answered.")
        self._model, self._transport = result.model, str(result.transport or "")
        return result

    def _prompt(self, text: str, system: str, max_tokens: int) -> PromptRequest:
        plan = self._plan
        return PromptRequest(
            prompt=text,
            model=plan.model,
            system=system,
            style=plan.style,
            sampling=replace(plan.sampling, max_tokens=max_tokens),
            lora=plan.lora,
            transport=plan.transport,
            idle_timeout_s=plan.idle_timeout_s,
        )

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    async def _run_level(self, texts: Texts, level: Level, repeat: int) -> None:
        plan = self._plan

        def request(index: int) -> PromptRequest:
            text = texts.text(index, self._next())
            return self._prompt(text.prompt, text.system, text.max_tokens)

        number = len(self._levels) + 1
        if plan.warmup:
            width = level.amount if level.arrival is Arrival.CLOSED else MOST_WARMING
            warming = replace(plan, requests=plan.warmup, duration_s=None)
            at_once = Level(Arrival.CLOSED, width)
            run = self._current = LevelRun(warming, at_once, self._sender, request, "")
            async with self._telling(level, number, run):
                await run.measure()
        if self._stopped:
            return
        run = self._current = LevelRun(plan, level, self._sender, request, f"{plan.workload.seed} {repeat}")
        server = ServerSide(self._target.service.metrics, streams=self._streams)
        await server.begin()
        began_at = time.time()
        async with Watch() as watch, self._telling(level, number, run, watch):
            await run.measure()
        if run.stopped and not run.records:
            return
        figures = await server.end(run.records, self._model)
        run.records.sort(key=lambda record: record.intended)
        self._records.append(tuple(run.records))
        self._levels.append(
            level_result(
                plan,
                level,
                repeat,
                began_at,
                run.records,
                run.gaps,
                run.examples,
                figures,
                watch.figures(run.late),
                stopped=run.stopped,
                free_ends=self._free_ends,
            )
        )

    @asynccontextmanager
    async def _telling(
        self, level: Level, number: int, run: LevelRun, watch: Watch | None = None
    ) -> AsyncIterator[None]:
        """Meanwhile tells how it stands. No `watch`: it only warms up."""

        async def tell() -> None:
            while True:
                self._tell(self._progress(level, number, run, watch))
                await asyncio.sleep(TELL_EVERY_S)

        telling = asyncio.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()

    def _progress(self, level: Level, number: int, run: LevelRun, watch: Watch | None) -> LoadProgress:
        ttft, itl, e2e = run.running.digests()
        requests_per_s, output_tokens_per_s = run.recent_rates()
        of = len(self._plan.levels) * self._plan.repeats
        seen = {
            Doubt.CLIENT_SLOW: watch is not None and watch.slow,
            Doubt.NOT_SENT: run.not_sent > 0,
            Doubt.FREE_ENDS: self._free_ends,
        }
        return LoadProgress(
            level=level,
            number=number,
            of=of,
            warming=watch is None,
            elapsed_s=run.elapsed_s,
            share=(number - 1 + (run.share if watch else 0.0)) / of,
            sent=run.sent,
            in_flight=run.in_flight,
            done=run.done,
            failed=run.failed,
            ttft=ttft,
            itl=itl,
            e2e=e2e,
            requests_per_s=requests_per_s,
            output_tokens_per_s=output_tokens_per_s,
            failures=run.failures,
            doubts=tuple(doubt for doubt, holds in seen.items() if holds),
            finished=tuple(self._levels),
            ttft_recent=run.recent_ttft(),
        )


def machine() -> str:
    """Of the client: its name, processor and number of cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return clean_line(f"{platform.node()}, {model}, {os.cpu_count()} cores")
