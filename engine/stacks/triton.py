"""The stack `triton`: a Triton Inference Server on any model repository."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from engine.plan import Mount, Plan
from engine.stacks import backends, tritonserver
from engine.stacks.context import PlanContext
from engine.stacks.model_repository import Model, read_repository
from engine.stacks.mounts import warn_of_links
from engine.stacks.versions import versions_of

REPOSITORY_IN_CONTAINER = "/models"


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when there is no repository, or on the process runtime no tritonserver.

    Also for what the server would refuse in it: what a model needs is compared with what the image has.
    """
    profile = context.profile
    context.refuse("server", "lora", "frontend", "engines", "tokenizer", "served_model_name")
    if not profile.repository:
        raise context.invalid("`repository` is missing.", "Name the folder of the model repository.")
    repository = context.resolve(profile.repository)
    if not repository.is_dir():
        raise context.invalid(f"the model repository {repository} is not a folder.", "Check the path.")
    options = tritonserver.named(context, profile.engine)
    if profile.model and "load_model" not in options:
        # A server that starts empty would never be ready for the prompts that go to it.
        options = tritonserver.loading(options, profile.model)
    launch = tritonserver.launch(
        context,
        repository=REPOSITORY_IN_CONTAINER if context.on_docker else str(repository),
        model=profile.model,
        options=options,
        mounts=(Mount(str(repository), REPOSITORY_IN_CONTAINER),),
    )
    try:
        models = read_repository(
            repository,
            autocomplete=options.get("disable_auto_complete_config") is not True,
            config_name=str(options.get("model_config_name") or ""),
        )
    except OSError as error:
        if not context.on_docker:
            raise context.invalid(f"the model repository {repository} cannot be read: {error.strerror}.") from error
        context.warnings.append(f"The model repository {repository} is not checked: {error.strerror}.")
    else:
        _check(context, models, options)
    if context.on_docker:
        warn_of_links(context, repository)
    return context.plan(launch, versions=versions_of(context).facts())


def _check(context: PlanContext, models: Mapping[str, Model], options: Mapping[str, Any]) -> None:
    """Raises for a model without which the server would not start; warns of those that it need not load."""
    at_start = _loaded_at_start(context, models, options)
    if not models:
        context.warnings.append(f"The model repository {context.profile.repository} has no models.")
    elif context.profile.model:
        _require(context, models, context.profile.model, "`model` names")
    offer = _offer(context, options, {model.backend for model in models.values() if model.backend})
    needed = {models[name].backend for name in at_start} - {""}
    for name, model in models.items():
        for problem, remedy in _problems(context, model, models, offer, needed | {model.backend}):
            if model.unreadable and context.on_docker:
                context.warnings.append(f"The model {model.name} is not checked: {problem}")
            elif name in at_start and options.get("exit_on_error") is not False:
                raise context.invalid(problem, remedy)
            else:
                context.warnings.append(f"{model.name} cannot be loaded: {problem}")


def _loaded_at_start(context: PlanContext, models: Mapping[str, Model], options: Mapping[str, Any]) -> set[str]:
    """All of them, or with explicit control those that are named and what they are made of."""
    if not tritonserver.is_explicit(options):
        return set(models)
    wanted = options.get("load_model", [])
    names = {str(name) for name in (wanted if isinstance(wanted, list) else [wanted])}
    if "*" in names:
        return set(models)
    said = "`load_model`" if "load_model" in context.profile.engine else "`model`"
    for name in names:
        _require(context, models, name, f"{said} names")
    loaded: set[str] = set()
    while names:
        loaded |= names
        names = {step for name in names for step in models[name].steps if step in models} - loaded
    return loaded


def _require(context: PlanContext, models: Mapping[str, Model], name: str, what: str) -> None:
    if name not in models:
        near = difflib.get_close_matches(name, models, n=1)
        raise context.invalid(
            f"{what} {name}, which is not in the model repository.",
            f"Did you mean {near[0]}?" if near else f"It has {', '.join(list(models)[:10])}.",
        )


def _offer(context: PlanContext, options: Mapping[str, Any], needed: set[str]) -> backends.Offer | None:
    """What the server has; None when that is not known."""
    folder = tritonserver.backends(context, options)
    if folder:
        return backends.of_folder(folder)
    if "backend_directory" in options:
        return None
    image = context.image()
    offer = backends.of_image(image)
    if offer and offer.lacks_server:
        raise context.invalid(f"{image} serves nothing: {offer.lacks_server}.", offer.remedy(needed))
    if not offer and backends.is_nvidias(image):
        context.warnings.append(f"Whether {image} has the backends that the models need is not known by its tag.")
    return offer


def _problems(
    context: PlanContext, model: Model, models: Mapping[str, Model], offer: backends.Offer | None, needed: set[str]
) -> Iterator[tuple[str, str]]:
    """What keeps the server from loading it, and what to do."""
    if model.problem:
        yield model.problem, model.remedy
        return
    for step in model.steps:
        if step not in models:
            yield (
                f"the ensemble {model.name} has a step {step}, which is not in the model repository.",
                "Add that model, or correct the step's `model_name`.",
            )
    if offer and model.backend and model.backend not in offer.backends and not model.own_library:
        yield (
            f"the model {model.name} needs the backend {model.backend}, which {offer.what} does not have.",
            offer.remedy(needed),
        )
    yield from _gpu_problems(context, model)


def _gpu_problems(context: PlanContext, model: Model) -> Iterator[tuple[str, str]]:
    count = context.placement.count
    for group in model.config.instance_group:
        if group.kind != group.KIND_GPU or context.placement.gpus == -1:
            continue
        if not count:
            yield (
                f"the model {model.name} has an instance group of KIND_GPU, and the profile gets no GPU.",
                "Set `gpus`, or KIND_CPU in the model's configuration.",
            )
        elif beyond := [gpu for gpu in group.gpus if gpu >= count]:
            yield (
                f"the model {model.name} wants GPU {beyond[0]}, and the server sees {count}, counted from 0.",
                "Raise `gpus`, or correct the group's `gpus`.",
            )
