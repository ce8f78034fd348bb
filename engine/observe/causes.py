"""Why what has ended did so: each such run is diagnosed once, beside the loop that asks."""

import asyncio
from collections.abc import Callable

from engine.deployment import Deployment
from engine.diagnosis import Diagnosis
from engine.errors import EngineError
from engine.observe.aside import aside

RETRY_S = 10.0
"""After a log that could not be read"""
_Run = tuple[str, float | None, float | None, int | None]


class Causes:
    """For one event loop: `of` may be called as often as a picture is made, `follow` runs beside it."""

    def __init__(self, diagnose: Callable[[Deployment], Diagnosis]) -> None:
        """`diagnose` blocks, and raises `EngineError`."""
        self._diagnose = diagnose
        self._known: dict[tuple[str, str], tuple[_Run, Diagnosis]] = {}
        """By runtime and name: of the last run that was looked into"""
        self._wanted: dict[tuple[str, str], Deployment] = {}
        self._nudge = asyncio.Event()

    def of(self, deployment: Deployment) -> Diagnosis | None:
        """Of a deployment that has ended; None while it is not known."""
        where = deployment.runtime, deployment.name
        run, diagnosis = self._known.get(where, (None, None))
        if run == _run(deployment):
            return diagnosis
        self._wanted[where] = deployment
        self._nudge.set()
        return None

    async def follow(self, news: Callable[[], None]) -> None:
        """Looks into what `of` was asked for, one after the other; `news` when more is known. Does not end."""
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            while self._wanted:
                # Taken out first: what cannot be looked into must not keep the others waiting.
                where, deployment = self._wanted.popitem()
                try:
                    diagnosis = await aside(self._diagnose, deployment)
                except EngineError:  # its runtime's own status says why; it is asked for again
                    await asyncio.sleep(RETRY_S)
                    continue
                self._known[where] = _run(deployment), diagnosis
                if (wanted := self._wanted.get(where)) and _run(wanted) == _run(deployment):  # asked for meanwhile
                    del self._wanted[where]
                news()


def _run(deployment: Deployment) -> _Run:
    """Differs for each run of a deployment."""
    return deployment.id, deployment.started_at, deployment.finished_at, deployment.exit_code
