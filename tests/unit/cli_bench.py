"""An engine that answers from memory, for tests of the commands."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import ProfileSource
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.diagnosis import Change, Diagnosis
from engine.finding import Finding
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading, HostLoad
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token, Transport
from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadResult
from engine.log_line import LogLine
from engine.metrics_reading import MetricsReading, Series
from engine.plan import Adoption, Launch, Outgoing, Plan, SwapPlan
from engine.prompt_record import KeptPrompt, SavedPrompt
from engine.request import Request, Way
from engine.settings import Settings
from engine.snapshot import (
    AuditEntry,
    LeaseStatus,
    Model,
    OperationStatus,
    Outcome,
    ProfileProblem,
    RuntimeStatus,
    Snapshot,
    Step,
    StepKind,
)

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:8000", "http://127.0.0.1:8000/v2/health/ready")
DEPLOYMENT = Deployment(
    "demo", "process", "triton", "id1", "/opt/tritonserver", Lifecycle.RUNNING, SERVICE, created_at=900.0, pid=42
)
DEMO = Model("demo", State.READY, "A demo", "triton", "process", since=869.0, deployment=DEPLOYMENT)
BIG = Model("big", State.FAILED, "A big one", "vllm", "docker", detail="out of memory", since=100.0)
IDLE = Model("idle", State.ABSENT, "Not started", "vllm", "docker")
SNAPSHOT = Snapshot(
    at=1000.0,
    hostname="box",
    loading=False,
    models=(DEMO, BIG, IDLE),
    problems=(ProfileProblem("bad.yaml", 3, "Unknown key `modle`; did you mean `model`?"),),
    runtimes=(RuntimeStatus("docker", reachable=False, detail="Docker does not answer.", since=990.0),),
)
LINES = tuple(LogLine(seq, "", text) for seq, text in enumerate(("loading", "error: no memory", "bye")))
CREATE = Step(StepKind.CREATE, "create", Outcome.RUNNING, began_at=10.0, subject="demo")
STARTING = OperationStatus(
    "1a2b3c4d5e6f",
    "start",
    "demo",
    (CREATE, Step(StepKind.WAIT, "wait until ready", subject="demo")),
    10.0,
    Outcome.RUNNING,
    "me@box",
)
STARTED = replace(
    STARTING,
    steps=(
        replace(CREATE, outcome=Outcome.DONE, ended_at=12.0),
        Step(StepKind.WAIT, "wait until ready", Outcome.DONE, "ready", 12.0, 193.0, "demo"),
    ),
    outcome=Outcome.DONE,
    ended_at=193.0,
    message="demo serves.",
    exit_code=0,
)
LAUNCH = Launch("new", "triton", "docker", ("tritonserver",), SERVICE)
SWAP_PLAN = SwapPlan(
    Plan(LAUNCH, "new.yaml", "A new one", ("Its image is old.",), needs_bytes={"GPU-1": 40 << 30}),
    (Outgoing("demo", "docker", "id1", True, ("GPU-1",), {"GPU-1": 70 << 30}, "GPU 0", "nv_inference_pending"),),
    Way.FULL,
    "They run in different containers.",
    ("Neither allows vLLM's sleep mode.",),
    digest="d1",
)
ADOPTION = Adoption(
    "hand",
    "by_hand",
    "c0ffee",
    "/home/me/profiles/hand.yaml",
    "name: hand\nstack: triton\n",
    LAUNCH,
    ("It was started with --rm: stopping it removes it.",),
)
TIMING = Timing(first_token_s=0.043, last_token_s=0.143, total_s=0.15, tokens_out=11, token_source="server")


class FakeEngine:
    """Answers from memory and remembers what it was asked; raises `error` from every call that has one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[tuple[Any, ...]] = []
        self.settings: Settings | None = None
        self.closed = False
        self.log_closed = False
        self.snapshot = SNAPSHOT
        self.requests: list[Request] = []
        self.states: tuple[OperationStatus, ...] = (STARTING, STARTING, STARTED)
        """What an operation goes through that is begun or followed; the last is how it ended"""
        self.known: tuple[OperationStatus, ...] = ()
        self.audit: tuple[AuditEntry, ...] = ()
        self.held: LeaseStatus | None = None
        self.kept: tuple[KeptPrompt, ...] = ()
        self.load_events: tuple[LoadEvent, ...] = ()
        """Of a load test; the last is its result"""
        self.kept_loads: tuple[LoadResult, ...] = ()
        self.left_out = 0
        """Requests that an exported load test lacks"""
        self.saved = SavedPrompt("greet", PromptRequest("Greet {{who}} in {{language=English}}."))

    def __call__(self, settings: Settings) -> "FakeEngine":
        self.settings = settings
        return self

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error

    def survey(self) -> Snapshot:
        self._ask("survey")
        return self.snapshot

    def plan(self, name: str, runtime: str | None = None) -> Plan:
        self._ask("plan", name, runtime)
        launch = Launch(
            name,
            "triton",
            "process",
            ("tritonserver", "--http-port=8000"),
            SERVICE,
            env={"A": "b c"},
            secrets={"T": "env"},
        )
        return Plan(launch, "demo.yaml", "A demo", ("The port 8000 is taken; 8010 is used.",), ("process", "docker"))

    def plan_swap(
        self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False, runtime: str | None = None
    ) -> SwapPlan:
        self._ask("plan_swap", name, outgoing, full, runtime)
        return replace(SWAP_PLAN, way=Way.FULL if full else Way.LOAD)

    def plan_adoption(self, name: str) -> Adoption:
        self._ask("plan_adoption", name)
        return ADOPTION

    def perform(self, request: Request, progress: Callable[[OperationStatus], None] | None = None) -> OperationStatus:
        self.requests.append(request)
        return self._carried_out(progress, request)

    def follow(self, operation: str, progress: Callable[[OperationStatus], None] | None = None) -> OperationStatus:
        return self._carried_out(progress, "follow", operation)

    def _carried_out(self, progress: Callable[[OperationStatus], None] | None, *what: Any) -> OperationStatus:
        for status in self.states:
            if progress:
                progress(status)
        self._ask(*what)
        return self.states[-1]

    def cancel(self, operation: str) -> None:
        self._ask("cancel", operation)

    def operations(self) -> tuple[OperationStatus, ...]:
        return self.known

    def history(self, limit: int = 200, *, name: str | None = None, since: float | None = None) -> Sequence[AuditEntry]:
        self._ask("history", limit, name, since)
        return self.audit[:limit]

    def lease(self) -> LeaseStatus | None:
        return self.held

    def read_log(
        self, name: str, *, tail: int | None, follow: bool, since: float | None = None
    ) -> Generator[LogLine, None, None]:
        self._ask("log", name, tail, follow, since)
        try:
            yield from LINES
            if follow:
                raise KeyboardInterrupt
        finally:
            self.log_closed = True

    def diagnose(self, name: str) -> Diagnosis:
        self._ask("diagnose", name)
        return Diagnosis(())

    def profile_source(self, name: str) -> ProfileSource:
        self._ask("profile_source", name)
        return ProfileSource(Path(f"{name}.yaml"), f"name: {name}\n", shipped=False)

    def with_changes(self, name: str, changes: Sequence[Change]) -> str:
        self._ask("with_changes", name, tuple(changes))
        return f"name: {name}\n"

    def scrape(self, name: str) -> MetricsReading:
        self._ask("scrape", name)
        rate = Series("requests", "Requests", "/s", 2.5, "rate of nv_inference_request_success", (1.0,), (2.5,))
        lost = Series("lost", "Lost", "%", float("nan"), "nowhere")
        return MetricsReading(1000.0, Freshness.FRESH, "http://127.0.0.1:8002/metrics", series=(rate, lost))

    def watch_metrics(self, name: str) -> Generator[MetricsReading, None, None]:
        while True:
            yield self.scrape(name)

    def family(self, name: str, family: str) -> Sequence[str]:
        self._ask("family", name, family)
        return (f"# TYPE {family} counter", f"{family} 3")

    def doctor(
        self, found: Callable[[Finding], None] = lambda _: None, profile: str | None = None
    ) -> Sequence[Finding]:
        self._ask("doctor", profile)
        return ()

    def gpus(self) -> GpuReading:
        self._ask("gpus")
        gpu = Gpu(0, "GPU-1", "H100", 87.0, 71 << 30, 80 << 30, 68.0, None, 700.0)
        return GpuReading(1000.0, Freshness.FRESH, (gpu,), "", "580.1", HostLoad(12.5, 8, 1 << 30, 16 << 30, 0.4))

    def watch_gpus(self) -> Generator[GpuReading, None, None]:
        self._ask("watch_gpus")
        for at in (1000.0, 1001.0):
            yield replace(self.gpus(), at=at)

    def require_running(self, name: str) -> None:
        self._ask("require_running", name)

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        self._ask("ask", name, request)
        on_event(Token("Hello ", 0.04))
        on_event(Token("there", 0.14))
        result = PromptResult(
            request, PromptOutcome.DONE, "Hello there", "echo", Transport.TRITON_HTTP, "stop", timing=TIMING
        )
        on_event(result)
        return result

    def kept_prompts(
        self, name: str | None = None, limit: int = 200, *, same_as: PromptRequest | None = None
    ) -> Sequence[KeptPrompt]:
        self._ask("kept_prompts", name, limit, same_as)
        return self.kept

    def kept_prompts_problem(self) -> str:
        return ""

    def saved_prompt(self, wanted: str) -> SavedPrompt:
        self._ask("saved_prompt", wanted)
        return self.saved

    def save_prompt(self, prompt: SavedPrompt, *, overwrite: bool = False) -> Path:
        self._ask("save_prompt", prompt, overwrite)
        return Path(f"{prompt.name}.yaml")

    def load_blocking(self, name: str, plan: LoadPlan, on_event: Callable[[LoadEvent], None]) -> LoadResult:
        self._ask("load", name, plan)
        for event in self.load_events:
            on_event(event)
        result = self.load_events[-1]
        assert isinstance(result, LoadResult)
        return result

    def loads(self, name: str | None = None, limit: int = 100) -> Sequence[LoadResult]:
        self._ask("loads", name, limit)
        return self.kept_loads[:limit]

    def export_load(self, result: LoadResult, path: Path) -> int:
        self._ask("export_load", result, path)
        return self.left_out if path.suffix in (".csv", ".json") else 0

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    assert fake.closed or fake.settings is None, "a command must close the engine that it opened"


Capture = pytest.CaptureFixture[str]
