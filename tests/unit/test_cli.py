"""The command line as a script meets it: what it prints where, and with which code it exits."""

import json
import re
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from engine.errors import EngineError, InvalidProfile, NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.gpu_reading import GpuReading
from engine.inference.prompt import PromptRequest, PromptResult, Transport
from engine.log_line import LogLine
from engine.plan import Adoption
from engine.snapshot import Model, OperationStatus
from engine.startup import Startup
from tests.unit import cli_bench
from tests.unit.cli_bench import DOCS, Capture, FakeEngine, engine
from tui.cli import main

__all__ = ["engine"]  # the fixture


def test_ls_shows_each_model_with_symbol_word_and_endpoint(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["ls"], engine) == 0
    out, err = capsys.readouterr()
    header, big, demo, idle = out.splitlines()
    assert demo.split() == ["●", "demo", "ready", "triton", "process", "2m11s", "http://127.0.0.1:8000", "A", "demo"]
    assert big.endswith("out of memory")
    assert idle.split()[:2] == ["idle", "–"]
    assert header.index("STATE") == demo.index("ready") == big.index("failed"), "columns are aligned"
    assert err == "invalid profile: bad.yaml:3: Unknown key `modle`; did you mean `model`?\n"


def test_status_names_the_runtimes_and_leaves_out_what_was_never_started(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["status"], engine) == 0
    out = capsys.readouterr().out
    assert "Docker does not answer." in out
    assert "demo" in out
    assert "idle" not in out


def test_status_of_one_model_tells_all_of_it(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["status", "demo"], engine) == 0
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["pid"] == "42"
    assert facts["http"] == "http://127.0.0.1:8000"
    assert main(["status", "nobody"], engine) == 2
    assert "There is no model nobody." in capsys.readouterr().err


def test_plan_prints_what_would_be_done_and_does_nothing(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["plan", "demo", "--runtime", "process"], engine) == 0
    out, err = capsys.readouterr()
    assert "tritonserver --http-port=8000" in out
    assert "T from env" in out
    assert "The port 8000 is taken" in err
    assert engine.asked == [("plan", "demo", "process")]


def test_logs_filter_and_pass_on_the_bounds(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["logs", "demo", "--tail", "5", "--since", "1970-01-01T00:00:10Z", "--grep", "err|bye"], engine) == 0
    assert capsys.readouterr().out.splitlines() == ["error: no memory", "bye"]
    assert engine.asked == [("log", "demo", 5, False, 10.0)]
    assert engine.log_closed


