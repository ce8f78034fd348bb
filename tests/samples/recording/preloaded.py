"""Runs in vLLM's own environment: imports it once, and forks for each start, which saves most of a start's time.

A line of JSON comes in for each start (`argv`, `env`, `cwd`, `output`), its process id goes out, and then how it ended.
What a start writes is what it would write by itself: the frames of this file are taken out of its traceback.
"""

# ruff: noqa: T201 (it answers on its standard output)

import atexit
import importlib
import json
import os
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

IMPORTED = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.openai.api_server",
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
)


def become(argv: list[str]) -> int:
    """The program `argv[0]`, as if it had been started with these arguments."""
    sys.argv = argv
    sys.path[0] = str(Path(argv[0]).parent)
    main = types.ModuleType("__main__")
    main.__file__ = argv[0]  # read again by the processes that it spawns
    sys.modules["__main__"] = main
    try:
        exec(compile(Path(argv[0]).read_text(), argv[0], "exec"), main.__dict__)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 (as the interpreter does)
        traceback = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        return 1
    return 0


def start(request: dict[str, Any], said: str) -> int:
    """`said`: what the import wrote, which any start begins with."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, output)):
        os.dup2(file, number)
    os.write(1, said.replace(f" {parent} ", f" {os.getpid()} ").encode())
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    code = become(request["argv"])
    # As the interpreter ends; by itself it would run on in what this file was doing.
    getattr(threading, "_shutdown")()  # noqa: B009 (not a name that is told of)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    sys.stderr.flush()
    said = Path("/proc/self/fd/2").read_text()
    for line in sys.stdin:
        pid = start(json.loads(line), said)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
