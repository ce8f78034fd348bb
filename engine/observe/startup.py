"""How far a start has come, from the lines of its log in their order; and how what was told stands to the plan."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.fit.result import Fit
from engine.observe.startup_lines import Seen, Tells, read_line
from engine.startup import Phase, PhaseProgress, Reported, Startup

RATE_S = 10.0
"""Over how long a rate is taken; longer where it moves less often"""
MAX_LINE = 300
"""Characters kept of a line that told a figure"""
REMEMBERED = 512
"""Lines, by their words, that show no progress when they come again"""
LEAST = {"kv_bytes", "kv_tokens", "kv_blocks", "concurrency"}
"""Of several ranks or replicas the one with the least decides; of everything else the one that needs most"""
UNTOLD = {"kv_blocks"}
"""Not reported itself: how large a block is, nobody says"""

_PLACE = {phase: place for place, phase in enumerate(Phase)}
_ENGINE = range(_PLACE[Phase.ENGINE], _PLACE[Phase.GRAPHS] + 1)
_DIGITS = str.maketrans("", "", "0123456789")


@dataclass(slots=True)
class _Entry:
    phase: Phase
    began_at: float
    ended_at: float | None = None
    done: float | None = None
    total: float | None = None
    unit: str = ""
    detail: str = ""
    bars: set[tuple[str, str]] = field(default_factory=set)
    """Unit and title of what has been counted here; of several one after the other the last is shown"""
    points: deque[tuple[float, float]] = field(default_factory=deque)

    def count(self, at: float, done: float, total: float | None, bar: tuple[str, str]) -> bool:
        """Whether it is more than was known; another rank or replica may be behind."""
        if bar in self.bars:
            shown = bar == (self.unit, self.detail if bar[1] else "")
            if not shown or (total or 0.0, done) <= (self.total or 0.0, self.done or 0.0):
                return False
        if bar not in self.bars or total != self.total:
            self.points.clear()
        self.bars.add(bar)
        self.done, self.total, self.unit = done, total, bar[0]
        self.detail = bar[1] or self.detail
        self.points.append((at, done))
        while len(self.points) > 2 and self.points[1][0] <= at - RATE_S:
            self.points.popleft()
        return True

    def progress(self) -> PhaseProgress:
        rate = None
        if self.ended_at is None and len(self.points) > 1:
            (since, first), (at, last) = self.points[0], self.points[-1]
            rate = (last - first) / (at - since) if at > since else None
        facts = (self.phase, self.began_at, self.ended_at, self.done, self.total, self.unit)
        return PhaseProgress(*facts, rate=rate, detail=self.detail)


class StartupTracker:
    """Fed with the lines of one deployment's log. For one thread.

    The furthest of several ranks counts, so that it never goes back; what begins a run anew begins the start anew.
    That it is ready only a probe can tell: Triton says that its HTTP service has started when its port is taken.
    """

    def __init__(self, began_at: float, *, engine: bool = False) -> None:
        """`engine`: its models are an engine's (vLLM, TensorRT-LLM), so that loading them is that engine's start."""
        self._engine = engine
        self._begin(began_at, Phase.BOOT)

    def _begin(self, at: float, first: Phase) -> None:
        self.began_at = self._at = self._moved_at = at
        self._entries = [_Entry(first, at)]
        self._figures: dict[str, Reported] = {}
        self._loading: dict[str, bool] = {}
        """Models of Triton's, and whether each has been loaded"""
        self._instances: Counter[str] = Counter()
        self._known: set[str] = set()
        self._first_words: set[str] = set()
        self._served_at = at

    def add(self, at: float | None, text: str) -> None:
        """`at`: seconds since the epoch; None for a line that has no time of its own. `text`: cleaned."""
        self._at = max(self._at, at or self._at)
        recognised = False
        for seen in read_line(text):
            recognised = True
            self._take(seen)
        if not recognised and self._is_new(text.translate(_DIGITS)):
            self._moved_at = self._at

    def download(self, at: float, done: float, total: float | None) -> None:
        """Files of the model have grown. Counts until weights are loaded; the log says nothing meanwhile."""
        self._at = max(self._at, at)
        now = self._now
        if now.phase is Phase.WEIGHTS and now.done is None:
            # It was told already that the model is loaded, before the files were there.
            self._entries.pop()
            if self._entries and self._now.phase is Phase.DOWNLOAD:
                self._now.ended_at = None
            else:
                self._entries.append(_Entry(Phase.DOWNLOAD, now.began_at))
        else:
            self._move(Phase.DOWNLOAD)
        if self._now.phase is Phase.DOWNLOAD and self._now.count(self._at, done, total, ("bytes", "")):
            self._moved_at = self._at

    def ready(self, at: float) -> None:
        """It has answered; the log may have gone on since."""
        self._at = max(self._now.began_at, at)
        if self._move(Phase.READY):
            self._now.ended_at = self._at
            self._moved_at = max(self._moved_at, self._at)

    @property
    def is_fetching(self) -> bool:
        """Whether a download may be what it is at."""
        return _PLACE[self._now.phase] < _PLACE[Phase.WEIGHTS] or (
            self._now.phase is Phase.WEIGHTS and self._now.done is None
        )

    @property
    def served_at(self) -> float | None:
        """When the log last told of an endpoint; None when it has not come to that."""
        return self._served_at if self._now.phase is Phase.SERVE else None

    def startup(self, usual: tuple[tuple[str, float], ...] = (), problem: str = "") -> Startup:
        """`usual`: as `Launches.phases` gives it."""
        figures = [one for key, one in self._figures.items() if key not in UNTOLD]
        phases = tuple(entry.progress() for entry in self._entries)
        return Startup(self.began_at, phases, self._moved_at, tuple(figures), usual, problem)

    # -- one line -----------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> _Entry:
        return self._entries[-1]

    def _take(self, seen: Seen) -> None:
        form, place = seen.form, _PLACE[self._now.phase]
        if form.tells is Tells.RUN:
            if place > _PLACE[Phase.BOOT] or form.hint in self._first_words:
                self._begin(self._at, Phase.BOOT)
            self._first_words.add(form.hint)
        elif form.tells is Tells.LOADING and place >= _PLACE[Phase.SERVE]:
            # Another model is loaded into a server that runs.
            self._begin(self._at, Phase.ENGINE if self._engine else Phase.MODELS)
        for key, value in seen.figures.items():
            self._report(key, value, seen.text)
        if "download_s" in seen.figures:
            self._was_downloaded(seen.figures["download_s"])
        if form.phase is Phase.SERVE:
            self._served_at = self._at
        moved = self._models(seen) if form.phase is Phase.MODELS else self._phase(seen)
        if moved or (seen.done is None and self._is_new(seen.text)):
            self._moved_at = self._at

    def _phase(self, seen: Seen) -> bool:
        """Whether it is further now than it was."""
        phase = seen.form.phase
        moved = phase is not None and self._move(phase)
        if self._now.phase is not phase:
            return False
        if seen.done is not None:
            return self._now.count(self._at, seen.done, seen.total, (seen.form.unit, seen.detail)) or moved
        if seen.detail and self._now.done is None:
            self._now.detail = seen.detail
        return moved

    def _move(self, phase: Phase) -> bool:
        """Whether it is in another phase now; one that it has behind it does not count."""
        now = self._now
        if now.phase is Phase.MODELS and _PLACE[phase] in _ENGINE and not self._in_engine:
            # The models that were being loaded are an engine's.
            now = self._entries[-1] = _Entry(Phase.ENGINE, now.began_at)
        if _PLACE[phase] <= _PLACE[now.phase]:
            return False
        now.ended_at = self._at
        self._entries.append(_Entry(phase, self._at))
        return True

    @property
    def _in_engine(self) -> bool:
        """An engine's start has been seen."""
        return any(_PLACE[entry.phase] in _ENGINE for entry in self._entries)

    def _models(self, seen: Seen) -> bool:
        model, tells = seen.detail, seen.form.tells
        if tells is Tells.INSTANCE:
            self._instances[model.rsplit("_", 2)[0]] += 1
            self._report("model_instances", max(self._instances.values()), seen.text)
        elif tells is Tells.LOADING:
            self._loading[model.rsplit(":", 1)[0]] = False
        elif tells is Tells.LOADED:
            self._loading[model] = True
        loaded = sum(self._loading.values())
        if self._engine and not self._in_engine and loaded < max(1, len(self._loading)):
            return self._move(Phase.ENGINE)
        if self._in_engine and _PLACE[self._now.phase] < _PLACE[Phase.KV_CACHE] and loaded < max(1, len(self._loading)):
            return False  # a small one beside the engine
        moved = self._move(Phase.MODELS)
        if self._now.phase is Phase.MODELS and self._loading:
            waiting = [name for name, ready in self._loading.items() if not ready]
            self._now.detail = waiting[0] if waiting else ""
            return self._now.count(self._at, loaded, len(self._loading), ("models", "")) or moved
        return moved

    def _was_downloaded(self, seconds: float) -> None:
        """Told when it is over."""
        now = self._now
        if (
            now.phase is Phase.WEIGHTS
            and now.done is None
            and all(e.phase is not Phase.DOWNLOAD for e in self._entries)
        ):
            began_at = max(now.began_at, self._at - seconds)
            self._entries.insert(-1, _Entry(Phase.DOWNLOAD, began_at, self._at))
            now.began_at = self._at

    def _report(self, key: str, value: float, line: str) -> None:
        known = self._figures.get(key)
        if known is None or (value < known.value if key in LEAST else value > known.value):
            self._figures[key] = Reported(key, value, line[:MAX_LINE])
        if key == "concurrency" and "kv_blocks" in self._figures:
            tokens = value * self._figures["concurrency_tokens"].value
            blocks = self._figures["kv_blocks"].value
            if blocks and (block := 8 * round(tokens / blocks / 8)):
                self._report("kv_tokens", blocks * block, line)

    def _is_new(self, words: str) -> bool:
        """A server that only waits says the same again and again."""
        if words in self._known:
            return False
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known.add(words)
        return True


@dataclass(frozen=True, slots=True)
class Told:
    """What an engine told of itself beside what the plan had computed; bytes of one GPU, the fullest."""

    key: str
    """weights_bytes, kv_bytes or kv_tokens"""
    told: float
    low: float | None
    high: float | None
    """As planned; None when the plan could not tell. Of tokens there is only `low`: room for so many at least"""


def against_plan(reported: Iterable[Reported], fit: Fit | None) -> tuple[Told, ...]:
    """The figures that both have, and those that only the engine told."""
    told = {one.key: one.value for one in reported}
    rows = {row.title: row for row in fit.rows} if fit else {}
    weights = rows.get("weights")
    tokens = fit.kv_tokens if fit else None
    each = fit.kv_bytes_per_token if fit else None
    planned: dict[str, tuple[float | None, float | None]] = {
        "weights_bytes": (weights.low, weights.high) if weights else (None, None),
        "kv_bytes": (tokens * each if tokens is not None and each else None, None),
        "kv_tokens": (tokens, None),
    }
    return tuple(Told(key, told[key], low, high) for key, (low, high) in planned.items() if key in told)
