"""Why what was being started failed, in a sentence or two."""

from engine.deployment import Deployment
from engine.diagnosis import Weight
from engine.errors import EngineError
from engine.observe.log_tail import last_words
from engine.operations.job import Job
from engine.runtimes.base import Runtime


def why(job: Job, runtime: Runtime, deployment: Deployment) -> tuple[str, str]:
    """The cause and its remedy, as its log and its end tell; without a known one its last words. Never raises."""
    try:
        best = job.tools.diagnose(deployment).best
    except EngineError:
        best = None
    if best and best.weight is Weight.CAUSE:
        return best.cause, best.remedy
    words = last_words(runtime, deployment.name)
    return f"Its last words: {words}" if words else "Its log is empty.", ""
