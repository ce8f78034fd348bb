"""Prompts against scripted servers: what is shown, counted and said when servers do well and when they do not."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from engine.deployment import Protocol, Service
from engine.inference.client import PromptClient
from engine.inference.output import MAX_CHARACTERS
from engine.inference.prompt import (
    PromptEvent,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Sampling,
    Token,
    Transport,
)
from engine.inference.runner import PromptRunner
from tests.unit.asking import ASK, ask, ask_triton
from tests.unit.faulty_server import FaultyGrpc
from tests.unit.inference_server import (
    END,
    LLMAPI_INPUTS,
    TRTLLM_INPUTS,
    Act,
    Script,
    ScriptedServer,
    block,
    event,
    head,
    reply,
    triton,
)

IMPATIENT = PromptRequest("hello", sampling=Sampling(8), connect_timeout_s=1.0, idle_timeout_s=1.0)


def text(piece: str, **more: object) -> bytes:
    return event({"model_name": "llama", "text_output": piece, **more})


async def test_a_triton_stream_ends_by_the_end_of_its_body_with_text_in_the_last_chunk() -> None:
    chunks = [
        text("Hel", num_output_tokens=1, num_input_tokens=5, finish_reason="None"),
        text("lo", num_output_tokens=2),
        text("!", num_output_tokens=1, finish_reason="length"),
    ]
    async with ScriptedServer(triton([head(), *chunks, END])) as server:
        tokens, result = await ask(server.service())
        sent = server.last("/generate_stream").json
    assert tokens == ["Hel", "lo", "!"]
    assert (result.outcome, result.finish_reason, result.error) == (PromptOutcome.DONE, "length", "")
    assert (result.model, result.transport) == ("llama", Transport.TRITON_HTTP)
    timing = result.timing
    assert (timing.tokens_in, timing.tokens_out, timing.token_source) == (5, 4, "server")
    assert sent["text_input"] == "hello"
    assert sent["stream"] is True
    assert sent["sampling_parameters"] == '{"max_tokens": 8, "temperature": 0.0}'
    assert "max_tokens" not in sent


async def test_the_token_that_ends_an_answer_is_the_last_though_it_has_no_text() -> None:
    first_seen = asyncio.Event()
    ending = text("", num_output_tokens=1, finish_reason="stop")
    script: Script = [head(), text("a", num_output_tokens=1), text("b", num_output_tokens=1), first_seen, ending, END]
    async with ScriptedServer(triton(script)) as server:
        client = PromptClient(server.service())
        result = await client.send(ASK, lambda token: first_seen.set() if token.text == "b" else None)
        await client.close()
    timing = result.timing
    assert (result.text, timing.tokens_out, len(result.gaps_s)) == ("ab", 3, 1)
    assert timing.first_token_s is not None
    assert timing.last_token_s is not None
    assert timing.last_token_s > timing.first_token_s + result.gaps_s[0]


async def test_times_are_ordered_and_connecting_is_not_among_them() -> None:
    first_seen = asyncio.Event()
    script: Script = [head(), text("a"), first_seen, text("b"), END]
    async with ScriptedServer(triton(script)) as server:
        tokens: list[Token] = []

        def take(token: Token) -> None:
            tokens.append(token)
            first_seen.set()  # the second token cannot come before the first one was handed on

        client = PromptClient(server.service())
        result = await client.send(ASK, take)
        assert server.connections == 1, "the prompt goes out on the connection that discovery has opened"
        await client.close()
    timing = result.timing
    assert timing.connected_s is not None
    assert timing.connected_s > 0
    marks = (timing.first_byte_s, timing.first_token_s, timing.last_token_s, timing.total_s)
    assert all(mark is not None for mark in marks)
    assert list(marks) == sorted(marks, key=lambda mark: mark or 0)
    assert timing.first_token_s == tokens[0].at_s
    assert (timing.tokens_out, timing.token_source) == (2, "chunks")
    assert len(result.gaps_s) == 1
    assert timing.tokens_per_s is not None


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (TRTLLM_INPUTS, {"text_input": "hello", "max_tokens": 8, "temperature": 0.0, "stream": True}),
        (
            LLMAPI_INPUTS,
            {
                "text_input": "hello",
                "streaming": True,
                "sampling_param_max_tokens": 8,
                "sampling_param_temperature": 0.0,
            },
        ),
    ],
)
async def test_only_tensors_that_the_model_declares_are_sent(
    inputs: Sequence[str], expected: dict[str, object]
) -> None:
    async with ScriptedServer(triton([head(), text("x"), END], inputs=inputs)) as server:
        await ask(server.service())
        assert server.last("/generate_stream").json == expected


async def test_repeated_text_of_a_whole_text_stream_is_cut() -> None:
    chunks = [text(whole) for whole in ("I", "I am", "I am", "I am here")]
    tokens, result = await ask_triton([head(), *chunks, END], inputs=LLMAPI_INPUTS)
    assert result.text == "I am here"
    assert tokens == ["I", " am", " here"]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (
            [head(), text("so far"), event({"error": "Request was cancelled"}), END],
            "The model reported an error: Request",
        ),
        ([head(400), event({"error": "too long"}), END], "(HTTP 400): too long"),
        ([reply({"error": "bad tensor"}, status=400)], "(HTTP 400): bad tensor"),
        ([reply(b"<html>oops\x1b]0;x\x07</html>", status=500)], "(HTTP 500): <html>oops</html>"),
        ([reply(b"", status=503)], "(HTTP 503): no reason given"),
        ([head(), text("so far"), Act.CUT], "cut the connection in the middle of its answer"),
        ([Act.CUT], "closed the connection without an answer"),
        ([head(), block(b"<html>\n"), END], "not an event stream: <html>"),
        ([head(), event(b"{]"), END], "not a JSON object: {]"),
        ([head(), event(b"[" * 100_000), END], "not a JSON object"),
        ([head(), block(b"data: " + b"x" * (5 << 20)), END], "more than 4 MiB as one piece"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], "does not speak HTTP"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n", Act.CUT], "does not speak HTTP"),
        ([b"HTTP/1.1 302 X\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"], "which is not followed"),
    ],
)
async def test_what_goes_wrong_is_said_in_a_sentence(stream: Script, said: str) -> None:
    tokens, result = await ask_triton(stream)
    assert result.outcome is PromptOutcome.FAILED
    assert said in result.error
    assert tokens in ([], ["so far"])
    assert "\x1b" not in result.error


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ([Act.STALL], "took the prompt and sent nothing for 1 s"),
        ([head(), Act.STALL], "took the prompt and sent nothing for 1 s"),
        ([head(), text("one"), Act.STALL], "sent nothing more for 1 s"),
    ],
)
async def test_silence_ends_the_prompt_and_the_connection(stream: Script, said: str) -> None:
    async with ScriptedServer(triton(stream)) as server:
        _, result = await ask(server.service(), IMPATIENT)
        await asyncio.wait_for(server.hung_up.wait(), 10)
    assert result.outcome is PromptOutcome.FAILED
    assert said in result.error


async def test_a_server_that_never_answers_anything() -> None:
    async with ScriptedServer({"POST /v2/repository/index": [Act.STALL]}) as server:
        _, result = await ask(server.service(), IMPATIENT)
    assert "accepted the connection and sent nothing for 1 s" in result.error
    assert result.timing.total_s is None


@pytest.mark.parametrize("transport", list(Transport))
async def test_nobody_listens(transport: Transport) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        base = f"http://127.0.0.1:{port}"
        service = Service(Protocol.TRITON, base, base, grpc=f"127.0.0.1:{port}")
        _, result = await ask(service, PromptRequest("x", transport=transport))
    assert result.outcome is PromptOutcome.FAILED
    assert f"127.0.0.1:{port}" in result.error
    assert "Connection refused" in result.error


async def test_grpc_is_tried_though_another_client_was_refused_there_just_before() -> None:
    prompt = PromptRequest("x", transport=Transport.TRITON_GRPC)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    service = Service(Protocol.TRITON, "", "", grpc=f"127.0.0.1:{port}")
    before = PromptClient(service)
    try:
        refused = await before.send(prompt)
        async with FaultyGrpc([{"text_output": b"here"}], port=port):
            _, result = await ask(service, prompt)
    finally:
        await before.close()
    assert "Connection refused" in refused.error
    assert (result.text, result.error) == ("here", "")


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("address", ["no-such-host.invalid:1", "127.0.0.1:99999", "[::", "\x00:1"])
async def test_addresses_that_lead_nowhere(transport: Transport, address: str) -> None:
    service = Service(Protocol.TRITON, f"http://{address}", "", grpc=address)
    _, result = await ask(service, PromptRequest("x", transport=transport, connect_timeout_s=2.0))
    assert result.outcome is PromptOutcome.FAILED
    assert result.error


async def test_grpc_against_something_that_is_no_grpc_server() -> None:
    async with ScriptedServer({}) as server:
        service = Service(Protocol.TRITON, "", "", grpc=f"127.0.0.1:{server.port}")
        _, result = await ask(service, PromptRequest("x", transport=Transport.TRITON_GRPC, connect_timeout_s=1.0))
    assert result.outcome is PromptOutcome.FAILED
    assert f"127.0.0.1:{server.port}" in result.error


async def test_grpc_that_is_not_exposed() -> None:
    service = Service(Protocol.TRITON, "http://127.0.0.1:1", "")
    _, result = await ask(service, PromptRequest("x", transport=Transport.TRITON_GRPC))
    assert "exposes no gRPC port" in result.error
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "")
    _, result = await ask(service, PromptRequest("x", transport=Transport.TRITON_GRPC))
    assert result.error.startswith("The deployment speaks the OpenAI protocol, and has no gRPC port.")


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    _, result = await ask_triton([head(), text("direct"), END])
    assert result.text == "direct"


async def test_several_models_take_text() -> None:
    routes = triton([], model="a")
    routes["GET /v2/models/helper"] = routes["GET /v2/models/a"]
    async with ScriptedServer(routes) as server:
        _, result = await ask(server.service())
    assert "Several models take text: a, helper. Say which one is meant." in result.error


async def test_a_front_door_of_tensorrt_llm_is_preferred() -> None:
    routes = triton([head(), text("in"), END], model="ensemble")
    routes["GET /v2/models/helper"] = routes["GET /v2/models/ensemble"]
    async with ScriptedServer(routes) as server:
        _, result = await ask(server.service())
    assert (result.model, result.text) == ("ensemble", "in")


async def test_no_model_takes_text() -> None:
    async with ScriptedServer(triton([], model="resnet", inputs=["image:FP32"])) as server:
        _, result = await ask(server.service())
        assert "no model that takes text (those ready are helper, resnet)" in result.error
        _, result = await ask(server.service(model="resnet"))
        assert "Model 'resnet' takes no text: its inputs are image." in result.error
        _, result = await ask(server.service(model="../x"))
        assert result.error == "No model '../x' is ready on the server. Choose one of those that are: helper, resnet."


async def test_terminal_sequences_are_removed_also_when_they_are_cut() -> None:
    pieces = ["safe \x1b]52;c;", "aGk=", "\x07text", " \x1b[3", "1mred\x1b", "[0m\x9b", "2J!", "\r\n\x1b]0;never ended"]
    _, result = await ask_triton([head(), *(text(piece) for piece in pieces), END])
    assert result.text == "safe text red!\n"


async def test_characters_that_are_cut_between_chunks_are_made_whole() -> None:
    raw = "naïve €".encode()
    stream = [event(b'{"text_output":"' + raw[:3] + b'"}'), event(b'{"text_output":"' + raw[3:8] + b'"}')]
    last = event(b'{"text_output":"' + raw[8:] + b' \xff \\ud83d"}')
    split = [last[:20], last[20:45], last[45:]]
    tokens, result = await ask_triton([head(), *stream, *split, END])
    assert result.text == "naïve € \ufffd \ufffd"
    assert tokens[0] == "na"


async def test_an_answer_without_end_is_stopped() -> None:
    huge = text("x" * (MAX_CHARACTERS // 2 + 1))
    _, result = await ask_triton([head(), huge, huge, Act.STALL])
    assert "was stopped there" in result.error
    assert len(result.text) == MAX_CHARACTERS


class Seen:
    """Collects a runner's events across threads."""

    def __init__(self) -> None:
        self.events: list[PromptEvent] = []
        self.threads: set[str] = set()
        self.token = threading.Event()
        self.ended = threading.Event()

    def __call__(self, happened: PromptEvent) -> None:
        self.events.append(happened)
        self.threads.add(threading.current_thread().name)
        (self.ended if isinstance(happened, PromptResult) else self.token).set()

    @property
    def result(self) -> PromptResult:
        results = [happened for happened in self.events if isinstance(happened, PromptResult)]
        assert results == self.events[-1:]
        return results[0]


