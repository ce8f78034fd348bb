"""An OpenAI server of known timing, in a thread of its own, that counts what reaches it."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.load.order import Target
from tests.unit.inference_server import END, event, head, reply

OVERHEAD = 3
"""Tokens that it adds to each prompt"""
Fault = Callable[[int], str]


@dataclass
class LoadServer:
    """Counts a word as a token. Faults befall only what is measured, which asks for more than one token."""

    first_s: float = 0.0
    """Until its first token, once it has begun with a request"""
    gap_s: float = 0.0
    at_a_time: int = 1
    """Tokens that are written together"""
    capacity: int = 1 << 30
    """Requests that it works at; others wait"""
    fault: Fault = lambda _: ""
    """By the number of the measured request: refuse, error, cut or stall"""
    most_words: int = 1 << 30
    """Of a prompt; longer ones are refused"""
    owner: str = "vllm"
    """Of its model: other servers are not known to take `ignore_eos`"""
    ignores_eos: set[bool] = field(default_factory=set)
    """Whether requests asked for it"""
    at_once: int = 0
    most_at_once: int = 0
    """Requests that were under way, those that wait included"""
    hung_up: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Prompt and wanted tokens of each request that was measured"""
    tokens_in: int = 0
    prompts: list[str] = field(default_factory=list)
    """Of all requests"""
    port: int = 0

    @property
    def service(self) -> Service:
        base = f"http://127.0.0.1:{self.port}"
        return Service(Protocol.OPENAI, base, f"{base}/health", model="tiny")

    @property
    def target(self) -> Target:
        return Target("tiny", "1 0", "a test's", self.service)

    @property
    def deployment(self) -> Deployment:
        return Deployment("tiny", "process", "vllm", "1", "a test's", Lifecycle.RUNNING, self.service, 0.0, 1.0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            ahead: bytes | None = b""
            while ahead is not None:
                ahead = await self._answer(ahead, reader, writer)
        writer.close()

    async def _answer(self, ahead: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """What came of the next request meanwhile; None when the connection is no good any more."""
        lines = (ahead + await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        if not lines[0].startswith("POST"):
            writer.write(reply({"object": "list", "data": [{"id": "tiny", "owned_by": self.owner}]}))
            return b""
        if "/tokenize" in lines[0]:
            writer.write(reply({"count": 1}))
            return b""
        asked = json.loads(body)
        prompt = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        self.prompts.append(prompt)
        self.ignores_eos.add(asked.get("ignore_eos", False))
        fault = ""
        if asked["max_tokens"] > 1:
            fault = self.fault(len(self.asked))
            self.asked.append((prompt, asked["max_tokens"]))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        work = asyncio.create_task(self._work(writer, prompt, asked["max_tokens"], fault))
        gone = asyncio.create_task(reader.read(1))
        await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        self.at_once -= 1
        ended = work.done()
        for task in (work, gone):
            task.cancel()
        answered, came = await asyncio.gather(work, gone, return_exceptions=True)
        if not ended or isinstance(answered, ConnectionError):  # it is noticed by reading, or by writing
            self.hung_up += 1
        if answered is not True or came == b"":
            return None
        return came if isinstance(came, bytes) else b""

    async def _work(self, writer: asyncio.StreamWriter, prompt: str, tokens: int, fault: str) -> bool:
        if fault == "refuse" or len(prompt.split()) > self.most_words:
            writer.write(reply({"error": {"message": "no room"}}, status=503 if fault else 400))
            return True
        async with self._room:
            await asyncio.sleep(self.first_s)
            writer.write(head())
            held = b""
            for number in range(tokens):
                if number:
                    await asyncio.sleep(self.gap_s)
                if number == 1 and fault:
                    return await self._fail(writer, fault)
                choice = {"index": 0, "text": " w", "delta": {"content": " w"}}
                reason = {"finish_reason": "length"} if number == tokens - 1 else {}
                held += event({"choices": [{**choice, **reason}]})
                if (number + 1) % self.at_a_time == 0 or reason:
                    writer.write(held)
                    held = b""
                    await writer.drain()
        count = len(prompt.split()) + OVERHEAD
        self.tokens_in += count if tokens > 1 else 0
        writer.write(event({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": tokens}}))
        writer.write(event(b"[DONE]") + END)
        return True

    async def _fail(self, writer: asyncio.StreamWriter, fault: str) -> bool:
        if fault == "error":
            writer.write(event({"error": {"message": "the engine died"}}) + event(b"[DONE]") + END)
            return True
        if fault == "stall":
            await asyncio.Event().wait()
        writer.transport.abort()
        return False

    @contextlib.contextmanager
    def running(self) -> Iterator["LoadServer"]:
        loop = asyncio.new_event_loop()
        ready, end = threading.Event(), asyncio.Event()

        async def run() -> None:
            self._room = asyncio.Semaphore(self.capacity)
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await end.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join(10)
            loop.close()
