"""A log file: seconds until the one cause in it is known, beside what Textual's toolong takes to index the same file.

toolong needs an older Textual, so it is to be in an environment of its own, whose Python is named.

python -m benchmarks.log_file [PYTHON_WITH_TOOLONG] [lines]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import machine

CAUSE = (
    "(EngineCore_DP0 pid=214) ERROR 01-15 08:00:41 [core.py:708] torch.OutOfMemoryError: CUDA out of memory. "
    "Tried to allocate 14.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 3.12 GiB is free."
)
STATISTICS = (
    "(APIServer pid=5364) INFO 01-15 08:01:00 [loggers.py:257] Engine 000: Avg prompt throughput: {n}.0 tokens/s, "
    "Avg generation throughput: 913.4 tokens/s, Running: 17 reqs, Waiting: 3 reqs, GPU KV cache usage: 41.2%"
)
EXPLAIN = """
import sys, time
from pathlib import Path
from engine.diagnose.explain import explain_text
begun = time.process_time()
with open(sys.argv[1], "rb") as file:
    diagnosis = explain_text(iter(lambda: file.read(1 << 20), b""))
assert diagnosis.best and "memory" in diagnosis.best.title, diagnosis
print(time.process_time() - begun)
"""
INDEX = """
import sys, time
from threading import Event
from toolong.log_file import LogFile
begun = time.process_time()
file = LogFile(sys.argv[1])
file.open(Event())
lines = sum(len(breaks) for _, breaks in file.scan_line_breaks())
print(time.process_time() - begun)
"""
ROUNDS = 5


def seconds(python: str, program: str, path: Path) -> float:
    """Of processor time, the least of several rounds."""
    run = [python, "-c", program, str(path)]
    return min(float(subprocess.check_output(run, text=True)) for _ in range(ROUNDS))


def main() -> None:
    peer = sys.argv[1] if len(sys.argv) > 1 else ""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.log"
        with path.open("w") as file:
            file.write(f"{CAUSE}\n")
            file.writelines(f"{STATISTICS.format(n=number)}\n" for number in range(count))
        size = path.stat().st_size / 1e6
        print(f"{machine()}; the cause stands {count:,} lines before the end, {size:.0f} MB")
        explained = seconds(sys.executable, EXPLAIN, path)
        print(f"{'explained':<40}{explained:>8.2f} s{size / explained:>9.0f} MB/s")
        if peer:
            indexed = seconds(peer, INDEX, path)
            ratio = f"{explained / indexed:>9.2f} × as long to explain"
            print(f"{'indexed by toolong (line breaks only)':<40}{indexed:>8.2f} s{ratio}")


if __name__ == "__main__":
    main()
