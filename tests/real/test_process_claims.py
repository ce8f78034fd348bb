"""A local server that serves another profile's model: under whose name it is, and for how long."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deployment import Lifecycle, Protocol, Service
from engine.errors import NotFound, Refused
from engine.plan import Launch
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from tests.real.triton_support import kill_all, of, settings_in

GPUS = ("GPU-00000000-0000-0000-0000-000000000001",)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = settings_in(tmp_path)
    yield settings
    kill_all(settings)


@pytest.fixture
def runtime(settings: Settings) -> ProcessRuntime:
    runtime = ProcessRuntime(settings)
    runtime.create(launch("a", gpus=GPUS))
    runtime.start("a")
    return runtime


def launch(name: str, **options: object) -> Launch:
    service = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready", model=name)
    given = {"profile_digest": f"digest of {name}"} | options
    return Launch(name, "triton", "process", ("sleep", "1000"), service, **given)  # type: ignore[arg-type]


def names(runtime: ProcessRuntime) -> list[str]:
    return [one.name for one in runtime.deployments()]


def claim(runtime: ProcessRuntime, name: str, of_what: str = "a") -> None:
    runtime.claim(of(runtime, of_what).id, launch(name), this_run_only=True)


def test_its_server_is_the_other_deployment_while_it_runs(runtime: ProcessRuntime, settings: Settings) -> None:
    before = of(runtime, "a")
    claim(runtime, "b")
    other = ProcessRuntime(settings)
    assert names(other) == ["b"]
    now = of(other, "b")
    assert (now.id, now.pid, now.started_at, now.gpus) == (before.id, before.pid, before.started_at, GPUS)
    assert (now.service.model, now.profile_digest) == ("b", "digest of b")
    assert other.gpus("b") == GPUS
    for refused in (other.start, other.remove, lambda name: other.stop(name, 1.0)):
        with pytest.raises(NotFound):
            refused("a")
    for taken in ("a", "b"):
        with pytest.raises(Refused, match="exists already"):
            other.create(launch(taken))
    claim(runtime, "c", "b")
    assert names(other) == ["c"]
    other.unclaim("c")
    other.unclaim("c")
    assert names(runtime) == ["a"]


def test_when_it_ends_it_is_under_both_names_until_it_is_started_anew(runtime: ProcessRuntime) -> None:
    claim(runtime, "b")
    runtime.stop("b", 5.0)
    assert [(one.name, one.lifecycle, one.profile_digest) for one in runtime.deployments()] == [
        ("a", Lifecycle.EXITED, "digest of a"),
        ("b", Lifecycle.EXITED, ""),
    ]
    with pytest.raises(Refused, match="loaded into a running server"):
        runtime.start("b")
    runtime.start("a")
    assert names(runtime) == ["a"]
    claim(runtime, "b")
    runtime.stop("b", 5.0)
    runtime.remove("b")
    assert names(runtime) == ["a"]
    runtime.remove("a")
    assert names(runtime) == []


def test_a_name_is_given_once_and_only_to_what_runs(runtime: ProcessRuntime) -> None:
    runtime.create(launch("b"))
    with pytest.raises(Refused, match="exists already"):
        claim(runtime, "b")
    with pytest.raises(Refused, match="does not run"):
        claim(runtime, "c", "b")
    with pytest.raises(NotFound):
        runtime.claim("nothing", launch("c"), this_run_only=True)
    with pytest.raises(Refused, match="Only containers"):
        runtime.claim(of(runtime, "a").id, launch("c"), this_run_only=False)
    assert names(runtime) == ["a", "b"]
    assert runtime.foreign() == ()


DEEP = "[" * 5000


@pytest.mark.parametrize(
    "text",
    ["", "7", '{"name": "b"}', '{"name": "b", "run": [1, 2], "facts": {}}', pytest.param(DEEP, id="deep")],
)
def test_a_damaged_claim_hides_nothing(text: str, runtime: ProcessRuntime, settings: Settings) -> None:
    (settings.state_dir / "deployments" / "a" / "claim.json").write_text(text)
    gc.collect()  # nothing may be torn down while the stack is as deep as the text is
    assert "is damaged" in of(runtime, "a").error
    runtime.unclaim("b")
    claim(runtime, "b")
    assert names(runtime) == ["b"]
