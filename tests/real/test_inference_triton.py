"""Prompts to a real Triton server: the demo's model, and one that ends, fails and stalls as awkward models do."""

import importlib.util
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Protocol, Service
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Sampling, Transport
from engine.inference.runner import PromptRunner
from engine.stacks.local_triton import find_tritonserver
from tests.real.triton_support import DEMO_REPOSITORY, free_ports, settings_in, wait_until
from tests.unit.asking import ask

BOTH = (Transport.TRITON_HTTP, Transport.TRITON_GRPC)
LIMIT_S = 90.0

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(importlib.util.find_spec("pytriton") is None, reason="the demo extra is not installed"),
]

MOODY_CONFIG = """
backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "notes" value { string_value: "%s" } }
"""
MOODY_MODEL = """
import json, threading, time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL

class TritonPythonModel:
    def initialize(self, args):
        self.notes = Path(json.loads(args["model_config"])["parameters"]["notes"]["string_value"])

    def execute(self, requests):
        for request in requests:
            prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy().flatten()[0].decode()
            threading.Thread(target=self.answer, args=(prompt, request.get_response_sender())).start()

    def answer(self, prompt, sender):
        def say(data):
            tensor = pb_utils.Tensor("text_output", np.array([data], dtype=np.object_))
            sender.send(pb_utils.InferenceResponse([tensor]))
        if prompt == "flags only":
            for piece in ("one ", "two ", "three"):
                say(piece.encode())
            sender.send(flags=FINAL)
        elif prompt == "cut characters":
            for byte in "a\\u20acb".encode():
                say(bytes([byte]))
            sender.send(flags=FINAL)
        elif prompt == "fail late":
            say(b"so far")
            time.sleep(0.2)
            sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("the engine died")), flags=FINAL)
        elif prompt == "stall":
            say(b"so far")
            while not sender.is_cancelled():
                time.sleep(0.01)
            with self.notes.open("a") as notes:
                notes.write("cancelled\\n")
            sender.send(flags=FINAL)
"""


