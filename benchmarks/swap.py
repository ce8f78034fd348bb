"""A swap beside the same steps done by hand with docker and curl, in turn, on real Triton servers in containers.

python -m benchmarks.swap [rounds]
"""

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine
from engine.errors import Exit
from engine.operations.ready import PROBE_EVERY_S, PROMPT_TOKENS

ROOT = Path(__file__).parents[1]
IMAGE = "tritontui-test/triton:2.51"
LOADS_FOR_S = (0, 20)
BUDGET = 1.05
LIMIT_S = 300.0
SETTLED_S = 2.0
"""How old the outgoing server is at least. To the end of its stop Triton looks once a second, counted from its start:
the moment decides over half a second, and is thus spread evenly over the rounds of both."""
BUSY_S = 120.0
"""How long somebody else's operation on this machine is waited for"""

PROFILE = """\
name: {name}
stack: triton
runtime: docker
image: {image}
repository: {repository}
model: prose
expose: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}
ready: {{timeout: 2m, prompt: "ping"}}
"""
LOADS_LATE = """
import time

_LoadsAtOnce = TritonPythonModel


class TritonPythonModel(_LoadsAtOnce):
    def initialize(self, args):
        time.sleep({seconds})
        super().initialize(args)
"""

PREAMBLE = """
set -eu
mark() { echo "$1 $EPOCHREALTIME"; }
"""
UNTIL_ANSWERED = """
until curl --silent --fail --output /dev/null {url}/v2/health/ready; do sleep {every}; done
mark wait
curl --silent --fail --output /dev/null {url}/v2/models/prose/generate_stream --data {prompt}
mark prompt
"""
# What a careful operator does, without a pause to type or to think. A request under way is not looked for.
BY_HAND = """
docker image inspect {image} > /dev/null
mark check
docker stop {outgoing} > /dev/null
[ "$(docker inspect --format '{{{{.State.Running}}}}' {outgoing})" = false ]
mark stop
{run} > /dev/null
mark start
"""
ROWS = ("begin", "check", "drain", "stop", "start", "wait", "prompt", "end")
TOLD = {
    "begin": "the command and the operation's process start, the lease is taken",
    "check": "by hand: only that the image is there",
    "stop": "and look that it has stopped",
    "start": "create and start",
    "wait": f"until it is ready, asked every {PROBE_EVERY_S:g} s by both",
    "end": "what was stopped is let go, the lease is given back, the command ends",
}

Times = Mapping[str, float]
"""Seconds of each row"""


@dataclass(frozen=True)
class Bench:
    folder: Path
    outgoing: str
    incoming: str

    def tritontui(self, *words: str) -> tuple[str, float, float]:
        """What the command printed, and when it began and ended. It is tried again while the machine is not free."""
        deadline = time.monotonic() + BUSY_S
        while True:
            began = time.time()
            code, out, errors = self._command(*words)
            ended = time.time()
            if code == Exit.DONE:
                return out, began, ended
            if code != Exit.REFUSED or time.monotonic() > deadline:
                raise SystemExit(f"tritontui {shlex.join(words)} ended with {code}:\n{errors}")
            time.sleep(1.0)

    def _command(self, *words: str) -> tuple[int, str, str]:
        # Not interrupted together with the benchmark: the operation goes on without its command.
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("tritontui")), *words],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, errors = process.communicate(timeout=LIMIT_S)
        except BaseException:
            self._quietly("cancel")
            process.communicate()
            raise
        return process.returncode, out, errors

    @property
    def _environment(self) -> dict[str, str]:
        folders = {f"TRITONTUI_{name}_DIR": str(self.folder / name.lower()) for name in ("STATE", "CACHE", "CONFIG")}
        return {**os.environ, **folders}

    def _quietly(self, *words: str) -> None:
        command = [str(Path(sys.executable).with_name("tritontui")), *words]
        subprocess.run(command, cwd=self.folder, env=self._environment, check=False, capture_output=True)

    def by_tritontui(self, settled_s: float) -> Times:
        self.tritontui("up", self.outgoing, "--wait")
        time.sleep(settled_s)
        out, began, ended = self.tritontui("swap", self.incoming, "--from", self.outgoing, "--full", "--wait", "--json")
        steps = json.loads(out)["steps"]
        times = dict.fromkeys(ROWS, 0.0)
        times["begin"] = steps[0]["began_at"] - began
        # Until the next one begins: what lies between two steps is part of the first.
        for step, following in zip(steps, [*(step["began_at"] for step in steps[1:]), ended], strict=True):
            times[{"create": "start", "let go": "end"}.get(step["kind"], step["kind"])] += following - step["began_at"]
        return times

    def by_hand(self, settled_s: float) -> Times:
        outgoing, incoming = self._plan(self.outgoing), self._plan(self.incoming)
        run(["bash", "-c", outgoing["run"]])
        body = {"text_input": "ping", "stream": True, "sampling_parameters": json.dumps({"max_tokens": PROMPT_TOKENS})}
        prompt = shlex.quote(json.dumps(body))
        until_answered = UNTIL_ANSWERED.format(url=incoming["url"], every=PROBE_EVERY_S, prompt=prompt)
        run(["bash", "-c", PREAMBLE + until_answered])
        time.sleep(settled_s)
        swap = BY_HAND.format(image=IMAGE, outgoing=outgoing["container"], run=incoming["run"])
        times, last = dict.fromkeys(ROWS, 0.0), time.time()
        out = run(["bash", "-c", PREAMBLE + swap + until_answered])
        ended = time.time()
        for line in out.splitlines():
            row, _, at = line.partition(" ")
            times[row] = float(at) - last
            last = float(at)
        times["end"] = ended - last
        return times

    def _plan(self, name: str) -> dict[str, str]:
        """The line that `tritontui plan` prints, with a name of its own for the container."""
        plan = json.loads(self.tritontui("plan", name, "--json")[0])
        container = f"{name}-by-hand"
        line = plan["command_line"].replace(f"--name tritontui-{name} ", f"--name {container} ")
        return {"container": container, "run": line, "url": plan["launch"]["service"]["http"]}

    def clear(self) -> None:
        """Also after an interruption, of which nothing may be left."""
        for name in (self.outgoing, self.incoming):
            containers = [f"{name}-by-hand", f"tritontui-{name}"]
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", *containers], check=False, capture_output=True, timeout=LIMIT_S
            )


