"""The program that runs in the container: what it makes of templates, and that its life is the server's."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).parents[2] / "engine/stacks/trtllm_launcher.py"
TEMPLATE = """\
# It's ${not_ours} in a comment.
name: "tensorrt_llm"
backend: "${triton_backend}"
max_batch_size: ${triton_max_batch_size}
model_transaction_policy { decoupled: ${decoupled_mode} }
output [ { name: "x" data_type: ${logits_datatype} dims: [ -1 ] } ]
parameters: { key: "gpt_model_path" value: { string_value: "${engine_dir}" } }
parameters: { key: "max_beam_width" value: { string_value: "${max_beam_width}" } }
parameters: { key: "both" value: { string_value: "say \\"${engine_dir}\\"" } }
"""
VALUES = {
    "triton_backend": "tensorrtllm",
    "triton_max_batch_size": "64",
    "decoupled_mode": "true",
    "logits_datatype": "TYPE_FP32",
    "engine_dir": "/engines",
}
SERVER = """\
import os, signal, sys, time
from pathlib import Path
say = lambda text: os.write(1, (text + "\\n").encode())  # a signal may come in the middle of it
rank = next(word for word in sys.argv if "shm-region-prefix-name" in word).rstrip("_")[-1]
signal.signal(signal.SIGTERM, lambda *_: (say(f"rank {rank} ends"), sys.exit(int(os.environ.get("CODE", "0")))))
say(f"rank {rank} runs {' '.join(sys.argv[1:])}")
if os.environ.get("CRASH"):
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ.get("EXIT"):
    sys.exit(int(os.environ["EXIT"]))
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.02)
"""
MPIRUN = """\
# Like Open MPI's: one child for each command between colons; on SIGTERM it kills them, here without a moment's grace.
import itertools, signal, subprocess, sys
words = sys.argv[1:]
assert words.pop(0) == "--allow-run-as-root"
groups = [list(group) for colon, group in itertools.groupby(words, ":".__eq__) if not colon]
assert all(group[:2] == ["-n", "1"] for group in groups), words
children = [subprocess.Popen(group[2:]) for group in groups]
def killed(*_):
    for child in children:
        child.kill()
    sys.exit(99)
signal.signal(signal.SIGTERM, killed)
codes = [child.wait() for child in children]
if any(code < 0 for code in codes):
    signal.raise_signal(signal.SIGABRT)
