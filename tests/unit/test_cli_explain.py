"""`tritontui explain`: any log's cause, its proofs and the change to the profile, for people and for scripts."""

import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.diagnosis import Cause, Change, Diagnosis, Proof
from engine.facade import Engine
from engine.request import Action, Request
from engine.settings import Settings
from engine.snapshot import OperationStatus, Outcome
from engine.store import Entry, Journal
from tests.unit.memory_runtime import MemoryRuntime
from tui.cli import main

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
PROFILE = """\
name: qwen
stack: vllm
image: vllm/vllm-openai:v0.11.0
model: Qwen/Qwen3-30B-A3B
gpus: 1
engine:
  max_model_len: 40960   # all that it can
"""
LOG = """\
INFO 01-15 08:00:00 [api_server.py:1839] vLLM API server version 0.11.0
(EngineCore_DP0 pid=214) INFO 01-15 08:00:40 [gpu_worker.py:298] Available KV cache memory: 0.66 GiB
(EngineCore_DP0 pid=214) ERROR 01-15 08:00:41 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=214) ERROR 01-15 08:00:41 [core.py:708] ValueError: To serve at least one request with the \
models's max seq len (40960), (3.75 GiB KV cache is needed, which is larger than the available KV cache memory (0.66 \
GiB). Based on the available memory, the estimated maximum model length is 7215. Try increasing \
`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
CAUSE = 4
"""The line that says it"""
GOOD = """\
INFO 01-15 08:00:00 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO:     Application startup complete.
"""
Capture = pytest.CaptureFixture[str]


class Here:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = MemoryRuntime("docker")
        self.journal = Journal(folder / "state/history.sqlite")

    def __call__(self, settings: Settings) -> Engine:
        return Engine(settings, {"docker": self.runtime})

    def log(self, text: str = LOG, name: str = "serve.log") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def deploy(self, name: str, log: str, exit_code: int = 1) -> None:
        service = Service(Protocol.OPENAI, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
        self.runtime.held[name] = Deployment(
            name, "docker", "vllm", "c0ffee", "i:1", Lifecycle.EXITED, service, 10.0, 11.0, 50.0, exit_code
        )
        self.runtime.log = log.encode()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    for kind in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"TRITONTUI_{kind}_DIR", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/qwen.yaml").write_text(PROFILE)
    return Here(tmp_path)


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


def explained(argv: list[str], here: Here, capsys: Capture) -> dict[str, object]:
    code = main(["explain", *argv, "--json"], here)
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    assert code == (0 if told["causes"] else 1)
    return told


def test_the_cause_comes_first_then_what_to_do_and_what_proves_it(here: Here, capsys: Capture) -> None:
    assert main(["explain", here.log()], here) == 0
    out, err = capsys.readouterr()
    title, cause = out.splitlines()[:2]
    assert "KV cache" in title
    assert "7215" in cause
    assert out.index("→") < out.index("proved by") < out.index(f"  {CAUSE}  (EngineCore_DP0")
    assert "EngineCore_DP0" in out
    assert not err


def test_the_change_is_a_patch_that_can_be_applied(here: Here, capsys: Capture) -> None:
    assert main(["explain", here.log(), "--profile", "qwen"], here) == 0
    out = capsys.readouterr().out
    assert "-  max_model_len: 40960   # all that it can\n+  max_model_len: 7200   # all that it can\n" in out
    patch = out[out.index("--- ") :]
    path = here.folder / "profiles/qwen.yaml"
    done = subprocess.run(["patch", "-p0", "--force", str(path)], input=patch, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert path.read_text() == PROFILE.replace("40960", "7200")


def test_without_a_profile_nothing_is_proposed(here: Here, capsys: Capture) -> None:
    told = explained([here.log()], here, capsys)
    assert (told["profile"], told["diff"]) == (None, "")


@pytest.mark.parametrize("how", ["plain", "gzip", "dockers own"])
def test_any_form_of_a_log_through_a_pipe(
    how: str, here: Here, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    data = LOG.encode()
    if how == "gzip":
        data = gzip.compress(data[:100]) + gzip.compress(data[100:])
    elif how == "dockers own":
        rows = ({"log": line, "stream": "stderr", "time": "2026-01-15T08:00:00Z"} for line in LOG.splitlines(True))
        data = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
    pipe(monkeypatch, data)
    told = explained(["-"], here, capsys)
    best = told["causes"][0]  # type: ignore[index]
    assert best["proofs"][0]["line"] == CAUSE
    assert best["proofs"][0]["text"].startswith("(EngineCore_DP0 pid=214) ERROR")
    assert (told["source"], told["lines"]) == ("standard input", 5)


def test_json_has_the_documented_keys(here: Here, capsys: Capture) -> None:
    told = explained([here.log(), "--profile", "qwen"], here, capsys)
    section = DOCS.read_text(encoding="utf-8").split("\n## explain")[1].split("\n## ")[0]
    names = {field.name for type_ in (Diagnosis, Cause, Proof, Change) for field in fields(type_)}
    assert set(told) == {"source", "profile", "diff", *(field.name for field in fields(Diagnosis))}
    missing = [name for name in names | set(told) if f"`{name}`" not in section]
    assert not missing
    assert told["versions"] == {"vllm": "0.11.0"}
    assert told["causes"][0]["changes"] == [  # type: ignore[index]
        {"path": "engine.max_model_len", "value": 7200, "before": 40960}
    ]


def test_what_nobody_knows_is_said_to_be_unknown(here: Here, capsys: Capture) -> None:
    odd = "INFO begins\nE0115 08:00:01.000000 1 server.cc:77] the frobnicator is out of cheese\nINFO ends\n"
    assert main(["explain", here.log(odd)], here) == 1
    out = capsys.readouterr().out
    assert out.startswith("No known cause in 3 lines.")
    assert "  2  E0115 08:00:01.000000 1 server.cc:77] the frobnicator" in out
    assert main(["explain", here.log(GOOD)], here) == 1
    assert "No known cause in 2 lines." in capsys.readouterr().out
    assert main(["explain", here.log("")], here) == 1


def test_neither_secrets_nor_control_sequences_come_out(here: Here, capsys: Capture) -> None:
    token = "hf_" + "a1B2" * 8
    for argv in ([], ["--json"]):
        main(["explain", here.log(LOG.replace("EngineCore failed", f"\x1b]0;x\x07{token} failed")), *argv], here)
        main(["explain", here.log(f"ERROR 01-15 08:00:00 [a.py:1] \x1b[2J no {token}\n"), *argv], here)
        out = capsys.readouterr().out
        assert token not in out
        assert "\x1b" not in out
        assert "\\u001b" not in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "One thing is to be explained."),
        (["-", "--deployment", "qwen"], "One thing is to be explained."),
        (["nothing.log"], "There is no file nothing.log, and no deployment either"),
        (["nothing.log", "--profile", "qwen"], "There is no file nothing.log."),
        (["serve.log", "--profile", "qven"], "Did you mean qwen?"),
        (["--deployment", "qwen"], "qwen has no deployment, and no log of an earlier one is kept"),
        (["\0"], "There is no file"),
    ],
)
def test_what_cannot_be_meant(argv: list[str], said: str, here: Here, capsys: Capture) -> None:
    here.log()
    assert main(["explain", *argv], here) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert not out


def test_what_cannot_be_read(here: Here, capsys: Capture) -> None:
    assert main(["explain", str(here.folder)], here) == 1
    assert "cannot be read: Is a directory" in capsys.readouterr().err
    (here.folder / "cut.gz").write_bytes(gzip.compress(LOG.encode())[:-20])
    assert main(["explain", "cut.gz"], here) == 1
    assert "is not whole" in capsys.readouterr().err


# -- deployments ------------------------------------------------------------------------------------------------------


def test_a_deployment_is_explained_from_its_log_and_its_end(here: Here, capsys: Capture) -> None:
    here.deploy("qwen", LOG)
    told = explained(["qwen"], here, capsys)
    assert (told["source"], told["profile"]) == ("qwen", "qwen")
    assert "+  max_model_len: 7200" in str(told["diff"])
    (here.folder / "qwen").mkdir()
    assert explained(["qwen"], here, capsys)["causes"], "a folder of that name is no log"
    (here.folder / "qwen").rmdir()
    here.log("INFO nothing\n", "qwen")  # a file of that name comes first
    assert not explained(["qwen"], here, capsys)["causes"]
    assert explained(["--deployment", "qwen"], here, capsys)["causes"]


def test_the_end_that_the_runtime_tells_counts(here: Here, capsys: Capture) -> None:
    here.deploy("qwen", "INFO loading\n", exit_code=137)
    here.runtime.held["qwen"] = replace(here.runtime.held["qwen"], oom_killed=True)
    told = explained(["qwen"], here, capsys)
    assert any(proof["line"] is None for proof in told["causes"][0]["proofs"])  # type: ignore[index]
    here.runtime.held["qwen"] = replace(here.runtime.held["qwen"], oom_killed=False, exit_code=0, stop_requested=True)
    assert not explained(["qwen"], here, capsys)["causes"]


def test_of_what_is_gone_the_kept_log_is_read(here: Here, capsys: Capture) -> None:
    kept = here.log(f"# qwen ended: No space left on device\n{LOG}", "kept.log")
    request = Request(Action.START, "qwen")
    for number, path in enumerate((kept, str(here.folder / "gone.log"))):
        status = OperationStatus(f"id{number}", "start", "qwen", (), number, Outcome.FAILED, "me", log_path=path)
        assert here.journal.write(Entry(status, request, ""))
    told = explained(["qwen"], here, capsys)
    best = told["causes"][0]  # type: ignore[index]
    assert "KV cache" in best["title"]
    assert best["proofs"][0]["line"] == CAUSE + 1
    assert str(told["log"]).startswith("This log is of an earlier launch: the start of 1970-01-01 0")
    here.runtime.unreachable = True
    silent = str(explained(["qwen"], here, capsys)["log"])
    assert "What has become of qwen since is not known. This log is of an earlier launch: the start of" in silent
    here.runtime.unreachable = False
    here.deploy("qwen", LOG, exit_code=1)
    assert explained(["qwen"], here, capsys)["log"] == ""


def test_of_what_was_rolled_back_the_log_of_what_failed_is_read(here: Here, capsys: Capture) -> None:
    here.deploy("qwen", GOOD, exit_code=0)
    here.runtime.held["qwen"] = replace(here.runtime.held["qwen"], lifecycle=Lifecycle.RUNNING, finished_at=None)
    status = OperationStatus("id", "restart", "qwen", (), 60.0, Outcome.ROLLED_BACK, "me", log_path=here.log())
    assert here.journal.write(Entry(status, Request(Action.RESTART, "qwen"), ""))
    assert "KV cache" in explained(["qwen"], here, capsys)["causes"][0]["title"]  # type: ignore[index]
    # It ended by itself since: that is what is asked about now.
    here.deploy("qwen", GOOD, exit_code=137)
    here.runtime.held["qwen"] = replace(here.runtime.held["qwen"], finished_at=70.0, oom_killed=True)
    assert explained(["qwen"], here, capsys)["causes"][0]["signature"] == "oom-killed"  # type: ignore[index]


def test_a_silent_runtime_is_told(here: Here, capsys: Capture) -> None:
    here.runtime.unreachable = True
    assert main(["explain", "qwen"], here) == 4
    assert capsys.readouterr().err


def test_a_large_log_streams(here: Here, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    filler = b"(APIServer pid=1) INFO 01-15 08:00:00 [loggers.py:123] Engine 000: Avg prompt throughput: 0.0\n" * 10_000

    class Large(io.RawIOBase):
        def __init__(self) -> None:
            self.left = [filler] * 40
            self.left[2:2] = [LOG.encode()]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> int:
            view = memoryview(buffer)  # type: ignore[arg-type]
            block = self.left.pop(0) if self.left else b""
            taken, rest = block[: len(view)], block[len(view) :]
            if rest:
                self.left.insert(0, rest)
            view[: len(taken)] = taken
            return len(taken)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Large())))
    tracemalloc.start()
    told = explained(["-"], here, capsys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told["lines"] == 400_005
    assert told["causes"][0]["proofs"][0]["line"] == 20_000 + CAUSE  # type: ignore[index]
    assert peak < 24 << 20
