"""`tritontui ask` as a shell meets it: where the prompt comes from, what is printed where, and how it exits."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import OperationFailed
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
from engine.prompt_record import KeptPrompt, SavedPrompt
from engine.settings import Settings
from tests.unit.cli_bench import Capture, FakeEngine
from tui import cli_ask_request, cli_output
from tui.cli import main

TIMING = Timing(0.0007, 0.004, 0.043, 0.143, 0.15, 5, 11, "server")


class Answering(FakeEngine):
    """Answers each prompt with the next of its results."""

    def __init__(self, *results: PromptResult) -> None:
        super().__init__()
        self.results = list(results)

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        self._ask("ask", name, request)
        result = replace(self.results.pop(0), request=request)
        for word in result.text.split():
            on_event(Token(f"{word} ", 0.1))
        on_event(result)
        return result

    @property
    def request(self) -> PromptRequest:
        """The one that was sent."""
        ((_, _, request),) = [what for what in self.asked if what[0] == "ask"]
        assert isinstance(request, PromptRequest)
        return request


def answer(text: str = "Yes.", first: float = 0.043, outcome: PromptOutcome = PromptOutcome.DONE) -> PromptResult:
    timing = replace(TIMING, first_token_s=first, last_token_s=first + 0.1)
    error = "" if outcome is PromptOutcome.DONE else "It broke."
    return PromptResult(PromptRequest(""), outcome, text, "m", Transport.OPENAI, "stop", error, timing, gaps_s=(0.01,))


@pytest.fixture
def engine() -> Answering:
    return Answering(answer(), answer("No.", 0.086), answer("Maybe.", 0.02))


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def kept(prompt: str, text: str, **options: Any) -> KeptPrompt:
    result = replace(answer(text, 0.02), request=PromptRequest(prompt, **options))
    return KeptPrompt(7, 0.0, "demo", "c0ffee 1.000", "vllm:1", result)


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_every_option_comes_into_the_request(engine: Answering) -> None:
    argv = ["ask", "demo", "hi", "--system", "Brief.", "--completion", "--model", "m", "--lora", "a", "--timeout", "2m"]
    argv += ["--transport", "openai", "--stop", "a", "--stop", "b", "--ignore-eos"]
    numbers = {
        "max-tokens": 7,
        "min-tokens": 3,
        "temperature": 0.5,
        "top-p": 0.9,
        "top-k": -1,
        "min-p": 0.1,
        "presence-penalty": -0.5,
        "frequency-penalty": 1,
        "repetition-penalty": 1.1,
        "seed": 4,
    }
    argv += [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    assert main([*argv, "--tensors", '{"A": [1]}'], engine) == 0
    sampling = Sampling(7, 0.5, 0.9, -1, 0.1, -0.5, 1.0, 1.1, 4, ("a", "b"), 3, ignore_eos=True)
    assert engine.request == PromptRequest(
        "hi", "m", "Brief.", (), Style.COMPLETION, sampling, "a", '{"A": [1]}', Transport.OPENAI, idle_timeout_s=120.0
    )


def test_what_is_not_given_is_left_to_the_server(engine: Answering) -> None:
    assert main(["ask", "demo", "hi"], engine) == 0
    assert engine.request == PromptRequest("hi")


@pytest.mark.parametrize("argv", [["ask", "demo"], ["ask", "demo", "-"]])
def test_a_prompt_may_come_through_a_pipe(argv: list[str], engine: Answering, stdin: Callable[[bytes], None]) -> None:
    stdin(b"Wer?\nIch.\n")
    assert main(argv, engine) == 0
    assert engine.request.prompt == "Wer?\nIch."


def test_a_saved_prompt_is_filled_in_and_options_go_before_its_own(
    engine: Answering, stdin: Callable[[bytes], None], tmp_path: Path
) -> None:
    history = (Turn(Role.USER, "a"),)
    request = PromptRequest("{{greeting=Hi}} {{who}}: {{text}}", "", "Be.", history, sampling=Sampling(5, 0.1))
    engine.saved = SavedPrompt("greet", request)
    (tmp_path / "text").write_text("you\n")
    stdin(b"all\nof it\n")
    argv = ["ask", "demo", "--file", "greet", "--set", f"who=@{tmp_path}/text", "--set", "text=@-"]
    assert main([*argv, "--temperature", "0"], engine) == 0
    assert engine.asked[0] == ("saved_prompt", "greet")
    expected = replace(request, prompt="Hi you: all\nof it", sampling=Sampling(5, 0.0))
    assert engine.request == expected


def test_tensors_need_no_prompt_and_may_be_in_a_file(
    engine: Answering, tmp_path: Path, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"not read")
    (tmp_path / "in.json").write_text('{"A":\n [1.5]}')
    assert main(["ask", "demo", "--tensors", f"@{tmp_path}/in.json"], engine) == 0
    assert (engine.request.prompt, engine.request.tensors) == ("", '{"A": [1.5]}')


@pytest.mark.parametrize(
    ("argv", "given", "words"),
    [
        ([], b"", "The prompt on standard input is empty."),
        ([], b"\xff", "standard input is not UTF-8 text (byte 0)."),
        ([], b"x" * 200, "standard input is larger than"),
        (["a\udcff"], b"", "The prompt is not UTF-8 text."),
        (["hi", "--file", "greet"], b"", "Both PROMPT and --file are given."),
        (["hi", "--set", "a=b"], b"", "Name one with --file."),
        (["--file", "greet"], b"", "greet has blanks that are not filled in: who. Give each a value: --set who=VALUE."),
        (["--file", "greet", "--set", "whom=x"], b"", "has no blank whom. Did you mean who?"),
        (["--tensors", "[1]"], b"", "--tensors: a mapping from the tensors' names"),
        (["--tensors", "{"], b"", "--tensors: this is no JSON:"),
        (["hi", "--against", "last"], b"", "No answer of demo to this prompt is kept."),
    ],
)
def test_what_makes_no_prompt_exits_2_and_sends_nothing(
    argv: list[str],
    given: bytes,
    words: str,
    engine: Answering,
    stdin: Callable[[bytes], None],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli_ask_request, "MAX_BYTES", 100)
    stdin(given)
    assert main(["ask", "demo", *argv], engine) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert not any(what[0] == "ask" for what in engine.asked)


def test_a_file_that_cannot_be_read_is_told(engine: Answering, capsys: Capture, tmp_path: Path) -> None:
    assert main(["ask", "demo", "--tensors", f"@{tmp_path}/none"], engine) == 1
    assert "none cannot be read: No such file or directory." in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--max-tokens", "0"],
        ["--max-tokens", "1.5"],
        ["--top-p", "nan"],
        ["--temperature", "-1"],
        ["--set", "text"],
        ["--chat", "--completion"],
        ["--repeat", "2", "--against", "other"],
        ["--repeat", "0"],
        ["--limit", "0", "--history"],
        ["--timeout", "0"],
    ],
)
def test_wrong_usage_exits_2(argv: list[str], engine: Answering) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["ask", "demo", "hi", *argv], engine)
    assert stopped.value.code == 2
    assert engine.settings is None


def test_it_is_saved_before_it_is_sent(engine: Answering, capsys: Capture) -> None:
    assert main(["ask", "demo", "hi", "--max-tokens", "3", "--save", "mine"], engine) == 0
    saved = SavedPrompt("mine", PromptRequest("hi", sampling=Sampling(3)))
    assert [what[0] for what in engine.asked] == ["save_prompt", "ask"]
    assert engine.asked[0] == ("save_prompt", saved, False)
    assert "saved as mine.yaml" in capsys.readouterr().err
    assert main(["ask", "demo", "hi", "--max-tokens", "3", "--save", "mine", "--force"], engine) == 0
    assert engine.asked[2] == ("save_prompt", saved, True)


@pytest.mark.parametrize("argv", [["--limit", "3"], ["--force"]])
def test_options_without_what_they_are_about_are_refused(argv: list[str], engine: Answering) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["ask", "demo", "hi", *argv], engine)
    assert stopped.value.code == 2
    assert engine.asked == []


# -- what comes of it -------------------------------------------------------------------------------------------------


def test_timings_say_what_is_known_and_who_counted() -> None:
    full = replace(answer(), gaps_s=tuple(number / 1000 for number in range(1, 102)))
    assert cli_output.timing_line(full) == (
        "connected in 0.7 ms · first byte 4.0 ms · first token 43 ms · gaps p50 51 ms, p99 100 ms, longest 101 ms"
        " · 100.0 tokens/s · 150 ms in all · tokens 5 in, 11 out (counted by server) · ended by stop"
    )
    late = replace(full, timing=replace(full.timing, waited_s=0.061))
    assert " · times up to 61 ms late, as this machine was busy · ended by" in cli_output.timing_line(late)
    for total_s, waited_s in ((0.15, 0.004), (60.0, 0.061)):
        usual = replace(full, timing=replace(full.timing, total_s=total_s, waited_s=waited_s))
        assert "late" not in cli_output.timing_line(usual), "any machine is so late"
    assert "gaps p50 10 ms, longest 10 ms" in cli_output.timing_line(answer())
    cut = PromptResult(PromptRequest(""), PromptOutcome.FAILED, "", fault=Fault.CUT, timing=Timing(total_s=2))
    assert cli_output.timing_line(cut) == "2.00 s in all · failed: cut"
    chunks = PromptResult(PromptRequest(""), PromptOutcome.CANCELLED, "", timing=Timing(tokens_out=1))
    assert cli_output.timing_line(chunks) == "tokens 1 out (counted by chunks) · cancelled"
    tensors = PromptResult(
        PromptRequest("", tensors="{}"),
        PromptOutcome.DONE,
        "",
        timing=Timing(None, 0.001, 0.004, 0.005, 0.005, None, 2),
    )
    line = "first byte 1.0 ms · first outputs 4.0 ms · 5.0 ms in all · responses 2"
    assert cli_output.timing_line(tensors) == line, "there are no tokens"


def test_a_failure_tells_what_came_and_exits_1(capsys: Capture) -> None:
    assert main(["ask", "demo", "hi"], Answering(answer("Half", outcome=PromptOutcome.FAILED))) == 1
    out, err = capsys.readouterr()
    assert out == "Half \n"
    assert err.splitlines()[-1] == "tritontui: It broke."


@pytest.mark.parametrize(("text", "told"), [("<think>Well, ", True), ("<think>Well</think>Yes", False), ("Yes", False)])
def test_an_answer_that_never_came_for_reasoning_says_what_to_do(text: str, told: bool, capsys: Capture) -> None:
    assert main(["ask", "demo", "hi"], Answering(replace(answer(text), finish_reason="length"))) == 0
    assert ("--max-tokens gives it more" in capsys.readouterr().err) == told


@pytest.mark.parametrize("more", [[], ["--json"], ["--repeat", "3"], ["--against", "other"]])
def test_a_cancelled_one_ends_it_with_130(more: list[str], capsys: Capture) -> None:
    engine = Answering(answer("Half", outcome=PromptOutcome.CANCELLED), answer())
    assert main(["ask", "demo", "hi", *more], engine) == 130
    assert engine.request.prompt == "hi", "nothing more was sent"
    assert ("Half" in capsys.readouterr().out) or "--repeat" in more


def test_repeated_ones_are_told_apart_and_summed_up(engine: Answering, capsys: Capture) -> None:
    assert main(["ask", "demo", "hi", "--repeat", "3"], engine) == 0
    out, err = capsys.readouterr()
    *answers, header, first, between = out.splitlines()
    assert answers == ["== 1 of 3 ==", "Yes. ", "== 2 of 3 ==", "No. ", "== 3 of 3 ==", "Maybe. ", ""]
    assert header.split() == ["P50", "MIN", "MAX", "N"]
    assert first.split() == ["first", "token", "43.0", "ms", "20", "ms", "86.0", "ms", "3"]
    assert (between.split()[0], float(between.split()[1])) == ("inter-token", 10)
    assert [line.partition(":")[0] for line in err.splitlines()] == ["1 of 3", "2 of 3", "3 of 3"]


def test_repeating_ends_with_the_first_failure(capsys: Capture) -> None:
    engine = Answering(answer(), answer(outcome=PromptOutcome.FAILED), answer())
    assert main(["ask", "demo", "hi", "--repeat", "3", "--json"], engine) == 1
    found = json.loads(capsys.readouterr().out)
    assert [run["outcome"] for run in found["runs"]] == ["done", "failed"]
    assert found["summary"]["first token"] == {"n": 2, "p50": 0.043, "least": 0.043, "most": 0.043}


def test_a_chat_beside_a_completion_is_said_to_be_one(capsys: Capture) -> None:
    engine = Answering(replace(answer(), style=Style.CHAT), replace(answer(), style=Style.COMPLETION))
    assert main(["ask", "demo", "hi", "--against", "other"], engine) == 0
    assert "Not put in the same way: chat and completion." in capsys.readouterr().err


def test_two_deployments_are_asked_the_same_and_compared(engine: Answering, capsys: Capture) -> None:
    assert main(["ask", "demo", "hi", "--against", "other"], engine) == 0
    assert engine.asked == [
        ("require_running", "other"),
        ("ask", "demo", PromptRequest("hi")),
        ("ask", "other", PromptRequest("hi")),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == ["== demo ==", "Yes. ", "== other ==", "No. ", ""]
    rows = {line[:18].strip(): line[18:].split() for line in lines[5:-1]}
    assert rows["first token"] == ["43.0", "ms", "86.0", "ms", "+100.0", "%"]
    assert rows["tokens out"] == ["11", "11", "+0.0", "%"]
    assert "gaps, p99" not in rows, "neither has a hundred"
    assert lines[-1] == "same text: no"


def test_a_second_one_that_does_not_run_is_told_before_the_first_is_asked(capsys: Capture) -> None:
    class Alone(Answering):
        def require_running(self, name: str) -> None:
            raise OperationFailed(f"{name} does not run.")

    engine = Alone(answer())
    assert main(["ask", "demo", "hi", "--against", "other"], engine) == 1
    out, err = capsys.readouterr()
    assert (out, engine.asked) == ("", [])
    assert "other does not run." in err


def test_one_is_compared_with_its_last_answer(engine: Answering, capsys: Capture) -> None:
    lost = kept("hi", "")
    engine.kept = (
        replace(lost, result=replace(lost.result, outcome=PromptOutcome.FAILED)),
        kept("hi", "Before.", sampling=Sampling(9)),
    )
    assert main(["ask", "demo", "hi", "--against", "last", "--json"], engine) == 0
    assert engine.asked[0][:2] == ("kept_prompts", "demo")
    assert engine.asked[0][3] == PromptRequest("hi")
    found = json.loads(capsys.readouterr().out)
    assert [run["text"] for run in found["runs"]] == ["Before.", "Yes."]
    token = next(one for one in found["differences"] if one["title"] == "first token")
    assert token == {"title": "first token", "unit": "s", "first": 0.02, "second": 0.043, "change": 1.15}
    assert found["same_text"] is False

    engine.results = [answer("Before.")]
    assert main(["ask", "demo", "hi", "--against", "last"], engine) == 0
    out, err = capsys.readouterr()
    assert "Before.\n== demo, now ==\nBefore. \n" in out
    assert "same text: yes" in out
    assert "other options: max_tokens 9, now 256" in err


def test_what_was_kept_is_listed_and_nothing_is_sent(engine: Answering, capsys: Capture) -> None:
    engine.kept = (kept("Why\nis it?" + " so" * 50, "B"), kept("hi", "A", history=(Turn(Role.USER, "before"),)))
    assert main(["ask", "demo", "--history"], engine) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.index("PROMPT") == first.index("Why is it? so") == second.index("hi")
    assert first.endswith("…")
    assert "stop" in first
    assert main(["ask", "demo", "--history", "--json"], engine) == 0
    found = json.loads(capsys.readouterr().out)["prompts"]
    assert [(one["id"], one["deployment"], one["run"], one["what"]) for one in found] == [
        (7, "demo", "c0ffee 1.000", "vllm:1")
    ] * 2
    assert found[1]["request"]["history"] == [{"role": "user", "text": "before"}]
    assert {what[0] for what in engine.asked} == {"kept_prompts"}


def test_an_empty_history_is_told(engine: Answering, capsys: Capture) -> None:
    assert main(["ask", "demo", "--history"], engine) == 0
    assert capsys.readouterr() == ("", "No prompt to demo is kept.\n")


def test_a_reader_that_goes_away_ends_it_as_a_closed_pipe_does() -> None:
    code = (
        "import sys\n"
        "from tests.unit.test_cli_ask import Answering, answer\n"
        "from tui.cli import main\n"
        "sys.exit(main(['ask', 'demo', 'hi'], Answering(answer('word ' * 100000))))\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        assert process.stdout.read(4) == "word"
        process.stdout.close()
        assert process.wait(timeout=60) == 141


def test_settings_find_prompts_in_three_folders(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "c", tmp_path / "s", tmp_path / "h", (), tmp_path / "w")
    assert settings.prompt_folders[:2] == (tmp_path / "w" / "prompts", tmp_path / "c" / "prompts")
    assert (settings.prompt_folders[2] / "hello.yaml").is_file()