def test_no_pattern_holds_the_command(engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (LogLine(0, "", "first"), LogLine(1, "", "a" * 8000 + "b"))
    monkeypatch.setattr(cli_bench, "LINES", lines)
    began = time.monotonic()
    assert main(["logs", "demo", "--grep", "first|(a+)+$"], engine) == 1
    assert time.monotonic() - began < 5
    out, err = capsys.readouterr()
    assert out == "first\n"
    assert "takes too long on a line" in err
    assert engine.log_closed


def test_following_a_log_ends_cleanly_on_ctrl_c(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["logs", "-f", "demo"], engine) == 130
    assert engine.log_closed
    assert capsys.readouterr().err == ""


def test_metrics_show_unit_and_source_and_a_dash_for_what_is_not_known(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["metrics", "demo"], engine) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "2.50 /s" in rows[1]
    assert "rate of nv_inference_request_success" in rows[1]
    assert "–" in rows[2]


def test_gpus_are_shown_with_units(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["gpus"], engine) == 0
    out = capsys.readouterr().out
    assert "71.0 / 80.0 GiB" in out
    assert "68 °C" in out
    assert "– / 700 W" in out
    assert "12 % of 8 cores" in out


def test_ask_streams_the_answer_and_tells_timings_apart(engine: FakeEngine, capsys: Capture) -> None:
    argv = ["ask", "demo", "hi", "--max-tokens", "7", "--temperature", "0.5", "--transport", "triton-grpc"]
    assert main(argv, engine) == 0
    out, err = capsys.readouterr()
    assert out == "Hello there\n"
    assert "first token 43 ms" in err
    assert "100 tokens/s" in err
    request: PromptRequest = engine.asked[0][2]
    assert (request.prompt, request.sampling.max_tokens, request.sampling.temperature) == ("hi", 7, 0.5)
    assert request.transport is Transport.TRITON_GRPC


PLAN_KEYS = {
    *("launch", "source", "summary", "warnings", "runtimes", "command_line"),
    *("obstacles", "placement", "fit", "versions", "digest", "needs_bytes", "model", "reported"),
}
SWAP_PLAN_KEYS = {"incoming", "outgoing", "way", "reason", "other_ways", "warnings", "digest", "obstacles"}


@pytest.mark.parametrize(
    ("argv", "keys"),
    [
        (["ls"], {"models", "problems"}),
        (["status"], {"at", "hostname", "models", "operations", "problems", "runtimes", "lease", "read_only"}),
        (["plan", "demo"], PLAN_KEYS),
        (["plan", "new", "--swap"], SWAP_PLAN_KEYS),
        (["up", "demo"], {field.name for field in fields(OperationStatus)}),
        (["recover"], {"interrupted"}),
        (["adopt", "docker/by_hand", "--dry-run"], {field.name for field in fields(Adoption)}),
        (["history"], {"entries"}),
        (["metrics", "demo"], {"name", "at", "freshness", "url", "message", "series"}),
        (["gpus"], {field.name for field in fields(GpuReading)}),
        (
            ["ask", "demo", "hi"],
            {field.name for field in fields(PromptResult)} - {"sent_at"} | {"deployment", "ended_by"},
        ),
        (["logs", "demo", "--tail", "1", "--grep", "bye"], {field.name for field in fields(LogLine)}),
    ],
)
def test_json_is_one_documented_object(argv: list[str], keys: set[str], engine: FakeEngine, capsys: Capture) -> None:
    assert main([*argv, "--json"], engine) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert set(found) == keys
    assert not undocumented(argv[0], keys)


def undocumented(command: str, keys: set[str]) -> set[str]:
    """Of `keys`, what docs/commands.md does not tell where it tells of the command's JSON."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {command}")[1].split("\n## ")[0]
    return {key for key in keys if f"`{key}`" not in section}


def test_every_key_of_a_model_is_documented(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["ls", "--json"], engine) == 0
    keys = {field.name for field in fields(Model)} | {"endpoint"}
    assert all(set(model) == keys for model in json.loads(capsys.readouterr().out)["models"])
    assert not undocumented("ls", keys | {field.name for field in fields(Startup)})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationFailed("It broke.", "Look at the log."), 1),
        (InvalidProfile("bad.yaml:3: no."), 2),
        (NotFound("There is no profile demo."), 2),
        (Refused("demo is busy."), 3),
        (RuntimeUnreachable("Docker does not answer."), 4),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(error: EngineError, code: int, capsys: Capture) -> None:
    engine = FakeEngine(error)
    assert main(["up", "demo"], engine) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"tritontui: {error}"
    assert engine.closed


def test_an_unexpected_error_is_one_line_unless_debugged(capsys: Capture) -> None:
    assert main(["ls"], FakeEngine(ZeroDivisionError("\x1b[2Jdivision"))) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "ZeroDivisionError" in err
    assert "--debug" in err
    assert main(["ls", "--debug"], FakeEngine(ZeroDivisionError("division"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "read_only"), [(["ls"], False), (["--read-only", "ls"], True), (["ls", "--read-only"], True)]
)
def test_read_only_may_stand_on_either_side(argv: list[str], read_only: bool, engine: FakeEngine) -> None:
    assert main(argv, engine) == 0
    assert engine.settings
    assert bool(engine.settings.read_only) is read_only


@pytest.mark.parametrize("argv", [["--profiles", "{a}", "ls"], ["ls", "--profiles", "{a}"]])
def test_profiles_may_stand_on_either_side(argv: list[str], engine: FakeEngine, tmp_path: Path) -> None:
    assert main([word.format(a=tmp_path) for word in argv], engine) == 0
    assert engine.settings
    assert engine.settings.profiles_dirs == (tmp_path,)


def test_profiles_on_both_sides_keep_their_order(engine: FakeEngine, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert main(["--profiles", str(first), "ls", "--profiles", str(second)], engine) == 0
    assert engine.settings
    assert engine.settings.profiles_dirs == (first, second)


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["up"],
        ["ls", "--profiles", "/no/such/folder"],
        ["logs", "demo", "--grep", "("],
        ["logs", "demo", "--tail", "0"],
        ["logs", "demo", "--since", "yesterday"],
        ["up", "demo", "--timeout", "soon"],
        ["swap"],
        ["swap", "demo", "--drain", "long"],
        ["recover", "--finish", "--roll-back"],
        ["history", "--limit", "0"],
        ["ask", "demo", "hi", "--transport", "pigeon"],
    ],
)
def test_wrong_usage_exits_2_and_asks_the_engine_nothing(argv: list[str], engine: FakeEngine) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv, engine)
    assert stopped.value.code == 2
    assert engine.settings is None


def test_the_console_says_that_it_needs_a_terminal(capsys: Capture) -> None:
    assert main([]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys\n"
        "from tests.unit.cli_bench import FakeEngine, LINES\n"
        "from tui.cli import main\n"
        "class Endless(FakeEngine):\n"
        "    def read_log(self, *_, **__):\n"
        "        while True: yield LINES[0]\n"
        "sys.exit(main(['logs', 'demo'], Endless()))\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "loading\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141
