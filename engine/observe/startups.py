"""The starts of all deployments: followed while they go on, and kept with what the engines told of themselves."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.deployment import Deployment, Lifecycle, State
from engine.drift import facts
from engine.observe.aside import aside
from engine.observe.startup_files import model_folder
from engine.observe.startup_watch import StartupWatch, read_beginning
from engine.runtimes.base import Runtime
from engine.snapshot import Model
from engine.startup import Startup

if TYPE_CHECKING:
    from engine.launches import Phases

_Run = tuple[str, str, str, float | None]


class Startups:
    """For one event loop. What starts is followed in threads of its own; nothing is done for what is ready.

    Of one that was ready before this began, the beginning of its log is read, once.
    """

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        usual: "Callable[[Deployment], Phases] | None",
        changed: Callable[[], None],
    ) -> None:
        """`usual`: of past starts; it may block. `changed`: told, from any thread, when `of` says something new."""
        self._runtimes = runtimes
        self._usual = usual
        self._changed = changed
        self._watches: dict[_Run, StartupWatch] = {}
        self._left: dict[_Run, Startup] = {}
        """How far those had come that were not ready in time: they are not followed any more"""
        self._read: dict[_Run, Startup | None] = {}
        self._unread: dict[_Run, Deployment] = {}
        self._nudge = asyncio.Event()

    def of(self, deployment: Deployment) -> Startup | None:
        """Of its present run; None when there is no run, or nothing is known of its start."""
        run = _run(deployment)
        watch = self._watches.get(run)
        return watch.startup() if watch else self._read.get(run) or self._left.get(run)

    def follow(self, models: Iterable[Model], profiles: Mapping[str, str | None]) -> None:
        """What there is now: only of those that have been asked at least once whether they are ready.

        `profiles`: the models that profiles name, by the profile's name.
        """
        running = {_run(one.deployment): one for one in models if one.deployment and _runs(one.deployment)}
        for run in self._watches.keys() - running.keys():
            self._watches.pop(run).close()
        for known in (self._read, self._unread, self._left):
            for run in known.keys() - running.keys():
                del known[run]
        for run, model in running.items():
            watch, is_ready = self._watches.get(run), model.state in (State.READY, State.ASLEEP)
            if watch and is_ready:
                watch.ready(time.time())
            elif watch and watch.goes_on and model.state is State.UNREACHABLE:
                self._left[run] = self._watches.pop(run).startup()
                watch.close()
            elif not watch and model.deployment and run not in self._read and run not in self._unread:
                self._begin(run, model.deployment, profiles.get(model.name), is_ready=is_ready, state=model.state)

    def _begin(self, run: _Run, deployment: Deployment, model: str | None, *, is_ready: bool, state: State) -> None:
        runtime = self._runtimes.get(deployment.runtime)
        if runtime is None:
            return
        if is_ready:
            self._unread[run] = deployment
            self._nudge.set()
        elif state is State.STARTING:
            usual = self._usual
            self._watches[run] = StartupWatch(
                runtime,
                deployment,
                files=partial(_files, deployment, model),
                usual=partial(usual, deployment) if usual else None,
                changed=self._changed,
            )

    async def read(self) -> None:
        """The beginnings of logs, one after the other. Does not end."""
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            while self._unread:
                run, deployment = next(iter(self._unread.items()))
                startup = await aside(read_beginning, self._runtimes[deployment.runtime], deployment)
                if self._unread.pop(run, None):  # otherwise it has ended meanwhile
                    self._read[run] = startup
                    self._changed()

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()


def _files(deployment: Deployment, model: str | None) -> Path | None:
    known = facts(deployment.launch_facts)
    env = {key.removeprefix("env."): value for key, value in known.items() if key.startswith("env.")}
    # Each is kept as its source and `ro` or `rw`.
    mounts = {
        key.removeprefix("mount."): value.rpartition(" ")[0] for key, value in known.items() if key.startswith("mount.")
    }
    return model_folder(deployment.runtime, env, mounts, model)


def _runs(deployment: Deployment) -> bool:
    return deployment.lifecycle is Lifecycle.RUNNING


def _run(deployment: Deployment) -> _Run:
    """Differs for each run of a deployment."""
    return deployment.runtime, deployment.name, deployment.id, deployment.started_at
