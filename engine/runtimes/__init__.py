"""Runtimes: where deployments live. Each turns a launch into a deployment and reports facts about it."""

from typing import TYPE_CHECKING

from engine.runtimes.base import LogSource, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.settings import Settings

__all__ = ["RUNTIMES", "LogSource", "Runtime"]


def _docker(settings: "Settings") -> Runtime:
    from engine.runtimes.docker import DockerRuntime

    return DockerRuntime(settings)


def _process(settings: "Settings") -> Runtime:
    from engine.runtimes.process import ProcessRuntime

    return ProcessRuntime(settings)


RUNTIMES: dict[str, "Callable[[Settings], Runtime]"] = {"docker": _docker, "process": _process}
