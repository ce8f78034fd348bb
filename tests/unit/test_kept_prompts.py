"""Runs that are kept: what is written, for whom, how much of it, and what happens when the file is damaged."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import OperationFailed
from engine.facade import Engine
from engine.inference.prompt import (
    Fault,
    PromptEvent,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Role,
    Sampling,
    Style,
    Timing,
    Token,
    Transport,
    Turn,
)
from engine.prompts import kept
from engine.prompts.difference import SAME_TEXT, differences
from engine.prompts.kept import KeptPrompts, run_of
from engine.settings import Settings
from tests.unit.memory_runtime import MemoryRuntime
from tests.unit.model_server import Server

SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
DEMO = Deployment("demo", "docker", "vllm", "c0ffee", "vllm:1", Lifecycle.RUNNING, SERVICE, 1.0, 2.5)
FULL = PromptResult(
    PromptRequest(
        "hi\n\x00é",
        "m",
        "Be brief.",
        (Turn(Role.USER, "a"), Turn(Role.ASSISTANT, "b")),
        Style.CHAT,
        Sampling(7, 0.5, stop=("x",), ignore_eos=True),
        "adapter",
        '{"A": [1]}',
        Transport.TRITON_GRPC,
    ),
    PromptOutcome.FAILED,
    "there",
    "m",
    Transport.OPENAI,
    "stop",
    "cut",
    Timing(0.001, 0.01, 0.02, 0.12, 0.13, 3, 11, "server"),
    gaps_s=(0.05, 0.0512345678),
    fault=Fault.CUT,
    style=Style.CHAT,
    sent_at=123.0,
)


def answered(prompt: str, text: str = "answer") -> PromptResult:
    return PromptResult(PromptRequest(prompt), PromptOutcome.DONE, text)


def keep(store: KeptPrompts, *results: PromptResult, deployment: Deployment = DEMO) -> None:
    for result in results:
        store.keeping(deployment, lambda _: None)(result)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "prompts.sqlite"


def test_all_of_a_run_comes_back(path: Path) -> None:
    store = KeptPrompts(path)
    keep(store, FULL)
    assert store.problem == ""
    (found,) = KeptPrompts(path).last("demo")
    assert found.result == replace(FULL, sent_at=None, gaps_s=(0.05, 0.051235))
    assert (found.deployment, found.run, found.what) == ("demo", run_of(DEMO), "vllm:1")
    assert found.request == FULL.request
    assert run_of(DEMO) != run_of(replace(DEMO, started_at=3.0)), "another run after a restart"


def test_nobody_else_may_read_it(path: Path) -> None:
    store = KeptPrompts(path)
    keep(store, answered("secret"))
    assert store.problem == ""
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    keep(store, answered("secret"))
    assert store.problem == ""
    assert path.stat().st_mode & 0o777 == 0o600


def test_newest_first_of_one_deployment_or_of_all_and_of_the_same_prompt(path: Path) -> None:
    store = KeptPrompts(path)
    keep(store, answered("a", "1"), answered("b"), answered("a", "2"))
    keep(store, answered("a", "3"), deployment=replace(DEMO, name="other"))
    assert [one.result.text for one in store.last()] == ["3", "2", "answer", "1"]
    assert [one.result.text for one in store.last(limit=1)] == ["3"]
    assert [one.request.prompt for one in store.last("demo")] == ["a", "b", "a"]
    again = PromptRequest("a", sampling=Sampling(99), transport=Transport.OPENAI)
    assert [one.result.text for one in store.last("demo", same_as=again)] == ["2", "1"], "whatever its options"
    assert store.last("demo", same_as=replace(again, system="Be brief.")) == []


def test_the_result_is_handed_on_before_it_is_kept_and_tokens_are_not(path: Path) -> None:
    store = KeptPrompts(path)
    seen: list[tuple[PromptEvent, bool]] = []
    take = store.keeping(DEMO, lambda event: seen.append((event, path.exists())))
    token, result = Token("answer", 0.1), answered("a")
    take(token)
    take(result)
    assert seen == [(token, False), (result, False)]
    assert len(store.last()) == 1


def test_it_is_kept_although_who_is_told_breaks(path: Path) -> None:
    store = KeptPrompts(path)

    def breaks(_: PromptEvent) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        store.keeping(DEMO, breaks)(answered("a"))
    assert len(store.last()) == 1


def test_nothing_is_written_when_it_is_not_to_be(path: Path) -> None:
    store = KeptPrompts(path, keep=False)
    keep(store, answered("a"))
    assert store.last() == []
    assert not path.exists()


def test_only_the_newest_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_RUNS", 3)
    store = KeptPrompts(path)
    keep(store, *(answered(str(number)) for number in range(5)))
    assert [one.request.prompt for one in store.last()] == ["4", "3", "2"]
    monkeypatch.setattr(kept, "MOST_BYTES", 4000)
    keep(store, answered("long", "x" * 2000))
    assert [one.request.prompt for one in store.last()] == ["long", "4"], "a short one has some 700 bytes"
    monkeypatch.setattr(kept, "MOST_BYTES_OF_ONE", 1 << 20)
    keep(store, answered("huge", "x" * (1 << 20)))
    assert "1 MiB was not kept" in store.problem
    assert store.last()[0].request.prompt == "long"


def test_several_may_write_at_once(path: Path) -> None:
    stores = [KeptPrompts(path) for _ in range(4)]

    def write(store: KeptPrompts) -> None:
        keep(store, *(answered(str(number)) for number in range(10)))

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.problem for store in stores] == [""] * 4
    assert len(stores[0].last()) == 40


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("result = ?", b"\xff{"),
        ("result = ?", b"{}"),
        ("result = ?", b"[" * 100_000),
        ("result = ?", 7),
        ("at = ?", "then"),
        ("result = replace(CAST(result AS TEXT), ?, 'vanished')", "done"),
    ],
)
def test_a_damaged_run_is_left_out_and_told(path: Path, change: str, value: object) -> None:
    store = KeptPrompts(path)
    keep(store, answered("a"), answered("b"))
    assert len(store.last()) == 2
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE prompts SET {change} WHERE id = 2", (value,))
    assert [one.request.prompt for one in store.last()] == ["a"]
    assert store.problem == f"One run is damaged in {path}, and left out."
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM prompts WHERE id = 2")
    assert len(store.last()) == 1
    assert store.problem == ""


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"rubbish" * 1000)
    store = KeptPrompts(path)
    keep(store, answered("a"))
    assert "cannot be written" in store.problem
    with pytest.raises(OperationFailed, match=r"file of kept prompts .* cannot be read"):
        KeptPrompts(path).last()


# -- what the engine keeps --------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture
def engines(tmp_path: Path, server: Server) -> Iterator[Callable[..., Engine]]:
    opened: list[Engine] = []

    def make(*, keep_prompts: bool = True) -> Engine:
        runtime = MemoryRuntime("docker")
        service = Service(Protocol.OPENAI, server.url, f"{server.url}/health", ready_prompt="ping")
        runtime.held["m"] = replace(DEMO, name="m", service=service)
        settings = Settings(tmp_path, tmp_path, tmp_path, (), tmp_path, keep_prompts=keep_prompts)
        opened.append(Engine(settings, {"docker": runtime}))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


def test_what_is_asked_of_the_engine_is_kept(engines: Callable[..., Engine]) -> None:
    engine = engines()
    request = PromptRequest("hello")
    result = engine.ask_blocking("m", request, lambda _: None)
    engine.close()
    assert result.text == "pong"
    (found,) = engine.kept_prompts("m")
    assert found.result.text == "pong"
    assert found.run == "c0ffee 2.500"
    assert engine.kept_prompts("n") == []
    assert engine.kept_prompts_problem() == ""


def test_what_could_not_be_kept_is_told_in_the_console(engines: Callable[..., Engine], tmp_path: Path) -> None:
    engine = engines()
    told: SimpleQueue[str] = SimpleQueue()
    engine.subscribe(lambda snapshot: told.put(snapshot.trouble))
    engine.open()
    (tmp_path / "prompts.sqlite").write_bytes(b"no database, and long enough to be seen as none" * 9)
    engine.ask_blocking("m", PromptRequest("hello"), lambda _: None)
    while "prompts.sqlite cannot be written" not in told.get(timeout=20):
        pass


def test_a_configuration_may_forbid_to_keep(engines: Callable[..., Engine], tmp_path: Path) -> None:
    engine = engines(keep_prompts=False)
    engine.ask_blocking("m", PromptRequest("hello"), lambda _: None)
    engine.close()
    assert engine.kept_prompts() == []
    assert not list(tmp_path.glob("prompts*"))


# -- what differs -----------------------------------------------------------------------------------------------------


def test_differences_are_of_the_same_figures_and_say_whether_the_texts_are_equal() -> None:
    first = replace(FULL, text="a", gaps_s=tuple(number / 1000 for number in range(1, 102)))
    second = replace(FULL, text="b", timing=replace(FULL.timing, first_token_s=0.03, tokens_in=None), gaps_s=())
    found = {one.title: one for one in differences(first, second)}
    token = found["first token"]
    assert (token.unit, token.first, token.second) == ("s", 0.02, 0.03)
    assert token.change == pytest.approx(0.5)
    assert found["gaps, p50"].first == pytest.approx(0.051)
    assert found["gaps, p99"].first == pytest.approx(0.1)
    assert found["gaps, p99"].second is None
    assert found["gaps, p99"].change is None
    assert (found["tokens in"].first, found["tokens in"].second) == (3, None)
    assert found["while decoding"].first == pytest.approx(100)
    assert (found[SAME_TEXT].first, found[SAME_TEXT].second) == (1, 0)
    assert {one.title: one.second for one in differences(first, first)}[SAME_TEXT] == 1
