"""Prompts that were sent, with what came of them, and prompts in files. Times are seconds since the epoch."""

from dataclasses import dataclass
from pathlib import Path

from engine.inference.prompt import PromptRequest, PromptResult


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """One run of a prompt, as the history has it."""

    id: int
    at: float
    """When it was sent"""
    deployment: str
    run: str
    """Which start of the deployment it was: its id and when it started; another after a restart or a swap"""
    what: str
    """Its image, or program"""
    result: PromptResult

    @property
    def request(self) -> PromptRequest:
        return self.result.request


@dataclass(frozen=True, slots=True)
class SavedPrompt:
    """A prompt in a file that can be shared. `{{name}}` in its texts is a blank to be filled in."""

    name: str
    """[a-z0-9][a-z0-9.-]*; the file's name without its suffix"""
    request: PromptRequest
    """With neither model nor transport: those belong to a deployment"""
    summary: str = ""
    path: Path | None = None
    """Where it was read from; None while it is not saved"""
    shipped: bool = False
    """It came with tritontui: it is not written over"""


@dataclass(frozen=True, slots=True)
class PromptDifference:
    """One figure of two runs of a prompt."""

    title: str
    unit: str
    """`s`, `tokens/s`, `tokens`, or empty"""
    first: float | None
    second: float | None

    @property
    def change(self) -> float | None:
        """Share by which the second is more than the first; None where there is nothing to compare."""
        if self.first is None or self.second is None or not self.first:
            return None
        return self.second / self.first - 1
