"""A program run inside a container, with a deadline: docker-py's own way waits for its output for ever."""

import time
from typing import TYPE_CHECKING

from engine.errors import OperationFailed
from engine.runtimes.docker_stream import StreamBrokenError

if TYPE_CHECKING:
    from engine.runtimes.docker_client import DockerConnection

LONGEST_OUTPUT = 1 << 20
LOOK_EVERY_S = 0.1


def output_of(docker: "DockerConnection", container: str, command: tuple[str, ...], timeout_s: float) -> str | None:
    """What it wrote, raw; None when it is not there, failed, or took longer, and then it is left to itself.

    Raises `RuntimeUnreachable`.
    """
    doing = f"run {command[0]}"
    try:
        with docker.session(doing) as api:
            # With a terminal the output comes as it is, without frames.
            run = str(api.exec_create(container, list(command), tty=True)["Id"])
        stream = docker.stream(doing, f"exec/{run}/start", {}, {"Detach": False, "Tty": True})
        try:
            output = b""
            deadline = time.monotonic() + timeout_s
            while (block := stream.read(max(0.01, deadline - time.monotonic()))) is not None:
                output += block
                if time.monotonic() >= deadline or len(output) > LONGEST_OUTPUT:
                    return None
        finally:
            stream.close()
        while True:
            with docker.session(doing) as api:
                report = api.exec_inspect(run)
            if not report["Running"]:
                return output.decode("utf-8", "replace") if report["ExitCode"] == 0 else None
            # Docker ends the output a moment before it says that the program has ended.
            if time.monotonic() >= deadline:
                return None
            time.sleep(LOOK_EVERY_S)
    except (OperationFailed, StreamBrokenError):
        return None
