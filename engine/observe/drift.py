"""What a plan that is made now says of what is there: what differs from it, and how long the next start may take.

Planning is not free: it reads files and asks the container engine. So it is done only where something that can change
the answer has changed: the profile, the image, tritontui itself, or what past launches tell.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from engine import __version__
from engine.catalog import CatalogEntry
from engine.deployment import Deployment, Lifecycle
from engine.drift import differences, launch_facts, made_from
from engine.errors import EngineError, RuntimeUnreachable
from engine.runtimes.base import Runtime
from engine.snapshot import Estimate, OperationStatus, Outcome
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.plan import Plan

ImageIds = Mapping[tuple[str, str], str]
"""Runtime and reference -> what the reference means there now; empty when it is not there"""
_DIGEST_SHOWN = len("sha256:") + 12


class History(Protocol):
    """Past launches."""

    def names(self) -> Collection[str]:
        """Of what has been launched with success. Blocks shortly."""
        ...

    def expect(self, plan: "Plan") -> Estimate | None:
        """Blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is to be made for, and all that its answer depends on."""

    name: str
    runtime: str | None
    profile: str
    """Digest of the catalog's entry"""
    images: tuple[str, ...]
    launch_facts: str
    """Of the deployment that is to be compared; empty for none"""
    expected: bool
    """Whether its next start is to be estimated"""
    last: str
    """Id of the last operation on it that has ended"""
    on_gpus: tuple[str, ...] = ()
    """UUIDs of those that it runs on, when it was made from the profile as it is: what it may take of them is told"""


@dataclass(frozen=True, slots=True)
class Answer:
    drift: tuple[str, ...] = ()
    estimate: Estimate | None = None
    may_take: Mapping[str, int] = field(default_factory=dict)
    """UUID -> bytes of GPU memory that its engine may take there (`engine.fit.result.Fit.budget`)"""


class Planned:
    """Questions, and the answers that are known. `answer` is for a thread aside, all else for one thread."""

    def __init__(self, plan: "Callable[[str, str | None], Plan] | None", history: History | None) -> None:
        self._plan = plan
        self._history = history
        self._questions: dict[str, Question] = {}
        self._answers: dict[str, tuple[Question, Answer]] = {}

    def look(
        self,
        entries: Mapping[str, CatalogEntry],
        deployments: Mapping[str, Deployment],
        images: ImageIds,
        operations: tuple[OperationStatus, ...],
        launched: Collection[str],
    ) -> Question | None:
        """Notes what is there now, and returns what is to be answered next, if anything. `launched`: `History.names`"""
        if self._plan is None:
            return None
        last = _last_ended(operations)
        found = (
            _question(entry, deployments.get(name), images, last.get(name, ""), expected=name in launched)
            for name, entry in entries.items()
        )
        self._questions = {question.name: question for question in found if question}
        self._answers = {name: known for name, known in self._answers.items() if name in self._questions}
        due = (one for one in self._questions.values() if self._answers.get(one.name, (None,))[0] != one)
        # What runs differently than it should weighs more than how long something may take.
        return min(due, key=lambda question: not question.launch_facts, default=None)

    def answer(self, question: Question) -> Answer | None:
        """Blocks for as long as planning does. None when it cannot be told at present."""
        if self._plan is None:
            return None
        try:
            plan = self._plan(question.name, question.runtime)
        except RuntimeUnreachable:
            return None
        except EngineError as error:
            line = clean_line(f"its profile can no longer be planned: {error}")
            return Answer((line,) if question.launch_facts else ())
        drift = differences(question.launch_facts, launch_facts(plan.launch)) if question.launch_facts else ()
        budget = plan.fit.budget if plan.fit else None
        may_take = {} if budget is None else dict.fromkeys(question.on_gpus, budget)
        return Answer(drift, self._history.expect(plan) if question.expected and self._history else None, may_take)

    def keep(self, question: Question, answer: Answer) -> None:
        self._answers[question.name] = question, answer

    def drift(self, deployment: Deployment) -> tuple[str, ...]:
        """As it was planned last; nothing while this deployment has not been compared, or need not be."""
        question = self._questions.get(deployment.name)
        asked, answer = self._answers.get(deployment.name, (None, Answer()))
        same = question and asked and question.launch_facts == asked.launch_facts == deployment.launch_facts
        return answer.drift if same else ()

    def may_take(self) -> dict[str, Mapping[str, int]]:
        """Of the deployments that run: UUID -> bytes, as their profiles were planned last."""
        known = {name: self._answers.get(name, (None, Answer())) for name in self._questions}
        return {
            name: answer.may_take
            for name, (asked, answer) in known.items()
            if asked and answer.may_take and asked.on_gpus == self._questions[name].on_gpus
        }

    def estimate(self, name: str) -> Estimate | None:
        """Of the last answer, also while a new one is awaited."""
        question, (_, answer) = self._questions.get(name), self._answers.get(name, (None, Answer()))
        return answer.estimate if question and question.expected else None