class Moody:
    """The server, and what its awkward model noted."""

    def __init__(self, service: Service, notes: Path) -> None:
        self.service = service
        self.notes = notes

    def cancelled(self) -> int:
        return len(self.notes.read_text().splitlines()) if self.notes.exists() else 0

    def wait_for_cancel(self, before: int) -> None:
        wait_until(lambda: self.cancelled() > before, "the model is told")


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moody]:
    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "repository"
    shutil.copytree(DEMO_REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    notes = folder / "notes"
    (repository / "moody/1").mkdir(parents=True)
    (repository / "moody/config.pbtxt").write_text(MOODY_CONFIG % notes)
    (repository / "moody/1/model.py").write_text(MOODY_MODEL)
    local = find_tritonserver(settings_in(folder))
    http, grpc = free_ports(2)
    command = [
        local.program,
        f"--model-repository={repository}",
        *local.arguments,
        *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc")),
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
    ]
    base = f"http://127.0.0.1:{http}"
    service = Service(Protocol.TRITON, base, f"{base}/v2/health/ready", grpc=f"127.0.0.1:{grpc}", model="prose")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=dict(local.env), stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(server, service.health, folder / "log")
            yield Moody(service, notes)
        finally:
            server.terminate()
            try:
                server.wait(45)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_until_ready(server: "subprocess.Popen[bytes]", health: str, log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(log.read_text()[-3000:])


async def test_both_protocols_give_the_same_answer(triton: Moody) -> None:
    answers = []
    for transport in BOTH:
        request = PromptRequest("Where is the log?", sampling=Sampling(12, 0.0), transport=transport)
        tokens, result = await ask(triton.service, request)
        assert (result.outcome, result.error, result.transport) == (PromptOutcome.DONE, "", transport)
        assert result.model == "prose"
        timing = result.timing
        assert timing.token_source == "server"
        assert timing.tokens_in
        assert timing.tokens_out is not None
        assert len(tokens) <= timing.tokens_out <= 12
        assert timing.connected_s is not None
        marks = [timing.first_byte_s, timing.first_token_s, timing.last_token_s, timing.total_s]
        present = [mark for mark in marks if mark is not None]
        assert len(present) == 4
        assert present == sorted(present)
        answers.append((result.text, result.finish_reason, timing.tokens_in, timing.tokens_out))
    assert answers[0] == answers[1]
    assert answers[0][0].strip()


@pytest.mark.parametrize("transport", BOTH)
async def test_the_end_by_length_is_no_different_from_the_end_by_itself(triton: Moody, transport: Transport) -> None:
    request = PromptRequest("The server", sampling=Sampling(2, 0.0), transport=transport)
    _, result = await ask(triton.service, request)
    assert (result.outcome, result.finish_reason) == (PromptOutcome.DONE, "length")
    assert result.timing.tokens_out == 2


@pytest.mark.parametrize("transport", BOTH)
async def test_a_model_that_ends_by_a_flag_alone_does_not_hang(triton: Moody, transport: Transport) -> None:
    request = PromptRequest("flags only", model="moody", transport=transport, idle_timeout_s=20)
    tokens, result = await ask(triton.service, request)
    assert (result.outcome, tokens, result.text) == (PromptOutcome.DONE, ["one ", "two ", "three"], "one two three")
    assert (result.timing.tokens_out, result.timing.token_source) == (3, "chunks")


@pytest.mark.parametrize("transport", BOTH)
async def test_characters_that_are_cut_by_the_model_are_made_whole(triton: Moody, transport: Transport) -> None:
    _, result = await ask(triton.service, PromptRequest("cut characters", model="moody", transport=transport))
    assert result.text == "a€b"


@pytest.mark.parametrize("transport", BOTH)
async def test_an_error_in_the_middle_keeps_the_text_so_far(triton: Moody, transport: Transport) -> None:
    _, result = await ask(triton.service, PromptRequest("fail late", model="moody", transport=transport))
    assert (result.outcome, result.text) == (PromptOutcome.FAILED, "so far")
    assert "the engine died" in result.error


@pytest.mark.parametrize("transport", BOTH)
async def test_an_unknown_model_is_said(triton: Moody, transport: Transport) -> None:
    _, result = await ask(triton.service, PromptRequest("x", model="nope", transport=transport))
    assert result.outcome is PromptOutcome.FAILED
    assert result.error.startswith("No model 'nope' is ready on the server. Choose one of those that are: ")
    assert "moody" in result.error


@pytest.mark.parametrize("transport", BOTH)
async def test_without_a_stated_model_several_are_named(triton: Moody, transport: Transport) -> None:
    _, result = await ask(replace(triton.service, model=None), PromptRequest("x", transport=transport))
    assert "Several models take text: moody, prose." in result.error


@pytest.mark.parametrize("transport", BOTH)
def test_a_cancel_reaches_the_model(triton: Moody, transport: Transport) -> None:
    before = triton.cancelled()
    runner, begun, ended = PromptRunner(), threading.Event(), threading.Event()
    results: list[PromptResult] = []

    def on_event(event: PromptEvent) -> None:
        if isinstance(event, PromptResult):
            results.append(event)
            ended.set()
        else:
            begun.set()

    try:
        request = PromptRequest("stall", model="moody", transport=transport)
        cancel = runner.ask(triton.service, request, on_event)
        assert begun.wait(20)
        assert triton.cancelled() == before
        cancel()
        assert ended.wait(20)
    finally:
        runner.close()
    assert [(result.outcome, result.text) for result in results] == [(PromptOutcome.CANCELLED, "so far")]
    triton.wait_for_cancel(before)


@pytest.mark.parametrize("transport", BOTH)
async def test_silence_reaches_the_model_as_a_cancel_too(triton: Moody, transport: Transport) -> None:
    before = triton.cancelled()
    request = PromptRequest("stall", model="moody", transport=transport, idle_timeout_s=1.0)
    _, result = await ask(triton.service, request)
    assert (result.outcome, result.text) == (PromptOutcome.FAILED, "so far")
    assert "sent nothing more for 1 s" in result.error
    triton.wait_for_cancel(before)
