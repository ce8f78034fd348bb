"""What runs against what its profile and image now say."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import __version__
from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.drift import MOST_BYTES, differences, facts, launch_facts, made_from
from engine.errors import InvalidProfile, RuntimeUnreachable
from engine.fit.result import Fit, Verdict
from engine.observe.drift import Answer, Planned, Question, image_drift
from engine.plan import GeneratedFile, Launch, Mount, Plan, PortBinding
from engine.settings import Settings
from engine.snapshot import Estimate, OperationStatus, Outcome
from engine.stacks import STACKS
from engine.stacks.context import PlanContext

PROFILE = """\
name: m
stack: vllm
image: vllm/vllm-openai:v0.11.0
model: facebook/opt-125m
gpus: 2
engine: {max_model_len: 8192, tensor_parallel_size: 2}
env: {NCCL_DEBUG: INFO}
expose: {http: 8000}
"""
SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
LAUNCH = Launch("m", "vllm", "docker", ("facebook/opt-125m", "--max-model-len", "8192"), SERVICE, image="vllm:1")


def plan(folder: Path, text: str, runtime: str = "docker") -> Plan:
    path = folder / "m.yaml"
    path.write_text(text)
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
    return STACKS[entry.profile.stack](PlanContext(entry.profile, path, entry.digest, runtime, settings))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("max_model_len: 8192", "max_model_len: 4096", ["max-model-len: 8192, the profile now says 4096"]),
        ("max_model_len: 8192, ", "", ["max-model-len: 8192, the profile no longer sets it"]),
        ("{max_model_len", "{seed: 7, max_model_len", ["seed is not set, the profile now sets 7"]),
        (
            "v0.11.0",
            "v0.11.1",
            ["image: vllm/vllm-openai:v0.11.0, the profile now says vllm/vllm-openai:v0.11.1"],
        ),
        (
            "{NCCL_DEBUG: INFO}",
            "{HOME: /x}",
            ["HOME is not set, the profile now sets /x", "NCCL_DEBUG: INFO, the profile no longer sets it"],
        ),
        ("http: 8000", "http: 9000", ["port http: 127.0.0.1:8000, the profile now says 127.0.0.1:9000"]),
        ("http: 8000", "http: auto", ["port http: 127.0.0.1:8000, the profile now says 127.0.0.1:automatic"]),
        ("gpus: 2", "gpus: [0, 1]", ["gpus: 2, the profile now says 0,1"]),
        ("name: m", "name: m\nsecrets: {HF_TOKEN: env}", ["secret HF_TOKEN is not set, the profile now sets env"]),
        ("name: m", "name: m\nshm_size: 2147483648", None),
        ("name: m", "name: m\nsummary: Another one", []),
        ("name: m", "name: m\nready: {timeout: 2h}", []),
    ],
)
def test_it_says_what_the_profile_now_says(tmp_path: Path, old: str, new: str, lines: list[str] | None) -> None:
    assert old in PROFILE
    then = launch_facts(plan(tmp_path, PROFILE).launch)
    now = launch_facts(plan(tmp_path, PROFILE.replace(old, new, 1)).launch)
    found = differences(then, now)
    if lines is None:
        assert len(found) == 1
        assert found[0].startswith("shared memory in bytes")
    else:
        assert list(found) == lines
    assert made_from(then) != made_from(now)
    assert made_from(then)[1] == __version__
    # Back again, nothing differs.
    assert launch_facts(plan(tmp_path, PROFILE).launch) == then


def test_a_port_that_moved_is_told_once(tmp_path: Path) -> None:
    text = "name: t\nstack: triton\nrepository: repo\nprogram: /bin/true\nexpose: {http: 8000, grpc: 8001}\n"
    (tmp_path / "repo").mkdir()
    then, now = (
        launch_facts(plan(tmp_path, text.replace("8000", port), "process").launch) for port in ("8000", "9000")
    )
    assert "option --http-port" in facts(then)
    assert differences(then, now) == ("port http: 127.0.0.1:8000, the profile now says 127.0.0.1:9000",)


def test_which_gpus_and_which_automatic_port_is_no_difference(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    text = PROFILE.replace("http: 8000", "http: auto").replace("name: m", f"name: m\nprogram: {program}")
    for runtime in ("docker", "process"):
        launch = plan(tmp_path, text, runtime).launch
        (port,) = launch.ports
        elsewhere = str(port.host_port + 1)
        other = replace(
            launch,
            gpus=("GPU-3", "GPU-7"),
            ports=(replace(port, host_port=port.host_port + 1),),
            command=tuple(
                elsewhere if word == str(port.host_port) and runtime == "process" else word for word in launch.command
            ),
        )
        assert other != launch
        assert differences(launch_facts(launch), launch_facts(other)) == ()


def test_files_and_mounts() -> None:
    launch = replace(
        LAUNCH,
        files=(GeneratedFile("models/m/config.pbtxt", "a"), GeneratedFile("gone", "x")),
        mounts=(Mount("/srv/a", "/model"),),
    )
    other = replace(
        LAUNCH,
        files=(GeneratedFile("models/m/config.pbtxt", "b"), GeneratedFile("new", "x")),
        mounts=(Mount("/srv/a", "/model", read_only=False),),
    )
    assert differences(launch_facts(launch), launch_facts(other)) == (
        "file gone: the profile no longer has it",
        "file models/m/config.pbtxt: the profile now makes another one",
        "file new: the profile now has it",
        "mount /model: /srv/a ro, the profile now says /srv/a rw",
    )


def test_repeated_and_bare_options() -> None:
    launch = replace(LAUNCH, command=("tritonserver", "--load-model=a", "--load-model=b", "--enforce-eager"))
    other = replace(LAUNCH, command=("tritonserver", "--load-model=a"))
    assert differences(launch_facts(launch), launch_facts(other)) == (
        "enforce-eager: set, the profile no longer sets it",
        "load-model: a b, the profile now says a",
    )
    assert differences(launch_facts(other), launch_facts(launch))[0] == (
        "enforce-eager is not set, the profile now sets it"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"image": 1}', "[" * 100_000, "\x00"])
def test_what_is_no_record_of_a_launch_is_none(text: str) -> None:
    assert facts(text) == {}
    assert made_from(text) == ("", "")
    assert differences(text, launch_facts(LAUNCH)) == ()


def test_hostile_and_long_text_is_cleaned_and_cut() -> None:
    launch = replace(LAUNCH, env={"A": "\x1b]0;title\x07" + "x" * 100_000, "B\x1b[2J": "1\n2"})
    lines = differences(launch_facts(LAUNCH), launch_facts(launch))
    assert [line for line in lines if "\x1b" in line or "\n" in line or len(line) > 200] == []
    assert len(lines) == 2
    assert len(launch_facts(launch)) < MOST_BYTES


def test_many_files_count_as_one() -> None:
    files = tuple(GeneratedFile(f"models/{number}/config.pbtxt", str(number)) for number in range(2000))
    text = launch_facts(replace(LAUNCH, files=files))
    assert len(text) < MOST_BYTES
    changed = launch_facts(replace(LAUNCH, files=(*files[:-1], replace(files[-1], text="changed"))))
    assert differences(text, changed) == ("generated files: the profile now makes another one",)


WORDS = st.text(max_size=12)
ENVS = st.dictionaries(WORDS, WORDS, max_size=4)
COMMANDS = st.lists(st.one_of(WORDS, st.sampled_from(["--a", "--b=1", "--port", "8000"])), max_size=6).map(tuple)
LAUNCHES = st.builds(
    lambda command, env, secrets, paths, port, automatic: replace(
        LAUNCH,
        command=command,
        env=env,
        secrets=secrets,
        files=tuple(GeneratedFile(path, path) for path in paths),
        ports=(PortBinding("http", "127.0.0.1", port, 8000, automatic),),
    ),
    COMMANDS,
    ENVS,
    ENVS,
    st.sets(WORDS, max_size=3),
    st.integers(1, 65535),
    st.booleans(),
)


@given(LAUNCHES, LAUNCHES)
def test_nothing_differs_exactly_when_the_facts_are_the_same(launch: Launch, other: Launch) -> None:
    then, now = launch_facts(launch), launch_facts(other)
    assert then == launch_facts(replace(launch, service=replace(SERVICE, ready_timeout_s=1), gpus_wanted=""))
    assert json.loads(then) == facts(then)
    assert (differences(then, now) == ()) == (facts(then) == facts(now))


# -- when it is planned -----------------------------------------------------------------------------------------------

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


class Bench:
    """A profile, its deployment, and a planner that counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plans: list[tuple[str, str | None]] = []
        self.fit: Fit | None = None
        self.error: Exception | None = None
        self.launched: set[str] = set()
        self.operations: tuple[OperationStatus, ...] = ()
        self.images = {("docker", "vllm/vllm-openai:v0.11.0"): OLD}
        self.planned = Planned(self.plan, self)
        self.write(PROFILE)
        launch = self.launch
        self.deployment = Deployment(
            *("m", "docker", "vllm", "id", str(launch.image), Lifecycle.RUNNING, SERVICE, 1.0),
            image_id=OLD,
            launch_facts=launch_facts(launch),
        )

    def write(self, text: str) -> None:
        self.launch = plan(self.folder, text).launch
        entry = read_profile(self.folder / "m.yaml")
        assert isinstance(entry, CatalogEntry)
        self.entry = entry

    def plan(self, name: str, runtime: str | None) -> Plan:
        self.plans.append((name, runtime))
        if self.error:
            raise self.error
        return Plan(self.launch, "m.yaml", fit=self.fit)

    def names(self) -> set[str]:
        return self.launched

    def expect(self, plan: Plan) -> Estimate:
        return Estimate(len(self.plans), 1.0, 1.0, 1)

    def look(self, *deployments: Deployment) -> Question | None:
        there = {one.name: one for one in deployments}
        return self.planned.look({"m": self.entry}, there, self.images, self.operations, self.launched)

    def settle(self, *deployments: Deployment) -> int:
        """Plans until nothing is due; how often that was."""
        before = len(self.plans)
        while question := self.look(*deployments):
            answer = self.planned.answer(question)
            assert isinstance(answer, Answer)
            self.planned.keep(question, answer)
        return len(self.plans) - before


