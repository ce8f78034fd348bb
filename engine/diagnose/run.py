"""What one run of a server told in its log: a log may hold several, and the last counts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.diagnose.catalogue import Signature
from engine.diagnosis import Proof, Weight

MAX_PROOFS = 4
MAX_RANKS = 64
MAX_INSTANCES = 1024
_OF_MODEL = re.compile(r"(?:_\d+){2}$")
_GONE = ("engine-dead", "engine-process-ended")
"""Signatures of an engine that ended while its server went on"""


@dataclass(slots=True)
class Found:
    """A signature in a run, with all that say so."""

    signature: Signature
    line: int | None
    """Where first"""
    captures: dict[str, str]
    weight: Weight
    count: int = 0
    ranks: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def learn(self, values: Mapping[str, str]) -> None:
        """Of another line that says the same, and more."""
        shared = self.captures.keys() & values.keys()
        if shared and all(self.captures[name] == values[name] for name in shared):
            self.captures = {**values, **self.captures}

    def add(self, proof: Proof, body: str, source: str) -> None:
        self.count += 1
        if source and source not in self.ranks and len(self.ranks) < MAX_RANKS:
            self.ranks.append(source)
        if len(self.proofs) < MAX_PROOFS and body not in self._seen:
            self._seen.add(body)
            self.proofs.append(proof)


@dataclass(slots=True)
class Run:
    found: dict[str, Found] = field(default_factory=dict)
    first_error: tuple[Proof, ...] = ()
    ready: bool = False
    """It served, and what stands above did not hinder it"""
    stopped: bool = False
    """It served, and was told to end: what follows is its end"""
    services: bool = False
    began: dict[str, int] = field(default_factory=dict)
    """Lines of its beginnings, by the marks' hints"""
    failed_models: set[str] = field(default_factory=set)
    instances: dict[str, dict[tuple[str, str], Proof]] = field(default_factory=dict)
    """By model: name and device of each, and the line that says so"""
    context: dict[str, str] = field(default_factory=dict)
    """Values that other lines lack: `port`"""

    @property
    def causes(self) -> list[Found]:
        """Of those that fail a server in the state that it is in."""
        return [
            one
            for one in self.found.values()
            if one.weight is Weight.CAUSE and not one.signature.request and not (one.signature.starting and self.serves)
        ]

    def tells(self, signature: str) -> bool:
        """By its id. What was only said in passing does not count."""
        found = self.found.get(signature)
        return found is not None and found.weight is Weight.CAUSE

    @property
    def failed(self) -> bool:
        return any(one.weight is not Weight.HINT and not one.signature.request for one in self.found.values())

    @property
    def serves(self) -> bool:
        """It is ready, and nothing since says that it died."""
        wrapped = any(one.weight is Weight.WRAPPER for one in self.found.values())
        return self.ready and not wrapped and not self.failed_models

    @property
    def died(self) -> bool:
        """It served until its engine was gone. A vLLM then ends as one that is stopped: 0.32 with exit code 0."""
        return self.ready and not self.stopped and any(name in self.found for name in _GONE)

    def serve(self) -> None:
        """It is ready: nothing above was fatal, but for requests."""
        if self.failed_models:
            return
        self.ready = True
        self.found = {key: one for key, one in self.found.items() if one.signature.request}
        self.first_error = ()

    def loading(self, model: str) -> None:
        self.instances.pop(model, None)

    def loaded(self, model: str) -> None:
        self.failed_models.discard(model)
        if self.services:
            self.serve()

    def instance(self, name: str, device: str, proof: Proof) -> None:
        """`m_0_1` is the second of the first group of model m; with several GPUs each has one of that name."""
        model = _OF_MODEL.sub("", name)
        those = self.instances.setdefault(model, {})
        if len(those) < MAX_INSTANCES:
            those.setdefault((name, device), proof)
