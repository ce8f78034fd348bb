"""Adopts a container that somebody started by hand: its profile is written, and the runtime remembers whose it is.

Nothing about the container itself changes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from engine.errors import OperationFailed, Refused
from engine.operations.job import Job, patiently
from engine.operations.record import Context, Written
from engine.operations.waiting import Waiting
from engine.plan import Adoption
from engine.runtimes.base import Runtime
from engine.snapshot import Step, StepKind
from engine.whole_file import written_beside


def adopt_steps(job: Job) -> list[Step]:
    name = job.request.name
    return [
        Step(StepKind.CHECK, "look at it", subject=name),
        Step(StepKind.PROFILE, "write its profile", subject=name),
        Step(StepKind.ADOPT, "adopt", subject=name),
    ]


def adopt_foreign(job: Job) -> str:
    with job.record.step(StepKind.CHECK) as waiting:
        adoption = job.tools.plan_adoption(job.request.name)
        job.record.require_journal()
        job.record.keep(Context(written=Written(adoption.name, adoption.profile_path, adoption.profile_text)))
        waiting.detail(f"as {adoption.name}")
    job.lease.confirm()
    adopt(adoption, job.runtime(adoption.launch.runtime), job.record.step)
    return f"{adoption.container} is the deployment {adoption.name} now; its profile is {adoption.profile_path}."


def finish_adoption(job: Job, written: Written, carry_out: Callable[[Job], str]) -> str:
    """Of an adoption whose process is gone. `carry_out` adopts as if it were asked for now."""
    if (place := job.tools.deployments.locate(written.name)) and place[1].adopted:
        return f"{written.name} is adopted already."
    withdraw(Path(written.path), written.text)
    return carry_out(job)


def undo_adoption(job: Job, written: Written) -> str:
    if (place := job.tools.deployments.locate(written.name)) and place[1].adopted:
        place[0].unclaim(written.name)
    withdraw(Path(written.path), written.text)
    return f"{written.name} is only watched again, and its profile is gone."


def adopt(adoption: Adoption, runtime: Runtime, step: Callable[[StepKind], AbstractContextManager[Waiting]]) -> None:
    """Either the profile and the claim are there at the end, or neither.

    Raises `Refused` when the container is not the one that was looked at, or the name or the file is taken, and
    `OperationFailed` when the file cannot be written or what was written cannot be taken away again.
    """
    path = Path(adoption.profile_path)
    with step(StepKind.PROFILE) as waiting:
        _require_same(adoption, runtime)
        _write(path, adoption.profile_text)
        waiting.detail(str(path))
    try:
        with step(StepKind.ADOPT) as waiting:
            # Twice is the same as once, where it is not known whether the first was heard.
            patiently(waiting, lambda: runtime.claim(adoption.id, adoption.launch, this_run_only=False))
            waiting.detail(f"{adoption.container} is {adoption.name} now")
    except BaseException as error:
        try:
            withdraw(path, adoption.profile_text)
        except OperationFailed as left:
            raise OperationFailed(str(error), str(left)) from error
        raise


def withdraw(path: Path, text: str) -> None:
    """Takes the profile away again, unless somebody has changed it since. None there is no error.

    Raises `OperationFailed`.
    """
    try:
        if path.read_text(encoding="utf-8") == text:
            path.unlink()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise OperationFailed(f"The profile {path} was written and could not be taken away again: {error}.") from error


def _require_same(adoption: Adoption, runtime: Runtime) -> None:
    if adoption.id not in {found.id for found in runtime.foreign()}:
        raise Refused(
            f"{adoption.container} is not as it was: it has ended, was replaced by another one, or has been adopted.",
            "Look at it again (`tritontui ls`).",
        )


def _write(path: Path, text: str) -> None:
    """As a whole or not at all, and never over another."""
    if (other := path.with_suffix(".yml")).exists():
        raise _taken(other)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_beside(path, text) as new:
            try:
                path.hardlink_to(new)
            except FileExistsError as error:
                raise _taken(path) from error
    except OSError as error:
        raise OperationFailed(
            f"The profile {path} cannot be written: {error.strerror}.",
            "Correct the folder's owner, permissions or free space, or set TRITONTUI_CONFIG_DIR.",
        ) from error


def _taken(path: Path) -> Refused:
    return Refused(f"There is a profile {path} already.", "Adopt the container again: it then gets another name.")
