"""Metrics of real Triton servers over consoles that come and go, and over a swap."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from engine.errors import EngineError
from engine.facade import Engine
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading
from engine.observe import comparison
from engine.observe.timeline import APART_S
from engine.request import Action, Request
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from engine.snapshot import Outcome
from engine.stacks.local_triton import find_tritonserver
from tests.real.triton_support import DEMO_REPOSITORY, free_ports, kill_all, settings_in, wait_until

pytestmark = pytest.mark.triton
PROFILE = """\
name: {name}
stack: triton
runtime: process
image: example/triton:1
repository: {repository}
model: prose
gpus: 0
expose: {{http: {http}, grpc: {grpc}, metrics: {metrics}}}
ready: {{timeout: 60s, prompt: ping}}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = replace(settings_in(tmp_path), profiles_dirs=(tmp_path / "profiles",))
    yield settings
    kill_all(settings)


def ask(port: int) -> None:
    body = {"text_input": "ping", "sampling_parameters": '{"max_tokens": 4}'}
    httpx.post(f"http://127.0.0.1:{port}/v2/models/prose/generate", json=body, timeout=10).raise_for_status()


def console(settings: Settings) -> Engine:
    engine = Engine(settings, {"process": ProcessRuntime(settings)})
    engine.open()
    return engine


def see(engine: Engine, name: str, condition: Callable[[MetricsReading], object], what: str) -> MetricsReading:
    wait_until(lambda: condition(engine.metrics(name)), what, 60)
    return engine.metrics(name)


def points(reading: MetricsReading) -> int:
    return max((len(one.times) for one in reading.series), default=0)


def test_a_console_that_opens_again_and_a_swap(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "ANEW_EVERY_S", 2.0)
    monkeypatch.setattr(comparison, "LEAST_S", 10.0)
    try:
        find_tritonserver(settings)
    except EngineError as error:
        pytest.skip(str(error))
    folder = settings.profiles_dirs[0]
    folder.mkdir()
    ports = dict(zip(("first", "second"), (free_ports(3), free_ports(3)), strict=True))
    for name, (http, grpc, metrics) in ports.items():
        text = PROFILE.format(name=name, repository=DEMO_REPOSITORY, http=http, grpc=grpc, metrics=metrics)
        (folder / f"{name}.yaml").write_text(text)
    engine = console(settings)
    assert engine.perform(Request(Action.START, "first")).outcome is Outcome.DONE

    def busy(name: str) -> Callable[[MetricsReading], bool]:
        """Asks it something at each look."""
        began = time.time()

        def looked(reading: MetricsReading) -> bool:
            ask(ports[name][0])
            return points(reading) > 0 and time.time() - began > 22

        return looked

    see(engine, "first", busy("first"), "it is measured for two steps")
    engine.close()
    closed_at = time.time()

    engine = console(settings)
    reading = see(
        engine,
        "first",
        lambda reading: reading.freshness is Freshness.FRESH and points(reading) and _begins(reading) < closed_at - 15,
        "what the first console saw is there",
    )
    assert closed_at - _begins(reading) < 120 + APART_S
    assert [mark.text for mark in reading.marks] == ["start first"]

    swap = engine.perform(Request(Action.SWAP, "second", outgoing=("first",), drain_s=5))
    assert swap.outcome is Outcome.DONE, swap.message
    see(engine, "second", busy("second"), "the other is measured for two steps")
    found = see(engine, "second", lambda reading: reading.comparison, "they are compared").comparison
    assert found is not None
    assert (found.mark.text, found.before) == ("swap first → second", "first")
    assert found.seconds_before >= 10
    assert found.seconds_after >= 10
    assert any(row.before and row.after for row in found.rows), found.rows
    gone = engine.metrics("first")
    assert gone.freshness is Freshness.STALE
    assert [mark.text for mark in gone.marks] == ["start first", "swap first → second"]
    engine.close()


def _begins(reading: MetricsReading) -> float:
    return min(one.times[0] for one in reading.series if one.times)