@pytest.fixture
def planning(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_has_not_changed_is_not_planned(planning: Bench) -> None:
    assert planning.settle(planning.deployment) == 0
    planning.write(PROFILE + "# a remark\n")
    assert planning.settle(planning.deployment) == 0
    assert planning.planned.drift(planning.deployment) == ()
    # What an earlier version made tells nothing.
    assert planning.settle(replace(planning.deployment, launch_facts="")) == 0


@pytest.mark.parametrize("lifecycle", [Lifecycle.RUNNING, Lifecycle.EXITED])
def test_a_changed_profile_is_planned_once_for_each_change(planning: Bench, lifecycle: Lifecycle) -> None:
    deployment = replace(planning.deployment, lifecycle=lifecycle)
    planning.write(PROFILE.replace("8192", "4096"))
    assert planning.settle(deployment) == 1
    assert planning.settle(deployment) == 0
    assert planning.plans == [("m", "docker")]
    assert planning.planned.drift(deployment) == ("max-model-len: 8192, the profile now says 4096",)
    planning.write(PROFILE.replace("8192", "2048"))
    assert planning.settle(deployment) == 1
    assert planning.planned.drift(deployment) == ("max-model-len: 8192, the profile now says 2048",)
    # Changed back, and made anew: at once, and without a plan.
    anew = replace(deployment, id="other", launch_facts=launch_facts(planning.launch))
    assert planning.planned.drift(anew) == ()
    planning.write(PROFILE)
    planning.look(deployment)
    assert planning.planned.drift(deployment) == ()
    assert len(planning.plans) == 2


def test_another_version_of_tritontui_may_launch_otherwise(planning: Bench) -> None:
    older = json.dumps({**facts(planning.deployment.launch_facts), "tritontui": "0.0.1", "option --seed": "1"})
    deployment = replace(planning.deployment, launch_facts=older)
    assert planning.settle(deployment) == 1
    assert planning.planned.drift(deployment) == ("seed: 1, the profile no longer sets it",)


def test_a_name_that_means_another_image(planning: Bench) -> None:
    assert list(image_drift(planning.deployment, planning.images)) == []
    planning.images = {("docker", "vllm/vllm-openai:v0.11.0"): NEW}
    assert list(image_drift(planning.deployment, planning.images)) == [
        "image vllm/vllm-openai:v0.11.0 is another one now: sha256:111111111111 runs, the tag is sha256:222222222222"
    ]
    ended = replace(planning.deployment, lifecycle=Lifecycle.EXITED)
    assert list(image_drift(ended, planning.images)) == [
        "image vllm/vllm-openai:v0.11.0 is another one now: it was made from sha256:111111111111,"
        " the tag is sha256:222222222222"
    ]
    # Another image may be launched otherwise: that is planned.
    assert planning.settle(planning.deployment) == 1
    assert planning.planned.drift(planning.deployment) == ()
    # One that is not here says nothing.
    planning.images = {("docker", "vllm/vllm-openai:v0.11.0"): ""}
    assert list(image_drift(planning.deployment, planning.images)) == []


def test_a_profile_that_cannot_be_planned_any_more(planning: Bench) -> None:
    planning.write(PROFILE.replace("8192", "4096"))
    planning.error = RuntimeUnreachable("Docker does not answer.")
    question = planning.look(planning.deployment)
    assert question
    assert planning.planned.answer(question) is None
    planning.error = InvalidProfile("m wants 2 GPUs, and this\x1b[2J machine has 1.", "Lower `gpus`.")
    assert planning.settle(planning.deployment) == 1
    assert planning.planned.drift(planning.deployment) == (
        "its profile can no longer be planned: m wants 2 GPUs, and this machine has 1. Lower `gpus`.",
    )


def test_what_runs_on_gpus_may_take_what_its_plan_says(planning: Bench) -> None:
    planning.fit = Fit(Verdict.FITS, "It fits.", budget=68 << 30)
    deployment = replace(planning.deployment, gpus=("GPU-0", "GPU-1"))
    assert planning.settle(deployment) == 1
    assert planning.planned.may_take() == {"m": {"GPU-0": 68 << 30, "GPU-1": 68 << 30}}
    assert planning.settle(deployment) == 0
    # Of what was made from another profile nothing can be told, and of what has ended nothing is asked.
    planning.write(PROFILE.replace("8192", "4096"))
    assert planning.settle(deployment) == 1
    assert planning.planned.may_take() == {}
    planning.write(PROFILE)
    assert planning.settle(replace(deployment, lifecycle=Lifecycle.EXITED)) == 0
    assert planning.planned.may_take() == {}


def test_only_what_was_launched_before_and_does_not_run_is_estimated(planning: Bench) -> None:
    assert planning.settle() == 0
    assert planning.planned.estimate("m") is None
    planning.launched = {"m"}
    assert planning.settle(planning.deployment) == 0
    ended = replace(planning.deployment, lifecycle=Lifecycle.EXITED)
    assert planning.settle(ended) == 1
    assert planning.planned.estimate("m") == Estimate(1, 1.0, 1.0, 1)
    assert planning.settle(ended) == 0
    # A launch that has ended may have changed what is known.
    planning.operations = (OperationStatus("1", "swap", "other", (), 1.0, Outcome.DONE, "me", outgoing=("m",)),)
    assert planning.settle(ended) == 1
    assert planning.planned.estimate("m") == Estimate(2, 1.0, 1.0, 1)
    planning.look(planning.deployment)
    assert planning.planned.estimate("m") is None


def test_what_differs_comes_before_what_is_only_estimated(planning: Bench) -> None:
    planning.launched = {"a", "m"}
    planning.write(PROFILE.replace("8192", "4096"))
    other = replace(planning.entry, profile=planning.entry.profile.model_copy(update={"name": "a"}))
    entries = {"a": other, "m": planning.entry}
    question = planning.planned.look(entries, {"m": planning.deployment}, {}, (), planning.launched)
    assert question
    assert (question.name, question.expected) == ("m", False)
