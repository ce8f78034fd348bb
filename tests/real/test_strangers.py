"""A port that a local deployment is to answer on, and that somebody else has by then."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.deployment import Service
from engine.runtimes.process import ProcessRuntime
from tests.real.process_support import SERVICE, kill_shim, launch, runtime, settings
from tests.real.triton_support import free_ports, wait_until

__all__ = ["runtime", "settings"]  # the fixtures

SERVES = (
    "import sys; from http.server import BaseHTTPRequestHandler, HTTPServer; "
    "HTTPServer((sys.argv[1], int(sys.argv[2])), BaseHTTPRequestHandler).serve_forever()"
)
FORKS = (
    "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:]], start_new_session=True, env={}); "
    "import time; time.sleep(1000)"
)


def at(port: int, host: str = "127.0.0.1") -> Service:
    return replace(SERVICE, http=f"http://{host}:{port}", health=f"http://{host}:{port}/health")


@contextmanager
def stranger(port: int, host: str = "127.0.0.1") -> Iterator[int]:
    """A program that listens there; its process id."""
    process = subprocess.Popen([sys.executable, "-c", SERVES, host, str(port)])
    try:
        listens(port, host)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def listens(port: int, host: str = "127.0.0.1") -> None:
    def connects() -> bool:
        with socket.socket() as one:
            return one.connect_ex((host, port)) == 0

    wait_until(connects, f"somebody listens on port {port}")


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_another_program_is_named(runtime: ProcessRuntime, port: int, host: str) -> None:
    runtime.create(replace(launch("a", "sleep", "1000"), service=at(port)))
    runtime.start("a")
    assert not runtime.stranger("a"), "nobody listens"
    with stranger(port, host) as pid:
        assert runtime.stranger("a") == f"port {port} is used by {named(pid)} (pid {pid})"
    assert not runtime.stranger("a")


def named(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()


def test_one_that_listens_elsewhere_is_nobody(runtime: ProcessRuntime, port: int) -> None:
    runtime.create(replace(launch("a", "sleep", "1000"), service=at(port)))
    runtime.start("a")
    with stranger(port, "127.0.0.2"):
        assert not runtime.stranger("a")


@pytest.mark.parametrize("forks", [False, True])
def test_its_own_processes_are_no_strangers(runtime: ProcessRuntime, port: int, forks: bool) -> None:
    serves = ("-c", SERVES, "127.0.0.1", str(port))
    command = (sys.executable, "-c", FORKS, *serves) if forks else (sys.executable, *serves)
    runtime.create(replace(launch("a", *command), service=at(port)))
    runtime.start("a")
    try:
        listens(port)
        assert not runtime.stranger("a")
        if not forks:
            kill_shim(runtime, "a")
            assert not runtime.stranger("a"), "it is known without its supervisor, too"
    finally:
        end_listener(port)


def end_listener(port: int) -> None:
    """One in a session of its own outlives the deployment."""
    for connection in psutil.net_connections("tcp"):
        here = connection.laddr and connection.laddr.port == port
        if here and connection.pid and connection.status == psutil.CONN_LISTEN:
            psutil.Process(connection.pid).kill()
