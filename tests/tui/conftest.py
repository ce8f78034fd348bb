"""What several files of the console's tests share."""

import pytest

from tests.tui.fake_api import NOW, FakeApi, snapshot
from tests.tui.operations_at_hand import OTHERS
from tui import format as write


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*OTHERS))
