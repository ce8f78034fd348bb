"""How a prompt and its timings read in words. Knows no widget."""

from textual.content import Content

from engine.deployment import State
from engine.inference.prompt import Timing
from engine.snapshot import Model
from engine.text import clean_line
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.state import LOOKS

_ADVICE = {
    State.STARTING: "it answers prompts when it is ready",
    State.STOPPING: "start it again to send prompts",
    State.UNREACHABLE: "its server does not answer",
}


def obstacle(model: Model | None) -> str:
    """Why no prompt can be sent to this deployment now; empty when one can."""
    if model is None:
        return "Select a model to send it a prompt."
    if model.state is State.READY:
        return ""
    advice = _ADVICE.get(model.state, "start it to send prompts")
    word = "not started" if model.state is State.ABSENT else LOOKS[model.state].word
    return f"{clean_line(model.name)} is {word}: {advice}."


def status_line(run: PromptRun | None, hindrance: str) -> Content:
    """How the prompt stands, with its figures, and then what keeps the next one from being sent."""
    if run is None:
        return Content(hindrance or "Nothing was sent yet.")
    word = run.look.word
    if run.result is None:
        word = "cancelling" if run.cancelling else "answering" if run.text else "waiting for the first token"
    elif run.result.finish_reason:
        word = f"{word}, {run.result.finish_reason}"
    said = "  ".join(part for part in (word, figures(run)) if part)
    trouble = f"\n{hindrance}" if hindrance and run.result is not None else ""
    return Content.assemble((f"{run.look.symbol} ", f"${run.look.colour}"), said + trouble)


def figures(run: PromptRun) -> str:
    """The timings on one line, what matters most first."""
    timing = run.timing
    parts = []
    if timing.first_token_s is not None:
        parts.append(f"first {seconds(timing.first_token_s)}")
    if timing.tokens_per_s is not None:
        parts.append(f"{rate(timing)} tok/s")
    if timing.total_s is not None:
        parts.append(f"total {seconds(timing.total_s)}")
    if timing.tokens_out:
        tokens_in = "" if timing.tokens_in is None else f"{timing.tokens_in} in, "
        parts.append(f"{tokens_in}{timing.tokens_out} out ({timing.token_source})")
    return "  ".join(parts)


def seconds(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def rate(timing: Timing) -> str:
    value = timing.tokens_per_s
    return "–" if value is None else f"{value:.1f}" if value < 999.95 else f"{value:.0f}"
