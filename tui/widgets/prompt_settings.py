"""How prompts are put to a deployment: what the operator chose in place of the server's own ways. Knows no widget."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import PromptRequest, Sampling, Style, Transport, Turn
from engine.prompts.options import OPTIONS
from engine.text import clean_line


class Mode(StrEnum):
    CHAT = "chat"
    """Each prompt follows the turns before it"""
    SINGLE = "single"
    """Each prompt stands alone"""
    COMPLETION = "completion"
    """The model goes on with the text"""
    TENSORS = "tensors"
    """The model takes no text: its inputs are typed as JSON"""


@dataclass(frozen=True, slots=True)
class PromptSettings:
    mode: Mode | None = None
    """None: the first that the model can be asked in"""
    model: str | None = None
    transport: Transport | None = None
    lora: str | None = None
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    also: str = ""
    """Another deployment that gets the same prompts, for comparison"""
    at_once: bool = False
    """The other is asked at the same time, not after the first has answered"""

    def request(self, text: str, history: tuple[Turn, ...], model: ModelOffer | None) -> PromptRequest:
        """`model`: the one that is asked, when the server has said what it takes."""
        mode, sampling = self.mode_for(model), self.sampling_for(model)
        if mode is Mode.TENSORS:
            return PromptRequest("", self.model, sampling=sampling, tensors=text, transport=self.transport)
        knows_chat = bool(model and Style.CHAT in model.styles)
        style = Style.COMPLETION if mode is Mode.COMPLETION else Style.CHAT if knows_chat else None
        return PromptRequest(
            text,
            self.model,
            self.system,
            history if mode is Mode.CHAT else (),
            style,
            sampling,
            self.lora,
            transport=self.transport,
        )

    def sampling_for(self, model: ModelOffer | None) -> Sampling:
        """What was chosen; our own limit of tokens gives way to a lower one of the model."""
        most = next((one.most for one in model.parameters if one.name == "max_tokens"), None) if model else None
        if most is None or self.sampling.max_tokens != Sampling().max_tokens or self.sampling.max_tokens <= most:
            return self.sampling
        return replace(self.sampling, max_tokens=int(most))

    def mode_for(self, model: ModelOffer | None) -> Mode:
        """What was chosen, where the model can be asked so."""
        possible = modes_of(model)
        return self.mode if self.mode in possible else possible[0]

    def next_mode(self, model: ModelOffer | None) -> Mode:
        possible = modes_of(model)
        return possible[(possible.index(self.mode_for(model)) + 1) % len(possible)]

    def recalled(self, request: PromptRequest) -> "PromptSettings":
        """As that request was put."""
        mode = self.mode
        if request.tensors is not None:
            mode = Mode.TENSORS
        elif request.style is Style.COMPLETION:
            mode = Mode.COMPLETION
        elif request.history:
            mode = Mode.CHAT
        elif mode in (Mode.COMPLETION, Mode.TENSORS):
            mode = None
        return replace(
            self,
            mode=mode,
            model=request.model,
            transport=request.transport,
            lora=request.lora,
            system=request.system,
            sampling=request.sampling,
        )


def modes_of(model: ModelOffer | None) -> tuple[Mode, ...]:
    """The ways in which a model can be asked, the usual first; all but tensors while that is not known."""
    if model is None:
        return (Mode.CHAT, Mode.SINGLE, Mode.COMPLETION)
    if not model.styles:
        return (Mode.TENSORS,)
    chat = (Mode.CHAT, Mode.SINGLE) if Style.CHAT in model.styles else ()
    completion = (Mode.COMPLETION,) if Style.COMPLETION in model.styles else ()
    return (*completion, *chat) if model.styles[0] is Style.COMPLETION else (*chat, *completion)


def model_of(offer: Offer | None, name: str | None) -> ModelOffer | None:
    """The one that a prompt without or with that name is for."""
    if not offer or not offer.models:
        return None
    if name is None:
        return offer.models[0]
    # An adapter can be named in place of a model.
    return next((model for model in offer.models if model.name == name or name in model.loras), None)


def told(settings: PromptSettings, model: ModelOffer | None) -> list[str]:
    """Everything that is asked of the server beside the text, each in a few words."""
    mode = settings.mode_for(model)
    parts = [f"model {clean_line(settings.model)}"] if settings.model else []
    if settings.transport:
        parts.append(f"by {settings.transport.value}")
    if mode is not Mode.TENSORS:
        parts += sampling_told(settings.sampling_for(model))
        if settings.lora:
            parts.append(f"lora {clean_line(settings.lora)}")
        if settings.system:
            parts.append(f"system “{shortened(settings.system, 24)}”")
    if settings.also:
        parts.append(f"also to {clean_line(settings.also)}, {'at once' if settings.at_once else 'after it'}")
    return parts


def sampling_told(sampling: Sampling) -> list[str]:
    """The most tokens always, as that is our limit and not the server's; of the rest what is not left to the server."""
    usual = Sampling()
    parts = []
    for one in fields(Sampling):
        value = getattr(sampling, one.name)
        if one.name == "max_tokens" or value != getattr(usual, one.name):
            parts.append(one.name if value is True else f"{one.name} {written(value)}")
    return parts


