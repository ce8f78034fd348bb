"""The same load on the same real vLLM by `tritontui load`, `vllm bench serve` and AIPerf: what each tells, and costs.

For each number of requests at once: 64 tokens in and out on `/v1/completions`, each tool's means and those of the
server's own histograms over the same time. Then the processor time of each client for a thousand streamed tokens: the
difference between a long and a short run, so that what a tool takes to start does not count.

python -m benchmarks.load_tools VLLM_PROGRAM MODEL_FOLDER [AIPERF_PROGRAM] [--levels 1,4,16] [--requests 100]
(`tests/images/build_vllm.sh --print` names the folder of both.)
"""

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from engine.deployment import Protocol, Service
from engine.inference.prompt import Sampling, Style
from engine.load.order import Order, Target
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Workload

TOKENS = 64
ROUNDS = 3
LONGER = 8
"""Times as many requests has the long run of those that costs are told by"""
START_S = 400.0
SUMS = ("time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds")


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds, and per second; the processor time in seconds."""

    ttft_mean: float
    itl_mean: float
    e2e_mean: float
    requests_per_s: float
    tokens_per_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """Means of its own histograms over a run, in milliseconds."""

    requests: float
    tokens: float
    ttft: float
    itl: float
    e2e: float


class Tool:
    name: str

    def run(self, url: str, at_once: int, requests: int) -> Measured:
        raise NotImplementedError


class Ours(Tool):
    name = "tritontui load"

    def run(self, url: str, at_once: int, requests: int) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            plan = LoadPlan(
                levels=(Level(Arrival.CLOSED, at_once),),
                requests=requests,
                warmup=0,
                workload=Workload(prompt=Lengths(TOKENS), output=Lengths(TOKENS)),
                sampling=Sampling(ignore_eos=True),
                style=Style.COMPLETION,
            )
            service = Service(Protocol.OPENAI, url, f"{url}/health", metrics=f"{url}/metrics")
            order = Order(Target("bench", "", "vllm", service), plan, Path(folder, "loads.sqlite"))
            printed, cpu_s = timed([sys.executable, "-m", "engine.load.worker"], order.to_json() + "\n")
        (level,) = json.loads(printed.splitlines()[-1])["levels"]
        if level["failed"]:
            raise SystemExit(f"{level['failed']} requests failed: {level['failures']}")
        return Measured(
            ttft_mean=1000 * level["ttft"]["mean"],
            itl_mean=1000 * level["itl"]["mean"],
            e2e_mean=1000 * level["e2e"]["mean"],
            requests_per_s=level["requests_per_s"],
            tokens_per_s=level["output_tokens_per_s"],
            cpu_s=cpu_s,
        )


@dataclass
class VllmBench(Tool):
    program: str
    model: str
    name = "vllm bench serve"

    def run(self, url: str, at_once: int, requests: int) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            _, cpu_s = timed(
                [
                    *(self.program, "bench", "serve", "--backend", "openai", "--base-url", url),
                    *("--endpoint", "/v1/completions", "--model", self.model, "--dataset-name", "random"),
                    *("--random-input-len", str(TOKENS), "--random-output-len", str(TOKENS), "--ignore-eos"),
                    *("--num-prompts", str(requests), "--max-concurrency", str(at_once), "--disable-tqdm"),
                    *("--save-result", "--result-dir", folder, "--result-filename", "result.json"),
                    *("--percentile-metrics", "ttft,tpot,itl,e2el"),
                ]
            )
            told = json.loads(Path(folder, "result.json").read_text())
        return Measured(
            ttft_mean=told["mean_ttft_ms"],
            itl_mean=told["mean_tpot_ms"],
            e2e_mean=told["mean_e2el_ms"],
            requests_per_s=told["request_throughput"],
            tokens_per_s=told["output_throughput"],
            cpu_s=cpu_s,
        )


@dataclass
class AiPerf(Tool):
    program: str
    model: str
    name = "AIPerf"

    def run(self, url: str, at_once: int, requests: int) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            _, cpu_s = timed(
                [
                    *(self.program, "profile", "--model", self.model, "--url", url, "--endpoint-type", "completions"),
                    *("--streaming", "--concurrency", str(at_once), "--request-count", str(requests)),
                    *("--isl", str(TOKENS), "--isl-stddev", "0", "--osl", str(TOKENS), "--osl-stddev", "0"),
                    *("--extra-inputs", "ignore_eos:true", "--tokenizer", self.model, "--ui", "none"),
                    *("--artifact-dir", folder, "--use-server-token-count", "--random-seed", "1"),
                ]
            )
            (found,) = Path(folder).rglob("profile_export_aiperf.json")
            told = json.loads(found.read_text())
        return Measured(
            ttft_mean=_aiperf(told, "time_to_first_token"),
            itl_mean=_aiperf(told, "inter_token_latency"),
            e2e_mean=_aiperf(told, "request_latency"),
            requests_per_s=_aiperf(told, "request_throughput"),
            tokens_per_s=_aiperf(told, "output_token_throughput"),
            cpu_s=cpu_s,
        )


def _aiperf(told: dict[str, Any], key: str, of: str = "avg") -> float:
    return float((told.get("records") or told)[key][of])


def timed(command: list[str], given: str = "") -> tuple[str, float]:
    """What it printed, and the processor time of it and all that it started."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=errors, text=True)
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.flush()
        _, status, used = os.wait4(process.pid, 0)
        process.stdin.close()
        out.seek(0)
        errors.seek(0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{command[0]} failed:\n{out.read()[-2000:]}\n{errors.read()[-4000:]}")
        return out.read(), used.ru_utime + used.ru_stime


@contextlib.contextmanager
def serving(program: str, model: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        *(program, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16"),
        *("--max-model-len", "1024", "--no-enable-prefix-caching"),
    ]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    # In the session of its clients: Linux shares processors out by session, and a server that spins starves another's.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0)
        try:
            deadline = time.monotonic() + START_S
            while not answers(f"{url}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"vLLM did not start:\n{log.read()[-4000:]}")
                time.sleep(1)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def totals(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.findall(r"^vllm:(\w+?)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
    sums: dict[str, float] = {}
    for name, value in found:
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def between(before: dict[str, float], after: dict[str, float]) -> Server:
    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    ttft, itl, e2e = (1000 * grown(f"{name}_sum") / max(1.0, grown(f"{name}_count")) for name in SUMS)
    return Server(grown("request_success_total"), grown("generation_tokens_total"), ttft, itl, e2e)


def _median(found: list[Any]) -> Any:
    """Field by field."""
    kind = type(found[0])
    return kind(*(statistics.median(getattr(one, field.name) for one in found) for field in fields(kind)))


def compare(tools: list[Tool], url: str, at_once: int, requests: int) -> None:
    """A line for each tool: medians of `ROUNDS`, in which they take turns."""
    told: dict[str, list[Measured]] = defaultdict(list)
    served: dict[str, list[Server]] = defaultdict(list)
    for _ in range(ROUNDS):
        for tool in tools:
            before = totals(url)
            told[tool.name].append(tool.run(url, at_once, requests))
            time.sleep(1.0)
            served[tool.name].append(between(before, totals(url)))
    for tool in tools:
        one, server = _median(told[tool.name]), _median(served[tool.name])
        print(
            f"| {at_once} | {tool.name} ({server.requests:.0f} requests, {server.tokens:.0f} tokens) "
            f"| {one.ttft_mean:.1f} ms | {server.ttft:.1f} ms | {one.itl_mean:.2f} ms | {server.itl:.2f} ms "
            f"| {one.e2e_mean:.0f} ms | {server.e2e:.0f} ms | {one.requests_per_s:.1f} | {one.tokens_per_s:.0f} |",
            flush=True,
        )


def costs(tools: list[Tool], url: str, at_once: int, requests: int) -> None:
    print(f"\nProcessor time of the client for 1000 streamed tokens, {at_once} at once, median and all of {ROUNDS}:")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for tool in tools:
            short, long = (tool.run(url, at_once, requests * times).cpu_s for times in (1, LONGER))
            found[tool.name].append((long - short) / ((LONGER - 1) * requests * TOKENS) * 1e6)
    ours = statistics.median(found[tools[0].name])
    for name, each in found.items():
        median, all_of = statistics.median(each), ", ".join(f"{one:.1f}" for one in sorted(each))
        print(f"{name:<18} {median:7.1f} ms   {median / ours:5.2f} × ours   ({all_of})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("vllm")
    parser.add_argument("model")
    parser.add_argument("aiperf", nargs="?")
    parser.add_argument("--levels", default="1,4,16")
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    levels = [int(level) for level in given.levels.split(",")]
    tools: list[Tool] = [Ours(), VllmBench(given.vllm, given.model)]
    tools += [AiPerf(given.aiperf, given.model)] if given.aiperf else []
    print(f"{machine()}; {TOKENS} tokens in and out, {given.requests} requests; medians of {ROUNDS} rounds\n")
    columns = ["at once", "tool", "TTFT", "server's", "ITL", "server's", "e2e", "server's", "req/s", "tok/s"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    with serving(given.vllm, given.model) as url:
        Ours().run(url, max(levels), 20)  # what the server compiles and allocates with its first requests
        for at_once in levels:
            compare(tools, url, at_once, given.requests)
        costs(tools, url, max(levels), given.requests)


if __name__ == "__main__":
    main()
