"""What is typed into the form of a load test, and the plan that it comes to. Knows no widget."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.inference.offer import ModelOffer
from engine.inference.prompt import Sampling, Style, Transport
from engine.load.plan_check import wrong_prefix
from engine.load_plan import (
    MOST_IN_FLIGHT,
    MOST_RATE,
    MOST_TOKENS,
    Arrival,
    Lengths,
    Level,
    LoadPlan,
    Objectives,
    Workload,
)
from engine.text import clean_line
from tui.widgets.prompt_settings import parameters, read, written

AUTOMATIC = ""
LOADS = ("closed loop", "rate, Poisson", "rate, constant")
EXACTLY, FREELY, ONLY_EXACTLY = ENDS = ("exactly", "or until it ends", "exactly or fail")
"""The first gives way to the second where the model takes no `ignore_eos`; the third does not"""
_ARRIVALS = dict(zip(LOADS, (Arrival.CLOSED, Arrival.POISSON, Arrival.CONSTANT), strict=True))
MOST_LEVELS = 20
MOST_REQUESTS = 100_000
MOST_SECONDS = 24 * 3600.0
MOST_REPEATS = 20
SAMPLED = ("temperature", "top_p")
"""Of `Sampling`, with fields of their own"""
_UNSAMPLED = ("max_tokens", "ignore_eos", "stop")
"""Of `Sampling`: what the lengths say, and what would cut them short"""
OTHERS = tuple(one.name for one in fields(Sampling) if one.name not in (*SAMPLED, *_UNSAMPLED))
"""The rest of `Sampling`, as `name=value` in one field"""

Values = dict[str, str]
DEFAULTS: Values = {
    "load": LOADS[0],
    "amounts": "1,4,16",
    "requests": "100",
    "seconds": "15",
    "warmup": "1",
    "tokens-in": "128",
    "spread-in": "0",
    "tokens-out": "64",
    "spread-out": "0",
    "end": EXACTLY,
    "ttft": "",
    "itl": "",
    "e2e": "",
    "repeats": "1",
    "seed": "0",
    "prefix": "0",
    "file": "",
    "model": "",
    "lora": "",
    "transport": AUTOMATIC,
    "style": AUTOMATIC,
    "temperature": "",
    "top_p": "",
    "others": "",
}
"""Less than a minute: three levels of at most a quarter of one"""


class FieldError(ValueError):
    """What is wrong with a field, in a sentence."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def plan_of(values: Values, model: ModelOffer | None = None) -> LoadPlan:
    """`model`: what the one that is asked takes, when its server has said so. Raises `FieldError`."""
    if model and not model.styles:
        raise FieldError("model", f"{clean_line(model.name)} takes tensors only, and a load test sends text.")
    requests = _optional(values, "requests", "Requests", 1, MOST_REQUESTS, whole=True)
    seconds = _optional(values, "seconds", "Seconds", 1, MOST_SECONDS)
    if requests is None and seconds is None:
        raise FieldError("requests", "Give a number of requests, or of seconds, or both: otherwise it would not end.")
    workload = _workload(values)
    return LoadPlan(
        levels=_levels(values),
        requests=None if requests is None else int(requests),
        duration_s=seconds,
        warmup=int(_number(values, "warmup", "Warm-up", 0, MOST_REQUESTS, whole=True)),
        repeats=int(_number(values, "repeats", "Repeats", 1, MOST_REPEATS, whole=True)),
        workload=workload,
        sampling=Sampling(ignore_eos=values["end"] != FREELY, **_sampling(values, model)),
        insists_on_ignore_eos=values["end"] == ONLY_EXACTLY,
        objectives=Objectives(
            ttft_s=_milliseconds(values, "ttft", "TTFT"),
            itl_s=_milliseconds(values, "itl", "ITL"),
            e2e_s=_optional(values, "e2e", "E2E", 0.001, MOST_SECONDS),
        ),
        style=Style(values["style"]) if values["style"] else None,
        model=values["model"].strip() or None,
        lora=values["lora"].strip() or None,
        transport=Transport(values["transport"]) if values["transport"] else None,
    )


def _workload(values: Values) -> Workload:
    file = values["file"].strip()
    workload = Workload(
        prompt=_lengths(values, "in", "Tokens in"),
        output=_lengths(values, "out", "Tokens out"),
        shared_prefix=int(_number(values, "prefix", "Shared prefix", 0, MOST_TOKENS, whole=True)),
        seed=int(_number(values, "seed", "Seed", 0, 2**32 - 1, whole=True)),
        file=Path(file).expanduser() if file else None,
    )
    if wrong := wrong_prefix(workload):
        raise FieldError("prefix", wrong)
    return workload