def shortened(text: str, most: int) -> str:
    line = clean_line(text)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


# -- what is typed ----------------------------------------------------------------------------------------------------

STOP_BETWEEN = "|"
BEYOND_READING = 1e12
"""Limits so far apart tell nobody anything"""
_OPTIONS = {option.name: option for option in OPTIONS}


def parameters(model: ModelOffer | None) -> list[Parameter]:
    """Those that the model takes; all that there are while that is not known, with what holds for any server."""
    if model is None:
        return [Parameter(option.name, option.least) for option in OPTIONS]
    offered = {one.name: one for one in model.parameters}
    return [offered[option.name] for option in OPTIONS if option.name in offered]


def meaning(name: str) -> str:
    return _OPTIONS[name].text if name in _OPTIONS else ""


def written(value: object) -> str:
    """As it is typed in the form."""
    if isinstance(value, tuple):
        return STOP_BETWEEN.join(part.replace("\\", "\\\\").replace("\n", "\\n") for part in value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return "" if value is None else str(value)


def read(text: str, parameter: Parameter) -> object:
    """The value that was typed for `Sampling`; raises ValueError with a sentence."""
    name, text = parameter.name, text.strip() if parameter.name != "stop" else text
    if name == "stop":
        parts = (part.replace("\\n", "\n").replace("\\\\", "\\") for part in text.split(STOP_BETWEEN))
        return tuple(part for part in parts if part)
    if not text:
        if name == "max_tokens":
            raise ValueError("max_tokens is a whole number from 1: it cannot be left out.")
        return None
    try:
        value = int(text) if _OPTIONS[name].kind is int else float(text)
    except ValueError:
        kind = "a whole number" if _OPTIONS[name].kind is int else "a number"
        raise ValueError(f"{name} is {kind}{_between(parameter)}: {shortened(text, 20)!r} is not.") from None
    # What is no number at all (nan) is within no limits either.
    least, most = parameter.least, parameter.most
    if not (float("-inf") if least is None else least) <= value <= (float("inf") if most is None else most):
        why = f" ({parameter.why})" if parameter.why else ""
        raise ValueError(f"{name} is{_between(parameter)}{why}: {shortened(text, 20)} is not.")
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{name} is a number: {shortened(text, 20)} is none.")
    return value


def limits(parameter: Parameter) -> str:
    """What can be typed, and what it is when nothing is, in a few words."""
    between = _between(parameter).strip()
    default = f"default {parameter.default}" if parameter.default else ""
    return ", ".join(part for part in (between, default, parameter.why) if part)


def _between(parameter: Parameter) -> str:
    least, most = parameter.least, parameter.most
    if least is not None and most is not None:
        if most - least > BEYOND_READING:
            return ""
        return f" {least:.12g} to {most:.12g}"
    return f" from {least:.12g}" if least is not None else f" at most {most:.12g}" if most is not None else ""
