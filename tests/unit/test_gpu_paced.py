"""What is asked of the driver now and then, by one who looks once a second."""

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import pytest

from engine.observe.gpu_paced import Paced

if TYPE_CHECKING:
    from engine.observe.nvml import Nvml


class Driver:
    def kept(self) -> nullcontext[None]:
        return nullcontext()


@pytest.mark.parametrize("early_s", [0.0, 0.01])
def test_a_look_that_comes_a_moment_early_is_not_put_off_to_the_next(
    monkeypatch: pytest.MonkeyPatch, early_s: float
) -> None:
    """Looks are at round seconds; each may come a little sooner after its second than the one before."""
    now, asked = 100.0, threading.Semaphore(0)
    monkeypatch.setattr("engine.observe.gpu_paced.time.monotonic", lambda: now)
    driver, answers = cast("Nvml", Driver()), 0
    paced = Paced(lambda _: asked.release(), 2.0)
    for look in range(7):
        now = 101.0 + look - look * early_s
        paced.look(driver)
        assert paced.settle(10)
        while asked.acquire(blocking=False):
            answers += 1
    assert answers == 4
