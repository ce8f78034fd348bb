"""Draining and the fast ways of a swap on the real tritonserver, which two profiles of one repository share."""

import contextlib
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.drift import launch_facts
from engine.errors import EngineError
from engine.inference import triton_control
from engine.inference.control import ControlFailed
from engine.operations.asking import ask
from engine.operations.drain import drain, drained_by
from engine.operations.fast import UNDO_S, InOneServer, take_back
from engine.operations.waiting import Cancelled, Waiting
from engine.operations.ways import choose_way
from engine.plan import Launch, Plan
from engine.profile import Expose, Profile, Ready
from engine.request import Way
from engine.runtimes.process import ProcessRuntime
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.stacks.local_triton import find_tritonserver
from tests.real.triton_support import (
    DEMO_REPOSITORY,
    demo_server,
    free_ports,
    kill_all,
    of,
    settings_in,
    text_of,
    wait_until,
)

pytestmark = pytest.mark.triton

MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        time.sleep(1)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("B", np.zeros(1, np.float32))]) for _ in requests]
"""
CONFIG = """backend: "python"
input { name: "A" data_type: TYPE_FP32 dims: 1 }
output { name: "B" data_type: TYPE_FP32 dims: 1 }
"""
LOADS_FOR_S = 2.0
MODELS = {
    "slow": f"time.sleep({LOADS_FOR_S})",
    "bad": 'raise ValueError("no weights in \\x1b[31m this folder")',
    "plain": "pass",
}
"""Beside two copies of the demo's, `prose-a` and `prose-b`"""


@dataclass(frozen=True, slots=True)
class Shared:
    runtime: ProcessRuntime
    folder: Path
    ports: Expose
    settings: object

    def plan(self, model: str, **engine: object) -> Plan:
        """Of the profile of that model's name."""
        options = {"model_control_mode": "explicit", "load_model": [model], **engine}
        profile = Profile(
            name=model, stack="triton", repository="repo", model=model, engine=options, expose=self.ports, ready=Ready()
        )
        settings = settings_in(self.folder)
        return STACKS["triton"](PlanContext(profile, self.folder / "p.yaml", "", "process", settings))

    def start(self, model: str, **engine: object) -> Deployment:
        launch = self.plan(model, **engine).launch
        self.runtime.create(launch)
        self.runtime.start(launch.name)
        wait_until(lambda: self._is_ready(launch), f"{model} is ready", 60)
        return replace(of(self.runtime, model), launch_facts=launch_facts(launch))

    def _is_ready(self, launch: Launch) -> bool:
        assert of(self.runtime, launch.name).lifecycle is Lifecycle.RUNNING, text_of(self.runtime, launch.name)
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(launch.service.health, timeout=1).status_code == httpx.codes.OK
        return False


def load_in_server(
    outgoing: Deployment, incoming: Plan, waiting: Waiting, deadline: float, *, unload_first: bool = False
) -> str:
    """Both steps of a swap; when one fails, the outgoing's models are loaded again."""
    models = InOneServer.of(outgoing, incoming)
    steps = (models.unload, models.load) if unload_first else (models.load, models.unload)
    try:
        told = [step(waiting, deadline) for step in steps]
    except (ControlFailed, Cancelled) as error:
        try:
            take_back(models, Waiting(waiting.detail), time.monotonic() + UNDO_S)
        except EngineError as left:
            pytest.fail(f"{error} It could not be undone: {left}")
        raise
    return "; ".join(told)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    settings = settings_in(tmp_path)
    try:
        find_tritonserver(settings)
    except EngineError as error:
        pytest.skip(str(error))
    for name in ("prose-a", "prose-b"):
        shutil.copytree(DEMO_REPOSITORY / "prose", tmp_path / "repo" / name)
    for name, initialize in MODELS.items():
        (tmp_path / f"repo/{name}/1").mkdir(parents=True)
        (tmp_path / f"repo/{name}/1/model.py").write_text(MODEL.format(initialize=initialize))
        (tmp_path / f"repo/{name}/config.pbtxt").write_text(CONFIG)
    http, grpc, metrics = free_ports(3)
    try:
        yield Shared(ProcessRuntime(settings), tmp_path, Expose(http=http, grpc=grpc, metrics=metrics), settings)
    finally:
        kill_all(settings)


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def ready_models(service: Service) -> set[str]:
    held = ask(triton_control.index(service, 10), Waiting())
    return {name for name, model in held.items() if model.ready}


