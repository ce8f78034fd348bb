"""The process runtime on small real programs: it must tell the truth and end what it started, whatever was killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.deployment import Lifecycle
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.runtimes.base import Runtime
from engine.runtimes.process import ProcessRuntime
from engine.runtimes.process_identity import is_alive
from engine.runtimes.shim import LEFTOVERS_S
from engine.settings import Settings
from tests.real.process_support import (
    SERVICE,
    begin,
    begin_and_end,
    ended,
    kill_shim,
    launch,
    pid_said,
    record_of,
    runtime,
    server_of,
    settings,
)
from tests.real.triton_support import of, settings_in, text_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["runtime", "settings"]  # the fixtures

SPAWNS_A_SESSION = (
    "import subprocess, sys; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True);"
    "sys.stdin = open('/dev/null'); import time; time.sleep(1000)"
)


def test_it_is_a_runtime(runtime: ProcessRuntime) -> None:
    assert isinstance(runtime, Runtime)
    assert runtime.check().startswith("Linux ")
    assert runtime.deployments() == ()


def test_a_whole_life(runtime: ProcessRuntime, settings: Settings) -> None:
    runtime.create(launch("a", "sh", "-c", "echo $GREETING; sleep 1000", env={"GREETING": "hi"}, profile_digest="d"))
    created = of(runtime, "a")
    assert (created.lifecycle, created.what, created.started_at, created.pid) == (Lifecycle.CREATED, "sh", None, None)
    before = time.time()
    runtime.start("a")
    running = of(runtime, "a")
    assert running.lifecycle is Lifecycle.RUNNING
    assert (running.service, running.profile_digest, running.stop_requested) == (SERVICE, "d", False)
    assert running.started_at is not None
    assert before <= running.started_at <= time.time()
    assert running.pid == server_of(runtime, "a")[0]
    assert ProcessRuntime(settings).deployments() == (running,)
    wait_until(lambda: text_of(runtime, "a") == "hi", "its output is in the log")
    runtime.start("a")
    assert of(runtime, "a").pid == running.pid
    with pytest.raises(Refused, match="is running"):
        runtime.remove("a")
    runtime.stop("a", 10)
    stopped = of(runtime, "a")
    assert (stopped.lifecycle, stopped.exit_code, stopped.stop_requested) == (Lifecycle.EXITED, -signal.SIGTERM, True)
    assert stopped.id == created.id
    runtime.stop("a", 10)
    runtime.start("a")
    again = of(runtime, "a")
    assert (again.lifecycle, again.exit_code, again.stop_requested) == (Lifecycle.RUNNING, None, False)
    wait_until(lambda: text_of(runtime, "a") == "hi\nhi", "the log goes on")
    runtime.stop("a", 10)
    runtime.remove("a")
    assert runtime.deployments() == ()
    assert list((settings.state_dir / "deployments").iterdir()) == []


def test_it_outlives_the_console_that_started_it(runtime: ProcessRuntime, settings: Settings) -> None:
    console = (
        "import sys, time; from pathlib import Path; from tests.real.process_support import *;"
        "r = ProcessRuntime(settings_in(Path(sys.argv[1])));"
        "begin(r, 'a', 'sh', '-c', 'while :; do echo tick; sleep 0.05; done');"
        "print('started', flush=True); time.sleep(1000)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", console, str(settings.working_dir)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    assert starter.stdout is not None
    with starter:
        assert starter.stdout.readline() == b"started\n"
        os.killpg(starter.pid, signal.SIGKILL)
    lines = len(text_of(runtime, "a").splitlines())
    wait_until(lambda: len(text_of(runtime, "a").splitlines()) > lines + 3, "it goes on and its log, too")
    assert of(runtime, "a").lifecycle is Lifecycle.RUNNING
    runtime.stop("a", 5)
    assert ended(runtime, "a")


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -SEGV $$", -signal.SIGSEGV)])
def test_exit_codes(runtime: ProcessRuntime, script: str, code: int) -> None:
    begin_at = time.time()
    runtime.create(launch("a", "sh", "-c", script))
    runtime.start("a")
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    deployment = of(runtime, "a")
    assert (deployment.exit_code, deployment.stop_requested, deployment.oom_killed) == (code, False, False)
    assert deployment.finished_at is not None
    assert begin_at <= deployment.finished_at <= time.time()


@pytest.mark.parametrize(
    ("program", "code", "why"), [("/no/such/program", 127, "No such file"), ("/etc", 126, "Permission denied")]
)
def test_a_program_that_cannot_be_run(runtime: ProcessRuntime, program: str, code: int, why: str) -> None:
    runtime.create(launch("a", program))
    with pytest.raises(OperationFailed, match=f"{program} could not be run: {why}"):
        runtime.start("a")
    deployment = of(runtime, "a")
    assert (deployment.lifecycle, deployment.exit_code) == (Lifecycle.EXITED, code)
    assert why in deployment.error
    runtime.remove("a")


def test_a_program_that_ignores_the_request_is_killed_with_all_it_started(runtime: ProcessRuntime) -> None:
    server = begin(runtime, "a", "sh", "-c", "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1000; done")
    child = pid_said(runtime, "a")
    began = time.monotonic()
    runtime.stop("a", 0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert not is_alive(server)
    assert not is_alive(child)
    deployment = of(runtime, "a")
    assert (deployment.exit_code, deployment.stop_requested, deployment.oom_killed) == (-signal.SIGKILL, True, False)


def test_a_second_stop_may_be_less_patient(runtime: ProcessRuntime) -> None:
    begin(runtime, "a", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done")
    wait_until(lambda: text_of(runtime, "a"), "the trap is set")
    patient = threading.Thread(target=runtime.stop, args=("a", 60))
    patient.start()
    wait_until(lambda: of(runtime, "a").stop_requested, "the first stop was asked for")
    runtime.stop("a", 0.1)
    patient.join(timeout=10)
    assert not patient.is_alive()
    assert ended(runtime, "a")


def test_children_in_sessions_of_their_own_do_not_stay_behind(runtime: ProcessRuntime) -> None:
    begin(runtime, "a", sys.executable, "-c", SPAWNS_A_SESSION)
    child = pid_said(runtime, "a")
    runtime.stop("a", 10)
    assert not is_alive(child)


def test_children_of_a_server_that_crashed_do_not_stay_behind(runtime: ProcessRuntime) -> None:
    server = begin(runtime, "a", sys.executable, "-c", SPAWNS_A_SESSION)
    child = pid_said(runtime, "a")
    os.kill(server[0], signal.SIGKILL)
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    wait_until(lambda: not is_alive(child), "its child has ended")
    deployment = of(runtime, "a")
    assert (deployment.exit_code, deployment.stop_requested) == (-signal.SIGKILL, False)


def test_a_server_s_end_is_told_before_what_it_leaves_has_ended(runtime: ProcessRuntime) -> None:
    """As Triton's is, when it is killed while its backends' processes are at work and do not listen."""
    deaf = "trap '' TERM; exec >&- 2>&-; while :; do sleep 0.1; done"
    server = begin(runtime, "a", "sh", "-c", f'sh -c "{deaf}" & echo $!; trap "" TERM; while :; do sleep 0.1; done')
    child = pid_said(runtime, "a")
    os.kill(server[0], signal.SIGKILL)
    wait_until(lambda: ended(runtime, "a"), "its end is told", timeout_s=LEFTOVERS_S / 2)
    assert is_alive(child)
    told = of(runtime, "a")
    assert told.exit_code == -signal.SIGKILL
    runtime.start("a")
    assert not is_alive(child), "a start waits for the port and the GPU memory that it may hold"
    again = of(runtime, "a")
    assert (again.lifecycle, again.exit_code) == (Lifecycle.RUNNING, None)
    assert again.pid != server[0]


def test_what_a_server_said_last_is_in_its_log_when_its_end_is_told(runtime: ProcessRuntime) -> None:
    script = "(trap '' TERM; sleep 1000) & seq 1 50000; echo last words; kill -KILL $$"
    begin(runtime, "a", "sh", "-c", script)
    wait_until(lambda: ended(runtime, "a"), "its end is told", timeout_s=LEFTOVERS_S / 2)
    assert text_of(runtime, "a", tail=1) == "last words"


def test_a_killed_shim_takes_its_server_along(runtime: ProcessRuntime) -> None:
    server = begin(runtime, "a", "sleep", "1000")
    kill_shim(runtime, "a")
    wait_until(lambda: ended(runtime, "a"), "it is seen as ended")
    assert not is_alive(server)
    deployment = of(runtime, "a")
    assert deployment.exit_code is None
    assert "supervisor was killed" in deployment.error
    runtime.start("a")
    assert of(runtime, "a").lifecycle is Lifecycle.RUNNING


def test_what_a_killed_shim_leaves_is_seen_and_can_be_stopped(runtime: ProcessRuntime) -> None:
    script = "trap '' TERM; echo $$; while :; do sleep 0.1; done"
    server = begin(runtime, "a", "sh", "-c", script)
    wait_until(lambda: text_of(runtime, "a"), "the trap is set")
    kill_shim(runtime, "a")
    deployment = of(runtime, "a")
    assert deployment.lifecycle is Lifecycle.RUNNING
    assert "supervisor was killed" in deployment.error
    assert deployment.pid == server[0]
    with pytest.raises(OperationFailed, match="Stop a first"):
        runtime.start("a")
    with pytest.raises(Refused):
        runtime.remove("a")
    runtime.stop("a", 0.2)
    assert ended(runtime, "a")
    assert not is_alive(server)
    runtime.remove("a")


def test_a_restart_of_the_machine(runtime: ProcessRuntime) -> None:
    begin_and_end(runtime, "a")
    forge(runtime, "a", boot="11111111-2222-3333-4444-555555555555", finished_at=None, exit_code=None)
    deployment = of(runtime, "a")
    assert (deployment.lifecycle, deployment.exit_code) == (Lifecycle.EXITED, None)
    assert deployment.error == "The machine was restarted while it ran."
    runtime.start("a")
    wait_until(lambda: of(runtime, "a").exit_code == 0, "it ran again")


def forge(runtime: ProcessRuntime, name: str, boot: str | None = None, pid: int | None = None, **facts: object) -> None:
    path = record_of(runtime, name).folder / "run.json"
    run = {**json.loads(path.read_text()), **facts}
    for who in ("shim", "server"):
        run[who] = [pid or run[who][0], run[who][1], boot or run[who][2]]
    path.write_text(json.dumps(run))


def test_a_stranger_with_a_reused_id_is_never_signalled(runtime: ProcessRuntime) -> None:
    begin_and_end(runtime, "a")
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        forge(runtime, "a", pid=stranger.pid, finished_at=None)
        assert of(runtime, "a").lifecycle is Lifecycle.EXITED
        runtime.stop("a", 0.1)
        runtime.remove("a")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"id": 3}', "\x00\x00"])
@pytest.mark.parametrize("file", ["launch.json", "run.json"])
def test_damaged_state_fails_one_deployment_and_no_other(runtime: ProcessRuntime, file: str, damage: str) -> None:
    for name in ("broken", "well"):
        begin_and_end(runtime, name)
    (record_of(runtime, "broken").folder / file).write_text(damage)
    broken, well = runtime.deployments()
    assert broken.lifecycle is Lifecycle.EXITED
    assert file in broken.error
    assert "is damaged. Remove broken and start it again." in broken.error
    assert (well.exit_code, well.error) == (0, "")
    runtime.stop("broken", 1)
    runtime.remove("broken")
    assert [deployment.name for deployment in runtime.deployments()] == ["well"]


def test_a_running_deployment_can_be_stopped_though_its_state_is_damaged(runtime: ProcessRuntime) -> None:
    server = begin(runtime, "a", "sleep", "1000")
    (record_of(runtime, "a").folder / "run.json").write_text("{")
    deployment = of(runtime, "a")
    assert deployment.lifecycle is Lifecycle.RUNNING
    assert "is damaged" in deployment.error
    runtime.stop("a", 5)
    assert ended(runtime, "a")
    assert not is_alive(server)


def test_names(runtime: ProcessRuntime) -> None:
    runtime.create(launch("a", "true"))
    with pytest.raises(Refused, match="exists already"):
        runtime.create(launch("a", "true"))
    for name in ("b", "../a", ".hidden", ""):
        with pytest.raises(NotFound):
            runtime.start(name)
        with pytest.raises(NotFound):
            runtime.logs(name, tail=None, follow=False)
        with pytest.raises(NotFound):
            runtime.remove(name)


def test_many_consoles_at_once(settings: Settings) -> None:
    outcomes: list[str] = []

    def console() -> None:
        runtime = ProcessRuntime(settings)
        try:
            runtime.create(launch("a", "sleep", "1000"))
            outcomes.append("created")
        except Refused:
            outcomes.append("refused")
        runtime.start("a")
        runtime.deployments()

    threads = [threading.Thread(target=console) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(outcomes) == ["created"] + ["refused"] * 7
    runtime = ProcessRuntime(settings)
    children = [pid for pid in Path("/proc").iterdir() if pid.name.isdecimal() and _runs_in(pid, settings)]
    assert len(children) == 1, "one shim, however many asked"
    runtime.stop("a", 5)


def _runs_in(process: Path, settings: Settings) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"shim.py\0" in command and str(settings.state_dir).encode() in command


def test_the_environment_is_small_and_secrets_are_nowhere_on_disk(
    runtime: ProcessRuntime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    monkeypatch.setenv("UNRELATED", "not passed on")
    runtime.create(
        launch("a", "sh", "-c", "test ${#TOKEN} = 12 && env | grep -v TOKEN", secrets={"TOKEN": "env:MY_TOKEN"})
    )
    runtime.start("a")
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    assert of(runtime, "a").exit_code == 0
    environment = dict(line.split("=", 1) for line in text_of(runtime, "a").splitlines() if "=" in line)
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["LANG"] == "C.UTF-8"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "UNRELATED" not in environment
    for file in settings.state_dir.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
        assert file.is_dir() or b"s3cr3t" not in file.read_bytes()
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(Refused, match="MY_TOKEN"):
        runtime.start("a")


@pytest.mark.parametrize(("gpus", "visible"), [(("1", "GPU-abc"), "1,GPU-abc"), (2, "0,1"), (0, ""), (-1, "unset")])
def test_the_gpus_that_it_sees(runtime: ProcessRuntime, gpus: object, visible: str) -> None:
    begin(runtime, "a", "sh", "-c", "echo ${CUDA_VISIBLE_DEVICES-unset}", gpus=gpus)
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    assert text_of(runtime, "a") == visible


def test_watching_tells_of_each_change(runtime: ProcessRuntime) -> None:
    seen: list[tuple[Lifecycle, ...]] = []
    closing = threading.Event()

    def changed() -> None:
        seen.append(tuple(deployment.lifecycle for deployment in runtime.deployments()))

    steps: list[tuple[Callable[[], None], tuple[Lifecycle, ...]]] = [
        (lambda: runtime.create(launch("a", "sleep", "1000")), (Lifecycle.CREATED,)),
        (lambda: runtime.start("a"), (Lifecycle.RUNNING,)),
        (lambda: os.kill(server_of(runtime, "a")[0], signal.SIGKILL), (Lifecycle.EXITED,)),
        (lambda: runtime.remove("a"), ()),
    ]
    watcher = threading.Thread(target=runtime.watch, args=(changed, closing))
    watcher.start()
    try:
        for change, expected in steps:
            change()
            wait_until(lambda expected=expected: seen[-1:] == [expected], f"{expected} is told")  # type: ignore[misc]
    finally:
        closing.set()
        watcher.join(timeout=5)
    assert not watcher.is_alive()


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    runtime = ProcessRuntime(settings_in(tmp_path))
    with pytest.raises(OperationFailed, match=r"state folder .* cannot be written: .*TRITONTUI_STATE_DIR"):
        runtime.create(launch("a", "true"))
    with pytest.raises(RuntimeUnreachable, match="cannot be read"):
        runtime.deployments()


def test_a_server_that_outlives_a_full_disk(runtime: ProcessRuntime) -> None:
    """Its log goes to a device that is always full: it must neither block nor end, and its end must be known."""
    runtime.create(launch("a", "sh", "-c", "seq 1 100000; echo done >&2; exit 7"))
    (record_of(runtime, "a").folder / "log.1").symlink_to("/dev/full")
    runtime.start("a")
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    assert of(runtime, "a").exit_code == 7
