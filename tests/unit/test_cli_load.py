"""`tritontui load` and `loads`: what they ask for, what they print where, and with which code they exit."""

import io
import json
import re
import signal
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.inference.prompt import Fault, Sampling, Style, Transport
from engine.load.statistics import level_result
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Objectives, Workload
from engine.load_result import (
    STOPPED_BY_HAND,
    Digest,
    Doubt,
    Failures,
    Generator,
    LevelResult,
    LoadOutcome,
    LoadResult,
    RequestRecord,
    ServerFigures,
)
from tests.unit.cli_bench import Capture, FakeEngine
from tests.unit.load_commands import RESULT, closed, documented, engine, keys, measured, progress
from tests.unit.load_results import CALM, failed
from tui import cli_load
from tui.cli import main

__all__ = ["engine", "measured"]  # the fixtures


def asked(engine: FakeEngine, *options: str) -> LoadPlan:
    engine.load_events = (RESULT,)
    assert main(["load", "demo", *options], engine) == 0
    _, name, plan = engine.asked[-1]
    assert name == "demo"
    assert isinstance(plan, LoadPlan)
    return plan


def test_without_options_it_is_one_request_after_the_other(engine: FakeEngine) -> None:
    assert asked(engine) == LoadPlan(closed(1))


def test_the_plan_is_what_the_options_say(engine: FakeEngine) -> None:
    options = (
        "--concurrency 1,4,16 --requests 50 --duration 30s --warmup 0 --repeats 3 --input-tokens 100±20 --seed 7 "
        "--output-tokens 32+-8 --prefix-tokens 16 --no-ignore-eos --slo ttft=200ms,itl=20ms,e2e=5s --model m --lora fr "
        "--transport openai --chat --temperature 0.5 --top-k 3"
    )
    assert asked(engine, *options.split()) == LoadPlan(
        closed(1, 4, 16),
        requests=50,
        duration_s=30.0,
        warmup=0,
        repeats=3,
        workload=Workload(Lengths(100, 20), Lengths(32, 8), 16, 7),
        sampling=Sampling(temperature=0.5, top_k=3),
        objectives=Objectives(0.2, 0.02, 5.0),
        style=Style.CHAT,
        model="m",
        lora="fr",
        transport=Transport.OPENAI,
    )


def test_ignoring_the_end_may_be_insisted_on(engine: FakeEngine) -> None:
    plan = asked(engine, "--ignore-eos")
    assert (plan.sampling, plan.insists_on_ignore_eos) == (Sampling(ignore_eos=True), True)


def test_an_interrupt_before_anything_was_measured_is_told(capsys: Capture) -> None:
    assert main(["load", "demo"], FakeEngine(KeyboardInterrupt())) == 130
    assert "It was stopped before it had begun; nothing was measured." in capsys.readouterr().err


def test_rates_are_random_unless_they_are_constant(engine: FakeEngine) -> None:
    assert asked(engine, "--rate", "0.5,2").levels == (Level(Arrival.POISSON, 0.5), Level(Arrival.POISSON, 2))
    assert asked(engine, "--rate", "20", "--constant").levels == (Level(Arrival.CONSTANT, 20),)


def test_what_takes_several_may_be_given_several_times(engine: FakeEngine) -> None:
    several = "--slo ttft=5ms --slo e2e=1s,itl=2ms --concurrency 1,4 --concurrency 4,16"
    plan = asked(engine, *several.split())
    assert plan.objectives == Objectives(0.005, 0.002, 1.0)
    assert plan.levels == closed(1, 4, 16)
    assert [level.amount for level in asked(engine, "--rate", "2", "--rate", "0.5").levels] == [2, 0.5]


def test_how_many_unless_it_is_told(engine: FakeEngine) -> None:
    assert asked(engine, "--concurrency", "1,64").requests == 256
    timed = asked(engine, "--duration", "2m")
    assert (timed.requests, timed.duration_s) == (None, 120)


def test_a_file_is_found_from_wherever_the_test_runs(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("prompts.txt").write_text("hello")
    for given in ("prompts.txt", "~/prompts.txt"):
        assert asked(engine, "--file", given).workload.file == tmp_path / "prompts.txt"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--concurrency 0", "not a whole number from 1 to 1,024"),
        ("--concurrency 1,,2", "not a whole number from 1 to 1,024"),
        ("--concurrency 99999999", "99999999 is not a whole number from 1 to 1,024"),
        ("--concurrency 1 --rate 1", "not allowed with"),
        ("--rate 0", "no rate"),
        ("--rate nan", "no rate"),
        ("--rate 1e9", "at most 10,000"),
        ("--rate 20000", "at most 10,000"),
        ("--constant", "give a rate"),
        ("--input-tokens 0", "no length"),
        ("--output-tokens 10±", "no length"),
        ("--slo ttft=200", "no objective"),
        ("--slo tpot=20ms", "no objective"),
        ("--slo itl=1ms,itl=2ms", "given twice"),
        ("--slo itl=1ms --slo ttft=1s --slo itl=2ms", "--slo: itl is given twice"),
        ("--slo ttft=0ms", "by no request"),
        ("--file a --input-tokens 5", "lengths"),
        ("--file /no/such/prompts", "cannot be read"),
        ("--temperature nan", "not a number"),
        ("--top-k 1.5", "not a whole number"),
        ("--warmup -1", "--warmup"),
        ("--out a.png", ".json, .csv, .svg, .html"),
        ("--out /no/such/folder/a.csv", "cannot be written"),
    ],
)
def test_what_makes_no_plan_is_told_before_anything_is_sent(
    options: str, said: str, engine: FakeEngine, capsys: Capture
) -> None:
    try:
        code: object = main(["load", "demo", *options.split()], engine)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert engine.asked == []


