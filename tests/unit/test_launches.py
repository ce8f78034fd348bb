"""What is remembered of launches, and what the next one is told to take."""

import multiprocessing
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine import database, estimates
from engine.database import Database
from engine.deployment import Protocol, Service
from engine.launches import KEPT, Cache, Launched, Launches, cache_state
from engine.plan import Launch, Mount
from engine.request import Way
from engine.snapshot import Estimate
from engine.stacks.huggingface import CACHE_IN_CONTAINER, CACHE_VOLUME
from engine.startup import Reported

USUAL = Launched(
    name="llama",
    profile_digest="p1",
    image="vllm/vllm-openai:v0.11.0",
    image_id="sha256:1",
    host="box",
    runtime="docker",
    cache="warm",
    began_at=1_000_000.0,
    phases=(("loading weights", 30.0), ("warming up", 10.0)),
    seconds=41.0,
    outcome="ready",
)


@pytest.fixture
def launches(tmp_path: Path) -> Launches:
    return Launches(tmp_path / "state" / "history.sqlite")


def fill(launches: Launches, *seconds: float, **changes: object) -> None:
    for number, taken in enumerate(seconds):
        one = replace(USUAL, seconds=taken, began_at=USUAL.began_at + number)
        launches.record(replace(one, **changes))  # type: ignore[arg-type]
        assert not launches.problem


def estimate(
    launches: Launches,
    cache: Cache = "warm",
    *,
    name: str = "llama",
    profile_digest: str = "p1",
    image_id: str = "sha256:1",
    host: str = "box",
) -> Estimate | None:
    return launches.estimate(name, profile_digest, image_id, host, cache)


def phases(launches: Launches, name: str = "llama") -> tuple[tuple[str, float], ...]:
    return launches.phases(name, "p1", "sha256:1", "box", "warm")


def test_nothing_is_known_before_the_first_launch(launches: Launches, tmp_path: Path) -> None:
    assert estimate(launches) is None
    assert not launches.problem
    assert not (tmp_path / "state").exists(), "to look is to make nothing"


def test_a_few_launches_are_told_by_the_shortest_and_the_longest(launches: Launches) -> None:
    fill(launches, 40.0, 55.0, 41.0)
    assert estimate(launches) == Estimate(41.0, 40.0, 55.0, 3)


def test_more_launches_are_told_by_percentiles_of_the_latest_twenty(launches: Launches) -> None:
    fill(launches, *[900.0] * 10, *map(float, range(1, 21)), 30.0)
    # numpy.percentile([2, …, 20, 30], [10, 50, 90]) gives 3.9, 11.5 and 19.1.
    found = estimate(launches)
    assert found
    assert (found.low, found.typical, found.high) == pytest.approx((3.9, 11.5, 19.1))
    assert found.launches == 20


def test_what_failed_tells_nothing_of_how_long_it_takes(launches: Launches) -> None:
    fill(launches, 5.0, 6.0, outcome="failed")
    assert estimate(launches) is None
    fill(launches, 41.0)
    assert estimate(launches) == Estimate(41.0, 41.0, 41.0, 1)


def test_a_load_into_a_running_server_tells_nothing_of_a_start(launches: Launches) -> None:
    fill(launches, 2.0, way=Way.LOAD)
    assert estimate(launches) is None
    assert launches.estimate("llama", "p1", "sha256:1", "box", "warm", way=Way.LOAD) == Estimate(2.0, 2.0, 2.0, 1)


def test_what_is_not_the_same_is_said(launches: Launches) -> None:
    fill(launches, 41.0)
    for key, cache, note in (
        ({"profile_digest": "p2"}, "warm", "the profile has changed since"),
        ({"image_id": "sha256:2"}, "warm", "another image"),
        ({}, "cold", "the cache is cold now"),
        ({"host": "other"}, "warm", "measured on box"),
        (
            {"profile_digest": "p2", "image_id": "", "host": "other"},
            "cold",
            "measured on box, the cache is cold now, another image, the profile has changed since",
        ),
    ):
        found = estimate(launches, "cold" if cache == "cold" else "warm", **key)
        assert found
        assert found == Estimate(41.0, 41.0, 41.0, 1, note)
    assert estimate(launches, name="qwen") is None


