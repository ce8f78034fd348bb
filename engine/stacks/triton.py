"""The stack `triton`: a Triton Inference Server on any model repository."""

from engine.plan import Mount, Plan
from engine.stacks import tritonserver
from engine.stacks.context import PlanContext

REPOSITORY_IN_CONTAINER = "/models"


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when there is no repository, or on the process runtime no tritonserver."""
    profile = context.profile
    context.refuse("server", "lora", "frontend", "engines", "tokenizer", "served_model_name")
    if not profile.repository:
        raise context.invalid("`repository` is missing.", "Name the folder of the model repository.")
    repository = context.resolve(profile.repository)
    if not repository.is_dir():
        raise context.invalid(f"the model repository {repository} is not a folder.", "Check the path.")
    launch = tritonserver.launch(
        context,
        repository=REPOSITORY_IN_CONTAINER if context.on_docker else str(repository),
        model=profile.model,
        options=profile.engine,
        mounts=(Mount(str(repository), REPOSITORY_IN_CONTAINER),),
    )
    return context.plan(launch)
