"""What a container engine said itself, and what it told of an end, on real parts: tests/samples/recording made them."""

import re
import tomllib
from pathlib import Path

import pytest

from engine.diagnose.explain import explain_text
from engine.diagnosis import Evidence
from tests.samples.recording.neutral import neutral

SAMPLES = Path(__file__).parents[1] / "samples"
LOGS = SAMPLES / "logs"
INDEX = tomllib.loads((LOGS / "index.toml").read_text())
WORDS = tomllib.loads((SAMPLES / "runtime_errors.toml").read_text())
ENDS = tomllib.loads((SAMPLES / "ends.toml").read_text())


MACHINE = re.compile(r"/(?:root|work)/|/tmp/sample-|\.pyenv|/pytriton/")
"""Where only the machine that recorded can have something"""


@pytest.mark.parametrize("name", WORDS)
def test_what_the_container_engine_says(name: str) -> None:
    diagnosis = explain_text(b"", Evidence(runtime_error=WORDS[name]["says"]))
    assert [cause.signature for cause in diagnosis.causes] == WORDS[name]["causes"]


@pytest.mark.parametrize("name", ENDS)
def test_an_end_besides_its_log(name: str) -> None:
    """The exit status neither hides what the log says nor adds to it."""
    row = ENDS[name]
    diagnosis = explain_text((LOGS / name).read_bytes(), Evidence(row["exit_code"], row.get("oom_killed", False)))
    assert [cause.signature for cause in diagnosis.causes] == row.get("causes", INDEX[name]["causes"])


def test_logs_tell_nothing_of_the_machine_they_were_recorded_on() -> None:
    for file in LOGS.glob("*.log"):
        assert not MACHINE.search(file.read_text()), file.name


def test_places_ids_and_addresses_become_neutral() -> None:
    log = (
        "(EngineCore pid=48213) INFO 11-21 10:47:23 [x.py:1] loads /tmp/room/models/m from tcp://10.3.0.9:5000\n"
        'E1121 10:47:23.114000 48213 y.cc:1] "process 48213 took 48213 MiB at 127.0.0.1:48213"\n'
        "INFO:     Started server process [48999]\n"
    )
    assert neutral(log, {"/tmp/room": "/srv", "/tmp/room/models": "/models"}) == (
        "(EngineCore pid=200) INFO 11-21 10:47:23 [x.py:1] loads /models/m from tcp://192.0.2.10:5000\n"
        'E1121 10:47:23.114000 200 y.cc:1] "process 200 took 48213 MiB at 127.0.0.1:48213"\n'
        "INFO:     Started server process [201]\n"
    )
