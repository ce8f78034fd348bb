"""Draining, against an HTTP server whose metrics follow a script. The real servers' are in tests/real."""

import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from engine.deployment import Protocol, Service
from engine.observe import scrape as scraping
from engine.operations import drain as draining
from engine.operations.drain import drain, drained_by
from engine.operations.waiting import Cancelled, Waiting

VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}
"""
VLLM_IN_TRITON = """nv_inference_request_success{{model="llm",version="1"}} {accepted}
nv_inference_request_success{{model="tokenizer",version="1"}} 900
nv_inference_pending_request_count{{model="llm",version="1"}} {queued}
vllm:generation_tokens_total{{model="llm",version="1"}} {tokens}
vllm:e2e_request_latency_seconds_count{{model="llm",version="1"}} {finished}
vllm:time_to_first_token_seconds_count{{model="llm",version="1"}} {finished}
"""
TRTLLM = """nv_inference_pending_request_count{{model="tensorrt_llm",version="1"}} 0
nv_trt_llm_request_metrics{{model="tensorrt_llm",request_type="active",version="1"}} {active}
nv_trt_llm_request_metrics{{model="tensorrt_llm",request_type="max",version="1"}} 512
nv_trt_llm_general_metrics{{general_type="iteration_counter",model="tensorrt_llm",version="1"}} {iteration}
nv_trt_llm_general_metrics{{general_type="timestamp",model="tensorrt_llm",version="1"}} {iteration}99
"""
TRITON = 'nv_inference_pending_request_count{{model="m",version="1"}} {queued}\n'


@dataclass
class Metrics:
    """Answers with the texts one after the other, and with the last one from then on; an event is waited for."""

    texts: list[str | threading.Event]
    asked: int = 0
    headers: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def service(self) -> Service:
        return Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1", metrics=self.url)


@pytest.fixture
def serve() -> Iterator[Callable[..., Metrics]]:
    running: list[http.server.ThreadingHTTPServer] = []
    over = threading.Event()

    def begin(*texts: str | threading.Event) -> Metrics:
        metrics = Metrics(list(texts))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = metrics.texts[min(metrics.asked, len(metrics.texts) - 1)]
                metrics.asked += 1
                metrics.headers.append(self.headers["connection"])
                if isinstance(text, threading.Event):
                    text.set()
                    over.wait(30)
                    return
                self.send_response(200 if text else 503)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        metrics.url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
        return metrics

    yield begin
    over.set()
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "BUSY_EVERY_S", 0.05)
    monkeypatch.setattr(draining, "CONFIRM_AFTER_S", 0.05)
    monkeypatch.setattr(draining, "STILL_S", 0.5)


def vllm(running: float, waiting: float = 0) -> str:
    return VLLM.format(running=running, waiting=waiting)


def test_vllm_is_drained_when_nothing_runs_and_nothing_waits(serve: Callable[..., Metrics]) -> None:
    metrics, shown = serve(vllm(2, 1), vllm(0, 1), vllm(0)), list[str]()
    assert drain(metrics.service, Waiting(shown.append), 30) == "no requests under way"
    assert [line.split(", ")[0] for line in shown[:2]] == ["3 requests under way", "1 request under way"]
    assert re.fullmatch(r"3 requests under way, (30|2\d) s left", shown[0])
    assert metrics.asked == 4, "none under way has to be seen twice"
    assert set(metrics.headers) == {"close"}, "a server that stops waits for connections to be closed"


def test_a_request_between_two_samples_without_one_begins_the_count_anew(serve: Callable[..., Metrics]) -> None:
    metrics = serve(vllm(0), vllm(1), vllm(0), vllm(1), vllm(0))
    assert drain(metrics.service, Waiting(), 30) == "no requests under way"
    assert metrics.asked == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (vllm(3), "3 requests were still under way after 1 s and are cut off"),
        (vllm(1), "1 request was still under way after 1 s and is cut off"),
        (TRITON.format(queued=2), "2 requests were still queued after 1 s and are cut off"),
    ],
)
def test_the_limit_is_kept(serve: Callable[..., Metrics], text: str, said: str) -> None:
    began = time.monotonic()
    assert drain(serve(text).service, Waiting(), 1) == said
    assert 1 <= time.monotonic() - began < 10


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_limit(serve: Callable[..., Metrics]) -> None:
    hung = threading.Event()
    said = drain(serve(vllm(3), hung).service, Waiting(), 1)
    assert said == "3 requests were still under way after 1 s and are cut off"
    assert drain(serve(threading.Event()).service, Waiting(), 1) == (
        "whether requests are under way could not be told within 1 s"
    )
    assert hung.is_set()


def test_a_server_too_busy_to_answer_is_waited_for(
    serve: Callable[..., Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "DEADLINE_S", 0.2)
    silences, shown = [threading.Event() for _ in range(5)], list[str]()
    metrics = serve(vllm(3), *silences, vllm(1), vllm(0))
    assert drain(metrics.service, Waiting(shown.append), 30) == "no requests under way (after 1 s)"
    assert all(silence.is_set() for silence in silences)
    assert re.fullmatch(r"it does not answer what is under way, (30|2\d) s left", shown[1])


def test_a_cancellation_ends_the_wait_at_once(serve: Callable[..., Metrics]) -> None:
    hung, waiting = threading.Event(), Waiting()
    metrics = serve(hung)

    def cancel() -> None:
        hung.wait(10)
        waiting.cancelled.set()

    threading.Thread(target=cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        drain(metrics.service, waiting, 60)
    assert time.monotonic() - began < 2, "though the scrape itself would have gone on"


def test_what_cannot_be_told_is_said_at_once(serve: Callable[..., Metrics]) -> None:
    metrics = serve("process_cpu_seconds_total 3\n")
    assert drain(metrics.service, Waiting(), 60) == (
        f"whether requests are under way cannot be told: no metric at {metrics.url} does"
    )
    without = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1")
    assert drain(without, Waiting(), 60) == "whether requests are under way cannot be told: it serves no metrics"
    assert drain(serve(vllm(1)).service, Waiting(), 0) == "not waited for"
    assert drain(serve("", "").service, Waiting(), 60).endswith("answered 503 where metrics were expected")


def test_a_failure_in_between_is_passed_over_and_an_end_is_said(serve: Callable[..., Metrics]) -> None:
    assert drain(serve(vllm(1), "", "", vllm(0)).service, Waiting(), 60) == "no requests under way"
    said = drain(serve(vllm(1), "", "", "").service, Waiting(), 60)
    assert said.startswith("whether requests are under way cannot be told any longer: ")


def test_of_vllm_within_triton_what_was_accepted_and_is_not_finished(serve: Callable[..., Metrics]) -> None:
    def text(accepted: int, finished: int, tokens: int, queued: int = 0) -> str:
        return VLLM_IN_TRITON.format(accepted=accepted, finished=finished, tokens=tokens, queued=queued)

    shown: list[str] = []
    metrics = serve(text(12, 10, 500), text(12, 11, 600), text(12, 12, 700))
    assert drain(metrics.service, Waiting(shown.append), 30) == "no requests under way"
    assert shown[0] == "up to 2 requests under way, 30 s left"
    # One whose client went away is accepted and never finished, and nothing is computed for it.
    said = drain(serve(text(12, 10, 500), text(12, 11, 600)).service, Waiting(), 30)
    assert said.startswith("none under way: nothing was computed for 0.5 s")
    # What is queued will be computed.
    said = drain(serve(text(12, 11, 600, queued=1)).service, Waiting(), 1.2)
    assert said == "up to 2 requests were still under way after 1.2 s and are cut off"


def test_of_tensorrt_llm_its_last_iteration_may_stay(serve: Callable[..., Metrics]) -> None:
    metrics = serve(*(TRTLLM.format(active=2, iteration=count) for count in range(20)))
    began = time.monotonic()
    assert drain(metrics.service, Waiting(), 30).startswith("none under way: nothing was computed")
    assert time.monotonic() - began > 1, "as long as iterations are counted, it computes"
    assert drain(serve(TRTLLM.format(active=0, iteration=7)).service, Waiting(), 30) == "no requests under way"


def test_of_a_plain_triton_only_the_queue_is_told_and_that_is_said(serve: Callable[..., Metrics]) -> None:
    said = drain(serve(TRITON.format(queued=4), TRITON.format(queued=0)).service, Waiting(), 30)
    assert said == "nothing is queued; what it still computes Triton does not tell, and ends when it is stopped"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        (vllm(0), "vllm:num_requests_running"),
        (TRTLLM.format(active=0, iteration=1), "nv_trt_llm_request_metrics"),
        (
            VLLM_IN_TRITON.format(accepted=0, finished=0, tokens=0, queued=0),
            "vllm:e2e_request_latency_seconds_count",
        ),
        (TRITON.format(queued=0), "nv_inference_pending_request_count"),
        (vllm(float("nan")), "vllm:num_requests_running"),
        ("process_cpu_seconds_total 3\n", ""),
        ("<html>", ""),
    ],
)
def test_drained_by(serve: Callable[..., Metrics], text: str, family: str) -> None:
    metrics = serve(text)
    assert drained_by(metrics.service) == family
    assert metrics.asked == 1