def test_the_most_alike_are_taken_and_no_others(launches: Launches) -> None:
    fill(launches, 300.0, cache="cold")
    fill(launches, 50.0, 60.0, profile_digest="p0", image_id="sha256:0")
    fill(launches, 20.0, host="other")
    found = estimate(launches)
    assert found == Estimate(55.0, 50.0, 60.0, 2, "another image, the profile has changed since")
    fill(launches, 70.0, profile_digest="p0")
    assert estimate(launches) == Estimate(70.0, 70.0, 70.0, 1, "the profile has changed since")
    fill(launches, 41.0)
    assert estimate(launches) == Estimate(41.0, 41.0, 41.0, 1)


def test_phases_are_those_that_a_launch_usually_has(launches: Launches) -> None:
    fill(launches, 100.0, phases=(("downloading", 60.0), ("loading weights", 30.0), ("warming up", 10.0)))
    fill(launches, 38.0, 44.0, phases=(("loading weights", 20.0), ("warming up", 14.0)))
    assert phases(launches) == (
        ("loading weights", 20.0),
        ("warming up", 14.0),
    )
    assert phases(launches, "qwen") == ()


def test_failing_over_and_over_forgets_no_success_and_fills_no_disk(launches: Launches, tmp_path: Path) -> None:
    fill(launches, *[40.0] * 3)
    fill(launches, *[1.0] * (KEPT["failed"] + 10), outcome="failed")
    fill(launches, *[7.0] * 3, name="other")
    found = estimate(launches)
    assert found
    assert found.launches == 3
    fill(launches, *[50.0] * (KEPT["ready"] + 10))
    with closing(sqlite3.connect(tmp_path / "state" / "history.sqlite")) as file:
        counts = dict(file.execute("SELECT name, count(*) FROM launches GROUP BY name"))
    assert counts == {"llama": sum(KEPT.values()), "other": 3}
    assert sum(KEPT.values()) <= 200