async def wait_for(happened: threading.Event) -> None:
    assert await asyncio.to_thread(happened.wait, 20)


async def test_cancel_reaches_the_server_and_keeps_the_text_so_far() -> None:
    runner, seen = PromptRunner(), Seen()
    try:
        async with ScriptedServer(triton([head(), text("so far"), Act.STALL])) as server:
            cancel = runner.ask(server.service(), ASK, seen)
            await wait_for(seen.token)
            cancel()
            await wait_for(seen.ended)
            await asyncio.wait_for(server.hung_up.wait(), 20)
            cancel()
        assert (seen.result.outcome, seen.result.text) == (PromptOutcome.CANCELLED, "so far")
        assert seen.result.timing.total_s is not None
        assert threading.current_thread().name not in seen.threads
    finally:
        runner.close()


async def test_a_cancel_at_once_is_a_result_too() -> None:
    runner = PromptRunner()
    try:
        async with ScriptedServer({"POST /v2/repository/index": [Act.STALL]}) as server:
            for _ in range(20):
                seen = Seen()
                runner.ask(server.service(), ASK, seen)()
                await wait_for(seen.ended)
                assert seen.result.outcome is PromptOutcome.CANCELLED
    finally:
        runner.close()


async def test_closing_the_runner_cancels_what_is_under_way() -> None:
    runner, seen, late = PromptRunner(), Seen(), Seen()
    async with ScriptedServer(triton([head(), text("x"), Act.STALL])) as server:
        runner.ask(server.service(), ASK, seen)
        await wait_for(seen.token)
        await asyncio.to_thread(runner.close)
        assert seen.result.outcome is PromptOutcome.CANCELLED
        runner.ask(server.service(), ASK, late)
        assert late.result.outcome is PromptOutcome.CANCELLED
        runner.close()
