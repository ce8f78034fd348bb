"""An engine that the test holds: it shows what it is given and keeps what it is asked."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from engine.api import Cancel, LogFeed, ProfileSource
from engine.authoring.changed import changed
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.diagnosis import Change, Diagnosis
from engine.errors import EngineError, InvalidProfile, NotFound
from engine.finding import Finding
from engine.fit.result import Fit, FitRow, Verdict
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading, HostLoad
from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import (
    PromptEvent,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Style,
    Timing,
    Token,
    Transport,
)
from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadResult
from engine.metrics_reading import Family, Group, Mark, MetricsReading, Series
from engine.plan import Adoption, GeneratedFile, Launch, Outgoing, PlacedGpu, Plan, PortBinding, SwapPlan
from engine.prompt_record import KeptPrompt, SavedPrompt
from engine.request import Action, Request, Way
from engine.snapshot import AuditEntry, Model, RuntimeStatus, Snapshot
from tests.tui.fake_feed import FakeFeed, Logged

NOW = 1_800_000_000.0
GIB = 1 << 30
SERVICE = Service(
    Protocol.TRITON,
    "http://127.0.0.1:8000",
    "http://127.0.0.1:8000/v2/health/ready",
    "127.0.0.1:8001",
    "http://127.0.0.1:8002/metrics",
    "prose",
)

PARAMETERS = (
    Parameter("max_tokens", 1, 8192, why="max_model_len 8192"),
    Parameter("temperature", 0, 2, "1"),
    Parameter("top_p", 0, 1, "1"),
    Parameter("stop"),
    Parameter("ignore_eos", default="off"),
)
OFFER = Offer(
    (ModelOffer("prose", (Style.CHAT, Style.COMPLETION), 8192, PARAMETERS, ("sql", "legal")), ModelOffer("tiny")),
    (Transport.OPENAI, Transport.TRITON_GRPC),
)


def model(name: str, state: State, *, runtime: str = "docker", since: float | None = None, detail: str = "") -> Model:
    deployment = None
    if state is not State.ABSENT:
        lifecycle = Lifecycle.EXITED if state in (State.STOPPED, State.FAILED) else Lifecycle.RUNNING
        deployment = Deployment(
            name, runtime, "triton", "0123456789abcdef", "example/triton:1", lifecycle, SERVICE, NOW - 200, NOW - 190
        )
    return Model(name, state, f"Summary of {name}", "triton", runtime, detail, since, deployment=deployment)


def snapshot(*models: Model, gpus: int = 2) -> Snapshot:
    some = tuple(
        Gpu(i, f"GPU-{i}", "NVIDIA H100 80GB", 40.0 + i, (20 + i) * GIB, 80 * GIB, 50.0 + i, 300.0 + i, 700.0)
        for i in range(gpus)
    )
    reading = GpuReading(NOW, Freshness.FRESH, some, host=HostLoad(12.0, 8, 4 * GIB, 64 * GIB, 0.5))
    runtimes = (
        RuntimeStatus("docker", reachable=True, detail="Docker 28.2.2", since=NOW - 500),
        RuntimeStatus("process", reachable=True, detail="Linux 6", since=NOW - 500),
    )
    return Snapshot(NOW, "gpu-box-3", loading=False, models=models, runtimes=runtimes, gpus=reading)


SOURCE = """\
# Llama 3 70B Instruct: the weights are gated.
name: {name}
summary: "Summary of {name}"
stack: triton
image: example/triton:1
repository: ./models
expose: {{http: 8000}}   # on 127.0.0.1
"""

MODEL_JSON = """\
{
  "model": "meta-llama/Meta-Llama-3-70B-Instruct",
  "tensor_parallel_size": 2,
  "gpu_memory_utilization": 0.85,
  "max_model_len": 8192
}
"""


def large_plan(plan: Plan, verdict: Verdict, *obstacles: str) -> Plan:
    """The plan with all that a plan can have."""
    settings = "\n".join(f'  {{ key: "option_{i}" value: {{ string_value: "{i}" }} }},' for i in range(20))
    files = (
        GeneratedFile("models/llama/1/model.json", MODEL_JSON),
        GeneratedFile("models/llama/config.pbtxt", f'backend: "vllm"\nparameters: [\n{settings}\n]\n'),
    )
    rows = (
        FitRow("weights", 66 * GIB, 66 * GIB, "141.1 GB of safetensors in 30 files, by tensor parallel size 2"),
        FitRow("KV cache", 20 * GIB, 20 * GIB, "163 840 B a token × 8 192 tokens × 16 requests"),
        FitRow("activations and graphs", 2 * GIB, 5 * GIB, "2 048 batched tokens"),
        FitRow("in use already", 0, 0),
        FitRow("left", -11 * GIB, -8 * GIB, "of 80.0 GiB"),
    )
    fit = Fit(
        verdict,
        "91.0 GiB are needed on each GPU, and 80.0 GiB are there.",
        (
            "Set `max_model_len: 2048`: that is the largest that fits.",
            "Or set `tensor_parallel_size: 4` and `gpus: 4`: the smallest that divides 64 heads and fits.",
        ),
        rows,
        "the Hugging Face cache",
        80 * GIB,
        68 * GIB,
        163_840,
        9_012,
    )
    gpus = tuple(
        PlacedGpu(
            i,
            f"GPU-{i}1c80f4e-5ea0-4f3a-9d3b-6c1f7d0a9b1{i}",
            "NVIDIA H100 80GB HBM3",
            80 * GIB,
            (1 + 60 * i) * GIB,
            used_by=("mixtral",) * i,
        )
        for i in range(2)
    )
    return replace(
        plan,
        launch=replace(plan.launch, files=files, files_root="/tritontui", gpus=tuple(gpu.uuid for gpu in gpus)),
        warnings=("Port 8000 (http) is in use on 127.0.0.1 right now.",),
        obstacles=obstacles,
        placement=gpus,
        fit=fit,
    )


class FakeApi:
    """Implements `engine.api.EngineApi`."""

    def __init__(self, first: Snapshot) -> None:
        self.latest = first
        self.requests: list[Request] = []
        self.submit_error: EngineError | None = None
        self.cancelled: list[str] = []
        self.cancel_error: EngineError | None = None
        self.swaps_planned: list[tuple[str, tuple[str, ...], bool]] = []
        self.swap_error: EngineError | None = None
        self.change_swap: Callable[[SwapPlan], SwapPlan] = lambda plan: plan
        self.adoption_error: EngineError | None = None
        self.entries: list[AuditEntry] = []
        self.history_error: EngineError | None = None
        self.asked: list[PromptRequest] = []
        self.offered: Offer | EngineError = OFFER
        self.kept: list[KeptPrompt] = []
        self.saved: list[SavedPrompt] = []
        self.save_error: EngineError | None = None
        self.plan_error: EngineError | None = None
        self.planned: list[str] = []
        self.change_plan: Callable[[Plan], Plan] = lambda plan: plan
        self.files: dict[str, Path] = {}
        """Profiles that are true files"""
        self.shipped: set[str] = set()
        self.source_error: EngineError | None = None
        self.duplicated: list[tuple[str, str]] = []
        self.duplicate_error: EngineError | None = None
        self.diagnosis: Diagnosis | EngineError = Diagnosis(())
        self.diagnosed: list[str] = []
        self.findings: list[Finding] = []
        """In the order in which the doctor finds them"""
        self.examined = 0
        self.doctor_error: EngineError | None = None
        self.changed: list[tuple[str, str, tuple[Change, ...]]] = []
        self.log: list[Logged] = ["I0115 08:00:00 1 server.cc:1] started", "E0115 08:00:01 1 server.cc:2] \\o/"]
        self.feeds: list[FakeFeed] = []
        self.reported = [
            Family("nv_inference_request_success", "counter", "Number of successful inference requests", 1),
            Family("nv_energy_consumption", "counter", "GPU energy consumption in joules", 2),
        ]
        """The families of every deployment's endpoint"""
        self.pins: frozenset[str] = frozenset()
        self.loads_asked: list[tuple[str, LoadPlan]] = []
        self.tell_load: Callable[[LoadEvent], None] = lambda _: None
        """Hands an event of the load test that was begun last to who began it"""
        self.loads_stopped: list[str] = []
        self.load_error: EngineError | None = None
        self.kept_loads: list[LoadResult] = []
        """Newest first"""
        self.loads_error: EngineError | None = None
        self.exported: list[tuple[str, Path]] = []
        self.export_error: EngineError | None = None
        self._listeners: list[Callable[[Snapshot], None]] = []

    def open(self) -> None:
        self.show(self.latest)

    def close(self) -> None:
        pass

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Cancel:
        self._listeners.append(listener)
        return lambda: None

    def show(self, new: Snapshot) -> None:
        """A new snapshot for whoever listens."""
        self.latest = new
        for listener in self._listeners:
            listener(new)

    def change(self, changed: Model) -> None:
        models = tuple(changed if known.name == changed.name else known for known in self.latest.models)
        self.show(replace(self.latest, models=models))

    def plan(self, name: str, runtime: str | None = None) -> Plan:
        self.planned.append(name)
        if self.plan_error:
            raise self.plan_error
        ports = (PortBinding("http", "127.0.0.1", 8000, 8000),)
        launch = Launch(
            name,
            "triton",
            runtime or "docker",
            ("tritonserver", "--model-repository=/models"),
            SERVICE,
            image="example/triton:1",
            ports=ports,
        )
        plan = Plan(launch, "profiles/x.yaml", f"Summary of {name}", runtimes=("docker", "process"))
        return self.change_plan(plan)

    def plan_swap(self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False) -> SwapPlan:
        self.swaps_planned.append((name, outgoing, full))
        if self.swap_error and not outgoing:
            raise self.swap_error
        gone = tuple(
            Outgoing(
                one,
                "docker",
                "0123456789abcdef",
                running=True,
                gpus=("GPU-0", "GPU-1"),
                frees_bytes={"GPU-0": 66 * GIB, "GPU-1": 66 * GIB},
                why="GPU 0, 1 and port 8000",
                drained_by="vllm:num_requests_running",
            )
            for one in outgoing or ("llama3-70b",)
        )
        reason = "They are two containers, and neither serves the other's model."
        faster = ("Neither runs in a Triton server with explicit model control.", "llama3-70b has no sleep mode.")
        return self.change_swap(SwapPlan(self.plan(name), gone, Way.FULL, reason, faster))

    def plan_adoption(self, name: str) -> Adoption:
        if self.adoption_error:
            raise self.adoption_error
        adopted = name.rpartition("/")[2]
        path = f"/home/ann/.config/tritontui/profiles/{adopted}.yaml"
        text = SOURCE.format(name=adopted)
        notes = ("Its restart policy is `always`: Docker brings it back when it starts.",)
        return Adoption(adopted, adopted, "fedcba9876543210", path, text, self.plan(adopted).launch, notes)

    def submit(self, request: Request) -> None:
        if self.submit_error:
            raise self.submit_error
        self.requests.append(request)

    @property
    def submitted(self) -> list[tuple[Action, str, str | None]]:
        return [(request.action, request.name, request.runtime) for request in self.requests]

    @property
    def forced(self) -> list[str]:
        return [request.name for request in self.requests if request.force]

    def cancel(self, operation: str) -> None:
        if self.cancel_error:
            raise self.cancel_error
        self.cancelled.append(operation)

    def history(self, limit: int = 200) -> Sequence[AuditEntry]:
        if self.history_error:
            raise self.history_error
        return self.entries[:limit]

    def profile_source(self, name: str) -> ProfileSource:
        if self.source_error:
            raise self.source_error
        path = self.files.get(name, Path(f"/home/ann/.config/tritontui/profiles/{name}.yaml"))
        text = path.read_text() if name in self.files else SOURCE.format(name=name)
        return ProfileSource(path, text, name in self.shipped)

    def duplicate(self, name: str, new_name: str) -> Path:
        if self.duplicate_error:
            raise self.duplicate_error
        self.duplicated.append((name, new_name))
        return self.files.get(new_name, Path(f"/home/ann/.config/tritontui/profiles/{new_name}.yaml"))

    def doctor(self, found: Callable[[Finding], None]) -> Sequence[Finding]:
        self.examined += 1
        for finding in self.findings:
            found(finding)
        if self.doctor_error:
            raise self.doctor_error
        return self.findings

    def diagnose(self, name: str) -> Diagnosis:
        self.diagnosed.append(name)
        if isinstance(self.diagnosis, EngineError):
            raise self.diagnosis
        return self.diagnosis

    def with_changes(self, name: str, changes: Sequence[Change]) -> str:
        return changed(self.profile_source(name).text, changes)

    def write_changed(self, name: str, new_name: str, changes: Sequence[Change]) -> Path:
        if self.duplicate_error:
            raise self.duplicate_error
        self.changed.append((name, new_name, tuple(changes)))
        return Path(f"/home/ann/.config/tritontui/profiles/{new_name}.yaml")

    def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> LogFeed:
        found = self.latest.model(name)
        if not found or not found.deployment:
            raise NotFound(f"{name} has not been started.")
        feed = FakeFeed(self.log)
        self.feeds.append(feed)
        changed()
        return feed

    def metrics(self, name: str) -> MetricsReading:
        found = self.latest.model(name)
        if found and found.state is not State.READY:
            return MetricsReading(None, Freshness.NONE, message="It is not running: there are no metrics.")
        times = tuple(NOW - 290 + i for i in range(291))
        wave = tuple(None if 60 < i < 80 else float(i // 30 % 4) for i in range(291))

        def one(key: str, title: str, unit: str, group: Group, scale: float = 1.0) -> Series:
            values = tuple(None if value is None else scale * (1 + value) for value in wave)
            return Series(key, title, unit, values[-1], f"rate of vllm:{key}", times, values, group)

        latency = tuple(
            one(f"ttft_p{percent}", f"TTFT p{percent}", "s", Group.LATENCY, 0.01 * percent) for percent in (50, 90, 99)
        )
        series = (
            one("running", "Running", "", Group.REQUESTS),
            one("requests", "Finished", "req/s", Group.REQUESTS, 1.25),
            *latency,
            one("generation", "Generated", "tok/s", Group.TOKENS, 300.0),
            one("kv_cache", "KV cache", "%", Group.CACHE, 20.0),
            Series("queue", "Queue per request", "s", None, "nothing yet", times, (None,) * 291, Group.LATENCY),
        )
        marks = (Mark(NOW - 120, f"start {name}"),)
        return MetricsReading(NOW, Freshness.FRESH, SERVICE.metrics or "", series=series, marks=marks)

    def families(self, name: str) -> Sequence[Family]:
        return [replace(one, pinned=one.name in self.pins) for one in self.reported]

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        if all(one.name != family for one in self.reported):
            raise NotFound(f"{name} reports no family {family}.")
        self.pins = self.pins | {family} if pinned else self.pins - {family}

    def gpu_history(self, index: int) -> Sequence[Series]:
        if not self.latest.gpus or index >= len(self.latest.gpus.gpus):
            return ()
        times = tuple(NOW - 10 + i for i in range(11))
        values = tuple(40.0 + i for i in range(11))
        return (Series("utilization", "Utilization", "%", 50.0, "NVML", times, values),)

    def ask(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> Cancel:
        self.asked.append(request)
        on_event(Token("Hello, ", 0.01))
        on_event(Token("world.", 0.02))
        timing = Timing(None, 0.009, 0.01, 0.02, 0.021, 3, 2, "server")
        on_event(PromptResult(request, PromptOutcome.DONE, "Hello, world.", "prose", None, "stop", "", timing))
        return lambda: None

    def offer(self, name: str, transport: Transport | None = None) -> Offer:
        if isinstance(self.offered, EngineError):
            raise self.offered
        return self.offered

    def kept_prompts(self, name: str | None = None, limit: int = 200) -> Sequence[KeptPrompt]:
        return [kept for kept in self.kept if name in (None, kept.deployment)][:limit]

    def saved_prompts(self) -> Sequence[SavedPrompt]:
        return sorted(self.saved, key=lambda prompt: prompt.name)

    def save_prompt(self, prompt: SavedPrompt, *, overwrite: bool = False) -> Path:
        if self.save_error and not overwrite:
            raise self.save_error
        self.saved = [*(known for known in self.saved if known.name != prompt.name), prompt]
        return Path(f"/home/ann/.config/tritontui/prompts/{prompt.name}.yaml")

    def load(self, name: str, plan: LoadPlan, on_event: Callable[[LoadEvent], None]) -> Cancel:
        if self.load_error:
            raise self.load_error
        self.loads_asked.append((name, plan))
        self.tell_load = on_event

        def stop() -> None:
            self.loads_stopped.append(name)

        return stop

    def loads(self, name: str | None = None, limit: int = 100) -> Sequence[LoadResult]:
        if self.loads_error:
            raise self.loads_error
        return [result for result in self.kept_loads if name in (None, result.deployment)][:limit]

    def export_load(self, result: LoadResult, path: Path) -> int:
        if self.export_error:
            raise self.export_error
        self.exported.append((result.id, path))
        return 0


INVALID = InvalidProfile("profiles/x.yaml: `image` is missing.", "Name the container image to run it on Docker.")
