"""A server of known timing, in a process of its own: tokens at set times by all three protocols, each with the time of
its writing. That is on `time.perf_counter`, which is one clock for all processes of a Linux machine (CLOCK_MONOTONIC).

Prompts tell streams apart: `STREAM first_s gap_s` writes the first token after `first_s`, the others `gap_s` apart, and
`GET /written/STREAM` says when. `max_tokens` is how many. All are put together before the first is due: with the clock
read, nothing is left to do but to write.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import accumulate

from tritonclient.grpc import model_config_pb2, service_pb2

from engine.deployment import Protocol, Service
from engine.inference.prompt import PromptRequest, PromptResult, Sampling, Transport
from tests.unit.grpc_frames import serve_frames

MODEL = "timed"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
INPUTS = ("text_input", "sampling_parameters")
_written: dict[str, list[float]] = {}


# -- the server --------------------------------------------------------------------------------------------------------


async def _tokens(prompt: str, count: int) -> AsyncIterator[int]:
    """The number of each token when it is time for it; whoever iterates writes it at once."""
    stream, first_s, gap_s = prompt.split()
    began = time.perf_counter()
    times = _written.setdefault(stream, [])
    for number in range(count):
        await asyncio.sleep(max(0.0, began + float(first_s) + number * float(gap_s) - time.perf_counter()))
        times.append(time.perf_counter())
        yield number


def _piece(answer: object) -> bytes:
    event = b"data: " + (answer if isinstance(answer, bytes) else json.dumps(answer).encode()) + b"\n\n"
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def _choice(number: int) -> dict[str, object]:
    return {"index": 0, "delta": {"content": f" {number}"}, "logprobs": None, "finish_reason": None}


def _whole(answer: object) -> bytes:
    body = json.dumps(answer).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _answer(path: str) -> object:
    tensor = [{"name": name, "datatype": "BYTES", "shape": [1]} for name in INPUTS]
    return {
        "/v1/models": {"data": [{"id": MODEL}]},
        "/v2/repository/index": [{"name": MODEL, "state": "READY"}],
        f"/v2/models/{MODEL}": {"name": MODEL, "inputs": tensor},
        f"/v2/models/{MODEL}/config": {"model_transaction_policy": {"decoupled": True}},
    }.get(path) or _written.get(path.removeprefix("/written/"), [])


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            length = next((line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")), "0")
            body = json.loads(await reader.readexactly(int(length)) or b"{}")
            if path == "/v1/chat/completions":
                writer.write(SSE)
                common = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "model": MODEL}
                count = body["max_tokens"]
                pieces = [_piece({**common, "created": 1, "choices": [_choice(number)]}) for number in range(count)]
                async for number in _tokens(body["messages"][-1]["content"], count):
                    writer.write(pieces[number])
                writer.write(_piece({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}))
                writer.write(_piece(b"[DONE]") + b"0\r\n\r\n")
            elif path.endswith("/generate_stream"):
                writer.write(SSE)
                count = json.loads(body["sampling_parameters"])["max_tokens"]
                common = {"model_name": MODEL, "model_version": "1"}
                pieces = [_piece({**common, "text_output": f" {number}"}) for number in range(count)]
                async for number in _tokens(body["text_input"], count):
                    writer.write(pieces[number])
                writer.write(b"0\r\n\r\n")
            else:
                writer.write(_whole(_answer(path)))


def described(method: str) -> bytes:
    """As far as a prompt needs it."""
    tensor = service_pb2.ModelMetadataResponse.TensorMetadata
    inputs = [tensor(name=name, datatype="BYTES", shape=[1]) for name in INPUTS]
    policy = model_config_pb2.ModelTransactionPolicy(decoupled=True)
    config = model_config_pb2.ModelConfig(name=MODEL, model_transaction_policy=policy)
    index = service_pb2.RepositoryIndexResponse.ModelIndex(name=MODEL, state="READY")
    answers = {
        "ServerLive": service_pb2.ServerLiveResponse(live=True),
        "RepositoryIndex": service_pb2.RepositoryIndexResponse(models=[index]),
        "ModelMetadata": service_pb2.ModelMetadataResponse(name=MODEL, inputs=inputs),
        "ModelConfig": service_pb2.ModelConfigResponse(config=config),
    }
    return bytes(answers[method].SerializeToString())


async def _grpc(method: str, message: bytes) -> AsyncIterator[bytes]:
    if method != "ModelStreamInfer":
        yield described(method)
        return
    request = service_pb2.ModelInferRequest.FromString(message)
    raw = request.raw_input_contents
    given = {tensor.name: raw[number][4:] for number, tensor in enumerate(request.inputs)}
    count = json.loads(given["sampling_parameters"])["max_tokens"]
    messages = [_infer_response(number) for number in range(count)]
    async for number in _tokens(given["text_input"].decode(), count):
        yield messages[number]


def _infer_response(number: int) -> bytes:
    text = f" {number}".encode()
    response = service_pb2.ModelInferResponse(model_name=MODEL)
    response.outputs.add(name="text_output", datatype="BYTES", shape=[1])
    response.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
    return bytes(service_pb2.ModelStreamInferResponse(infer_response=response).SerializeToString())


async def serve() -> None:
    http = await asyncio.start_server(_http, "127.0.0.1", 0, backlog=256)
    rpc, port = await serve_frames(_grpc)
    sys.stdout.write(f"{http.sockets[0].getsockname()[1]} {port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until its parent has gone
    rpc.close()
    http.close()


# -- its users ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownTiming:
    http: str
    grpc: str

    def service(self, transport: Transport) -> Service:
        protocol = Protocol.OPENAI if transport is Transport.OPENAI else Protocol.TRITON
        return Service(protocol, self.http, self.http, grpc=self.grpc)

    def written(self, request: PromptRequest) -> list[float]:
        """When each token of the answer was written."""
        with urllib.request.urlopen(f"{self.http}/written/{request.prompt.split()[0]}", timeout=10) as answer:
            times: list[float] = json.load(answer)
            return times


@contextlib.contextmanager
def known_timing() -> Iterator[KnownTiming]:
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            http, rpc = server.stdout.readline().split()
            yield KnownTiming(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}")
        finally:
            server.stdin.close()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()


def asking(stream: str, transport: Transport, tokens: int, first_s: float, gap_s: float) -> PromptRequest:
    return PromptRequest(f"{stream} {first_s} {gap_s}", sampling=Sampling(tokens), transport=transport)


def stamps(result: PromptResult) -> list[float]:
    """When each token came, as the client has it, on the clock of `time.perf_counter`."""
    assert result.sent_at is not None, result.error
    assert result.timing.first_token_s is not None, result.error
    return list(accumulate(result.gaps_s, initial=result.sent_at + result.timing.first_token_s))


if __name__ == "__main__":
    asyncio.run(serve())
