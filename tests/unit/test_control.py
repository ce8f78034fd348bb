"""Loading and unloading in Triton, sleeping and waking vLLM: servers that answer well, badly and not at all.

Triton's own answers are in tests/real. vLLM's sleep endpoints are here as vLLM 0.32 has them: `SleepingVllm` follows
entrypoints/serve/dev/sleep/api_router.py, v1/engine/core.py (`is_sleeping`) and v1/metrics/loggers.py.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.inference import triton_control, vllm_control
from engine.inference.control import ControlFailed
from engine.observe.probe import Health, Probe, asleep
from engine.observe.state import judge
from engine.operations import fast
from engine.operations.waiting import Cancelled, Waiting
from tests.unit.inference_server import Act, Script, ScriptedServer, reply

INDEX = "POST /v2/repository/index"


def triton(**routes: Script) -> ScriptedServer:
    paths = {"load": "POST /v2/repository/models/a%2Fb/load", "unload": "POST /v2/repository/models/a%2Fb/unload"}
    return ScriptedServer({INDEX if name == "index" else paths[name]: script for name, script in routes.items()})


def listing(state: str = "", reason: str = "") -> bytes:
    entry = {"name": "a/b", **({"version": "1", "state": state} if state else {}), "reason": reason}
    return reply([entry, {"name": "other"}])


# -- Triton ---------------------------------------------------------------------------------------------------------


async def test_what_is_loaded_is_read_from_the_index() -> None:
    versions = [{"name": "m", "version": "1", "state": "UNAVAILABLE"}, {"name": "m", "version": "2", "state": "READY"}]
    bad = {"name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": "no \x1b[31mweights"}
    async with triton(index=[reply([*versions, bad, {"name": "never"}])]) as server:
        held = await triton_control.index(server.service(), 5)
    assert (held["m"].ready, held["m"].gone) == (True, False)
    assert (held["bad"].ready, held["bad"].gone) == (False, True)
    assert "\x1b" not in held["bad"].reason
    assert (held["never"].ready, held["never"].gone) == (False, True)


async def test_an_unload_has_happened_when_the_index_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_control, "POLL_EVERY_S", 0.01)
    told: list[str] = []
    async with triton(unload=[reply(b"")], index=[listing("UNLOADING")]) as server:

        def tell(words: str) -> None:
            told.append(words)
            if len(told) == 3:
                server.routes[INDEX] = [listing("UNAVAILABLE", "unloaded")]

        await triton_control.unload(server.service(), "a/b", 10, tell)
    assert told == ["a/b answers the requests that it has"] * 3
    assert server.asked[0].json == {"parameters": {"unload_dependents": True}}
    assert server.connections == 1


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([Act.CUT], "closed the connection without an answer. Its log says why."),
        ([reply({"error": "explicit model load / unload is not allowed if polling is enabled"}, status=400)], "--full"),
        ([reply({"error": "out of\x07 memory"}, status=400)], "did not load the model a/b (HTTP 400): out of memory"),
        ([b"rubbish\r\n\r\n"], "does not speak HTTP"),
    ],
)
async def test_a_load_that_fails_is_a_sentence(script: Script, said: str) -> None:
    async with triton(load=script) as server:
        with pytest.raises(ControlFailed) as failed:
            await triton_control.load(server.service(), "a/b", 30)
    assert said in str(failed.value)


async def test_a_load_that_does_not_end_is_left_at_the_deadline() -> None:
    async with triton(load=[Act.STALL]) as server:
        with pytest.raises(ControlFailed, match="The model a/b was not loaded within 0 s by http://127"):
            await triton_control.load(server.service(), "a/b", 0.3)


@pytest.mark.parametrize("body", [[], {"models": 1}, [1], [{"state": "READY"}], b"<html>"])
async def test_an_index_that_is_none(body: object) -> None:
    async with triton(index=[reply(body)]) as server:
        if body == []:
            assert not await triton_control.index(server.service(), 5)
            return
        with pytest.raises(ControlFailed):
            await triton_control.index(server.service(), 5)


async def test_an_unload_that_does_not_end_is_left_at_the_deadline() -> None:
    async with triton(unload=[reply(b"")], index=[listing("UNLOADING")]) as server:
        with pytest.raises(ControlFailed, match="was not unloaded within 1 s"):
            await triton_control.unload(server.service(), "a/b", 0.6)


# -- vLLM -----------------------------------------------------------------------------------------------------------


@dataclass
class SleepingVllm:
    developer_mode: bool = True
    works: bool = True
    """False: it says that it did, and did nothing"""
    slow_s: float = 0.0
    level: int = 0
    asked: list[str] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    began: threading.Event = field(default_factory=threading.Event)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    """The engine's core carries out one such call after the other"""

    @contextmanager
    def serve(self) -> Iterator[Service]:
        vllm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer("GET")

            def do_POST(self) -> None:
                self.answer("POST")

            def answer(self, method: str) -> None:
                parts = urlsplit(self.path)
                vllm.asked.append(f"{method} {self.path}")
                vllm.keys.add(self.headers["authorization"])
                found = vllm.respond(f"{method} {parts.path}", parse_qs(parts.query))
                body = json.dumps(found or {"detail": "Not Found"}).encode()
                try:
                    self.send_response(200 if found else 404)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    pass  # its client has given up

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield Service(Protocol.OPENAI, base, f"{base}/health", api_key="env:SLEEP_TEST_KEY")
        finally:
            server.shutdown()
            server.server_close()

    def respond(self, asked: str, query: dict[str, list[str]]) -> dict[str, object] | None:
        if not self.developer_mode:
            return None
        with self._one_at_a_time:
            if asked == "GET /is_sleeping":
                return {"is_sleeping": self.level > 0}
            if asked not in ("POST /sleep", "POST /wake_up"):
                return None
            self.began.set()
            time.sleep(self.slow_s)
            level = int(query.get("level", ["1"])[0]) if asked == "POST /sleep" else 0
            self.level = level if self.works else self.level
        return {"status": "sleeping", "level": level} if level else {"status": "awake", "tags": None}

    def metrics(self, engines: int = 1) -> str:
        states = {"awake": self.level == 0, "weights_offloaded": self.level == 1, "discard_all": self.level == 2}
        return "# TYPE vllm:engine_sleep_state gauge\n" + "".join(
            f'vllm:engine_sleep_state{{engine="{engine}",model_name="m",sleep_state="{state}"}} {float(there)}\n'
            for state, there in states.items()
            for engine in range(engines)
        )


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEP_TEST_KEY", "sk-sleep")


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def test_vllm_sleeps_and_wakes_and_is_asked_whether_it_does() -> None:
    vllm, waiting = SleepingVllm(), Waiting()
    with vllm.serve() as service:
        assert not fast.sleeps(service)
        for _ in range(2):  # what is so already is left so
            assert fast.put_to_sleep(service, waiting, soon()) == "asleep"
        assert fast.sleeps(service)
        for _ in range(2):
            assert fast.wake(service, waiting, soon()) == "awake"
        assert not fast.sleeps(service)
    assert not fast.sleeps(service), "nobody answers there any more"
    changes = [line for line in vllm.asked if line.startswith("POST")]
    assert changes == ["POST /sleep?level=1", "POST /wake_up"]
    assert vllm.keys == {"Bearer sk-sleep"}


