"""Why something failed, and what to change. Light to import. What `tritontui explain --json` prints."""

from dataclasses import dataclass
from enum import StrEnum


class Weight(StrEnum):
    """How much a finding explains. A wrapper only says that something else went wrong."""

    CAUSE = "cause"
    HINT = "hint"
    """It may have to do with it, and does not stop a server by itself"""
    WRAPPER = "wrapper"


@dataclass(frozen=True, slots=True)
class Proof:
    """A line of the log, cleaned and masked; or a fact that the runtime tells, then `line` is None."""

    line: int | None
    """From 1"""
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a profile. A path of `engine.max_model_len` and the value 4096, for example."""

    path: str
    """Keys with dots between them, as the profile has them"""
    value: str | int | float | bool | None
    """None takes the key out"""
    before: str | int | float | bool | None = None
    """As the profile has it; None when it does not"""


@dataclass(frozen=True, slots=True)
class Cause:
    signature: str
    """Its id in the catalogue"""
    title: str
    """Two to five words for a list: `out of GPU memory`"""
    cause: str
    """A sentence, with the values that the log gives"""
    remedy: str
    """A sentence"""
    weight: Weight
    proofs: tuple[Proof, ...]
    """Where it is said; the deepest first"""
    changes: tuple[Change, ...] = ()
    """What would mend it in the profile; empty when nothing in there would, or it is not known"""
    ranks: tuple[str, ...] = ()
    """The processes that say so: `Worker_TP0`"""
    reference: str = ""
    """URL of an issue or of documentation that describes it"""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    causes: tuple[Cause, ...]
    """Of the server's failure, the likeliest first; wrappers only when there is nothing else; empty: none is known"""
    first_error: tuple[Proof, ...] = ()
    """The first error of the log with its context, when no cause is known, or only what follows from another's end"""
    lines: int = 0
    """How many were read"""
    stack: str = ""
    """As far as the log or the deployment tells"""
    versions: tuple[tuple[str, str], ...] = ()
    """Program and version, as the log tells: (`vllm`, `0.11.0`)"""
    requests: tuple[Cause, ...] = ()
    """What failed single requests, and no server"""
    log: str = ""
    """Whose log was read, in a sentence or two, when it is not that of the deployment as it is now"""
    died: bool = False
    """Its log tells that it served until its engine was gone, and not that it was told to end"""

    @property
    def best(self) -> Cause | None:
        return self.causes[0] if self.causes else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the runtime tells of an end besides the log."""

    exit_code: int | None = None
    oom_killed: bool = False
    restarts: int = 0
    """How often the container engine has started it anew by itself"""
    runtime_error: str = ""
    """The container engine's own word on why it did not start"""
    stack: str = ""
    runtime: str = ""
    """`docker` or `process`"""
    stopped_on_purpose: bool = False