def values_of(plan: LoadPlan) -> Values:
    """What would have to be typed for that plan."""
    arrival = plan.levels[0].arrival if plan.levels else Arrival.CLOSED
    workload, wanted = plan.workload, plan.objectives
    return {
        "load": next(word for word, meant in _ARRIVALS.items() if meant is arrival),
        "amounts": ",".join(f"{level.amount:g}" for level in plan.levels),
        "requests": _typed(plan.requests),
        "seconds": _typed(plan.duration_s),
        "warmup": _typed(plan.warmup),
        "tokens-in": _typed(workload.prompt.mean),
        "spread-in": _typed(workload.prompt.spread),
        "tokens-out": _typed(workload.output.mean),
        "spread-out": _typed(workload.output.spread),
        "end": FREELY if not plan.sampling.ignore_eos else ONLY_EXACTLY if plan.insists_on_ignore_eos else EXACTLY,
        "ttft": _typed(None if wanted.ttft_s is None else wanted.ttft_s * 1000),
        "itl": _typed(None if wanted.itl_s is None else wanted.itl_s * 1000),
        "e2e": _typed(wanted.e2e_s),
        "repeats": _typed(plan.repeats),
        "seed": _typed(workload.seed),
        "prefix": _typed(workload.shared_prefix),
        "file": str(workload.file or ""),
        "model": plan.model or "",
        "lora": plan.lora or "",
        "transport": plan.transport.value if plan.transport else AUTOMATIC,
        "style": plan.style.value if plan.style else AUTOMATIC,
        **{name: written(getattr(plan.sampling, name)) for name in SAMPLED},
        "others": " ".join(
            f"{name}={written(value)}" for name in OTHERS if (value := getattr(plan.sampling, name)) is not None
        ),
    }


def _levels(values: Values) -> tuple[Level, ...]:
    arrival = _ARRIVALS[values["load"]]
    closed = arrival is Arrival.CLOSED
    typed = values["amounts"].replace(",", " ").split()
    if not typed:
        raise FieldError("amounts", "Give one amount of load or several, such as 1,4,16.")
    if len(typed) > MOST_LEVELS:
        raise FieldError("amounts", f"A test goes through at most {MOST_LEVELS} levels: these are {len(typed)}.")
    title, most = ("At once", float(MOST_IN_FLIGHT)) if closed else ("Per second", MOST_RATE)
    amounts = [_parsed(one, "amounts", title, 1 if closed else 0.001, most, whole=closed) for one in typed]
    twice = next((amount for amount in amounts if amounts.count(amount) > 1), None)
    if twice is not None:
        raise FieldError("amounts", f"{title}: {twice:g} is there twice. For the same again, give repeats.")
    return tuple(Level(arrival, amount) for amount in amounts)


def _sampling(values: Values, model: ModelOffer | None) -> dict[str, Any]:
    """What was typed of it, each value as the model takes it."""
    typed = [(name, name, values[name].strip()) for name in SAMPLED if values[name].strip()]
    for part in values["others"].replace(",", " ").split():
        name, sign, text = part.partition("=")
        if not sign or not text or name not in OTHERS:
            raise FieldError("others", f"Others are {', '.join(OTHERS)}, each as top_k=40: {clean_line(part)} is not.")
        typed.append(("others", name, text))
    taken = {parameter.name: parameter for parameter in parameters(model)}
    found = {}
    for field, name, text in typed:
        if name not in taken:
            asked = clean_line(model.name) if model else "the model"
            raise FieldError(field, f"{asked} takes no {name}: leave it out.")
        try:
            found[name] = read(text, taken[name])
        except ValueError as error:
            raise FieldError(field, str(error)) from None
    return found


def _lengths(values: Values, way: str, title: str) -> Lengths:
    mean = _number(values, f"tokens-{way}", title, 1, MOST_TOKENS)
    return Lengths(mean, _number(values, f"spread-{way}", f"{title} ±", 0, MOST_TOKENS))


def _milliseconds(values: Values, field: str, title: str) -> float | None:
    found = _optional(values, field, title, 0.001, MOST_SECONDS * 1000)
    return None if found is None else found / 1000


def _optional(
    values: Values, field: str, title: str, least: float, most: float, *, whole: bool = False
) -> float | None:
    return _number(values, field, title, least, most, whole=whole) if values[field].strip() else None


def _number(values: Values, field: str, title: str, least: float, most: float, *, whole: bool = False) -> float:
    return _parsed(values[field].strip(), field, title, least, most, whole=whole)


def _parsed(text: str, field: str, title: str, least: float, most: float, *, whole: bool) -> float:
    """Raises `FieldError`."""
    wanted = f"{'a whole number' if whole else 'a number'} from {least:g} to {most:,.0f}"
    try:
        value = float(int(text) if whole else float(text))
    except (ValueError, OverflowError):
        raise FieldError(field, f"{title} is {wanted}{f': {text} is not' if text else ''}.") from None
    if not least <= value <= most:  # nor is "nan"
        raise FieldError(field, f"{title} is {wanted}: {text} is not.")
    return value


def _typed(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"