@pytest.mark.parametrize(
    ("vllm", "said"),
    [
        (SleepingVllm(developer_mode=False), "without VLLM_SERVER_DEV_MODE=1. Write `enable_sleep_mode: true`"),
        (SleepingVllm(works=False), "was told to sleep and says that it is awake"),
        (SleepingVllm(slow_s=1.5), "It was not put to sleep within 1 s"),
    ],
)
def test_a_vllm_that_does_not_sleep(vllm: SleepingVllm, said: str) -> None:
    with vllm.serve() as service, pytest.raises(ControlFailed) as failed:
        fast.put_to_sleep(service, Waiting(), soon(0))
    assert said in str(failed.value)


def test_a_vllm_that_does_not_wake() -> None:
    vllm = SleepingVllm(works=False, level=1)
    with vllm.serve() as service, pytest.raises(ControlFailed, match="was woken and says that it sleeps"):
        fast.wake(service, Waiting(), soon())
    with pytest.raises(ControlFailed, match="Cannot connect"):
        fast.wake(service, Waiting(), soon())


def test_a_sleep_that_is_cancelled_half_way_is_undone_by_waking() -> None:
    vllm, waiting = SleepingVllm(slow_s=0.7), Waiting()

    def cancel() -> None:
        vllm.began.wait(10)
        waiting.cancelled.set()

    with vllm.serve() as service:
        threading.Thread(target=cancel).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            fast.put_to_sleep(service, waiting, soon())
        assert time.monotonic() - began < 0.7, "it is not waited for"
        # The server goes on with it, and answers the next question when that is done.
        assert fast.wake(service, Waiting(), soon()) == "awake"
    assert vllm.level == 0
    assert vllm.asked[-2:] == ["POST /wake_up", "GET /is_sleeping"]


async def test_answers_that_are_none() -> None:
    async with ScriptedServer({"GET /is_sleeping": [reply({"is_sleeping": "yes"})]}) as server:
        with pytest.raises(ControlFailed, match="does not say whether it sleeps"):
            await vllm_control.is_asleep(server.service(), 5)
    async with ScriptedServer({"GET /is_sleeping": [reply({"detail": "dead"}, status=500)]}) as server:
        with pytest.raises(ControlFailed, match=r"HTTP 500\): dead"):
            await vllm_control.wake(server.service(), 5)


# -- what the monitor makes of it -------------------------------------------------------------------------------------


def test_the_metrics_tell_a_vllm_that_sleeps() -> None:
    for level, sleeps in ((0, False), (1, True), (2, True)):
        assert asleep(SleepingVllm(level=level).metrics(engines=2)) is sleeps
    half = SleepingVllm(level=1).metrics() + SleepingVllm(level=0).metrics().replace('engine="0"', 'engine="1"')
    assert asleep(half) is False
    assert asleep("vllm:num_requests_running 0\n") is None
    assert asleep('vllm:engine_sleep_state{sleep_state="awake"} rubbish\n') is None


def test_a_sleeping_one_is_ready_and_answers_nothing() -> None:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
    deployment = Deployment("m", "docker", "vllm", "id", "image", Lifecycle.RUNNING, service, 1.0, 2.0)
    ready, gone = Probe(Health.READY), Probe(Health.REFUSED, "nothing listens on its port")
    assert judge(deployment, ready, (), 9.0, was_ready=True, asleep=True).state is State.ASLEEP
    assert judge(deployment, ready, (), 9.0, was_ready=True, asleep=False).state is State.READY
    assert judge(deployment, gone, (), 9.0, was_ready=True, asleep=True).state is State.UNREACHABLE
