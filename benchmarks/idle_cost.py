"""What the console costs while nothing happens: 3 real deployments of `demo` and 8 GPUs (stand-in driver) at 1 Hz.

Beside it nvitop, if there is one, on the same stand-in driver: it shows the GPUs and the machine's processes alone.

python -m benchmarks.idle_cost [seconds] [path of nvitop]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.machine import machine
from benchmarks.terminal import terminal
from tests.fakenvml import build

DEPLOYMENTS = 3
ROOT = Path(__file__).parents[1]
CONTROL = "count=8\n"
SETTLED_S = 15.0
"""After the first paint: what is loaded late, such as the Docker client, is no cost of idling"""


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {f"TRITONTUI_{kind}_DIR": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")}
        library = build(folder)
        (folder / "control").write_text(CONTROL)
        environment |= {"LD_LIBRARY_PATH": str(library.parent), "FAKENVML": str(folder / "control")}
        profiles = folder / "profiles"
        shutil.copytree(ROOT / "profiles", profiles)
        demo = (profiles / "demo.yaml").read_text()
        (profiles / "demo.yaml").unlink()
        names = [f"demo-{number}" for number in range(DEPLOYMENTS)]
        for deployment in names:
            (profiles / f"{deployment}.yaml").write_text(demo.replace("name: demo\n", f"name: {deployment}\n", 1))
        command = [sys.executable, "-m", "tui", "--profiles", str(profiles)]
        full = {**os.environ, **environment}
        print(f"machine: {machine()}; {seconds:g} s; {DEPLOYMENTS} deployments, 8 GPUs, 120×40")
        try:
            for deployment in names:
                subprocess.run([*command, "up", deployment, "--wait"], env=full, check=True, capture_output=True)
            for title, keys in (("logs pane", b""), ("metrics pane with charts", b"2")):
                cost = measure(command, environment, seconds, b"demo-0", keys)
                print(f"{title}: {cost} (budget 3 % and 8 KiB/s)")
            for nvitop in sys.argv[2:]:
                cost = measure([nvitop, "--monitor", "full"], environment, seconds, b"MEM")
                print(f"nvitop, which shows no deployment: {cost}")
        finally:
            for deployment in names:
                subprocess.run([*command, "rm", deployment], env=full, check=False, capture_output=True)


def measure(command: list[str], environment: dict[str, str], seconds: float, shown: bytes, keys: bytes = b"") -> str:
    """`shown`: what it writes when it has begun."""
    with terminal(command, environment) as screen:
        screen.read_until(shown)
        screen.read_for(SETTLED_S)
        screen.send(keys)
        screen.read_for(5.0)
        process = psutil.Process(screen.pid)
        before, written = process.cpu_times(), screen.bytes
        screen.read_for(seconds)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        memory = process.memory_info().rss / (1 << 20)
        rate = (screen.bytes - written) / seconds / 1024
        return f"{used / seconds * 100:.1f} % of a core, {rate:.1f} KiB/s, {memory:.0f} MiB resident"


if __name__ == "__main__":
    main()
