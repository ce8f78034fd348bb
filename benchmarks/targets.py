"""What it costs to watch 50 servers at 1 Hz: their metrics fetched, parsed and computed; and the same fetched by httpx.

The servers run in a process of their own and answer with a real vLLM's exposition, whose counters grow. Processor time
of this process alone, as a share of one core; budget 5 %.

python -m benchmarks.targets [targets] [seconds]
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

from benchmarks.machine import machine
from engine.observe.metrics import MetricsTracker
from engine.observe.pace import Pace
from engine.observe.runs import SCRAPE_EVERY_S
from engine.observe.scrape import scrape

SAMPLE = Path(__file__).parents[1] / "tests" / "samples" / "metrics" / "vllm-0.32-idle.txt"
BUDGET_PERCENT = 5.0
GROWING = "vllm:generation_tokens_total{"

Fetch = Callable[[str], Awaitable[str]]


def serve() -> None:
    """Every path is a target."""
    lines, turn = SAMPLE.read_text().splitlines(), count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            grown = next(turn)
            text = "\n".join(f"{line}{grown}" if line.startswith(GROWING) else line for line in lines)
            body = f"{text}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


async def watch(urls: list[str], seconds: int, fetch: Fetch, *, compute: bool) -> float:
    """Processor time used, in % of a core."""

    async def one(url: str, number: int) -> None:
        tracker, pace = MetricsTracker(url), Pace(number)
        for _ in range(-1, seconds):
            await pace.rest(SCRAPE_EVERY_S)
            text = await fetch(url)
            if compute:
                tracker.update(text, time.time())

    async def measured() -> float:
        await asyncio.sleep(max(0.0, began - time.monotonic()))
        used = time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - used) / seconds * 100

    began = time.monotonic() + 1.5  # the first round of each, in which series are learnt, is not counted
    async with asyncio.TaskGroup() as group:
        percent = group.create_task(measured())
        for number, url in enumerate(urls):
            group.create_task(one(url, number))
    return percent.result()


async def with_httpx(urls: list[str], seconds: int) -> float:
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, limits=limits, headers={"Connection": "close"}) as client:

        async def fetch(url: str) -> str:
            return (await client.get(url)).text

        return await watch(urls, seconds, fetch, compute=False)


def main(targets: int, seconds: int) -> None:
    command = [sys.executable, "-m", __spec__.name, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        urls = [f"http://127.0.0.1:{port}/{number}" for number in range(targets)]
        whole = asyncio.run(watch(urls, seconds, scrape, compute=True))
        fetched = asyncio.run(watch(urls, seconds, scrape, compute=False))
        httpx_fetched = asyncio.run(with_httpx(urls, seconds))
        server.kill()
    lines = len(SAMPLE.read_text().splitlines())
    print(f"machine: {machine()}; {targets} targets of {lines} lines at 1 Hz, {seconds} s each")
    print(f"fetched, parsed and computed   {whole:5.1f} % of a core (budget {BUDGET_PERCENT:g})")
    print(f"fetched                        {fetched:5.1f} %")
    print(f"fetched by httpx               {httpx_fetched:5.1f} %   {httpx_fetched / fetched:.1f} ×")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main(*(int(word) for word in (*sys.argv[1:], *("50", "15")[len(sys.argv) - 1 :])))
