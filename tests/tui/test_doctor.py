"""The doctor's screen, driven by keys."""

import threading
from collections.abc import Callable, Sequence

import pytest

from engine.errors import OperationFailed
from engine.finding import Finding, Severity
from tests.tui.driving import on_main, opened, screen_text, shown, told, until
from tests.tui.fake_api import FakeApi
from tui.app import Console
from tui.screens.doctor import Doctor, Findings

DISK = Finding(
    "disk",
    "Too little room on the disk",
    Severity.ERROR,
    "1 GiB of 9 GiB is free.",
    "Free space.",
    "docker system df -v",
)
HEAT = Finding(
    "gpu-health", "GPU 3 is too hot", Severity.WARNING, "88 °C (NVML).", "Look to fans and air.", "nvidia-smi"
)
TOPOLOGY = Finding("gpu-topology", "Some pairs have NVLink", Severity.INFO, "0–1, 2–3 [bold]as it is[/].", "Mind it.")
MEMORY = Finding("memory", "Memory", Severity.OK, "22 GiB of 24 GiB are available.")
AS_FOUND = [MEMORY, TOPOLOGY, HEAT, DISK]
SORTED = [DISK, HEAT, TOPOLOGY, MEMORY]


class Patient(FakeApi):
    """A machine whose findings come one by one, when they are let."""

    def __init__(self, api: FakeApi) -> None:
        super().__init__(api.latest)
        self.let = threading.Semaphore(0)

    def doctor(self, found: Callable[[Finding], None]) -> Sequence[Finding]:
        self.examined += 1
        for finding in AS_FOUND:
            self.let.acquire(timeout=20)
            found(finding)
        self.let.acquire(timeout=20)
        return SORTED


@pytest.fixture
def doctored(api: FakeApi) -> FakeApi:
    api.findings = SORTED
    return api


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_the_gravest_first_and_their_commands_copied(doctored: FakeApi, size: tuple[int, int]) -> None:
    async with Console(lambda: doctored).run_test(size=size, notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("D")
        await shown(pilot, "1 error · 1 warning · 1 to know", "▲ Too little room on the disk", "$ docker system df -v")
        text = screen_text(pilot)
        assert text.index("Errors") < text.index("Too little room") < text.index("Warnings") < text.index("GPU 3")
        await pilot.press("y")
        await told(pilot, "docker system df -v")
        assert pilot.app.clipboard == "docker system df -v"
        await pilot.press("j", "y")
        await until(pilot, lambda: pilot.app.clipboard == "nvidia-smi")
        await pilot.press("j")
        await shown(pilot, "0–1, 2–3 [bold]as it is[/].")
        await pilot.press("y")
        await told(pilot, "This finding has no command.")
        assert pilot.app.clipboard == "nvidia-smi"
        await pilot.press("escape")
        await on_main(pilot)


async def test_findings_show_as_they_come_and_the_cursor_stays(api: FakeApi) -> None:
    patient = Patient(api)
    async with Console(lambda: patient).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("D")
        await shown(pilot, "Looking the machine over …")
        patient.let.release(2)
        await shown(pilot, "Looking the machine over … 1 to know · 1 in order", "· Some pairs have NVLink")
        await pilot.press("j")
        findings = pilot.app.screen.query_one(Findings)
        assert findings.chosen == MEMORY
        patient.let.release(3)
        await shown(pilot, "1 error · 1 warning · 1 to know · 1 in order")
        assert findings.chosen == MEMORY
        await pilot.press("r")
        await until(pilot, lambda: patient.examined == 2)
        await shown(pilot, "Looking the machine over …")
        assert "Memory" not in screen_text(pilot)
        # Closed in the middle of it: what still comes has nowhere to go, and hurts nobody.
        await pilot.press("escape")
        await on_main(pilot)
        patient.let.release(5)
        await pilot.press("j")
        await pilot.pause(0.1)


async def test_what_went_wrong_is_said(doctored: FakeApi) -> None:
    doctored.findings = []
    doctored.doctor_error = OperationFailed("It could not be looked at.", "Try again.")
    async with Console(lambda: doctored).run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("D")
        await shown(pilot, "▲ It could not be looked at. Try again.")
        await pilot.press("y", "j", "G")
        doctored.doctor_error, doctored.findings = None, SORTED
        await pilot.press("r")
        await shown(pilot, "▲ Too little room on the disk")


async def test_it_is_found_by_its_name_and_in_the_help(doctored: FakeApi) -> None:
    async with Console(lambda: doctored).run_test(size=(120, 60)) as pilot:
        await opened(pilot)
        await pilot.press("ctrl+p", *"doctor")
        await shown(pilot, "What this machine lacks to serve models")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Doctor))
        await pilot.press("escape", "question_mark", "G")
        await shown(pilot, "Copy the finding's command")
