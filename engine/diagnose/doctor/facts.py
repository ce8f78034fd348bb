"""Where the checks look. Each source is asked once, by the first check that needs it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from engine.deployment import Deployment
from engine.diagnose.doctor.daemon import Daemon, Stock
from engine.diagnose.doctor.devices import Driver
from engine.diagnose.doctor.host import Host
from engine.diagnose.doctor.needs import Needs
from engine.observe.nvml import GpuUse
from engine.settings import Settings

Answer = TypeVar("Answer")


class Once(Generic[Answer]):
    """Asks when it is first called; who calls meanwhile waits for that answer, or its failure."""

    def __init__(self, question: Callable[[], Answer]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._answer: Future[Answer] | None = None

    def __call__(self) -> Answer:
        with self._lock:
            first = self._answer is None
            answer = self._answer = self._answer or Future()
        if first:
            try:
                answer.set_result(self._question())
            except BaseException as error:  # noqa: BLE001 (it is raised again, where it is waited for)
                answer.set_exception(error)
        return answer.result()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is called may block, and raise what it names."""

    host: Host
    settings: Settings
    needs: Callable[[], Needs]
    daemon: Callable[[], Daemon]
    """Raises `RuntimeUnreachable`, `OperationFailed`"""
    stock: Callable[[], Stock]
    """The same"""
    driver: Callable[[], Driver]
    """Raises `DriverError`"""
    uses: Callable[[], tuple[GpuUse, ...]]
    """None while the driver does not answer"""
    deployments: Callable[[], tuple[Deployment, ...]]
    """Those that can be seen"""
