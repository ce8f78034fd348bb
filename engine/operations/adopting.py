"""Adopt, as an operation: look at the container, write its profile, claim it."""

from engine.operations.adopt import adopt
from engine.operations.job import Job
from engine.snapshot import Step, StepKind


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
        waiting.detail(f"as {adoption.name}")
    job.lease.confirm()
    adopt(adoption, job.runtime(adoption.launch.runtime), job.record.step)
    return f"{adoption.container} is the deployment {adoption.name} now; its profile is {adoption.profile_path}."
