"""A deployment that is looked at once a second, by a test's clock, for what is told of it."""

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.notice import Notice, Rule
from engine.observe.probe import Health, Probe
from engine.observe.runs import Run
from engine.observe.watch import Watches
from engine.profile import Watch
from engine.snapshot import Model

BEGAN = 1_800_000_000.0
SERVICE = Service(
    Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health", metrics="http://127.0.0.1:1/metrics"
)
READY, SILENT = Probe(Health.READY), Probe(Health.SILENT, "it did not answer within 2 s")


def exposition(*, waiting: int = 0, kv: float = 0.1, failed: int = 0, slow: int = 0, fast: int = 0) -> str:
    """As vLLM writes it. `slow` and `fast`: requests whose first token came after 4 s, and 50 ms."""
    return f"""\
vllm:num_requests_running 1
vllm:num_requests_waiting {waiting}
vllm:kv_cache_usage_perc {kv}
vllm:request_success_total{{finished_reason="stop"}} {slow + fast}
vllm:request_success_total{{finished_reason="error"}} {failed}
vllm:time_to_first_token_seconds_bucket{{le="0.1"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="2.5"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="5.0"}} {slow + fast}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {slow + fast}
"""


class Bench:
    """One deployment, looked at once a second."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.deployment = Deployment(
            "m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, SERVICE, BEGAN - 100, BEGAN - 100
        )
        self.run = Run(self.deployment)
        self.run.probe = READY
        self.watches = Watches()
        self.watch = Watch()
        self.text: str | None = exposition()
        self.state = State.READY
        self.busy: set[str] = set()

    @property
    def model(self) -> Model:
        return Model("m", self.state, deployment=self.deployment)

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            if self.run.probe is READY:
                self.run.answered_at = self.now
            if self.text is not None:
                self.run.metrics.update(self.text, self.now)
            self.watches.look((self.model,), {"m": self.watch}, lambda _: self.run, self.busy, self.now)

    @property
    def told(self) -> tuple[Notice, ...]:
        return self.watches.of(self.run)

    @property
    def rules(self) -> list[Rule]:
        return [notice.rule for notice in self.told]
