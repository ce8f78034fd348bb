"""Plans, events and results of load tests as JSON: between the processes, in the store, and in exported files."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadResult, RequestRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Records = tuple[tuple[RequestRecord, ...], ...]
"""The requests of each of a result's levels, in the same order as `LoadResult.levels`"""


@dataclass(frozen=True, slots=True)
class Unkept:
    """A result that could not be kept, with its requests: the process that measured them is about to end."""

    result: LoadResult
    records: Records


def dump(value: LoadPlan | LoadEvent | Records | Unkept) -> str:
    """On one line. Raises ValueError for text that no JSON can hold."""
    kind: Any = Records if isinstance(value, tuple) else type(value)
    return _adapter(kind).dump_json(value).decode()


def plan(text: str) -> LoadPlan:
    """Raises ValueError when it is something else."""
    found: LoadPlan = _adapter(LoadPlan).validate_json(text)
    return found


def load_event(text: str) -> LoadEvent | Unkept:
    """Raises ValueError when it is something else."""
    found: LoadEvent | Unkept = _adapter(LoadEvent | Unkept).validate_json(text)
    return found


def result(text: str) -> LoadResult:
    """Raises ValueError when it is something else."""
    found: LoadResult = _adapter(LoadResult).validate_json(text)
    return found


def records(text: str) -> Records:
    """Raises ValueError when it is something else."""
    found: Records = _adapter(Records).validate_json(text)
    return found


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return adapter
