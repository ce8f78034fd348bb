"""What a log tells of a server that served: errors of its requests, an engine that died, a stop."""

import pytest

from engine.diagnose.explain import explain_text
from engine.diagnosis import Evidence
from tests.unit.test_explain import BEGIN, IDLE, INDEX, LOGS, OUT_OF_MEMORY, READY, names, told, worker


def test_what_requests_raise_does_not_make_a_server_ill() -> None:
    """What explains the requests' own failure is told apart."""
    raised = "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n"
    assert names(told(BEGIN + READY + raised + IDLE)) == []
    too_long = "ValueError: The decoder prompt (length 9000) is longer than the maximum model length of 8192.\n"
    served = told(BEGIN + READY + too_long)
    assert names(served) == []
    assert served.first_error == ()
    [request] = served.requests
    assert (request.signature, request.proofs[0].line) == ("request-too-long", 4)
    assert "8192" in request.cause
    assert told(BEGIN + READY + too_long, Evidence(exit_code=0, stopped_on_purpose=True)).causes == ()
    died = "(APIServer pid=1) vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\n"
    failed = told(BEGIN + READY + too_long + worker(3, OUT_OF_MEMORY) + died)
    assert names(failed) == ["cuda-out-of-memory"]
    assert failed.requests == served.requests
    unknown = told(BEGIN + READY + too_long + worker(3, "FluxError: empty") + died)
    assert (names(unknown), unknown.requests) == (["engine-dead", "engine-not-started"], served.requests)


def test_an_engine_that_ended_without_a_word() -> None:
    gone = "(APIServer pid=1) RuntimeError: Engine core initialization failed. Failed core proc(s): {"
    assert names(told(BEGIN + gone + "}\n")) == ["engine-process-ended"]
    assert names(told(gone + "}\n")) == ["engine-not-started"]  # the log's begin is missing, and perhaps the error
    assert names(told(BEGIN + gone + "'EngineCore': 1}\n")) == ["engine-not-started"]
    spoke = told(BEGIN + worker(0, "FluxError: empty") + gone + "}\n")
    assert names(spoke) == ["engine-not-started"]
    assert "FluxError: empty" in [proof.text.rpartition("] ")[2] for proof in spoke.first_error]


@pytest.mark.parametrize("name", sorted(INDEX))
def test_an_engine_that_dies_while_it_serves_is_told_from_a_stop(name: str) -> None:
    """Of all the logs, of good starts, failures and stops, one is of such an end."""
    diagnosis = explain_text((LOGS / name).read_bytes(), Evidence(exit_code=0, stopped_on_purpose=True))
    assert diagnosis.died == (name == "vllm-0.32-engine-killed-serving.log")


def test_a_stop_while_requests_wait_is_no_death() -> None:
    stopping = "(APIServer pid=1) INFO 11-21 12:19:16 [launcher.py:254] [shutdown] API server: shutdown triggered\n"
    died = "(APIServer pid=1) ERROR 11-21 12:19:16 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: x\n"
    gone = "(APIServer pid=1) WARNING 11-21 12:19:16 [core_client.py:817] MPClient: engine core exited unexpectedly\n"
    asked = told(BEGIN + READY + stopping + died + gone + "INFO:     Shutting down\n")
    assert (asked.died, asked.causes) == (False, ())
    assert told(BEGIN + READY + died + "INFO:     Shutting down\n").died
    assert told(BEGIN + READY + gone + stopping).died
    assert not told(BEGIN + gone).died


def test_a_stop_leaves_nothing_to_explain() -> None:
    end = "INFO:     Shutting down\n(APIServer pid=1) ERROR 11-20 23:59:56 [x.py:1] EngineDeadError\n"
    assert told(BEGIN + READY + end).causes == ()
    assert names(told(BEGIN + READY + end, Evidence(exit_code=137, stopped_on_purpose=True))) == []
    died = "(APIServer pid=1) ERROR 11-20 23:59:56 [x.py:1] EngineDeadError\n"
    assert names(told(BEGIN + READY + died + "INFO:     Shutting down\n" + worker(3, OUT_OF_MEMORY))) == [
        "cuda-out-of-memory"
    ]
