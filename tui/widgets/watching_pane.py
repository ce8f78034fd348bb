"""A pane about the selected model's profile, which looks now and then whether its file has changed."""

from textual import work

from engine.api import ProfileSource
from engine.errors import EngineError
from tui.widgets.pane import Pane

LOOK_EVERY_S = 2.0
Source = ProfileSource | str
"""The file, or the sentence that says why it cannot be read"""


class WatchingPane(Pane):
    subject: str | None = None
    _source: Source | None = None
    _reading: bool = False

    def on_mount(self) -> None:
        self.set_interval(LOOK_EVERY_S, self.look_again)

    def look_at(self, name: str | None) -> bool:
        """Begins with another profile; True when it is another."""
        if name == self.subject:
            return False
        self.subject, self._source = name, None
        self.look_again()
        return True

    def look_again(self) -> None:
        """One look at a time: a folder that does not answer must not take ever more threads."""
        if self.subject and self.display and not self._reading:
            self._reading = True
            self._read(self.subject)

    @work(thread=True, group="source")
    def _read(self, name: str) -> None:
        try:
            source: Source = self.api.profile_source(name)
        except EngineError as error:
            source = str(error)
        self.app.call_from_thread(self._take_source, name, source)

    def _take_source(self, name: str, source: Source) -> None:
        self._reading = False
        if name != self.subject:
            self.look_again()  # another was chosen meanwhile
        elif source != self._source:
            self._source = source
            self.source_changed(source)

    def source_changed(self, source: Source) -> None:
        """It was read for the first time, or is not what it was."""
        raise NotImplementedError
