"""Which way a swap takes: the full one, or a faster one that the stacks allow."""

from collections.abc import Iterator

from engine.deployment import Deployment, Lifecycle, Service
from engine.drift import facts, launch_facts
from engine.operations.fast import LOADED, models_of
from engine.plan import Plan
from engine.request import Way

CONTROL, BACKEND_CONFIG = "option --model-control-mode", "option --backend-config"
SLEEP_MODE, DEVELOPER_MODE = "option --enable-sleep-mode", "env.VLLM_SERVER_DEV_MODE"
MADE_FROM = ("profile", "tritontui")
"""Differ between any two profiles, and say nothing of the server"""
Choice = tuple[Way, str, tuple[str, ...]]


def choose_way(incoming: Plan, kept: Deployment | None, outgoing: tuple[Deployment, ...]) -> Choice:
    """The way, why it, and why not the faster ones, each in a sentence.

    `kept`: the incoming one's own deployment, if it has one; one that runs is asleep. That memory suffices is for the
    plan to say.
    """
    name = incoming.launch.name
    running = tuple(one for one in outgoing if _runs(one))
    comes = f"{name} is {'woken' if _runs(kept) else 'started'}"
    if not running:
        return Way.FULL, f"Nothing that runs has to go: {comes}.", ()
    names = " and ".join(one.name for one in running)
    are = "is" if len(running) == 1 else "are"
    no_load = _not_by_loading(incoming, kept, running)
    if not no_load:
        [one] = running
        models = ", ".join(models_of(incoming.launch.service, launch_facts(incoming.launch)))
        return Way.LOAD, f"The Triton server of {one.name} goes on running: it loads {models} instead.", ()
    no_sleep = _not_by_sleeping(incoming, kept, running)
    if not no_sleep:
        return Way.SLEEP, f"{names} {are} put to sleep, weights in the machine's memory, and {comes}.", (no_load,)
    return Way.FULL, f"{names} {are} stopped, and {comes}.", (no_load, no_sleep)


def _not_by_loading(incoming: Plan, kept: Deployment | None, running: tuple[Deployment, ...]) -> str:
    return next((f"Not by loading within one server: {why}." for why in _against_loading(incoming, kept, running)), "")


def _against_loading(incoming: Plan, kept: Deployment | None, running: tuple[Deployment, ...]) -> Iterator[str]:
    launch = incoming.launch
    if len(running) > 1:
        yield f"{len(running)} deployments have to go"
    one = running[0]
    for name, stack in ((one.name, one.stack), (launch.name, launch.stack)):
        if stack != "triton":
            yield f"{name} is no Triton server on a model repository of its own, its stack is {stack}"
    if one.runtime != launch.runtime:
        yield f"{one.name} runs on {one.runtime}, and {launch.name} is to run on {launch.runtime}"
    text = launch_facts(launch)
    before, after = facts(one.launch_facts), facts(text)
    if not before:
        yield f"what {one.name} was started with is not known"
    for name, known in ((one.name, before), (launch.name, after)):
        if known.get(CONTROL) != "explicit":
            yield f"{name} runs without `model_control_mode: explicit`"
    for name, models in (
        (one.name, models_of(one.service, one.launch_facts)),
        (launch.name, models_of(launch.service, text)),
    ):
        if not models or "*" in models or any("…" in model for model in models):
            yield f"{name} does not name its models one by one"
    if differing := sorted(set(_server(before, one.name)) ^ set(_server(after, launch.name))):
        yield f"the two servers differ in {', '.join(dict.fromkeys(_noun(key) for key, _ in differing))}"
    if moved := _other_address(one.service, launch.service):
        yield f"{launch.name} is to answer at {moved[1]}, and {one.name} answers at {moved[0]}"
    placed = {gpu.uuid for gpu in incoming.placement}
    if placed and one.gpus and placed != set(one.gpus):
        yield f"{launch.name} is to run on other GPUs"
    if kept:  # the last: only then is it true
        yield f"{launch.name} has a server of its own, kept from before: remove it, and the next swap can"


def _server(known: dict[str, str], name: str) -> Iterator[tuple[str, str]]:
    """What makes the server, less the models in it."""
    for key, value in known.items():
        if key not in (*MADE_FROM, LOADED):
            # Of the process runtime: a name for its shared memory, whatever it is.
            yield key, value.replace(f"shm-region-prefix-name=tritontui_{name}", "") if key == BACKEND_CONFIG else value


def _noun(key: str) -> str:
    kind, dot, name = key.partition(".")
    return name if kind == "env" and dot else key.removeprefix("option ").replace(".", " ")


def _other_address(was: Service, will_be: Service) -> tuple[str, str] | None:
    pairs = ((was.http, will_be.http), (was.grpc, will_be.grpc), (was.metrics, will_be.metrics))
    return next(((old or "none", new or "none") for old, new in pairs if old != new), None)


def _not_by_sleeping(incoming: Plan, kept: Deployment | None, running: tuple[Deployment, ...]) -> str:
    return next((f"Not by sleeping: {why}." for why in _against_sleeping(incoming, kept, running)), "")


def _against_sleeping(incoming: Plan, kept: Deployment | None, running: tuple[Deployment, ...]) -> Iterator[str]:
    name = incoming.launch.name
    for one in running:
        known = facts(one.launch_facts)
        if one.stack != "vllm":
            yield f"{one.name} is served by {one.stack}, and only vLLM's own server can sleep"
        elif not known:
            yield f"what {one.name} was started with is not known"
        elif SLEEP_MODE not in known or known.get(DEVELOPER_MODE, "0") in ("", "0"):
            yield f"{one.name} runs without `enable_sleep_mode: true`, or without the endpoints that go with it"
        taken = {port for _, port in one.service.addresses()}
        shared = [port.host_port for port in incoming.launch.ports if port.host_port in taken]
        if shared and not _runs(kept):
            yield f"{one.name} keeps port {shared[0]} while it sleeps, and {name} wants it too: give it another"


def _runs(deployment: Deployment | None) -> bool:
    return deployment is not None and deployment.lifecycle is Lifecycle.RUNNING
