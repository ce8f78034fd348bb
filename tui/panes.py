"""The panes of the detail area. A new one is a file, an entry here and a line in `tui.actions`.

Each is imported when it is first looked at: what the first paint does not show must not delay it.
"""

from collections.abc import Callable

from engine.api import EngineApi
from tui.widgets.pane import Pane


def _logs(api: EngineApi, id: str) -> Pane:
    from tui.widgets.logs_pane import LogsPane

    return LogsPane(api, id=id)


def _metrics(api: EngineApi, id: str) -> Pane:
    from tui.widgets.metrics_pane import MetricsPane

    return MetricsPane(api, id=id)


def _playground(api: EngineApi, id: str) -> Pane:
    from tui.widgets.playground_pane import PlaygroundPane

    return PlaygroundPane(api, id=id)


def _launch(api: EngineApi, id: str) -> Pane:
    from tui.widgets.launch_pane import LaunchPane

    return LaunchPane(api, id=id)


def _plan(api: EngineApi, id: str) -> Pane:
    from tui.widgets.plan_pane import PlanPane

    return PlanPane(api, id=id)


PANES: dict[str, tuple[str, Callable[[EngineApi, str], Pane]]] = {
    "logs": ("Logs", _logs),
    "metrics": ("Metrics", _metrics),
    "playground": ("Playground", _playground),
    "launch": ("Launch", _launch),
    "plan": ("Plan", _plan),
}
