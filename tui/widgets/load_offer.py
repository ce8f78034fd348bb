"""What the form of a load test offers, as the server says what it takes. Knows no widget."""

from collections.abc import Sequence

from engine.inference.offer import ModelOffer, Offer
from engine.inference.prompt import Style, Transport
from engine.load_plan import LoadPlan
from engine.text import clean_line
from tui.widgets.load_fields import AUTOMATIC, ENDS, FREELY, LOADS, OTHERS, SAMPLED
from tui.widgets.prompt_settings import model_of, sampling_told

Option = tuple[str, str]
"""How a value reads, and the value"""


def options(offer: Offer | None, model: ModelOffer | None) -> dict[str, Sequence[Option]]:
    """Of each field that is a choice; `model`: the one that is asked. Everything while nothing is known."""
    styles = model.styles if model else tuple(Style)
    ways = offer.transports if offer else tuple(Transport)
    return {
        "load": [(word, word) for word in LOADS],
        "end": [(word, word) for word in (ENDS if takes(model, "ignore_eos") else (FREELY,))],
        "transport": [(_automatic(ways[0] if offer and ways else None), AUTOMATIC), *((way, way) for way in ways)],
        "style": [(_automatic(styles[0] if model and styles else None), AUTOMATIC), *((one, one) for one in styles)],
        "model": [
            (_automatic(offer.models[0].name if offer and offer.models else None), AUTOMATIC),
            *((clean_line(one.name), one.name) for one in (offer.models if offer else ()) if one.styles),
        ],
        "lora": [("none", AUTOMATIC), *((clean_line(name), name) for name in (model.loras if model else ()))],
    }


def takes(model: ModelOffer | None, name: str) -> bool:
    """One of `Sampling`; anything while that is not known."""
    return model is None or any(parameter.name == name for parameter in model.parameters)


def left_out(model: ModelOffer | None) -> frozenset[str]:
    """Fields that mean nothing to it."""
    if model is None:
        return frozenset()
    gone = {name for name in SAMPLED if not takes(model, name)}
    if not any(takes(model, name) for name in OTHERS):
        gone.add("others")
    if not model.loras:
        gone.add("lora")
    return frozenset(gone)


def server_default(model: ModelOffer | None, name: str) -> str:
    """What the server does when it is not told, in a word; empty where that is not known or long."""
    found = next((one.default for one in model.parameters if one.name == name), "") if model else ""
    return found.partition(",")[0]


def to_whom(plan: LoadPlan, offer: Offer | None) -> str:
    """E.g. `to prose by triton-http as completion; temperature 0.5`, the server's own choices where they are known."""
    model = model_of(offer, plan.model)
    name = plan.model or (model.name if model else "")
    way = plan.transport or (offer.transports[0] if offer and offer.transports else None)
    style = plan.style or (model.styles[0] if model and model.styles else None)
    parts = [f"to {clean_line(name)}"] if name else []
    parts += [f"with LoRA {clean_line(plan.lora)}"] if plan.lora else []
    parts += [f"by {way.value}"] if way else []
    parts += [f"as {style.value}"] if style else []
    sampling = [told for told in sampling_told(plan.sampling) if not told.startswith(("max_tokens", "ignore_eos"))]
    return "; ".join(filter(None, (" ".join(parts), ", ".join(sampling))))


def caution(plan: LoadPlan, offer: Offer | None) -> str:
    """What the server would probably refuse, in a sentence; empty when nothing is known against it."""
    model = model_of(offer, plan.model)
    if model is None:
        unknown = plan.model and offer and not offer.left_out
        return f"The server tells of no model {clean_line(plan.model or '')}." if unknown else ""
    if plan.lora and plan.lora not in model.loras:
        return f"{clean_line(model.name)} tells of no LoRA adapter {clean_line(plan.lora)}."
    if plan.style and plan.style not in model.styles:
        return f"{clean_line(model.name)} is not asked as {plan.style.value}."
    workload = plan.workload
    wanted = workload.output.mean + (0 if workload.file else workload.prompt.mean)
    most = model.context_tokens
    if most is not None and wanted > most:
        return f"{wanted:,.0f} tokens a request are more than the {most:,} that {clean_line(model.name)} takes."
    return ""


def _automatic(word: str | None) -> str:
    return f"automatic: {clean_line(word)}" if word else "automatic"
