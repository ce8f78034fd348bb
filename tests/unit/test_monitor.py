"""What the monitor shows, over runtimes in memory and real HTTP servers."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Lifecycle, Protocol, Service, State
from engine.drift import launch_facts
from engine.errors import RuntimeUnreachable
from engine.freshness import Freshness
from engine.plan import Mount, Plan
from engine.request import Action, Request
from engine.snapshot import Estimate, LeaseStatus, OperationStatus, Outcome, Step, StepKind
from engine.stacks.huggingface import CACHE_IN_CONTAINER
from engine.startup import Phase, Startup
from engine.store import Entry
from tests.unit.monitor_bench import AWAKE, LAUNCH, PROFILE, Server, Watching, running, server, watching
from tests.unit.operations_bench import until

__all__ = ["server", "watching"]  # the fixtures


def operation(outcome: Outcome = Outcome.RUNNING, *steps: Step, **changes: object) -> OperationStatus:
    now = time.time()
    status = OperationStatus("1", "swap", "m", steps, now, outcome, "ann@box", outgoing=("old",))
    return replace(status, **changes)  # type: ignore[arg-type]


def written(status: OperationStatus) -> Entry:
    return Entry(status, Request(Action.SWAP, "m"), "")


def test_what_was_started_by_hand_is_watched(watching: Watching, server: Server) -> None:
    watching.docker.by_hand = (
        running(server.service, "docker/by-hand", foreign=True),
        running(
            Service(Protocol.OPENAI, "", ""), "docker/silent", foreign=True, error="Its port 8000 is not published."
        ),
    )
    watching.docker.held = (running(server.service, "z", lifecycle=Lifecycle.EXITED),)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY, "docker/by-hand")
    model = watching.model("docker/by-hand")
    assert (model.foreign, model.has_profile, model.runtime) == (True, False, "docker")
    until(lambda: watching.monitor.metrics("docker/by-hand").freshness is Freshness.FRESH)
    assert any(one.key == "running" and one.value == 3 for one in watching.monitor.metrics("docker/by-hand").series)
    silent = watching.model("docker/silent")
    assert (silent.state, silent.detail) == (State.UNREACHABLE, "Its port 8000 is not published.")
    names = [model.name for model in watching.monitor.latest.models]
    assert names[-3:] == ["z", "docker/by-hand", "docker/silent"]
    # Adopted, it is there once, under its own name.
    watching.docker.held += (replace(watching.docker.by_hand[0], name="by-hand", foreign=False, adopted=True),)
    watching.docker.by_hand = watching.docker.by_hand[1:]
    watching.changes()
    watching.see(lambda model: not model.foreign and model.state is State.READY, "by-hand")
    assert watching.monitor.latest.model("docker/by-hand") is None


def test_a_vllm_that_sleeps_is_asleep_though_it_answers(watching: Watching, server: Server) -> None:
    server.metrics = AWAKE.format("1.0")
    watching.docker.held = (running(server.service),)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY)
    server.metrics = AWAKE.format("0.0")
    watching.see(lambda model: model.state is State.ASLEEP)
    server.metrics = AWAKE.format("1.0")
    watching.see(lambda model: model.state is State.READY)


def test_who_holds_the_machine_and_that_nothing_may_be_changed(watching: Watching) -> None:
    watching.lease = LeaseStatus("swap a → b", "ann@box", time.time(), alive=True, operation="1")
    watching.monitor.open()
    until(lambda: not watching.monitor.latest.loading, 20)
    assert watching.monitor.latest.lease == watching.lease
    assert watching.monitor.latest.read_only == "--read-only says so"
    watching.lease = None
    until(lambda: watching.monitor.latest.lease is None)


def test_drift_of_the_profile_and_of_the_image(watching: Watching, server: Server) -> None:
    entry = read_profile(watching.profile)
    assert isinstance(entry, CatalogEntry)
    watching.launch = replace(LAUNCH, source_digest=entry.digest)
    deployment = running(
        server.service, image_id="sha256:" + "1" * 64, launch_facts=launch_facts(watching.launch), stack="triton"
    )
    watching.docker.images = {"example/triton:1": deployment.image_id}
    watching.docker.held = (deployment,)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY)
    assert watching.model("m").drift == ()

    watching.profile.write_text(PROFILE.replace("log_verbose: 1", "log_verbose: 2"))
    watching.launch = replace(LAUNCH, command=("tritonserver", "--log-verbose=2"), source_digest="2")
    watching.see(lambda model: model.drift == ("log-verbose: 1, the profile now says 2",))
    watching.docker.images = {"example/triton:1": "sha256:" + "2" * 64}
    watching.see(lambda model: len(model.drift) == 2 and model.drift[0].startswith("image example/triton:1 is another"))
    # Kept stopped, the same.
    watching.docker.held = (replace(deployment, lifecycle=Lifecycle.EXITED, exit_code=0),)
    watching.changes()
    watching.see(lambda model: model.state is State.STOPPED and len(model.drift) == 2)
    # Nobody can say from what it differs when its profile is gone.
    watching.profile.unlink()
    watching.see(lambda model: not model.has_profile and model.drift == ())


def test_how_long_its_next_start_may_take(watching: Watching) -> None:
    watching.launched = frozenset({"m"})
    watching.monitor.open()
    watching.see(lambda model: model.estimate == Estimate(41.0, 38.0, 55.0, 4))
    assert watching.model("m").state is State.ABSENT
    assert [model.name for model in watching.monitor.latest.models if model.estimate] == ["m"]


def test_steps_of_another_process_are_those_of_the_deployment_that_they_are_about(
    watching: Watching, server: Server
) -> None:
    watching.docker.held = (running(server.service, "old"), running(server.service))
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY, "old")
    stop = Step(StepKind.STOP, "stop old", Outcome.RUNNING, subject="old", began_at=time.time())
    watching.journal.write(written(operation(Outcome.RUNNING, stop)))
    watching.see(lambda model: model.state is State.STOPPING, "old")
    assert watching.model("m").state is State.READY
    wait = Step(StepKind.WAIT, "wait", Outcome.RUNNING, subject="m")
    watching.journal.write(written(operation(Outcome.RUNNING, replace(stop, outcome=Outcome.DONE), wait)))
    watching.see(lambda model: model.state is State.READY, "old")


def test_the_end_of_an_operation_that_the_journal_does_not_have_stays(watching: Watching) -> None:
    watching.monitor.open()
    until(lambda: not watching.monitor.latest.loading, 20)
    refused = operation(Outcome.FAILED, id="2", began_at=time.time() + 5, message="Refused.")
    watching.monitor.operation_changed(refused)
    interrupted = operation(Outcome.INTERRUPTED)
    watching.journal.write(written(interrupted))
    until(lambda: watching.monitor.latest.operations == (refused, interrupted))
    # Settled by somebody else.
    watching.journal.settle(interrupted, "rolled back")
    until(lambda: watching.monitor.latest.operations[-1].settled_by == "rolled back")
    assert watching.monitor.latest.operations[0] == refused


def test_a_step_that_was_just_told_is_not_taken_back_by_an_older_journal(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = watching.journal.recent_if_changed

    def slow() -> tuple[OperationStatus, ...] | None:
        found = read()
        if found and not reading.is_set():
            reading.set()
            go_on.wait(20)
        return found

    monkeypatch.setattr(watching.journal, "recent_if_changed", slow)
    shown: list[int] = []
    watching.monitor.subscribe(lambda snapshot: shown.extend(len(status.steps) for status in snapshot.operations))
    older = operation(Outcome.RUNNING, Step(StepKind.CHECK, "check", Outcome.RUNNING))
    watching.journal.write(written(older))
    watching.monitor.open()
    assert reading.wait(20)
    newer = replace(older, steps=(*older.steps, Step(StepKind.STOP, "stop")))
    watching.monitor.operation_changed(newer)
    until(lambda: shown == [2])
    watching.journal.write(written(newer))
    go_on.set()
    newest = replace(newer, steps=(*newer.steps, Step(StepKind.START, "start")))
    until(lambda: not watching.monitor.latest.loading, 20)
    watching.journal.write(written(newest))
    until(lambda: 3 in shown)
    assert shown == sorted(shown)


def test_a_runtime_that_falls_silent_is_stale_with_what_it_had(watching: Watching, server: Server) -> None:
    watching.docker.held = (running(server.service),)
    watching.docker.by_hand = (running(server.service, "docker/by-hand", foreign=True),)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY)
    watching.docker.error = RuntimeUnreachable("Docker does not answer.")
    watching.changes()
    watching.see(lambda model: model.stale_since is not None)
    assert watching.model("docker/by-hand").stale_since is not None


def test_a_plan_that_hangs_holds_up_nothing_else(watching: Watching, server: Server) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def plan(name: str, runtime: str | None) -> Plan:
        hangs.set()
        go_on.wait(60)
        raise RuntimeUnreachable("Docker does not answer.")

    watching.plan = plan  # type: ignore[method-assign]
    watching.docker.held = (running(server.service, launch_facts=launch_facts(LAUNCH)),)
    watching.monitor.open()
    try:
        assert hangs.wait(20)
        watching.see(lambda model: model.state is State.READY)
        until(lambda: not watching.monitor.latest.loading, 20)
    finally:
        go_on.set()


# -- how far a start has come ------------------------------------------------------------------------------------------

BEGUN = [
    "(EngineCore pid=2) INFO 11-20 23:50:17 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: m",
    "(Worker pid=5) INFO 11-20 23:50:29 [model_runner.py:68] Starting to load model org/m...",
    "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:04<00:04,  2.0s/it]",
    "(Worker pid=5) INFO 11-20 23:50:40 [model_runner.py:90] Model loading took 15.5 GiB memory and 9.1 seconds",
]
SERVED = "(APIServer pid=1) INFO 11-20 23:51:19 [entry.py:140] Starting vLLM server on http://127.0.0.1:8100"


def startup_of(watching: Watching) -> Startup:
    found = watching.model("m").startup
    assert found
    return found


def test_a_start_is_followed_and_kept_once_it_is_ready(watching: Watching, server: Server) -> None:
    watching.usual["m"] = (("weights", 55.0),)
    watching.docker.written["m"] = BEGUN
    starting = running(replace(server.service, health="http://127.0.0.1:1/health"))
    watching.docker.held = (starting,)
    watching.monitor.open()
    watching.see(lambda model: model.startup and model.startup.reported)
    assert watching.model("m").state is State.STARTING
    startup = startup_of(watching)
    assert startup.began_at == starting.started_at
    assert startup.current
    assert (startup.current.phase, startup.current.done, startup.current.total) == (Phase.WEIGHTS, 2, 4)
    assert startup.usual_s(Phase.WEIGHTS) == 55.0
    watching.docker.held = (replace(starting, service=server.service),)
    watching.changes()
    watching.see(lambda model: model.state is State.READY and model.startup and not model.startup.current)
    startup = startup_of(watching)
    assert [one.phase for one in startup.phases][-2:] == [Phase.WEIGHTS, Phase.READY]
    assert [one.key for one in startup.reported] == ["weights_bytes"]
    until(lambda: not any("start of m" in thread.name for thread in threading.enumerate()), 10)
    watching.docker.held = (replace(starting, lifecycle=Lifecycle.EXITED, exit_code=0),)
    watching.changes()
    watching.see(lambda model: model.startup is None)


def test_one_that_is_not_ready_in_time_is_followed_no_longer(watching: Watching, server: Server) -> None:
    """It may stay so for days."""
    watching.docker.written["m"] = BEGUN
    late = running(replace(server.service, health="http://127.0.0.1:1/health", ready_timeout_s=600))
    watching.docker.held = (late,)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.STARTING and model.startup and model.startup.reported)
    watching.docker.held = (replace(late, service=replace(late.service, ready_timeout_s=0.1)),)
    watching.changes()
    watching.see(lambda model: model.state is State.UNREACHABLE)
    until(lambda: not any("start of m" in thread.name for thread in threading.enumerate()), 10)
    current = startup_of(watching).current
    assert current
    assert (current.phase, current.done) == (Phase.WEIGHTS, 2)
    watching.docker.written["m"] = [*BEGUN, SERVED]
    watching.docker.held = (replace(late, service=server.service),)
    watching.changes()
    watching.see(lambda model: model.state is State.READY and model.startup and not model.startup.current)
    assert startup_of(watching).phases[-1].phase is Phase.READY


def test_of_one_that_was_ready_before_the_beginning_of_its_log_is_read(watching: Watching, server: Server) -> None:
    watching.docker.written["m"] = [*BEGUN, SERVED]
    watching.docker.held = (running(server.service),)
    watching.monitor.open()
    watching.see(lambda model: model.startup)
    startup = startup_of(watching)
    assert [one.phase for one in startup.phases] == [
        *(Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS, Phase.SERVE, Phase.READY),
    ]
    assert startup.current is None
    assert not any("start of" in thread.name for thread in threading.enumerate())


def test_a_download_is_seen_where_the_deployment_has_its_files(
    watching: Watching, server: Server, tmp_path: Path
) -> None:
    blobs = tmp_path / "hf/hub/models--m/blobs"
    blobs.mkdir(parents=True)
    mounts = (Mount(str(tmp_path / "hf"), CACHE_IN_CONTAINER, read_only=False),)
    watching.docker.written["m"] = BEGUN[:2]
    silent = replace(server.service, health="http://127.0.0.1:1/health")
    watching.docker.held = (running(silent, launch_facts=launch_facts(replace(LAUNCH, mounts=mounts))),)
    watching.monitor.open()
    watching.see(lambda model: model.startup and model.startup.current and model.startup.current.detail == "org/m")
    file = (blobs / "a.incomplete").open("wb")

    def fetched() -> bool:
        file.write(os.urandom(1 << 16))
        file.flush()
        os.fsync(file.fileno())
        current = startup_of(watching).current
        return bool(current and current.phase is Phase.DOWNLOAD and (current.done or 0) > 2 << 20)

    with file:
        until(fetched, 20)
