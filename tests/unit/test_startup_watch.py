"""The start of one deployment, followed in its log and in its files, over a runtime in memory."""

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, NotFound, RuntimeUnreachable
from engine.observe import startup_watch
from engine.observe.startup_files import LEAST_GROWTH, Download, Files, files_of, model_folder
from engine.observe.startup_watch import StartupWatch, read_beginning
from engine.runtimes.base import Runtime
from engine.stacks.huggingface import CACHE_IN_CONTAINER, CACHE_VOLUME
from engine.startup import Phase, PhaseProgress
from tests.unit.operations_bench import until

STARTED = time.time() - 100
ENGINE = "INFO 11-20 23:50:17 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: m"
LOAD = "INFO 11-20 23:50:29 [model_runner.py:68] Starting to load model org/m..."
LOADED = "INFO 11-20 23:50:40 [model_runner.py:90] Model loading took 15.5 GiB memory and 9.1 seconds"
SERVED = "INFO 11-20 23:51:19 [entry.py:140] Starting vLLM server on http://127.0.0.1:8100"
GIB = 1 << 30


def raw(text: str, after: float = 1.0) -> bytes:
    at = datetime.fromtimestamp(STARTED + after, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return f"{at} {text}".encode()


def line(text: str, after: float = 1.0) -> bytes:
    return raw(text, after) + b"\n"


class Log:
    """Blocks as the test gives them; it goes on until it is closed."""

    secrets: tuple[str, ...] = ()

    def __init__(self, *blocks: bytes, follow: bool = True) -> None:
        self.blocks: queue.Queue[bytes | EngineError | None] = queue.Queue()
        for block in blocks:
            self.blocks.put(block)
        if not follow:
            self.blocks.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (block := self.blocks.get(timeout=30)) is not None:
            if isinstance(block, EngineError):
                raise block
            yield block

    def close(self) -> None:
        self.blocks.put(None)


class Docker:
    name = "docker"

    def __init__(self, *blocks: bytes) -> None:
        self.log = Log(*blocks)
        self.written = blocks
        self.asked: list[float | None] = []
        self.error: EngineError | None = None

    def logs(self, _name: str, *, tail: int | None, follow: bool, since: float | None = None) -> Log:
        assert tail is None
        self.asked.append(since)
        if self.error:
            raise self.error
        return self.log if follow else Log(*self.written, follow=False)

    @property
    def runtime(self) -> Runtime:
        return cast("Runtime", self)


def deployment(stack: str = "vllm") -> Deployment:
    service = Service(Protocol.OPENAI, "", "")
    return Deployment("m", "docker", stack, "id", "image", Lifecycle.RUNNING, service, STARTED, STARTED)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_watch, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(startup_watch, "PAUSE_S", 0.01)


@pytest.fixture
def watch() -> Iterator[Callable[..., StartupWatch]]:
    made: list[StartupWatch] = []

    def make(docker: Docker, **options: object) -> StartupWatch:
        made.append(StartupWatch(docker.runtime, deployment(), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
    until(lambda: not any(thread.name == "start of m" for thread in threading.enumerate()), 10)


def phases(one: StartupWatch) -> list[Phase]:
    return [progress.phase for progress in one.startup().phases]


def done(one: StartupWatch) -> float:
    current = one.startup().current
    return current.done or 0 if current else 0


def test_it_is_at_its_first_phase_at_once_and_asks_only_for_its_own_run(watch: Callable[..., StartupWatch]) -> None:
    docker = Docker()
    one = watch(docker)
    assert one.startup().phases == (PhaseProgress(Phase.BOOT, STARTED),)
    until(lambda: bool(docker.asked), 10)
    assert docker.asked[0]
    assert STARTED - 1 < docker.asked[0] < STARTED


def test_the_last_line_counts_when_nothing_more_comes(watch: Callable[..., StartupWatch]) -> None:
    told = threading.Event()
    one = watch(Docker(line(ENGINE), line(LOAD, 5)), changed=told.set)
    until(lambda: Phase.WEIGHTS in phases(one), 10)
    assert told.is_set()
    weights = one.startup().current
    assert weights
    assert weights.detail == "org/m"
    assert weights.began_at == pytest.approx(STARTED + 5, abs=0.01)


def test_a_bar_counts_before_its_line_has_ended(watch: Callable[..., StartupWatch]) -> None:
    docker = Docker(line(ENGINE), raw("Capturing CUDA graphs (FULL):   3%|▎         | 1/35 [00:00<00:01]", 9))
    one = watch(docker)
    until(lambda: done(one) == 1, 10)
    docker.log.blocks.put("\rCapturing CUDA graphs (FULL):  57%|█████▋    | 20/35 [00:01<00:01]".encode())
    until(lambda: done(one) == 20, 10)
    docker.log.blocks.put(b"\n" + line(SERVED, 12))
    until(lambda: Phase.SERVE in phases(one), 10)


def test_lines_of_an_earlier_run_do_not_count(watch: Callable[..., StartupWatch]) -> None:
    one = watch(Docker(line(LOADED, -20), line(SERVED, -10), line(ENGINE), line(LOAD)))
    until(lambda: Phase.WEIGHTS in phases(one), 10)
    assert phases(one) == [Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS]
    assert one.startup().reported == ()


def test_why_a_log_cannot_be_followed_is_told_until_it_can(watch: Callable[..., StartupWatch]) -> None:
    docker = Docker(line(ENGINE))
    docker.error = RuntimeUnreachable("Docker does not answer.", "Start it.")
    one = watch(docker)
    until(lambda: "Docker does not answer" in one.startup().problem, 10)
    docker.error = None
    until(lambda: Phase.ENGINE in phases(one), 10)
    assert one.startup().problem == ""


def test_an_operation_is_given_all_that_was_told_by_the_time_it_is_ready(watch: Callable[..., StartupWatch]) -> None:
    docker = Docker(line(ENGINE), line(LOAD), line(LOADED, 30), line(SERVED, 40))
    usual = (("weights", 31.0),)
    one = watch(docker, usual=lambda: usual)
    until(lambda: Phase.WEIGHTS in phases(one), 10)
    startup = one.finish(STARTED + 41)
    assert [progress.phase for progress in startup.phases][-2:] == [Phase.SERVE, Phase.READY]
    assert startup.phases[-1].ended_at == STARTED + 41
    assert [told.key for told in startup.reported] == ["weights_bytes"]
    assert startup.usual == usual
    until(lambda: not any(thread.name in ("start of m", "log m") for thread in threading.enumerate()), 10)


def test_the_beginning_of_a_log_tells_of_a_start_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = line('INFO:     127.0.0.1:1 - "GET /health HTTP/1.1" 200 OK', 4000)
    startup = read_beginning(Docker(line(ENGINE), line(LOADED, 30), line(SERVED, 40), answered).runtime, deployment())
    assert startup
    assert startup.phases[-1].phase is Phase.READY
    assert startup.phases[-1].began_at == pytest.approx(STARTED + 40, abs=0.01)
    assert not startup.current
    assert [told.key for told in startup.reported] == ["weights_bytes"]
    only_figures = read_beginning(Docker(line(LOADED, 30)).runtime, deployment())
    assert only_figures
    assert (only_figures.phases, len(only_figures.reported)) == ((), 1)
    assert read_beginning(Docker(answered).runtime, deployment()) is None
    gone = Docker()
    gone.error = NotFound("There is no container named m.")
    assert read_beginning(gone.runtime, deployment()) is None
    monkeypatch.setattr(startup_watch, "BEGINNING_BYTES", 1000)
    long = Docker(line(ENGINE), *[line("x" * 99)] * 20, line(LOADED))
    assert read_beginning(long.runtime, deployment()) is None, "no more is read than that"


# -- files -------------------------------------------------------------------------------------------------------------


class Hub:
    """The folder of one model, as the hub's library makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)
        (folder / "snapshots/rev").mkdir(parents=True)

    def fetch(self, name: str, megabytes: int) -> None:
        with (self.folder / "blobs" / f"{name}.incomplete").open("wb") as file:
            file.write(os.urandom(1 << 20) * megabytes)
            os.fsync(file.fileno())

    def complete(self, name: str) -> None:
        blob = (self.folder / "blobs" / f"{name}.incomplete").rename(self.folder / "blobs" / name)
        (self.folder / "snapshots/rev" / f"{name}.safetensors").symlink_to(blob)

    def index(self, total: object) -> None:
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": {}})
        (self.folder / "snapshots/rev/model.safetensors.index.json").write_text(text)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "hub/models--org--m")


def test_a_download_is_seen_from_its_files(hub: Hub) -> None:
    hub.fetch("a", 3)
    hub.complete("a")
    (hub.folder / "blobs" / "of-another-revision").write_bytes(bytes(5 << 20))
    download = Download(hub.folder)
    assert download.look() is None, "nothing has come since"
    hub.fetch("b", 2)
    found = download.look()
    assert found
    assert found.done == pytest.approx(5 << 20, rel=0.01)
    assert found.total is None
    assert download.look() is None
    hub.index(6 << 20)
    hub.fetch("b", 3)
    found = download.look()
    assert found
    assert found.total == 6 << 20
    hub.fetch("another-format", 4)
    found = download.look()
    assert found
    assert found.total is None, "there is more than the index knows of"


def test_what_is_small_is_no_download(hub: Hub) -> None:
    download = Download(hub.folder)
    assert download.look() is None
    (hub.folder / "blobs" / "config.incomplete").write_bytes(bytes(LEAST_GROWTH // 2))
    assert download.look() is None


def test_a_file_of_its_full_length_counts_for_what_it_holds(hub: Hub) -> None:
    with (hub.folder / "blobs" / "a.incomplete").open("wb") as file:
        file.truncate(1 << 30)
        file.write(os.urandom(2 << 20))
        file.flush()
        os.fsync(file.fileno())
    found = files_of(hub.folder)
    assert found
    assert found.done < 4 << 20


@pytest.mark.parametrize("total", [0, -1, "many", None])
def test_an_index_that_says_nothing_useful_gives_no_total(hub: Hub, total: object) -> None:
    hub.index(total)
    found = files_of(hub.folder)
    assert found
    assert found.total is None


def test_a_folder_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    assert files_of(tmp_path / "models--org--m") == Files(0, None)
    (tmp_path / "file").touch()
    assert files_of(tmp_path / "file") is None


def test_where_the_files_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    here = tmp_path / "hub/models--org--m"
    mounted = {CACHE_IN_CONTAINER: str(tmp_path)}
    assert model_folder("process", {}, {}, "org/m") == here
    assert model_folder("process", {"HF_HOME": "/elsewhere"}, {}, "org/m") == Path("/elsewhere/hub/models--org--m")
    assert model_folder("process", {"HF_HUB_CACHE": "/c"}, {}, "org/m:Q4_K_M") == Path("/c/models--org--m")
    assert model_folder("docker", {}, mounted, "org/m") == here
    for unseen in ({CACHE_IN_CONTAINER: CACHE_VOLUME}, {}):
        assert model_folder("docker", {}, unseen, "org/m") is None
    for other in (None, "", "./folder", "/folder", "~/folder", "s3://bucket/m"):
        assert model_folder("process", {}, {}, other) is None


def test_a_download_is_told_while_the_log_is_silent(watch: Callable[..., StartupWatch], hub: Hub) -> None:
    one = watch(Docker(line(ENGINE), line(LOAD, 5)), files=partial(model_folder_of, hub))
    until(lambda: Phase.WEIGHTS in phases(one), 10)
    hub.index(40 << 20)
    for megabytes in (4, 8, 12):
        hub.fetch("a", megabytes)
        until(partial(has_come, one, megabytes << 20), 10)
    current = one.startup().current
    assert current
    assert (current.phase, current.total, current.unit) == (Phase.DOWNLOAD, 40 << 20, "bytes")
    assert current.rate


def has_come(one: StartupWatch, least: int) -> bool:
    return done(one) >= least


def model_folder_of(hub: Hub) -> Path:
    return hub.folder