def answers(service: Service, model: str) -> bool:
    question = {"text_input": "The", "sampling_parameters": json.dumps({"max_tokens": 3})}
    response = httpx.post(f"{service.http}/v2/models/{model}/generate", json=question, timeout=30)
    return response.status_code == httpx.codes.OK and bool(response.json()["text_output"])


class Streaming:
    """Decoupled requests under way, each read to its end."""

    def __init__(self, service: Service, model: str, count: int, tokens: int, *, at_once: int = 8) -> None:
        self._url = f"{service.http}/v2/models/{model}/generate_stream"
        self._begun = threading.Semaphore(0)
        self.events: list[int] = []
        """Of each that came to its end, how many there were"""
        self._threads = [threading.Thread(target=self._run, args=(tokens,), daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        for _ in range(min(count, at_once)):
            assert self._begun.acquire(timeout=30), "no token came"

    def _run(self, tokens: int) -> None:
        sampling = json.dumps({"max_tokens": tokens, "ignore_eos": True})
        question = {"text_input": "The", "stream": True, "sampling_parameters": sampling}
        seen = 0
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream("POST", self._url, json=question, timeout=60) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    seen += 1
                    if seen == 1:
                        self._begun.release()
            self.events.append(seen)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)


def test_the_fast_way_from_one_model_to_the_other_and_back(shared: Shared) -> None:
    one, other = shared.start("prose-a"), shared.plan("prose-b")
    way, reason, others = choose_way(other, None, (one,))
    assert (way, others) == (Way.LOAD, ()), (reason, others)
    before = of(shared.runtime, "prose-a").pid

    streaming = Streaming(one.service, "prose-a", 2, 80)
    shown: list[str] = []
    told = load_in_server(one, other, Waiting(shown.append), soon())
    assert told == "loaded prose-b; unloaded prose-a"
    assert shown[0] == "loading prose-b"
    assert "prose-a answers the requests that it has" in shown
    streaming.join()
    assert [count >= 80 for count in streaming.events] == [True, True], "they were not cut off"
    assert ready_models(one.service) == {"prose-b"}
    assert answers(one.service, "prose-b")

    models = InOneServer.of(one, other)
    assert take_back(models, Waiting(), soon()) == "unloaded prose-b; loaded prose-a"
    assert take_back(models, Waiting(), soon()) == "nothing of it was loaded; loaded already", "as often as one likes"
    assert answers(one.service, "prose-a")
    assert of(shared.runtime, "prose-a").pid == before, "the server itself went on"


@pytest.mark.parametrize("unload_first", [False, True])
def test_when_the_second_model_cannot_be_loaded_the_first_one_serves_again(shared: Shared, unload_first: bool) -> None:
    one, other = shared.start("prose-a"), shared.plan("bad")
    shown: list[str] = []
    with pytest.raises(ControlFailed) as failed:
        load_in_server(one, other, Waiting(shown.append), soon(), unload_first=unload_first)
    assert "did not load the model bad (HTTP 400): " in str(failed.value)
    assert "ValueError: no weights in" in str(failed.value)
    assert "\x1b" not in str(failed.value)
    assert ("loading prose-a" in shown) is unload_first
    assert ready_models(one.service) == {"prose-a"}
    assert answers(one.service, "prose-a")


def test_a_load_that_is_cancelled_or_late_is_undone_when_it_has_ended(shared: Shared) -> None:
    one, other, waiting = shared.start("prose-a"), shared.plan("slow"), Waiting()
    canceller = threading.Timer(0.5, waiting.cancelled.set)
    canceller.start()
    with pytest.raises(Cancelled):
        load_in_server(one, other, waiting, soon(), unload_first=True)
    assert ready_models(one.service) == {"prose-a"}
    with pytest.raises(ControlFailed, match="The model slow was not loaded within 1 s"):
        load_in_server(one, other, Waiting(), soon(0))
    assert ready_models(one.service) == {"prose-a"}
    assert answers(one.service, "prose-a")
    assert load_in_server(one, other, Waiting(), soon()) == "loaded slow; unloaded prose-a"


def test_what_both_need_stays(shared: Shared) -> None:
    one = shared.start("prose-a", load_model=["prose-a", "plain"])
    other = shared.plan("prose-b", load_model=["plain", "prose-b"])
    assert load_in_server(one, other, Waiting(), soon(), unload_first=True) == "unloaded prose-a; loaded prose-b"
    assert ready_models(one.service) == {"plain", "prose-b"}


def test_models_that_are_not_there_and_servers_that_are_gone(shared: Shared) -> None:
    one, waiting = shared.start("prose-a"), Waiting()
    with pytest.raises(ControlFailed, match="did not load the model no/where"):
        ask(triton_control.load(one.service, "no/where", 10), waiting)
    ask(triton_control.unload(one.service, "no/where", 10), waiting)
    ask(triton_control.unload(one.service, "prose-b", 10), waiting)
    shared.runtime.stop("prose-a", 45)
    with pytest.raises(ControlFailed, match="Cannot connect to"):
        ask(triton_control.index(one.service, 10), waiting)
    with pytest.raises(ControlFailed, match="Cannot connect to"):
        ask(triton_control.load(one.service, "prose-b", 10), waiting)


def test_without_explicit_control_the_server_says_no(tmp_path: Path) -> None:
    with demo_server(tmp_path) as server:
        service = Service(Protocol.TRITON, server.http, server.http, metrics=server.metrics)
        for change in (triton_control.load(service, "prose", 10), triton_control.unload(service, "prose", 10)):
            with pytest.raises(ControlFailed, match=r"runs without explicit model control\. .*--full"):
                ask(change, Waiting())
        assert ready_models(service) == {"prose"}


def test_a_model_that_streams_is_drained(tmp_path: Path) -> None:
    with demo_server(tmp_path) as server:
        drains(Service(Protocol.TRITON, server.http, server.http, metrics=server.metrics))


def drains(service: Service) -> None:
    assert drained_by(service) == "vllm:e2e_request_latency_seconds_count"
    assert drain(service, Waiting(), 30) == "no requests under way"

    streaming, shown = Streaming(service, "prose", 12, 60), list[str]()
    said = drain(service, Waiting(shown.append), 60)
    assert said.startswith("no requests under way")
    first = re.fullmatch(r"up to (\d+) requests under way, 60 s left", shown[0])
    assert first
    assert 0 < int(first[1]) <= 12, "8 run at once, the model queues the others itself, and some may have ended"
    streaming.join()
    assert [count >= 60 for count in streaming.events] == [True] * 12

    streaming = Streaming(service, "prose", 3, 80)
    assert drain(service, Waiting(), 0.5) == "up to 3 requests were still under way after 0.5 s and are cut off"
    streaming.join()

    # A client that goes away leaves one that is accepted and never finished.
    question = {"text_input": "The", "stream": True, "sampling_parameters": json.dumps({"max_tokens": 500})}
    url = f"{service.http}/v2/models/prose/generate_stream"
    with httpx.stream("POST", url, json=question) as answer:
        next(answer.iter_lines())
    said = drain(service, Waiting(), 30)
    assert said.startswith("none under way: nothing was computed for 3 s")


def test_of_models_without_metrics_of_their_own_only_the_queue_is_told(shared: Shared) -> None:
    service = shared.start("plain").service
    assert drained_by(service) == "nv_inference_pending_request_count"
    tensor = {"name": "A", "shape": [1], "datatype": "FP32", "data": [1.0]}
    codes: list[int] = []

    def infer() -> None:
        url = f"{service.http}/v2/models/plain/infer"
        codes.append(httpx.post(url, json={"inputs": [tensor]}, timeout=30).status_code)

    threads = [threading.Thread(target=infer, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    shown: list[str] = []
    wait_until(lambda: "pending_request_count" in _pending(service, 2), "two wait while one is computed")
    said = drain(service, Waiting(shown.append), 30)
    assert said.startswith("nothing is queued; what it still computes Triton does not tell")
    assert shown[0].startswith(("2 requests queued", "1 request queued"))
    assert len(codes) < 3, "the last one is still computed, and nothing says so"
    shared.runtime.stop("plain", 45)
    for thread in threads:
        thread.join(30)
    assert codes == [200] * 3, "but to stop the server is to wait for it"


def _pending(service: Service, count: int) -> str:
    text = httpx.get(service.metrics or "").text
    return next((line for line in text.splitlines() if "pending" in line and line.endswith(f" {count}")), "")
