"""Fetches the image of what is to be started."""

import time

from engine.operations.progress import told
from engine.operations.waiting import Waiting
from engine.runtimes.base import Runtime
from engine.startup import PhaseProgress

TELL_EVERY_S = 1.0
"""Each is written to the journal"""


def fetch_image(runtime: Runtime, image: str, waiting: Waiting) -> None:
    """Raises what the runtime refuses with, and `Cancelled`. To ask again goes on with what is here already."""
    waiting.detail(image)
    tell_at = time.monotonic()

    def tell(progress: PhaseProgress) -> None:
        nonlocal tell_at
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + TELL_EVERY_S
            waiting.detail(f"{image}: {told(progress)}")

    while not runtime.pull(image, tell, waiting.cancelled):
        waiting.check()
    waiting.detail(image)
