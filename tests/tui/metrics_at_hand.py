"""Readings of metrics, and the model that they are of, for tests of what shows them."""

from collections.abc import Sequence
from dataclasses import replace

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.errors import NotFound
from engine.freshness import Freshness
from engine.metrics_reading import Compared, Comparison, Family, Group, Mark, MetricsReading, Series
from engine.snapshot import Model, Snapshot

NOW = 1_000_000.0
SNAPSHOT = Snapshot(at=NOW, hostname="box", loading=False)
SERVICE = Service(
    protocol=Protocol.OPENAI,
    http="http://127.0.0.1:8000",
    health="http://127.0.0.1:8000/health",
    metrics="http://127.0.0.1:8000/metrics",
)
DEPLOYMENT = Deployment(
    name="llama",
    runtime="docker",
    stack="vllm",
    id="1",
    what="image",
    lifecycle=Lifecycle.RUNNING,
    service=SERVICE,
    created_at=NOW - 1000,
)
MODEL = Model(name="llama", state=State.READY, deployment=DEPLOYMENT)
TIMES = tuple(NOW - 900 + second for second in range(1, 901))


def series(key: str, value: float | None = 5.0, unit: str = "", group: Group = Group.REQUESTS, of: str = "") -> Series:
    title = key.replace("_p", " p").capitalize()
    key = f"{key}/{of}" if of else key
    return Series(key, title, unit, value, f"source of {key}", TIMES, tuple(value for _ in TIMES), group, of)


TTFT = tuple(
    replace(series(f"ttft_p{percent}", value, "s", Group.LATENCY), source=f"p{percent} of ttft")
    for percent, value in ((50, 0.05), (90, 0.1), (99, 0.4))
)
SERIES = (
    series("running", 7.0),
    series("waiting", 0.0),
    *TTFT,
    series("generation", 1200.0, "tok/s", Group.TOKENS),
    series("kv_cache", 50.0, "%", Group.CACHE),
    series("prefix_hits", None, "%", Group.CACHE),
)
READING = MetricsReading(at=NOW, freshness=Freshness.FRESH, url=SERVICE.metrics or "", series=SERIES)
SWAP = Mark(NOW - 120, "swap mixtral → llama")
COMPARISON = Comparison(
    SWAP,
    "mixtral",
    600.0,
    110.0,
    (
        Compared("ttft_p50", "TTFT p50", "s", 0.2, 0.1),
        Compared("failed", "Failed", "req/s", 0.0, 0.5),
        Compared("generation", "Generated", "tok/s", 800.0, 1200.0),
        Compared("kv_cache", "KV cache", "%", None, 50.0),
    ),
)
FAMILIES = (
    Family("vllm:lora_requests_info", "gauge", "Running stats on LoRA requests.", 1),
    Family("vllm:num_requests_running", "gauge", "Number of requests in execution batches.", 1),
    Family("vllm:prompt_tokens", "counter", "Number of prefill tokens processed.", 2),
)


class FakeApi:
    """Only what this pane may ask for."""

    def __init__(self, reading: MetricsReading = READING) -> None:
        self.reading = reading
        self.asked: list[str] = []
        self.pinned: set[str] = set()
        self.unreported: tuple[str, ...] = ()
        self.pin_error = ""

    def metrics(self, name: str) -> MetricsReading:
        self.asked.append(name)
        return self.reading

    def families(self, name: str) -> Sequence[Family]:
        pinned = [Family(name, "", "", 0, pinned=True) for name in self.unreported if name in self.pinned]
        return [*pinned, *(replace(one, pinned=one.name in self.pinned) for one in FAMILIES)]

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        if self.pin_error:
            raise NotFound(self.pin_error)
        self.pinned = self.pinned | {family} if pinned else self.pinned - {family}
