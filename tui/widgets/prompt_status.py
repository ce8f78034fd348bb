"""How a prompt and its timings read in words. Knows no widget."""

import json
from collections.abc import Sequence

from textual.content import Content

from engine.deployment import State
from engine.inference.offer import ModelOffer
from engine.inference.prompt import Fault, Timing
from engine.snapshot import Model
from engine.text import clean_line
from tui.widgets.prompt_runs import PromptRun, PromptSession
from tui.widgets.prompt_settings import Mode, model_of, told
from tui.widgets.state import LOOKS

SILENT_S = 3.0
"""An answer of which nothing comes for so long is said to be silent"""
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


def hindrance_to(text: str, session: PromptSession, model: Model | None) -> str:
    """Why this text cannot be sent now; empty when it can."""
    if hindrance := obstacle(model):
        return hindrance
    if session.running is not None:
        return "A prompt is under way: wait for its answer, or press escape to cancel it."
    if not text.strip():
        return "Type a prompt first."
    asked = model_of(session.offer.offer, session.settings.model)
    if session.settings.mode_for(asked) is Mode.TENSORS:
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"The inputs are JSON, names with values: {error}."
    return ""


def told_line(session: PromptSession, asked: ModelOffer | None, note: str) -> Content:
    """How the next prompt is put, and what is asked of the server beside it. `note`: about what the server takes."""
    mode = session.settings.mode_for(asked)
    words = [mode.value]
    turns = len(session.turns) // 2
    if mode is Mode.CHAT:
        if session.editing is not None:
            words.append("in place of the last turn")
        elif turns:
            words.append(f"after {turns} turn{'' if turns == 1 else 's'}")
        else:
            words.append("new conversation")
    said = " · ".join([*words[1:], *told(session.settings, asked), *([note] if note else [])])
    return Content.assemble((words[0], "$text-accent"), f" · {said}" if said else "")


def status_line(run: PromptRun | None, hindrance: str, width: int = 0, *, earlier: bool = False) -> Content:
    """How the prompt stands, with its figures, and then what keeps the next one from being sent.

    `width`: cells after which another line begins; 0 for none. `earlier`: there are others, which are not shown.
    """
    if run is None:
        nothing = "Type a prompt; ctrl+r goes to the earlier ones." if earlier else "Nothing was sent yet."
        return Content(hindrance or nothing)
    word = run.look.word
    if run.result is None:
        word, silent = progress(run), silence(run)
        if silent:
            word += f", {silent} (given up after {run.request.idle_timeout_s:.0f} s)"
    elif run.result.ended_by not in ("", word):
        word = f"{word}, {run.result.ended_by}"
    said = filled([word, *figures(run)], width)
    if "\n" in said:
        said = filled([word, *figures(run, brief=True)], width)
    advice = (hindrance or _advice(run) or lateness(run)) if run.result else ""
    return Content.assemble((f"{run.look.symbol} ", f"${run.look.colour}"), f"{said}\n{advice}" if advice else said)


def _advice(run: PromptRun) -> str:
    """What can be done here about an answer that is none; empty when it is not known."""
    result = run.result
    if result and result.fault is Fault.REFUSED and run.request.history and "context" in result.error:
        return "The conversation may be too long: ctrl+n begins a new one."
    if result and result.ended_by == "length" and run.reasons:
        return "It still reasoned when max_tokens was reached: ctrl+o gives it more."
    return ""


def progress(run: PromptRun) -> str:
    """How one that has not ended stands."""
    if run.cancelling:
        return "cancelling"
    if run.waiting:
        return "waiting for the other's answer"
    if run.timing.tokens_out:
        return "reasoning" if run.reasons else "answering"
    return "waiting for the first token" if run.takes_text else "waiting for the outputs"


def silence(run: PromptRun) -> str:
    """For how long nothing has come of it; empty when that is not worth a word."""
    return f"nothing for {run.silent_s:.0f} s" if run.silent_s >= SILENT_S and not run.cancelling else ""


def figures(run: PromptRun, *, brief: bool = False) -> list[str]:
    """The timings, what matters most first. `brief`: it is not said that the server counted the tokens, as most do."""
    timing = run.timing
    parts = []
    if timing.first_token_s is not None:
        parts.append(f"first {seconds(timing.first_token_s)}")
    if timing.tokens_out and not run.takes_text:
        parts.append("1 response" if timing.tokens_out == 1 else f"{timing.tokens_out:,} responses")
    elif timing.tokens_out:
        if timing.tokens_per_s is not None:
            parts.append(f"{rate(timing)} tok/s")
        tokens_in = "" if timing.tokens_in is None else f"{timing.tokens_in} in, "
        source = "" if brief and timing.counted else f" ({timing.token_source})"
        parts.append(f"{tokens_in}{timing.tokens_out} out{source}")
    if timing.total_s is not None:
        parts.append(f"total {seconds(timing.total_s)}")
    return parts


def lateness(*runs: PromptRun) -> str:
    """By how much their times may be wrong, in a sentence; empty when that is not worth one."""
    late = [run.timing.late_s for run in runs if run.timing.late_s is not None]
    return f"The times may be up to {seconds(max(late))} late: this machine was busy." if late else ""


def filled(parts: Sequence[str], width: int) -> str:
    """The parts on as few lines as hold them; none is broken."""
    lines = [parts[0]]
    for part in parts[1:]:
        if width and len(lines[-1]) + len(part) + 4 > width:
            lines.append(f"  {part}")
        else:
            lines[-1] += f"  {part}"
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """Three digits at most, and tenths of a millisecond where whole ones would hide what differs."""
    if value is None:
        return "–"
    if value < 0.00005:
        return "0 ms"
    if value < 0.9995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.95 else f"{value:.0f} s"


def rate(timing: Timing) -> str:
    value = timing.tokens_per_s
    return "–" if value is None else f"{value:.1f}" if value < 999.95 else f"{value:.0f}"