def run(command: list[str]) -> str:
    process = subprocess.Popen(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=LIMIT_S)
    except BaseException:
        # All of a script, so that nothing is made any more once this is cleaned up.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with {process.returncode}:\n{errors}")
    return out


@contextmanager
def bench(loads_for_s: int) -> Iterator[Bench]:
    """Two profiles on the same ports: a model that loads at once, and one that takes so long."""
    with tempfile.TemporaryDirectory() as name:
        folder, mark = Path(name), secrets.token_hex(4)
        made = Bench(folder, f"bench-{mark}-from", f"bench-{mark}-to")
        (folder / "profiles").mkdir()
        ports = free_ports(3)
        for deployment, seconds in ((made.outgoing, 0), (made.incoming, loads_for_s)):
            repository = folder / "profiles" / f"repository-{seconds}"
            if not repository.exists():
                shutil.copytree(ROOT / "profiles/repositories/demo", repository)
            if seconds:
                with (repository / "prose/1/model.py").open("a") as model:
                    model.write(LOADS_LATE.format(seconds=seconds))
            profile = PROFILE.format(
                name=deployment,
                image=IMAGE,
                repository=repository,
                http=ports[0],
                grpc=ports[1],
                metrics=ports[2],
            )
            (folder / "profiles" / f"{deployment}.yaml").write_text(profile)
        try:
            yield made
        finally:
            made.clear()


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def compare(loads_for_s: int, rounds: int) -> None:
    pairs: list[tuple[Times, Times]] = []
    with bench(loads_for_s) as made:
        ways: list[Callable[[float], Times]] = [made.by_tritontui, made.by_hand]
        for number in range(rounds):
            taken = {}
            for way in ways if number % 2 == 0 else reversed(ways):
                made.clear()
                taken[way] = way(SETTLED_S + number / rounds)
            pairs.append((taken[ways[0]], taken[ways[1]]))
    totals = [(sum(ours.values()), sum(theirs.values())) for ours, theirs in pairs]
    ours, theirs = (statistics.median(column) for column in zip(*totals, strict=True))
    ratio = statistics.median(one / other for one, other in totals)
    more = statistics.median(one - other for one, other in totals)
    model = f"a model that loads for {loads_for_s} s" if loads_for_s else "a model that loads at once"
    print(f"\n{model}: {ours:.2f} s, by hand {theirs:.2f} s: {ratio:.3f} × (budget {BUDGET:g})")
    print(f"{more:.2f} s more: within the budget from {more / (BUDGET - 1):.0f} s by hand on")
    print(f"{'':8} {'tritontui':>9} {'by hand':>9}")
    for row in ROWS:
        one, other = (statistics.median(times[row] for times in column) for column in zip(*pairs, strict=True))
        print(f"{row:8} {one:7.2f} s {other:7.2f} s  {TOLD.get(row, '')}".rstrip())


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for ends in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda number, _frame: sys.exit(128 + number))
    if missing := [program for program in ("docker", "curl", "bash") if not shutil.which(program)]:
        print(f"left out: there is no {' and no '.join(missing)} here")
        return
    if subprocess.run(["docker", "image", "inspect", IMAGE], check=False, capture_output=True).returncode:
        print(f"left out: Docker has no image {IMAGE} (tests/images/build_triton.sh builds it)")
        return
    print(f"machine: {machine()}; {rounds} rounds each, in turn; medians")
    for loads_for_s in LOADS_FOR_S:
        compare(loads_for_s, rounds)


if __name__ == "__main__":
    main()
