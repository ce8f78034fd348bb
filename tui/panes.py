"""The panes of the detail area. A new one is a file, an entry here and a line in `tui.actions`.

Each is imported when it is first looked at: what the first paint does not show must not delay it.
"""

from dataclasses import dataclass
from importlib import import_module

from tui.widgets.pane import Pane


@dataclass(frozen=True, slots=True)
class PaneEntry:
    title: str
    module: str
    name: str

    def load(self) -> type[Pane]:
        found: type[Pane] = getattr(import_module(f"tui.widgets.{self.module}"), self.name)
        return found


PANES = {
    "logs": PaneEntry("Logs", "logs_pane", "LogsPane"),
    "metrics": PaneEntry("Metrics", "metrics_pane", "MetricsPane"),
    "playground": PaneEntry("Playground", "playground_pane", "PlaygroundPane"),
    "load": PaneEntry("Load", "load_pane", "LoadPane"),
    "launch": PaneEntry("Launch", "launch_pane", "LaunchPane"),
    "plan": PaneEntry("Plan", "plan_pane", "PlanPane"),
    "profile": PaneEntry("Profile", "profile_pane", "ProfilePane"),
}
OF_PROBLEM = "profile"
"""What is shown of a profile that is not valid, whichever pane is open: the others have nothing to say of it"""