sys.exit(max(codes))
"""


def program(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


class Launcher:
    """The launcher in a folder as in the container, with a small program in place of tritonserver."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.template = folder / "templates/tensorrt_llm"
        (self.template / "1").mkdir(parents=True)
        (self.template / "config.pbtxt").write_text(TEMPLATE)
        (self.template / "1/model.yaml").write_text("model: theirs\n")
        (folder / "files").mkdir()
        shutil.copy(LAUNCHER, folder / "files/launch.py")
        (folder / "files/model.yaml").write_text("model: ours\n")
        self.settings: dict[str, Any] = {
            "repository": str(self.repository),
            "models": [self.model("tensorrt_llm")],
            "values": dict(VALUES),
            "asked": [],
            "server": {
                "program": program(folder, "tritonserver", SERVER),
                "mpirun": [program(folder, "mpirun", MPIRUN), "--allow-run-as-root"],
                "ranks": 1,
                "shm_prefix": "t_",
                "options": ["--disable-auto-complete-config"],
                "first": ["--log-verbose=1"],
                "others": ["--model-control-mode=explicit", "--load-model=tensorrt_llm"],
            },
        }
        self.running: list[subprocess.Popen[str]] = []

    def model(self, name: str, **more: Any) -> dict[str, Any]:
        return {"template": str(self.template), "name": name, "required": [], "files": {}, **more}

    def start(self, **env: str) -> "subprocess.Popen[str]":
        (self.folder / "files/launch.json").write_text(json.dumps(self.settings))
        process = subprocess.Popen(
            [sys.executable, "-I", self.folder / "files/launch.py"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", **env},
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def end(self, **env: str) -> tuple[int, str, str]:
        process = self.start(**env)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def kill(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=10)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = Launcher(tmp_path)
    yield made
    made.kill()


def test_templates_are_filled(launcher: Launcher) -> None:
    launcher.settings["models"] = [launcher.model("llama", files={"1/model.yaml": "model.yaml"})]
    launcher.settings["values"] |= {"engine_dir": 'C:\\é"', "of_no_template": "1"}
    code, out, err = launcher.end(EXIT="0")
    assert code == 0, err
    made = (launcher.repository / "llama/config.pbtxt").read_text(encoding="utf-8").splitlines()
    assert made == [
        "# It's ${not_ours} in a comment.",
        'name: "llama"',
        'backend: "tensorrtllm"',
        "max_batch_size: 64",
        "model_transaction_policy { decoupled: true }",
        'output [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]',
        'parameters: { key: "gpt_model_path" value: { string_value: "C:\\\\é\\"" } }',
        'parameters: { key: "max_beam_width" value: { string_value: "${max_beam_width}" } }',
        'parameters: { key: "both" value: { string_value: "say \\"C:\\\\é\\"\\"" } }',
    ]
    assert (launcher.repository / "llama/1/model.yaml").read_text() == "model: ours\n"
    assert (launcher.template / "1/model.yaml").read_text() == "model: theirs\n"
    assert "tritontui: `of_no_template` was left out" in err
    words = "--disable-auto-complete-config --log-verbose=1 --backend-config=python,shm-region-prefix-name=t_0_"
    assert out == f"rank 0 runs --model-repository={launcher.repository} {words}\n"


def test_what_is_filled_reads_as_a_model_configuration(launcher: Launcher) -> None:
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    launcher.settings["values"]["engine_dir"] = 'a "quoted" \\ folder é'
    assert launcher.end(EXIT="0")[0] == 0
    config = ModelConfig()
    text_format.Parse((launcher.repository / "tensorrt_llm/config.pbtxt").read_text(encoding="utf-8"), config)
    assert config.parameters["gpt_model_path"].string_value == 'a "quoted" \\ folder é'
    assert config.model_transaction_policy.decoupled
    assert config.max_batch_size == 64


def test_a_second_start_replaces_what_the_first_one_made(launcher: Launcher) -> None:
    assert launcher.end(EXIT="0")[0] == 0
    launcher.settings["models"] = [launcher.model("other")]
    (launcher.template / "1").chmod(0o555)
    assert launcher.end(EXIT="0")[0] == 0
    assert [path.name for path in launcher.repository.iterdir()] == ["other"]


def test_every_leftover_is_named_before_the_server_starts(launcher: Launcher) -> None:
    del launcher.settings["values"]["decoupled_mode"]
    launcher.settings["values"]["logits_datatype"] = "TYPE_FP32 } evil {"
    launcher.settings["models"][0]["required"] = ["engine_dir", "tokenizer_dir"]
    launcher.settings["asked"] = ["brand_new", "max_beam_width"]
    code, out, err = launcher.end()
    where = launcher.template / "config.pbtxt"
    assert (code, out) == (1, "")
    assert f"{where}:5: ${{decoupled_mode}} must have a value" in err
    assert f"{where}:6: ${{logits_datatype}} takes a number or a word" in err
    assert f"{where}: it has no placeholder ${{tokenizer_dir}}" in err
    assert "No template of this image has `brand_new`. It has decoupled_mode, engine_dir" in err
    assert "`max_beam_width`" not in err
    assert all(line.startswith("tritontui: ") for line in err.splitlines())


def test_an_image_without_the_templates(launcher: Launcher) -> None:
    launcher.settings["models"][0]["template"] = str(launcher.folder / "templates/llmapi/tensorrt_llm")
    code, out, err = launcher.end()
    assert (code, out) == (1, "")
    assert f"{launcher.folder}/templates holds tensorrt_llm." in err
    assert "Take a -trtllm- image." in err


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_image_without_the_server(launcher: Launcher, ranks: int) -> None:
    launcher.settings["server"] |= {"program": "/no/server", "mpirun": ["/no/mpirun"], "ranks": ranks}
    code, _, err = launcher.end()
    assert code == 1
    assert "is not in the image" in err
    assert "Traceback" not in err


def test_a_folder_that_cannot_be_written_is_a_sentence(launcher: Launcher) -> None:
    launcher.settings["repository"] = "/proc/nowhere"
    code, _, err = launcher.end()
    assert code == 1
    assert "/proc/nowhere" in err
    assert "Traceback" not in err


def test_one_rank_is_the_process_itself(launcher: Launcher) -> None:
    process = launcher.start(CODE="7")
    assert process.stdout
    assert "rank 0 runs" in process.stdout.readline()
    assert b"tritonserver" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 7


def test_several_ranks_run_under_mpirun_and_end_in_order(launcher: Launcher) -> None:
    launcher.settings["server"]["ranks"] = 3
    process = launcher.start(CODE="5")
    assert process.stdout
    lines = sorted(process.stdout.readline().rstrip() for _ in range(3))
    common = f"runs --model-repository={launcher.repository} --disable-auto-complete-config"
    python = "--backend-config=python,shm-region-prefix-name=t_"
    others = "--model-control-mode=explicit --load-model=tensorrt_llm"
    assert lines == [
        f"rank 0 {common} --log-verbose=1 {python}0_",
        f"rank 1 {common} {others} {python}1_",
        f"rank 2 {common} {others} {python}2_",
    ]
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 5
    assert sorted(process.stdout.read().splitlines()) == ["rank 0 ends", "rank 1 ends", "rank 2 ends"]


def test_a_second_signal_does_not_wait_for_the_ranks(launcher: Launcher) -> None:
    stubborn = SERVER.replace("signal.SIGTERM, lambda *_: (", "signal.SIGTERM, lambda *_: say('not yet') or (0 and ")
    launcher.settings["server"] |= {"ranks": 2, "program": program(launcher.folder, "stubborn", stubborn)}
    process = launcher.start()
    assert process.stdout
    for _ in range(2):
        assert "runs" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    for _ in range(2):
        assert process.stdout.readline() == "not yet\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 99


@pytest.mark.parametrize(("env", "code"), [({"EXIT": "3"}, 3), ({"CRASH": "1"}, 128 + signal.SIGABRT)])
def test_how_the_server_ended_is_passed_on(launcher: Launcher, env: dict[str, str], code: int) -> None:
    launcher.settings["server"]["ranks"] = 2
    assert launcher.end(**env)[0] == code
