"""Canaries by a test's clock, against an asker that the test holds, and once against a server that is dead."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token
from engine.inference.runner import PromptRunner
from engine.notice import Rule
from engine.observe.canary import MAX_TOKENS, Canaries, Unanswered, Wanted
from engine.observe.probe import Health, Probe
from engine.observe.runs import Run
from engine.observe.watch import Watches
from engine.profile import Canary, Watch
from engine.snapshot import Model
from tests.unit.operations_bench import until

BEGAN = 1_800_000_000.0
SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
DEPLOYMENT = Deployment("m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, SERVICE, BEGAN, BEGAN)
NO_TOKEN = "no token came within 30 s"


class Bench:
    def __init__(self) -> None:
        self.now = BEGAN
        self.asked: list[tuple[float, PromptRequest]] = []
        self.cancelled = 0
        self.tell: Callable[[PromptEvent], None] = lambda _: None
        self.computes = False
        self.wanted = {"run": Wanted(DEPLOYMENT, Canary(), lambda _: self.computes)}
        self.canaries = Canaries(self._ask)

    def _ask(self, service: Service, request: PromptRequest, tell: Callable[[PromptEvent], None]) -> Callable[[], None]:
        assert service is SERVICE
        self.asked.append((self.now, request))
        self.tell = tell
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            self.canaries.look(self.wanted, self.now)

    def until_asked(self) -> None:
        count = len(self.asked)
        while len(self.asked) == count:
            assert self.now < BEGAN + 3600
            self.pass_by(1)

    def ends(self, outcome: PromptOutcome, error: str = "", *, connected: bool = True, no_text: bool = False) -> None:
        timing = Timing(connected_s=0.001 if connected else None)
        self.tell(PromptResult(self.asked[-1][1], outcome, "", error=error, timing=timing, no_text_model=no_text))
        self.pass_by(1)

    @property
    def told(self) -> Unanswered | None:
        return self.canaries.of("run")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_asks_now_and_then_for_little_and_never_twice_at_once(bench: Bench) -> None:
    times = []
    for _ in range(20):
        bench.until_asked()
        times.append(bench.now)
        bench.pass_by(5)  # it takes its time, and is not asked again meanwhile
        assert len(bench.asked) == len(times)
        bench.tell(Token("p", 0.1))
        bench.ends(PromptOutcome.DONE)
    request = bench.asked[0][1]
    assert (request.prompt, request.sampling.max_tokens, request.sampling.temperature) == ("ping", MAX_TOKENS, None)
    assert 1 <= MAX_TOKENS <= 4
    apart = [later - earlier for earlier, later in pairwise(times)]
    assert 48 <= min(apart) < max(apart) <= 80  # several consoles' do not keep step
    assert not bench.told


def test_two_in_a_row_without_a_token_are_told_until_one_is_answered(bench: Bench) -> None:
    bench.until_asked()
    first = bench.now
    bench.pass_by(31)
    assert (bench.cancelled, bench.told) == (1, None)
    bench.pass_by(11)  # it is tried again soon
    assert len(bench.asked) == 2
    bench.pass_by(31)
    assert bench.told == Unanswered(first, NO_TOKEN)
    bench.until_asked()
    assert bench.told  # while it is asked once more
    bench.tell(Token("p", 0.1))
    bench.pass_by(1)
    assert not bench.told


def test_a_failure_between_answers_is_nothing(bench: Bench) -> None:
    for _ in range(3):
        bench.until_asked()
        bench.ends(PromptOutcome.FAILED, "Cannot connect to it.", connected=False)
        assert not bench.told
        bench.until_asked()
        bench.ends(PromptOutcome.DONE)
        assert not bench.told


def test_a_clear_refusal_is_told_at_once(bench: Bench) -> None:
    bench.until_asked()
    bench.ends(PromptOutcome.FAILED, "http://x refused (HTTP 500): EngineCore is dead.")
    assert bench.told == Unanswered(bench.asked[0][0], "http://x refused (HTTP 500): EngineCore is dead")


def test_an_answer_without_text_is_an_answer_and_a_server_without_a_text_model_is_not_dead(bench: Bench) -> None:
    bench.until_asked()
    bench.ends(PromptOutcome.DONE)
    bench.until_asked()
    bench.ends(PromptOutcome.FAILED, "There is no model that takes text.", no_text=True)
    assert not bench.told


def test_an_engine_that_computes_for_others_is_busy_and_not_dead(bench: Bench) -> None:
    bench.computes = True
    for _ in range(4):
        bench.until_asked()
        bench.pass_by(31)
        assert not bench.told
    bench.computes = False
    for _ in range(2):
        bench.until_asked()
        bench.pass_by(31)
    assert bench.told


def test_an_operation_cancels_it_and_what_was_known_is_forgotten(bench: Bench) -> None:
    bench.until_asked()
    bench.ends(PromptOutcome.FAILED, "no")
    bench.until_asked()
    wanted, bench.wanted = bench.wanted, {}
    bench.pass_by(1)
    assert (bench.cancelled, bench.told) == (1, None)
    bench.pass_by(300)
    assert len(bench.asked) == 2
    bench.wanted = wanted
    bench.until_asked()
    bench.canaries.close()
    assert bench.cancelled == 2


def test_a_changed_profile_asks_as_it_says_now(bench: Bench) -> None:
    bench.until_asked()
    bench.wanted = {"run": Wanted(DEPLOYMENT, Canary(prompt="Say yes.", every=5, timeout=2), lambda _: False)}
    bench.pass_by(1)
    assert bench.cancelled == 1
    bench.until_asked()
    assert bench.asked[-1][1].prompt == "Say yes."
    bench.pass_by(3)
    assert bench.cancelled == 2


# -- against a server -------------------------------------------------------------------------------------------------


@pytest.fixture
def dead() -> Iterator[Service]:
    """It lists its model, takes prompts and answers none."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"data": [{"id": "m"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            ended.wait(60)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Service(Protocol.OPENAI, url, f"{url}/health")
    ended.set()
    server.shutdown()
    server.server_close()


def test_a_server_that_is_dead_and_says_that_it_is_ready_is_told(dead: Service) -> None:
    deployment = Deployment("m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, dead, BEGAN, BEGAN)
    run = Run(deployment)
    run.probe, run.answered_at = Probe(Health.READY), BEGAN
    prompts = PromptRunner()
    asked: list[PromptRequest] = []

    def ask(service: Service, request: PromptRequest, tell: Callable[[PromptEvent], None]) -> Callable[[], None]:
        asked.append(request)
        return prompts.ask(service, request, tell)

    watches, now = Watches(ask), BEGAN
    limits = {"m": Watch(canary=Canary(every=5, timeout=0.2))}
    ready = Model("m", State.READY, deployment=deployment)
    try:
        while not watches.of(run):
            assert now < BEGAN + 60
            now += 1.0
            watches.look((ready,), limits, lambda _: run, (), now, leased=now < BEGAN + 10)
            time.sleep(0.01)
            assert not asked or now >= BEGAN + 10  # somebody held the machine until then
        [notice] = watches.of(run)
        assert notice.rule is Rule.CANARY
        assert notice.text.startswith("It says that it is ready, and has answered no prompt since ")
        assert "no token came within 0.2 s" in notice.text
        assert len(asked) == 2
    finally:
        watches.close()
        prompts.close()
    until(lambda: not [one for one in threading.enumerate() if one.name == "prompts"], 5)
