"""The schema of a profile: a few lines that say what to serve and how."""

import ipaddress
import json
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from engine.text import mask_secrets

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
LARGEST_BYTES = 1 << 50
LEAST_EVERY_S = 5
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", re.IGNORECASE)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_REFERENCE = r"env|env:[A-Za-z_]\w*|file:.+"
_SECRET_NAME = re.compile(r"(?:TOKEN|API_?KEY|SECRET(?:_ACCESS_KEY)?|PASSWORD|PASSWD)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(?:sk-|gh[opsu]_|github_pat_|glpat-|xox[abp]-)[\w-]{16,}|://[^/\s:@]*:[^/\s@]+@", re.ASCII
)
"""Keys of well-known services, and an address with a password in it"""
_SWITCH = re.compile(r"[01]|true|false|yes|no|on|off", re.IGNORECASE)
"""As of HF_HUB_DISABLE_IMPLICIT_TOKEN, which has the name of a token and is none"""


def _duration(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("a duration is a number with ms, s, m or h, e.g. 300ms or 30m. A day is 24h")
    return float(match[1]) * _SECONDS[match[2]]


def _size(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        value = int(min(float(match[1]), LARGEST_BYTES + 1) * _BYTES[match[2].lower()])
    elif value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError("a size is a whole number of bytes, or a number with k, m or g, e.g. 1g")
    if isinstance(value, int) and value > LARGEST_BYTES:
        raise ValueError("that is more memory than any machine has")
    return value


def _address(value: str) -> str:
    """Docker takes no host names, and an empty address would mean every one."""
    if value == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("an IP address of this machine is needed, e.g. 127.0.0.1") from None


def _mount(value: str) -> str:
    source, _, rest = value.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
        raise ValueError("a mount is SOURCE:/TARGET, and :rw to make it writable")
    return value


def _seldom(value: float) -> float:
    if value < LEAST_EVERY_S:
        raise ValueError(f"a prompt is asked again after {LEAST_EVERY_S} s at the earliest")
    return value


def _secret(value: str) -> str:
    if re.fullmatch(_REFERENCE, value):
        return value
    raise ValueError("a secret is a reference (env, env:NAME or file:PATH), never the value itself")


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a token, key or password by its name, or its value holds what looks like one."""
    named = bool(_SECRET_NAME.search(name)) and bool(value) and not _SWITCH.fullmatch(value)
    return named or bool(_SECRET_VALUE.search(value)) or mask_secrets(value) != value


def _env(value: dict[str, str]) -> dict[str, str]:
    found = [name for name, content in value.items() if is_secret(name, content)]
    if found:
        # `where`: for whoever tells the line of each. The values are not repeated.
        raise PydanticCustomError(
            "secret_by_value",
            "a secret is never in a profile: put it under `secrets`, as env or file:PATH",
            {"where": found},
        )
    return value


def _options(value: dict[str, Any]) -> dict[str, Any]:
    found = [name for name, option in value.items() if not _is_json(option)]
    if found:
        raise PydanticCustomError(
            "unknown_value",
            "this is no text, number or list of them; quote what looks like a date",
            {"where": found},
        )
    return value


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):  # a date, or no number (.nan, .inf)
        return False
    return True


_Bytes = Annotated[int, Field(ge=1)] | None
Duration = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(
        _duration,
        json_schema_input_type=Annotated[float, Field(gt=0)]
        | Annotated[str, StringConstraints(pattern=r"^\s*[0-9]+(\.[0-9]+)?(ms|[smh])\s*$")],
    ),
]
Size = Annotated[
    _Bytes,
    BeforeValidator(
        _size,
        json_schema_input_type=_Bytes
        | Annotated[str, StringConstraints(pattern=r"^\s*[0-9]+(\.[0-9]+)?\s*[kKmMgG]?[iI]?[bB]?\s*$")],
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)] | Literal["auto"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=63)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Secret = Annotated[str, AfterValidator(_secret), WithJsonSchema({"type": "string", "pattern": f"^({_REFERENCE})$"})]
MountText = Annotated[
    str, AfterValidator(_mount), WithJsonSchema({"type": "string", "pattern": "^[^:]+:/[^:]*(:(ro|rw)?)?$"})
]
AdapterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
Reserve = Literal["inference-heavy", "balanced", "training-heavy"]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ModelNumbers(_Strict):
    """A model's shape, for an estimate without its files; names as in its `config.json`."""

    weights: Size = None
    """Bytes, or 141g: all of them, as stored; otherwise computed from `parameters`"""
    parameters: Annotated[float | None, Field(gt=0)] = None
    """Billions, all experts included"""
    num_hidden_layers: Annotated[int, Field(ge=1)]
    num_attention_heads: Annotated[int, Field(ge=1)]
    num_key_value_heads: Annotated[int | None, Field(ge=1)] = None
    head_dim: Annotated[int | None, Field(ge=1)] = None
    hidden_size: Annotated[int | None, Field(ge=1)] = None
    vocab_size: Annotated[int | None, Field(ge=1)] = None
    max_position_embeddings: Annotated[int | None, Field(ge=1)] = None
    sliding_window: Annotated[int | None, Field(ge=1)] = None
    full_attention_layers: Annotated[int | None, Field(ge=0)] = None
    """With a sliding window: how many layers see everything all the same"""
    kv_lora_rank: Annotated[int | None, Field(ge=1)] = None
    """Multi-head latent attention"""
    qk_rope_head_dim: Annotated[int | None, Field(ge=1)] = None


class FitWish(_Strict):
    """What memory is estimated for."""

    context: Annotated[int | None, Field(ge=1)] = None
    """Tokens of one request; by default `max_model_len`, or the model's own limit"""
    concurrency: Annotated[int, Field(ge=1)] = 1
    """Requests of that length at once"""
    gpu_memory: Size = None
    """Of one GPU, for a plan made on a machine without any; bytes, or 80g"""
    model: ModelNumbers | None = None
    """For when the model's files are not on this machine"""


class Expose(_Strict):
    """Ports on the machine; `auto` takes the standard port, or the next free one. Left out: not exposed."""

    http: Port | None = None
    """Where requests and health checks go; 8000 by default, and with the OpenAI frontend 9000"""
    grpc: Port | None = None
    """8001 by default; not with vllm"""
    metrics: Port | None = None
    """8002 by default; with vllm they are on the http port"""


class Ready(_Strict):
    """When a start counts as done: the health endpoint answers and, if there is one, the prompt is answered."""

    timeout: Duration = 1800.0
    """How long a start may take: seconds, or 90s, 30m, 2h"""
    prompt: str | None = None
    """Must be answered before a start counts as done"""


class Canary(_Strict):
    """A prompt that is asked again and again, which finds an engine that is dead and still says that it is ready."""

    every: Annotated[Duration, AfterValidator(_seldom)] = 60.0
    """Seconds, or 30s, 5m; at least 5"""
    prompt: Annotated[str, Field(min_length=1)] = "ping"
    """What is asked; at most four tokens of an answer are asked for"""
    timeout: Duration = 30.0
    """How long its first token may take"""


class Watch(_Strict):
    """When the console, `status` and a bell say that a deployment that runs needs to be looked at.

    A change of it holds at once and changes nothing that runs. `null` switches one off.
    """

    no_answer: Duration | None = 15.0
    """It was ready, and its health endpoint or its metrics have not answered for so long"""
    failures: Annotated[float | None, Field(ge=0)] = 0
    """More requests than this failed in the last minute"""
    waiting: Annotated[float | None, Field(ge=0)] = None
    """More requests than this wait to be computed"""
    kv_cache: Annotated[float | None, Field(ge=0, le=100)] = 95
    """The KV cache is fuller than this, in %; not told by Triton's vLLM backend"""
    ttft_p99: Duration | None = None
    """The time to first token, 99th percentile of the last minute, is longer"""
    hold: Duration = 30.0
    """How long `waiting`, `kv_cache` and `ttft_p99` must hold before they are told"""
    canary: Canary | None = None
    """Off by default; `{}` takes its defaults"""


class Profile(_Strict):
    """What to serve and how. Read from YAML by `engine.catalog`."""

    name: Name
    """Lower-case letters, digits, dots and hyphens; also the deployment's name"""
    summary: str = ""
    """One line for the list"""
    stack: str
    """The way of serving"""
    runtime: Literal["docker", "process"] = "docker"
    """Where it runs: in a container, or as a program of this machine"""
    image: str | None = None
    """Container image; needed to run on Docker"""
    program: str | None = None
    """The server's program on the process runtime; found by itself when left out"""
    version: str | None = None
    """The engine's version (vLLM's, TensorRT-LLM's), when the image's tag does not tell it, e.g. 0.11.0"""
    model: str | None = None
    """vllm, triton-vllm, triton-trtllm: repository id or folder. triton: the model that prompts go to"""
    served_model_name: str | None = None
    """The name that clients use; by default the profile's own (triton-…) or the model's (vllm)"""
    tokenizer: str | None = None
    """triton-trtllm, OpenAI frontend: repository id or folder; by default the model's"""
    repository: str | None = None
    """triton: folder of the model repository, relative to the profile's file"""
    engines: str | None = None
    """triton-trtllm: folder of a prebuilt TensorRT-LLM engine; without it the LLM API loads `model`"""
    lora: dict[AdapterName, str] = {}
    """vllm, triton-vllm: adapters, each a repository id or folder, by the names that clients use"""
    frontend: Literal["openai"] | None = None
    """triton-vllm: Triton's OpenAI-compatible frontend in place of its own protocols"""
    gpus: Annotated[int, Field(ge=0)] | Literal["all"] | list[int | str] = 0
    """A count, `all`, or a list of indices or UUIDs"""
    share_gpus: bool = False
    """May run on GPUs that other deployments use"""
    reserve: Annotated[float, Field(ge=0, lt=1)] | Reserve = 0.0
    """Share of each GPU's memory that is left to another job, such as training"""
    engine: Annotated[dict[str, Any], AfterValidator(_options)] = {}
    """The engine's own options by their own names (triton: the server's)"""
    server: Annotated[dict[str, Any], AfterValidator(_options)] = {}
    """triton-vllm, triton-trtllm: options of tritonserver, or of the frontend, by their own names"""
    fit: FitWish = FitWish()
    """What memory is estimated for"""
    env: Annotated[dict[EnvName, str], AfterValidator(_env)] = {}
    """Environment variables; none that is secret"""
    secrets: dict[EnvName, Secret] = {}
    """Variables by reference: env (the same name here), env:OTHER or file:PATH"""
    mounts: list[MountText] = []
    """Docker: SOURCE:/TARGET, read-only unless :rw is added"""
    shm_size: Size = None
    """Docker: size of /dev/shm, in bytes, or 1g"""
    ipc: Literal["host"] | None = None
    """Docker: share the machine's shared memory instead of having some of its own"""
    bind: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    """The IP address of this machine that ports are bound to"""
    expose: Expose | None = None
    """Ports on this machine; left out: all that the stack has, on their standard numbers"""
    ready: Ready = Ready()
    """When a start counts as done"""
    watch: Watch = Watch()
    """When it needs to be looked at while it runs"""
