"""Small real programs in the process runtime, for tests of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deployment import Lifecycle, Protocol, Service
from engine.plan import Launch
from engine.runtimes.process import ProcessRuntime
from engine.runtimes.process_identity import is_alive
from engine.runtimes.process_state import Record
from engine.runtimes.shim import Identity, identify
from engine.settings import Settings
from tests.real.triton_support import kill_all, of, settings_in, text_of, wait_until

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = settings_in(tmp_path)
    yield settings
    kill_all(settings)


@pytest.fixture
def runtime(settings: Settings) -> ProcessRuntime:
    return ProcessRuntime(settings, log_file_bytes=1 << 20)


def launch(name: str, *command: str, **options: object) -> Launch:
    return Launch(name, "triton", "process", command, SERVICE, **options)  # type: ignore[arg-type]


def begin(runtime: ProcessRuntime, name: str, *command: str, **options: object) -> Identity:
    """Starts it and returns who the server is."""
    runtime.create(launch(name, *command, **options))
    runtime.start(name)
    return server_of(runtime, name)


def record_of(runtime: ProcessRuntime, name: str) -> Record:
    return Record.read(runtime._root / name)


def server_of(runtime: ProcessRuntime, name: str) -> Identity:
    run = record_of(runtime, name).run
    assert run is not None
    assert run.server is not None
    return run.server


def kill_shim(runtime: ProcessRuntime, name: str) -> None:
    run = record_of(runtime, name).run
    assert run is not None
    assert run.shim is not None
    shim = run.shim
    os.kill(shim[0], signal.SIGKILL)
    wait_until(lambda: not is_alive(shim), "the shim is gone")


def begin_and_end(runtime: ProcessRuntime, name: str) -> None:
    """A run that is over with its shim gone, which ends a moment after it has written how the server ended."""
    begin(runtime, name, "true")
    wait_until(lambda: ended(runtime, name), "it has ended")
    run = record_of(runtime, name).run
    wait_until(lambda: not is_alive(run.shim if run else None), "its shim has ended")


def ended(runtime: ProcessRuntime, name: str) -> bool:
    return of(runtime, name).lifecycle is Lifecycle.EXITED


def pid_said(runtime: ProcessRuntime, name: str) -> Identity:
    """The process whose id is the first line of the log."""
    lines = wait_until(lambda: text_of(runtime, name).split(), "it says a process id")
    identity = identify(int(lines[0]))
    assert identity is not None
    return identity
