"""Finds deployments, wherever they live."""

from collections.abc import Mapping

from engine.catalog import NAME
from engine.deployment import Deployment, precedence
from engine.errors import NotFound, Refused, RuntimeUnreachable
from engine.runtimes.base import Runtime
from engine.text import clean_line

Place = tuple[Runtime, Deployment]


class Deployments:
    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self.runtimes = runtimes

    def locate(self, name: str) -> Place | None:
        """Where the deployment lives; the one that is shown, when each runtime has one of that name.

        Raises `RuntimeUnreachable` when it may live where nobody answers.
        """
        silent: RuntimeUnreachable | None = None
        found: list[Place] = []
        for runtime in self.runtimes.values():
            try:
                found += [(runtime, deployment) for deployment in runtime.deployments() if deployment.name == name]
            except RuntimeUnreachable as error:
                silent = error
        if silent and not found:
            raise RuntimeUnreachable(
                f"{name} is not among the deployments that can be seen. {silent.what}", silent.remedy
            ) from silent
        return max(found, key=lambda place: precedence(place[1]), default=None)

    def require(self, name: str) -> Place:
        """As `locate`, but raises `NotFound` when there is none, and `Refused` for a foreign one."""
        self.check_name(name)
        found = self.locate(name)
        if not found:
            raise NotFound(f"{name} has not been started: there is no deployment of that name.", "See `tritontui ls`.")
        return found

    def watched(self, name: str) -> Place:
        """As `require`, for what only looks: a foreign one, too."""
        return self._foreign(name) or self.require(name)

    def check_name(self, name: str) -> None:
        """Raises `Refused` when it is a foreign one's, and `NotFound` when it can be no deployment's."""
        if self._foreign(name):
            raise Refused(
                f"{clean_line(name)} was started by hand, and is only watched.",
                f"`tritontui adopt {clean_line(name)}` makes it a deployment, which can be changed.",
            )
        if not NAME.fullmatch(name):
            raise NotFound(f"{clean_line(name)} can be no deployment's name.", "`tritontui ls` shows those that exist.")

    def _foreign(self, name: str) -> Place | None:
        for runtime in self.runtimes.values() if "/" in name else ():
            for deployment in runtime.foreign():
                if deployment.name == name:
                    return runtime, deployment
        return None

    def beside(self, name: str, wanted: str) -> Place | None:
        """As `locate`; that a runtime other than the `wanted` one is silent does not hinder."""
        try:
            return self.locate(name)
        except RuntimeUnreachable:
            runtime = self.runtimes[wanted]
            return next(((runtime, found) for found in runtime.deployments() if found.name == name), None)

    def on(self, runtime: str, name: str) -> Deployment | None:
        return next((found for found in self.runtimes[runtime].deployments() if found.name == name), None)
