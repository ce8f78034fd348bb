"""What each fault does to the machine at the moment at which an operation's step begins, and how it is mended."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from docker.errors import APIError

from engine.errors import Exit
from engine.request import Action, Request
from tests.faults.lab import PREFIX, Lab, fill, remount, until
from tests.faults.operation import Operation, perform
from tests.faults.servers import PORTS
from tests.real.docker_support import TRITON_IMAGE

DOWN_S = 3.0
"""How long the engine's restart takes"""

Strike = Callable[[Lab, Operation, str], AbstractContextManager[list[str]]]
"""For the lab, the operation that is halted, and the deployment that the fault is about. Goes on with the operation
while the fault lasts; what it yields are findings: what went wrong with the fault itself. Mends it at the end."""


@contextmanager
def cancelled(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    operation.cancel()
    yield []


@contextmanager
def docker_restarted(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    lab.stop_docker()
    back = threading.Thread(target=_start_later, args=(lab,))
    back.start()
    yield []
    back.join()


@contextmanager
def docker_restarted_with_containers(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    lab.keep_running(containers_too=False)
    try:
        with docker_restarted(lab, operation, subject) as findings:
            yield findings
    finally:
        lab.keep_running(containers_too=True)


def _start_later(lab: Lab) -> None:
    time.sleep(DOWN_S)
    lab.start_docker()


@contextmanager
def container_killed(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    lab.kill(subject)
    yield []


@contextmanager
def process_exited(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    """It ends by itself, and has done so by the time that the step looks at it."""
    until(lambda: not lab.containers()[PREFIX + subject], f"{subject} to have ended")
    yield []


@contextmanager
def image_missing(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    lab.docker.api.remove_image(f"{PREFIX}fault/{subject}:1", force=True)
    yield []
    lab.restore_images()


@contextmanager
def port_taken(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", PORTS[subject]))
        listener.listen()
        yield []


@contextmanager
def name_taken(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    findings: list[str] = []
    made = lab.docker.api.create_container(TRITON_IMAGE, ["sleep", "60"], name=PREFIX + subject)["Id"]
    yield findings
    try:
        found = lab.docker.api.inspect_container(made)
        if found["Name"] != f"/{PREFIX}{subject}" or found["State"]["Status"] != "created":
            findings.append(f"the other's container was changed: {found['Name']} is {found['State']['Status']}")
        lab.remove(made)
    except APIError as error:
        findings.append(f"the other's container is gone: {error}")


@contextmanager
def docker_disk_full(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    file = fill(lab.engine_data)
    try:
        yield []
    finally:
        file.unlink()


@contextmanager
def state_full(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    file = fill(lab.state)
    try:
        yield []
    finally:
        file.unlink()


@contextmanager
def state_read_only(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    remount(lab.state, "ro")
    try:
        yield []
    finally:
        remount(lab.state, "rw")


@contextmanager
def second_operator(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    """Refused, and told who changes the machine, what, and since when."""
    findings: list[str] = []
    status, code = perform(lab, Request(Action.STOP, subject), state=lab.other_state)
    words = ("This machine is being changed: ", "@", "since", "`tritontui cancel ")
    if code != Exit.REFUSED or not all(word in status.message for word in words):
        findings.append(f"the second operator was told ({code}): {status.message}")
    yield findings


@contextmanager
def second_operator_stops(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    """Where only watching is left of a start, nothing is being changed: whoever stops it, is let."""
    findings: list[str] = []
    status, code = perform(lab, Request(Action.STOP, subject), state=lab.other_state)
    if code != Exit.DONE:
        findings.append(f"the second operator was told ({code}): {status.message}")
    yield findings


@contextmanager
def nothing(lab: Lab, operation: Operation, subject: str) -> Iterator[list[str]]:
    yield []
