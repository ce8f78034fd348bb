"""Records the logs of tests/samples/logs anew: real servers, each broken in one way, and a few that are well.

    python -m tests.samples.record [--list] [--into FOLDER] [PATTERN …]

Takes those cases whose name matches a pattern of the shell, in their order; without one all of them, which takes an
hour. Needs what tests/images/build_vllm.sh and build_triton.sh make, and for some cases root and a Docker Engine: those
which this machine cannot do are passed over, with the reason. The versions that are installed stand in the names of the
files. Beside the logs, `recorded.json` has how each server ended.
"""

# ruff: noqa: T201 (it is a command)

import argparse
import fnmatch
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.samples.recording import docker_messages, triton_models, triton_server, vllm_engine, vllm_hub, vllm_models
from tests.samples.recording.room import CASES, Case, Impossible, Recorded, room
from tests.samples.recording.versions import TRITON, VLLM

MODULES = (vllm_models, vllm_engine, vllm_hub, triton_models, triton_server, docker_messages)
INTO = Path(__file__).parent / "logs"


def file_name(name: str) -> str:
    """`vllm-port-taken` → `vllm-0.32-port-taken`."""
    for program, version in (("vllm", VLLM), ("triton", TRITON)):
        if name.startswith(f"{program}-"):
            return f"{program}-{version}{name.removeprefix(program)}"
    return name


def record(case: Case, into: Path) -> None:
    before = time.monotonic()
    try:
        with room() as place:
            recorded = case.record(place)
    except Impossible as reason:
        print(f"{case.name}: passed over, {reason}")
        return
    name = file_name(case.name)
    if recorded.log:
        (into / f"{name}.log").write_text(recorded.log, encoding="utf-8")
    _note(into / "recorded.json", name, case, recorded)
    last = next((line for line in reversed(recorded.log.splitlines()) if line.strip()), recorded.runtime_error)
    end = "still serves" if recorded.exit_code is None else f"exit {recorded.exit_code}"
    print(f"{name}: {end}, {time.monotonic() - before:.0f} s: {last[:160]}", flush=True)


def _noted(folder: Path) -> dict[str, Any]:
    file = folder / "recorded.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _note(file: Path, name: str, case: Case, recorded: Recorded) -> None:
    notes = _noted(file.parent)
    told = asdict(recorded).items()
    facts = {key: value for key, value in told if key != "log" and (value or (key == "exit_code" and value == 0))}
    notes[name] = {"about": case.about, **facts}
    file.write_text(json.dumps(dict(sorted(notes.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    assert MODULES, "they register their cases"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="*", default=["*"])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--into", type=Path, default=INTO)
    parser.add_argument("--missing", action="store_true", help="only what is not there yet")
    given = parser.parse_args()
    named = [one for pattern in given.pattern for one in CASES.values() if fnmatch.fnmatch(one.name, pattern)]
    chosen = list(dict.fromkeys(named))
    if given.list:
        for one in chosen:
            print(f"{one.name}: {one.about}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends, too
    given.into.mkdir(parents=True, exist_ok=True)
    for one in chosen:
        if not (given.missing and file_name(one.name) in _noted(given.into)):
            record(one, given.into)
    return 0 if chosen else 1


if __name__ == "__main__":
    sys.exit(main())
