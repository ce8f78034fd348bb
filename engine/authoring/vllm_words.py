"""The arguments of vLLM's server as engine options."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.stacks.vllm_options import table
from engine.text import clean_line

MOST_NESTED = 100
"""Brackets in a value: more are no options, and exhaust the readers of JSON and YAML"""
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?\d+\.\d+|-?\.\d+")
_TRUTH = {"true": True, "false": False}
SECRETS = {"api_key": "VLLM_API_KEY", "hf_token": "HF_TOKEN"}
"""Options that hold a secret, and the variables by which vLLM takes it too"""
_TEXTS = ("revision", "tokenizer_revision", "code_revision", "served_model_name", "chat_template", *SECRETS)
"""Texts, though they may look like numbers"""
_SEVERAL = ("served_model_name", "lora_modules", "api_key", "middleware", "allowed_origins", "prompt_adapters")
_REPEATED = ("middleware",)


@dataclass(slots=True)
class VllmWords:
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """By their names with underscores"""
    notes: list[str] = field(default_factory=list)


def read_words(words: Sequence[str], settle: Callable[[str], str]) -> VllmWords:
    """What follows `vllm serve`, or the module of its server. `settle`: replaces references, but not in secrets."""
    return _Reader(list(words), settle).read()


class _Reader:
    def __init__(self, words: list[str], settle: Callable[[str], str]) -> None:
        self._rest = words
        self._settle = settle
        self._found = VllmWords()

    def read(self) -> VllmWords:
        found = self._found
        while self._rest:
            word = self._rest.pop(0)
            if not _is_option(word):
                self._bare(word)
                continue
            flag, equals, attached = word.partition("=")
            name, dot, inner = flag.lstrip("-").partition(".")
            if flag.startswith("-O"):
                self._optimization(word)
                continue
            if not flag.startswith("--"):
                if name not in table().short:
                    self._unknown(flag, attached=bool(equals))
                    continue
                name = table().short[name]
            key = name.replace("-", "_")
            if key.startswith("no_") and key[3:] in table().booleans:
                found.options[key[3:]] = False
                continue
            value = self._parsed(key, attached) if equals else self._taken(key)
            if key == "model":
                found.model = str(value)
            elif key in _REPEATED and key in found.options:
                found.options[key] += value
            else:
                found.options[key + dot + inner] = value
        return found

    def _bare(self, word: str) -> None:
        if not self._found.model:
            self._found.model = self._settle(word)
        elif word.strip():
            self._found.notes.append(f"`{clean_line(self._settle(word))}` is left out: it belongs to no option.")

    def _unknown(self, flag: str, *, attached: bool) -> None:
        """Its value is not told: after the image, `-e` may hold a secret."""
        if not attached and self._rest and not _is_option(self._rest[0]):
            self._rest.pop(0)
        self._found.notes.append(
            f"`{clean_line(flag)}` is left out: vLLM has no such option, and Docker's own stand first."
        )

    def _optimization(self, word: str) -> None:
        level = self._rest.pop(0) if word == "-O" and self._rest and not _is_option(self._rest[0]) else ""
        self._found.notes.append(
            f"`{clean_line(f'{word} {level}'.strip())}` is left out: write it as `optimization_level` or, where vLLM is"
            " older, as `compilation_config`."
        )

    def _taken(self, key: str) -> Any:
        """The words after the option that belong to it."""
        rest = self._rest
        if key in table().booleans:
            return _TRUTH[rest.pop(0).lower()] if rest and rest[0].lower() in _TRUTH else True
        values: list[Any] = []
        while rest and not _is_option(rest[0]) and (not values or key in _SEVERAL):
            values.append(self._parsed(key, rest.pop(0)))
        if len(values) > 1 or key in ("lora_modules", *_REPEATED):
            return values
        return values[0] if values else True

    def _parsed(self, key: str, text: str) -> Any:
        return text if key in SECRETS else parsed(key, self._settle(text))


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _WHOLE.fullmatch(word) and not _DECIMAL.fullmatch(word)


def parsed(key: str, text: str) -> Any:
    """As YAML would have it; text that would be written otherwise on a command line stays text."""
    if key in _TEXTS:
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if text[:1] in ("{", "[") and text.count("[") + text.count("{") <= MOST_NESTED:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
