"""Screens that stay in sight, dimmed, behind a dialog."""

from textual.screen import Screen, ScreenResultType


class Behind(Screen[ScreenResultType]):
    """Of what changes in it while it is behind another screen, that alone is painted.

    Textual hands what has changed to the screen in front, and marks it as changed once more: once all of it was, it is
    painted wholly with every change that follows.
    """

    def _compositor_refresh(self) -> None:
        super()._compositor_refresh()
        if self is not self.app.screen:
            self._repaint_required = False
            self._repaint_regions.clear()

    def on_screen_suspend(self) -> None:
        """The screen in front shows the messages, perhaps at another place."""
        for messages in self.query("ToastRack"):
            messages.display = False