def test_the_table_its_definitions_and_the_server_s_own(measured: FakeEngine, capsys: Capture) -> None:
    assert main(["load", "demo", "--repeats", "2"], measured) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["LEVEL", "REPEAT"]
    first = RESULT.levels[0]
    assert first.ttft.p50 is not None
    assert re.search(rf"^1 at once +1 +100 +0 .* {first.ttft.p50 * 1000:.1f}/", lines[1])
    assert len(lines[:7]) == 1 + len(RESULT.levels)
    assert lines[8].startswith("SERVER / CLIENT")
    assert "100 / 100" in lines[9]
    assert "TTFT: from sending to the first text" in out
    assert "Good: TTFT at most 200 ms, ITL at most 30.0 ms." in out
    told = err.splitlines()
    assert [line.split(":")[0] for line in told[:6]] == [
        f"{amount} at once, repeat {repeat} of 2" for repeat in (1, 2) for amount in (1, 4, 16)
    ], "a line as each level ends"
    assert told[0].startswith("1 at once, repeat 1 of 2: 100 done, 0 failed, 7")
    assert told[6:] == ["Kept as 3fa0b2c1; `tritontui loads --show 3fa0b2c1` prints it again."]


def test_on_a_terminal_one_line_is_rewritten(measured: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    measured.load_events = (progress(warming=True), progress(), progress(share=None, failed=0, doubts=()), RESULT)
    assert main(["load", "demo"], measured) == 0
    warming, live, calm, *rest = terminal.getvalue().split("\r\x1b[K")[1:]
    assert warming == "25 %  4 at once (2 of 6)  warming up"
    assert live == (
        "25 %  4 at once (2 of 6)  5 done, 1 failed, 4 under way  12.3 req/s  789 tok/s  TTFT 41.2 ms  ITL 10.5 ms"
        "  (the client was too slow)"
    )
    assert calm.startswith("4 at once (2 of 6)  5 done, 4 under way")
    assert calm.endswith("ITL 10.5 ms")
    assert len(rest) == 1, "it is gone in the end"
    monkeypatch.setenv("COLUMNS", "40")
    terminal.truncate(0)
    assert main(["load", "demo"], measured) == 0
    assert all(len(line) < 40 for line in terminal.getvalue().split("\r\x1b[K")[1:-1])


def level_of(records: list[RequestRecord]) -> LevelResult:
    examples = {Fault.REFUSED: "It answered 500."}
    return level_result(LoadPlan(closed(1)), closed(1)[0], 0, 0.0, records, [], examples, None, CALM, stopped=False)


@pytest.mark.parametrize(
    ("result", "code", "said"),
    [
        (replace(RESULT, outcome=LoadOutcome.STOPPED, levels=RESULT.levels[:1]), 130, "has stopped"),
        (replace(RESULT, outcome=LoadOutcome.FAILED, message="It does not answer.", levels=()), 1, "not answer"),
        (replace(RESULT, levels=(level_of([failed(0.0, Fault.REFUSED, 0.1)] * 3),)), 1, "3 failed"),
        (replace(RESULT, levels=(RESULT.levels[0], level_of([failed(0.0, Fault.REFUSED, 0.1)]))), 0, "1 failed"),
        (replace(RESULT, id=""), 0, "could not be kept"),
    ],
)
def test_the_exit_code_says_whether_anything_was_measured(
    result: LoadResult, code: int, said: str, engine: FakeEngine, capsys: Capture
) -> None:
    engine.load_events = (result,)
    assert main(["load", "demo"], engine) == code
    out, err = capsys.readouterr()
    assert said in out + err
    assert ("LEVEL" in out) is bool(result.levels), "what was measured is printed all the same"


def test_failures_and_doubts_are_told_in_words(engine: FakeEngine, capsys: Capture) -> None:
    failures = (Failures(Fault.REFUSED, 2, "It answered 500."),)
    slow = replace(
        RESULT.levels[0], failures=failures, doubts=(Doubt.CLIENT_SLOW,), generator=Generator(Digest(200, p99=0.02))
    )
    engine.load_events = (replace(RESULT, levels=(slow,)),)
    assert main(["load", "demo"], engine) == 0
    out = capsys.readouterr().out
    assert "1 at once: 2 failed, refused: It answered 500." in out
    assert "1 at once: the client was too slow (it woke 20.0 ms late)" in out


def test_one_that_sent_late_says_so(engine: FakeEngine, capsys: Capture) -> None:
    late = replace(RESULT.levels[0], doubts=(Doubt.CLIENT_SLOW,), generator=replace(CALM, late=Digest(200, p99=0.0275)))
    engine.load_events = (replace(RESULT, levels=(late,)),)
    assert main(["load", "demo"], engine) == 0
    told = capsys.readouterr().out
    assert "(it woke 2.00 ms late, it sent 27.5 ms late, it used 20 % of a core)" in told
    assert "): others on this machine had the processor, and the latencies hold its own delay. Let less run" in told
    full = replace(late, generator=replace(late.generator, cpu=0.97))
    engine.load_events = (replace(RESULT, levels=(full,)),)
    assert main(["load", "demo"], engine) == 0
    told = capsys.readouterr().out
    assert "it used 97 % of a core), and the latencies hold its own delay. Ask for less" in told
    assert "others" not in told


class _Interrupting:
    """As in an import, where a module's lock is let go of: what is raised there is lost."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class _Failing:
    def __del__(self) -> None:
        raise ValueError("of no interest")


def test_an_interrupt_that_python_loses_ends_it(
    engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: others.append(lost.exc_type))

    def begin(*_: object) -> LoadResult:
        _Failing()
        _Interrupting()
        threading.Event().wait(30)
        return RESULT

    monkeypatch.setattr(engine, "load_blocking", begin)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    try:
        assert main(["load", "demo"], engine) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "tritontui: It was stopped before it had begun; nothing was measured.\n"
    assert others == [ValueError]


def test_one_that_was_stopped_before_any_answer_says_that_it_is_not_kept(engine: FakeEngine, capsys: Capture) -> None:
    engine.load_events = (replace(RESULT, id="", outcome=LoadOutcome.STOPPED, message=STOPPED_BY_HAND, levels=()),)
    assert main(["load", "demo"], engine) == 130
    assert capsys.readouterr().err.splitlines() == [
        f"tritontui: {STOPPED_BY_HAND}",
        "Nothing was answered until then, and nothing is kept.",
    ]


def test_where_nothing_is_rewritten_what_is_waited_for_is_told_once(
    measured: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = progress(warming=True, done=0, failed=0)
    measured.load_events = (waiting, waiting, progress(), waiting, RESULT)
    assert main(["load", "demo"], measured) == 0
    assert "Waiting" not in capsys.readouterr().err, "it came soon"
    monkeypatch.setattr(cli_load, "PATIENCE_S", 0.0)
    assert main(["load", "demo"], measured) == 0
    assert capsys.readouterr().err.splitlines().count("Waiting for the first answer, 0 s so far.") == 1
    measured.load_events = (progress(), waiting, RESULT)
    assert main(["load", "demo"], measured) == 0
    assert "Waiting" not in capsys.readouterr().err, "one has come"


def test_why_it_could_not_be_kept_is_told(engine: FakeEngine, capsys: Capture) -> None:
    engine.load_events = (replace(RESULT, id="", message="The history cannot be written: disk full."),)
    assert main(["load", "demo"], engine) == 0
    assert "It could not be kept. The history cannot be written: disk full." in capsys.readouterr().err


def test_a_file_that_cannot_be_written_keeps_no_other_from_it(
    measured: FakeEngine, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(_: LoadResult, path: Path) -> int:
        if path.name != "c.svg":
            raise EngineError(f"{path.name} cannot be written: disk full.")
        return 0

    monkeypatch.setattr(measured, "export_load", export)
    names = ("--out", str(tmp_path / "a.csv"), "--out", str(tmp_path / "b.json"), "--out", str(tmp_path / "c.svg"))
    assert main(["load", "demo", *names], measured) == 1
    told = capsys.readouterr().err
    assert all(f"{name} cannot be written: disk full." in told for name in ("a.csv", "b.json"))
    assert f"Written to {tmp_path / 'c.svg'}." in told


def test_it_is_written_to_files(measured: FakeEngine, capsys: Capture, tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "a.html"]
    assert main(["load", "demo", "--out", str(paths[0]), "--out", str(paths[1])], measured) == 0
    assert measured.asked[1:] == [("export_load", RESULT, path) for path in paths]
    assert f"Written to {paths[1]}." in capsys.readouterr().err
    measured.left_out = 10_000
    assert main(["loads", "--show", "3fa", *(word for path in paths for word in ("--out", str(path)))], measured) == 0
    told = capsys.readouterr().err
    assert f"Written to {paths[0]}. It lacks 10000 of the requests, which are not kept." in told
    assert told.endswith(f"Written to {paths[1]}.\n")


def test_json_is_one_documented_object(measured: FakeEngine, capsys: Capture) -> None:
    assert main(["load", "demo", "--json"], measured) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert set(found) == {"format", "tritontui", "result"}
    told_elsewhere = {field.name for kind in (Workload, Sampling, Objectives, Lengths) for field in fields(kind)}
    assert keys(found) - told_elsewhere <= documented("load")
    assert {field.name for kind in (RequestRecord, ServerFigures, Generator) for field in fields(kind)} <= documented(
        "load"
    )
    assert found["result"]["levels"][0]["ttft"]["n"] == 100