def test_the_file_is_its_owners_alone_and_may_hold_other_tables(launches: Launches, tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.sqlite"
    other = Database(path, "CREATE TABLE IF NOT EXISTS words (word TEXT)", "history")
    assert other.write(("INSERT INTO words VALUES (?)", ("a",)), ("INSERT INTO words VALUES (?)", ("b",)))
    fill(launches, 41.0)
    assert other.read("SELECT word FROM words ORDER BY word", (), lambda row: row["word"]) == ["a", "b"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_of_several_writes_all_are_done_or_none(tmp_path: Path) -> None:
    words = Database(tmp_path / "h.sqlite", "CREATE TABLE IF NOT EXISTS words (word TEXT NOT NULL)", "history")
    assert not words.write(("INSERT INTO words VALUES (?)", ("a",)), ("INSERT INTO words VALUES (?)", (None,)))
    assert "NOT NULL" in words.problem
    assert words.read("SELECT word FROM words", (), tuple) == []


def _record(path: Path, number: int) -> None:
    launches = Launches(path)
    for one in range(20):
        launches.record(replace(USUAL, began_at=number * 100.0 + one))
        assert not launches.problem, launches.problem


def test_several_processes_record_at_once_and_who_has_looked_already_sees_it(
    launches: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.database.BUSY_TIMEOUT_S", 60.0)
    fill(launches, 1.0)
    assert estimate(launches) == Estimate(1.0, 1.0, 1.0, 1)
    path = tmp_path / "state" / "history.sqlite"
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.starmap(_record, [(path, number) for number in range(3)])
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM launches").fetchone() == (61,)
    found = estimate(launches)
    assert found
    assert found.launches == 20


@pytest.mark.parametrize("damage", ["no database", "bad row", "no folder"])
def test_a_history_that_cannot_be_read_gives_no_estimate_and_says_why(
    launches: Launches, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "state" / "history.sqlite"
    if damage == "no folder":
        path.parent.touch()
    else:
        fill(launches, 41.0)
    if damage == "no database":
        path.write_bytes(b"\0garbage" * 1000)
    elif damage == "bad row":
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE launches SET phases = '[[1]', began_at = began_at + 1")
    else:
        launches.record(USUAL)
    assert estimate(launches) is None
    assert phases(launches) == ()
    assert launches.problem.startswith(f"The history {path} cannot be ")
    assert ("It is damaged: move it away" in launches.problem) == (damage != "no folder")


def test_a_locked_history_is_not_waited_for_once_for_each_model(
    launches: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(launches, 41.0)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    opened: list[Path] = []
    connect = sqlite3.connect
    with closing(connect(tmp_path / "state" / "history.sqlite")) as holder:
        holder.execute("BEGIN EXCLUSIVE")

        def counted(path: Path, timeout: float) -> sqlite3.Connection:
            opened.append(path)
            return connect(path, timeout=timeout)

        monkeypatch.setattr(sqlite3, "connect", counted)
        assert all(estimate(launches, name=f"model-{number}") is None for number in range(50))
        assert len(opened) == 1
        assert "locked" in launches.problem
        launches.record(USUAL)
        assert "cannot be written: database is locked" in launches.problem
    monkeypatch.setattr("engine.launches.RETRY_S", 0.0)
    launches.record(USUAL)
    monkeypatch.setattr(launches, "_retry_at", 0.0)
    found = estimate(launches)
    assert found
    assert not launches.problem


def test_what_has_not_changed_is_not_read_again(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(launches, 41.0)
    assert estimate(launches)
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: pytest.fail("it was opened"))
    assert estimate(launches, "cold")
    assert launches.last_ready("llama", "box")


def test_the_last_figures_of_an_engine_are_kept(launches: Launches, tmp_path: Path) -> None:
    assert launches.reported("llama", "box") == ()
    assert not (tmp_path / "state").exists(), "to look is to make nothing"
    weights = Reported("weights_bytes", 16.1e9, "Model loading took 14.99 GiB, token hf_abcdefghijklmnopqrstuvwx")
    fill(launches, 40.0, reported=(Reported("weights_bytes", 1.0),))
    fill(launches, 41.0, began_at=2_000_000.0, reported=(weights, Reported("kv_tokens", 188_640.0, "")))
    fill(launches, 42.0, began_at=3_000_000.0)
    fill(launches, 2.0, began_at=4_000_000.0, outcome="failed", reported=(Reported("weights_bytes", 2.0),))
    fill(launches, 43.0, began_at=5_000_000.0, host="other", reported=(Reported("weights_bytes", 3.0),))
    assert launches.reported("llama", "box") == (
        replace(weights, line="Model loading took 14.99 GiB, token hf_***"),
        Reported("kv_tokens", 188_640.0, ""),
    )
    assert launches.reported("llama", "elsewhere") == launches.reported("qwen", "box") == ()


def test_figures_go_when_their_launch_does(launches: Launches, tmp_path: Path) -> None:
    fill(launches, *[40.0] * (KEPT["ready"] + 10), reported=(Reported("weights_s", 3.0, "x"),))
    with closing(sqlite3.connect(tmp_path / "state" / "history.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM launch_figures").fetchone() == (KEPT["ready"],)


def test_a_file_of_an_older_version_is_taken_over(launches: Launches, tmp_path: Path) -> None:
    """And it can still write to it."""
    fill(launches, 41.0)
    older = (
        "INSERT INTO launches VALUES ('llama','p1','i','sha256:1','box','docker','warm',2e6,'[]',55.0,'ready','full')"
    )
    with closing(sqlite3.connect(tmp_path / "state" / "history.sqlite")) as file, file:
        file.execute("DROP TABLE launch_figures")
        file.execute(older.replace("'full'", f"'{Way.FULL.value}'"))
    assert launches.reported("llama", "box") == ()
    found = estimate(launches)
    assert found
    assert found.launches == 2
    fill(launches, 42.0, began_at=3_000_000.0, reported=(Reported("weights_s", 3.0, "x"),))
    assert launches.reported("llama", "box") == (Reported("weights_s", 3.0, "x"),)


def test_titles_are_cleaned_before_they_are_kept(launches: Launches) -> None:
    fill(launches, 41.0, phases=(("loading\x1b[2J hf_abcdefghijklmnopqrstuvwx", 1.0),))
    assert phases(launches) == (("loading hf_***", 1.0),)


# -- cold or warm ----------------------------------------------------------------------------------------------------


def launch(runtime: str = "docker", *mounts: Mount) -> Launch:
    return Launch("llama", "vllm", runtime, (), Service(Protocol.OPENAI, "", ""), mounts=mounts)


def booted_at() -> float:
    words = Path("/proc/stat").read_text().split()
    return float(words[words.index("btime") + 1])


def test_warm_is_what_was_ready_since_the_machine_booted(launches: Launches) -> None:
    assert cache_state(launches, launch(), None, "box") == "cold"
    launches.record(replace(USUAL, began_at=booted_at() - 10))
    assert cache_state(launches, launch(), None, "box") == "cold"
    launches.record(replace(USUAL, outcome="failed", began_at=time.time()))
    assert cache_state(launches, launch(), None, "box") == "cold"
    launches.record(replace(USUAL, began_at=time.time()))
    assert cache_state(launches, launch(), None, "box") == "warm"
    assert cache_state(launches, launch(), None, "other") == "cold"


@pytest.mark.parametrize("model", ["meta-llama/Llama-3-8B", "meta-llama/Llama-3-8B:Q4_K_M"])
def test_cold_is_what_must_be_downloaded_first(
    launches: Launches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    launches.record(replace(USUAL, began_at=time.time()))
    home = tmp_path / "hf"
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    in_docker = launch("docker", Mount(str(home), CACHE_IN_CONTAINER))
    in_volume = launch("docker", Mount(CACHE_VOLUME, CACHE_IN_CONTAINER))
    here = launch("process")
    snapshots = home / "hub" / "models--meta-llama--Llama-3-8B" / "snapshots"
    for made in (home, snapshots):
        assert [cache_state(launches, one, model, "box") for one in (in_docker, here)] == ["cold", "cold"]
        made.mkdir(parents=True)
    assert cache_state(launches, here, model, "box") == "cold", "a download that came to nothing"
    assert cache_state(launches, in_volume, model, "box") == "warm", "what is in a volume is not known here"
    assert cache_state(launches, here, "./folder", "box") == "warm"
    (snapshots / "abc").mkdir()
    assert [cache_state(launches, one, model, "box") for one in (in_docker, here)] == ["warm", "warm"]


# -- one that is under way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "elapsed", "left", "late_from"),
    [
        (Estimate(200, 180, 240, 8), 10, 190, pytest.approx(264)),
        (Estimate(41, 38, 55, 8), 40.5, 0.5, pytest.approx(60.5)),
        (Estimate(41, 38, 55, 8), 41, 14, pytest.approx(60.5)),
        (Estimate(41, 38, 55, 8), 55, 0, pytest.approx(60.5)),
        (Estimate(41, 38, 55, 8), 55.1, None, pytest.approx(60.5)),
        (Estimate(41, 38, 55, 4), 60, None, 82.5),
        (Estimate(662, 662, 662, 1), 0, 662, 993),
        (Estimate(0.4, 0.2, 0.6, 3), 3.5, None, 3.6),
    ],
)
def test_how_a_start_stands_to_its_estimate(
    estimate: Estimate, elapsed: float, left: float | None, late_from: float
) -> None:
    assert estimates.remaining(estimate, elapsed) == left
    assert estimates.late_from(estimate) == late_from
