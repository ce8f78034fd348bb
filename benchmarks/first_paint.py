"""First paint of the console with 200 profiles, beside a bare Textual app's, in turn, each in a terminal of its own.

python -m benchmarks.first_paint [runs]
"""

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.terminal import terminal

PROFILES = 200
BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("bare-app-painted")
Bare().run()
"""


def compiled(folder: Path) -> dict[str, str]:
    """Bytecode of both is kept from the first run on, as it is of what is installed, whatever this checkout's rule."""
    return {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}


def console(folder: Path) -> tuple[float, float]:
    """Seconds until the frame stands, and until the profiles do."""
    environment = compiled(folder) | {
        f"TRITONTUI_{name}_DIR": str(folder / name.lower()) for name in ("STATE", "CACHE", "CONFIG")
    }
    command = [sys.executable, "-m", "tui", "--profiles", str(folder / "profiles")]
    with terminal(command, environment) as screen:
        painted = screen.read_until(b"Models")
        return painted, screen.read_until(b"profile-000")


def bare(folder: Path) -> float:
    with terminal([sys.executable, "-c", BARE], compiled(folder)) as screen:
        return screen.read_until(b"bare-app-painted")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profiles").mkdir()
        for number in range(PROFILES):
            profile = f"name: profile-{number:03}\nstack: triton\nimage: example/triton:1\nrepository: .\n"
            (folder / "profiles" / f"{number:03}.yaml").write_text(profile)
        console(folder), bare(folder)  # warm caches of both
        pairs = [(console(folder), bare(folder)) for _ in range(runs)]
    painted = statistics.median(ours for (ours, _), _ in pairs)
    listed = statistics.median(ours for (_, ours), _ in pairs)
    plain = statistics.median(theirs for _, theirs in pairs)
    ratio = statistics.median(ours / theirs for (ours, _), theirs in pairs)
    print(f"machine: {machine()}; {runs} runs each, in turn; medians")
    print(f"bare Textual app, first paint            {plain * 1000:7.0f} ms")
    print(f"console, first paint                     {painted * 1000:7.0f} ms   {ratio:.2f} × (budget 1.5)")
    print(f"console, {PROFILES} profiles read and listed   {listed * 1000:7.0f} ms")


if __name__ == "__main__":
    main()
