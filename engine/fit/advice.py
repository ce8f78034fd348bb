"""What to change, each with its number. Every number is tried: the same estimate with it must come out better."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from engine.fit.judge import ORDER, Judgement, judge
from engine.fit.model import Model
from engine.fit.question import FitQuestion
from engine.fit.result import Verdict
from engine.fit.structure import tensor_sizes
from engine.fit.values import block, gib

_SHORTEST = 256
"""Tokens; a shorter longest request helps nobody"""

_BATCHES = (512, 256, 128, 64, 32)


@dataclass(frozen=True, slots=True)
class Advisor:
    """Suggests for one judgement of one question."""

    model: Model
    question: FitQuestion
    now: Judgement

    @property
    def on_vllm(self) -> bool:
        return self.question.engine == "vllm"

    @property
    def length_option(self) -> str:
        return "max_model_len" if self.on_vllm else "max_seq_len"

    def sentences(self) -> Iterator[str]:
        if self.now.verdict not in (Verdict.DOES_NOT_FIT, Verdict.TIGHT):
            return
        if share := self.share():
            yield share
        if batch := self.batch():
            yield batch
        if length := self.length():
            yield length
        if kv := self.quantized_kv():
            yield kv
        if self.question.engines:
            return
        size, options = self.smallest_tensor(), self.now.demand.options
        # Fewer than what is tight already are tight at best.
        if size and (size > options.tensor or (size < options.tensor and self.now.verdict is Verdict.DOES_NOT_FIT)):
            yield self._tensor_words(size)
        elif size and 0 < self.question.gpu_count < options.ranks_here:
            yield f"With `gpus: {options.ranks_here}` it fits."

    def with_options(self, **changes: Any) -> FitQuestion:
        return replace(self.question, options={**self.question.options, **changes})

    def verdict(self, question: FitQuestion) -> Verdict:
        found = judge(self.model, question)
        return Verdict.UNKNOWN if isinstance(found, str) else found.verdict

    def longest(self) -> int | None:
        """The largest max_model_len for which one request fits; None when none of use does."""
        demand, room = self.now.demand, self.now.room
        top = self.model.shape.limit or demand.length
        for bytes_left in (room.low, room.high):
            tokens = demand.cost.largest(bytes_left, top)
            if tokens >= min(_SHORTEST, top) and self._starts_with(tokens):
                return tokens
        return None

    def _starts_with(self, tokens: int) -> bool:
        alone = replace(self.with_options(**{self.length_option: tokens}), context=None, concurrency=1)
        return self.verdict(alone) in (Verdict.FITS, Verdict.TIGHT)

    def length(self) -> str | None:
        name, demand = self.length_option, self.now.demand
        if self.question.engines is not None:
            return None
        if self.now.verdict is Verdict.DOES_NOT_FIT:
            tokens = self.longest()
            if tokens and tokens < demand.length and self._helps(self.with_options(**{name: tokens})):
                return f"`{name}: {tokens}` is the longest that fits."
            return None
        if self.question.context and self.question.context > demand.length:
            if self._helps(self.with_options(**{name: self.question.context})):
                return f"`{name}: {self.question.context}` takes the requests that are wished for."
            return None
        tokens = demand.cost.largest(max(0, self.now.room.low) // demand.concurrency, demand.length)
        if self.question.context is None and _SHORTEST <= tokens < demand.length:
            changed = self.with_options(**{name: tokens})
            if self._helps(changed):
                how = "one request" if demand.concurrency == 1 else f"all {demand.concurrency} requests at once"
                return f"`{name}: {tokens}` leaves room for {how}."
        return None

    def batch(self) -> str | None:
        """Fewer requests computed at once: less is set aside for sampling, which is sized for as many as may come."""
        name = "max_num_seqs" if self.on_vllm else "max_batch_size"
        stated = self.now.demand.options.sequences
        if self.question.engines is not None:
            return None
        fewer = [size for size in _BATCHES if self.question.concurrency <= size < (stated or _BATCHES[0] + 1)]
        for requests in fewer:
            if self._helps(self.with_options(**{name: requests})):
                return f"`{name}: {requests}` leaves more for the KV cache: less is set aside for sampling."
        return None

    def share(self) -> str | None:
        """Of memory, for the engine: the nearest that makes it fit."""
        options = self.now.demand.options
        if options.kv_bytes is not None:
            return self._kv_bytes()
        ups = [hundredths / 100 for hundredths in range(1, 100) if hundredths / 100 > options.share]
        downs = [hundredths / 100 for hundredths in range(99, 0, -1) if hundredths / 100 < options.share]
        for wanted in self._better():
            for shares in (downs, ups):
                # The room grows with the share and what stays free shrinks, so the first that does is the nearest.
                for share in shares:
                    name, changed = self._with_share(share)
                    if self.verdict(changed) is wanted:
                        return f"`{name}: {share:g}` {'makes it fit' if shares is ups else 'leaves enough free'}."
        return None

    def _with_share(self, share: float) -> tuple[str, FitQuestion]:
        if self.on_vllm:
            return "gpu_memory_utilization", self.with_options(gpu_memory_utilization=share)
        if self.question.engines is not None:
            name = "kv_cache_free_gpu_mem_fraction"
            return name, self.with_options(**{name: share})
        cache = {**block(self.question.options, "kv_cache_config"), "free_gpu_memory_fraction": share}
        return "kv_cache_config.free_gpu_memory_fraction", self.with_options(kv_cache_config=cache)

    def _kv_bytes(self) -> str | None:
        now, demand = self.now, self.now.demand
        most = now.allowed - demand.fixed.high - demand.overhead.outside.high
        for size in (demand.wish, max(demand.cost.request(demand.length), demand.cost.request(demand.context)), most):
            if size > 0 and self._helps(self.with_options(kv_cache_memory_bytes=size)):
                return f"`kv_cache_memory_bytes: {size}` ({gib(size)}) makes it fit."
        return None

    def quantized_kv(self) -> str | None:
        stated = self.now.demand.options.kv_dtype
        if stated not in ("", "auto") or self.question.engines is not None:
            return None
        if self.on_vllm:
            name, changed = "kv_cache_dtype", self.with_options(kv_cache_dtype="fp8")
        else:
            cache = {**block(self.question.options, "kv_cache_config"), "dtype": "fp8"}
            name, changed = "kv_cache_config.dtype", self.with_options(kv_cache_config=cache)
        if not self._helps(changed):
            return None
        return f"`{name}: fp8` halves the KV cache; answers may change a little."

    def smallest_tensor(self) -> int | None:
        """The smallest tensor parallel size that fits, on GPUs like the fullest of these."""
        gpu, options = self.now.gpu, self.now.demand.options
        if gpu is None:
            return None
        maybe = None
        for size in tensor_sizes(self.model.shape):
            ranks = size * (options.ranks_here // options.tensor)
            changed = replace(self.with_options(tensor_parallel_size=size), gpus=(gpu,), gpu_count=ranks)
            verdict = self.verdict(changed)
            if verdict is Verdict.FITS:
                return size
            if verdict is Verdict.TIGHT and maybe is None:
                maybe = size
        return maybe

    def _tensor_words(self, size: int) -> str:
        options = self.now.demand.options
        ranks = size * (options.ranks_here // options.tensor)
        more = f" with `gpus: {ranks}`" if ranks != self.question.gpu_count else ""
        return f"`tensor_parallel_size: {size}`{more} fits: the smallest that does."

    def _better(self) -> tuple[Verdict, ...]:
        return (Verdict.FITS, Verdict.TIGHT) if self.now.verdict is Verdict.DOES_NOT_FIT else (Verdict.FITS,)

    def _helps(self, question: FitQuestion) -> bool:
        verdict = self.verdict(question)
        return verdict in self._better() and ORDER[verdict] > ORDER[self.now.verdict]


def largest_shares(now: Judgement) -> tuple[float | None, float | None]:
    """The largest gpu_memory_utilization and free_gpu_memory_fraction that leave free what is in use and reserved."""
    if now.gpu is None:
        return None, None
    outside = now.demand.overhead.outside.high
    if now.demand.options.engine == "vllm":
        return _hundredths((now.allowed - outside) / now.gpu.total), None
    loaded = now.demand.fixed.high + outside
    free = now.gpu.total - now.gpu.used - loaded
    return None, _hundredths((now.allowed - loaded) / free) if free > 0 else None


def _hundredths(share: float) -> float | None:
    share = math.floor(min(share, 0.99) * 100 + 1e-9) / 100
    return share if share > 0 else None
