"""The command line as a script meets it: what it prints where, and with which code it exits."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from engine.api import ProfileSource
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.diagnosis import Change, Diagnosis
from engine.errors import EngineError, InvalidProfile, NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.finding import Finding
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token, Transport
from engine.log_line import LogLine
from engine.plan import Adoption, Launch, Outgoing, Plan, SwapPlan
from engine.request import Request, Way
from engine.settings import Settings
from engine.snapshot import (
    AuditEntry,
    Freshness,
    Gpu,
    GpuReading,
    HostLoad,
    LeaseStatus,
    MetricsReading,
    Model,
    OperationStatus,
    Outcome,
    ProfileProblem,
    RuntimeStatus,
    Series,
    Snapshot,
    Step,
    StepKind,
)
from tui.cli import main

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

    def doctor(
        self, found: Callable[[Finding], None] = lambda _: None, profile: str | None = None
    ) -> Sequence[Finding]:
        self._ask("doctor", profile)
        return ()

    def gpus(self) -> GpuReading:
        self._ask("gpus")
        gpu = Gpu(0, "GPU-1", "H100", 87.0, 71 << 30, 80 << 30, 68.0, None, 700.0)
        return GpuReading(1000.0, Freshness.FRESH, (gpu,), "", "580.1", HostLoad(12.5, 8, 1 << 30, 16 << 30, 0.4))

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        self._ask("ask", name, request)
        on_event(Token("Hello ", 0.04))
        on_event(Token("there", 0.14))
        result = PromptResult(
            request, PromptOutcome.DONE, "Hello there", "echo", Transport.TRITON_HTTP, "stop", timing=TIMING
        )
        on_event(result)
        return result

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    assert fake.closed or fake.settings is None, "a command must close the engine that it opened"


Capture = pytest.CaptureFixture[str]


def test_ls_shows_each_model_with_symbol_word_and_endpoint(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["ls"], engine) == 0
    out, err = capsys.readouterr()
    header, demo, big, idle = out.splitlines()
    assert demo.split() == ["●", "demo", "ready", "triton", "process", "2m11s", "http://127.0.0.1:8000", "A", "demo"]
    assert big.endswith("out of memory")
    assert idle.split()[:2] == ["idle", "–"]
    assert header.index("STATE") == demo.index("ready") == big.index("failed"), "columns are aligned"
    assert err == "invalid profile: bad.yaml:3: Unknown key `modle`; did you mean `model`?\n"


def test_status_names_the_runtimes_and_leaves_out_what_was_never_started(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["status"], engine) == 0
    out = capsys.readouterr().out
    assert "Docker does not answer." in out
    assert "demo" in out
    assert "idle" not in out


def test_status_of_one_model_tells_all_of_it(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["status", "demo"], engine) == 0
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["pid"] == "42"
    assert facts["http"] == "http://127.0.0.1:8000"
    assert main(["status", "nobody"], engine) == 2
    assert "There is no model nobody." in capsys.readouterr().err


def test_plan_prints_what_would_be_done_and_does_nothing(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["plan", "demo", "--runtime", "process"], engine) == 0
    out, err = capsys.readouterr()
    assert "tritonserver --http-port=8000" in out
    assert "T from env" in out
    assert "The port 8000 is taken" in err
    assert engine.asked == [("plan", "demo", "process")]


def test_logs_filter_and_pass_on_the_bounds(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["logs", "demo", "--tail", "5", "--since", "1970-01-01T00:00:10Z", "--grep", "err|bye"], engine) == 0
    assert capsys.readouterr().out.splitlines() == ["error: no memory", "bye"]
    assert engine.asked == [("log", "demo", 5, False, 10.0)]
    assert engine.log_closed


def test_following_a_log_ends_cleanly_on_ctrl_c(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["logs", "-f", "demo"], engine) == 130
    assert engine.log_closed
    assert capsys.readouterr().err == ""


def test_metrics_show_unit_and_source_and_a_dash_for_what_is_not_known(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["metrics", "demo"], engine) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "2.50 /s" in rows[1]
    assert "rate of nv_inference_request_success" in rows[1]
    assert "–" in rows[2]


def test_gpus_are_shown_with_units(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["gpus"], engine) == 0
    out = capsys.readouterr().out
    assert "71.0 / 80.0 GiB" in out
    assert "68 °C" in out
    assert "– / 700 W" in out
    assert "12 % of 8 cores" in out


def test_ask_streams_the_answer_and_tells_timings_apart(engine: FakeEngine, capsys: Capture) -> None:
    argv = ["ask", "demo", "hi", "--max-tokens", "7", "--temperature", "0.5", "--transport", "triton-grpc"]
    assert main(argv, engine) == 0
    out, err = capsys.readouterr()
    assert out == "Hello there\n"
    assert "first token 43 ms" in err
    assert "100 tokens/s" in err
    request: PromptRequest = engine.asked[0][2]
    assert (request.prompt, request.max_tokens, request.temperature) == ("hi", 7, 0.5)
    assert request.transport is Transport.TRITON_GRPC


PLAN_KEYS = {
    *("launch", "source", "summary", "warnings", "runtimes", "command_line"),
    *("obstacles", "placement", "fit", "versions", "digest", "needs_bytes", "model"),
}
SWAP_PLAN_KEYS = {"incoming", "outgoing", "way", "reason", "other_ways", "warnings", "digest", "obstacles"}


@pytest.mark.parametrize(
    ("argv", "keys"),
    [
        (["ls"], {"models", "problems"}),
        (["status"], {"at", "hostname", "models", "operations", "problems", "runtimes", "lease", "read_only"}),
        (["plan", "demo"], PLAN_KEYS),
        (["plan", "new", "--swap"], SWAP_PLAN_KEYS),
        (["up", "demo"], {field.name for field in fields(OperationStatus)}),
        (["recover"], {"interrupted"}),
        (["adopt", "docker/by_hand", "--dry-run"], {field.name for field in fields(Adoption)}),
        (["history"], {"entries"}),
        (["metrics", "demo"], {"name", "at", "freshness", "url", "message", "series"}),
        (["gpus"], {"at", "freshness", "gpus", "message", "driver", "host"}),
        (
            ["ask", "demo", "hi"],
            {field.name for field in fields(PromptResult)},
        ),
        (["logs", "demo", "--tail", "1", "--grep", "bye"], {"seq", "time", "text"}),
    ],
)
def test_json_is_one_documented_object(argv: list[str], keys: set[str], engine: FakeEngine, capsys: Capture) -> None:
    assert main([*argv, "--json"], engine) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert set(found) == keys
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {argv[0]}")[1].split("\n## ")[0]
    assert not {key for key in keys if f"`{key}`" not in section}, "docs/commands.md documents every key"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationFailed("It broke.", "Look at the log."), 1),
        (InvalidProfile("bad.yaml:3: no."), 2),
        (NotFound("There is no profile demo."), 2),
        (Refused("demo is busy."), 3),
        (RuntimeUnreachable("Docker does not answer."), 4),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(error: EngineError, code: int, capsys: Capture) -> None:
    engine = FakeEngine(error)
    assert main(["up", "demo"], engine) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"tritontui: {error}"
    assert engine.closed


def test_an_unexpected_error_is_one_line_unless_debugged(capsys: Capture) -> None:
    assert main(["ls"], FakeEngine(ZeroDivisionError("\x1b[2Jdivision"))) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "ZeroDivisionError" in err
    assert "--debug" in err
    assert main(["ls", "--debug"], FakeEngine(ZeroDivisionError("division"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "read_only"), [(["ls"], False), (["--read-only", "ls"], True), (["ls", "--read-only"], True)]
)
def test_read_only_may_stand_on_either_side(argv: list[str], read_only: bool, engine: FakeEngine) -> None:
    assert main(argv, engine) == 0
    assert engine.settings
    assert bool(engine.settings.read_only) is read_only


@pytest.mark.parametrize("argv", [["--profiles", "{a}", "ls"], ["ls", "--profiles", "{a}"]])
def test_profiles_may_stand_on_either_side(argv: list[str], engine: FakeEngine, tmp_path: Path) -> None:
    assert main([word.format(a=tmp_path) for word in argv], engine) == 0
    assert engine.settings
    assert engine.settings.profiles_dirs == (tmp_path,)


def test_profiles_on_both_sides_keep_their_order(engine: FakeEngine, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert main(["--profiles", str(first), "ls", "--profiles", str(second)], engine) == 0
    assert engine.settings
    assert engine.settings.profiles_dirs == (first, second)


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["up"],
        ["ls", "--profiles", "/no/such/folder"],
        ["logs", "demo", "--grep", "("],
        ["logs", "demo", "--tail", "0"],
        ["logs", "demo", "--since", "yesterday"],
        ["up", "demo", "--timeout", "soon"],
        ["swap"],
        ["swap", "demo", "--drain", "long"],
        ["recover", "--finish", "--roll-back"],
        ["history", "--limit", "0"],
        ["ask", "demo", "hi", "--transport", "pigeon"],
    ],
)
def test_wrong_usage_exits_2_and_asks_the_engine_nothing(argv: list[str], engine: FakeEngine) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv, engine)
    assert stopped.value.code == 2
    assert engine.settings is None


def test_the_console_says_that_it_needs_a_terminal(capsys: Capture) -> None:
    assert main([]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys\n"
        "from tests.unit.test_cli import FakeEngine, LINES\n"
        "from tui.cli import main\n"
        "class Endless(FakeEngine):\n"
        "    def read_log(self, *_, **__):\n"
        "        while True: yield LINES[0]\n"
        "sys.exit(main(['logs', 'demo'], Endless()))\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "loading\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141