def _question(
    entry: CatalogEntry, deployment: Deployment | None, images: ImageIds, last: str, *, expected: bool
) -> Question | None:
    compared = deployment.launch_facts if deployment and _may_differ(deployment, entry, images) else ""
    expected = expected and (deployment is None or deployment.lifecycle is not Lifecycle.RUNNING)
    on_gpus = _on_gpus(deployment, entry)
    if not compared and not expected and not on_gpus:
        return None
    known = tuple(images.get(key, "") for key in sorted(references(entry, deployment)))
    runtime = deployment.runtime if deployment else None
    last = last if expected else ""
    return Question(entry.profile.name, runtime, entry.digest, known, compared, expected, last, on_gpus)


def _on_gpus(deployment: Deployment | None, entry: CatalogEntry) -> tuple[str, ...]:
    if deployment is None or deployment.lifecycle is not Lifecycle.RUNNING or not deployment.gpus:
        return ()
    return deployment.gpus if made_from(deployment.launch_facts)[0] == entry.digest else ()


def references(entry: CatalogEntry, deployment: Deployment | None) -> set[tuple[str, str]]:
    """Runtime and reference of the images that tell whether the deployment still is what its profile says."""
    if deployment is None or deployment.runtime != "docker":
        return set()
    return {(deployment.runtime, image) for image in (deployment.what, entry.profile.image) if image}


def image_drift(deployment: Deployment, images: ImageIds) -> Iterator[str]:
    """One line when the name of the image that it runs now means another one."""
    now = images.get((deployment.runtime, deployment.what), "")
    if not now or not deployment.image_id or now == deployment.image_id:
        return
    then = deployment.image_id[:_DIGEST_SHOWN]
    runs = f"{then} runs" if deployment.lifecycle is Lifecycle.RUNNING else f"it was made from {then}"
    yield f"image {deployment.what} is another one now: {runs}, the tag is {now[:_DIGEST_SHOWN]}"


def read_image_ids(runtimes: Mapping[str, Runtime], wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Blocks. Those that cannot be asked for at present are left out."""
    found: dict[tuple[str, str], str] = {}
    for runtime, image in wanted:
        try:
            found[runtime, image] = runtimes[runtime].image_id(image)
        except EngineError:  # which the runtime's own status says
            continue
    return found


def _may_differ(deployment: Deployment, entry: CatalogEntry, images: ImageIds) -> bool:
    if not deployment.launch_facts:  # made by an earlier version, that kept none
        return False
    return made_from(deployment.launch_facts) != (entry.digest, __version__) or any(image_drift(deployment, images))


def _last_ended(operations: tuple[OperationStatus, ...]) -> dict[str, str]:
    """Of each deployment the newest; `operations` are newest first."""
    last: dict[str, str] = {}
    for status in operations:
        if status.outcome is not Outcome.RUNNING:
            for name in status.subjects:
                last.setdefault(name, status.id)
    return last
