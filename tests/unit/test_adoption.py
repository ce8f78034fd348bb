"""What adopting a container would make of it, and the operation that does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.authoring.adoption import LONGEST_NAME, adoption, free_name, to_know_before, with_its_ports
from engine.authoring.container import of_report
from engine.catalog import NAME, CatalogReader
from engine.errors import InvalidProfile, OperationFailed, Refused
from engine.operations.adopt import adopt
from engine.operations.waiting import Cancelled, Waiting
from engine.plan import Adoption
from engine.snapshot import StepKind
from tests.unit.inspect_reports import TOKEN, TRITON, VLLM, report, seen, settings_in
from tests.unit.memory_runtime import MemoryRuntime


def adopted(one: dict[str, Any], folder: Path) -> Adoption:
    own = settings_in(folder)
    spec = with_its_ports(of_report(one, {}), one)
    found = seen(one)
    return adoption(
        found, spec, free_name(spec.name, ()), folder / "config" / "profiles", own, tuple(to_know_before(found, one))
    )


def vllm(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"ports": {8000: ("127.0.0.1", 8123)}, "entrypoint": ["vllm", "serve"]} | changes
    return report(VLLM, "facebook/opt-125m", "--max-model-len", "64", "--served-model-name", "opt", **given)


def test_a_container_becomes_a_profile_of_what_it_is(tmp_path: Path) -> None:
    made = adopted(vllm(name="My_vLLM.1"), tmp_path)
    data = yaml.safe_load(made.profile_text)
    assert (made.name, made.container, made.id) == ("my-vllm.1", "My_vLLM.1", "id-of-My_vLLM.1")
    assert data["image"] == VLLM
    assert data["model"] == "facebook/opt-125m"
    assert data["engine"] == {"max_model_len": 64}
    assert data["expose"] == {"http": 8123}
    assert "bind" not in data
    assert made.launch.service.http == "http://127.0.0.1:8123"
    assert made.launch.service.model is None
    assert Path(made.profile_path) == tmp_path / "config" / "profiles" / "my-vllm.1.yaml"


@pytest.mark.parametrize(
    ("ip", "bind", "http"),
    [("", "0.0.0.0", "127.0.0.1"), ("0.0.0.0", "0.0.0.0", "127.0.0.1"), ("10.0.0.5", "10.0.0.5", "10.0.0.5")],
)
def test_it_is_boundwith_its_ports(ip: str, bind: str, http: str, tmp_path: Path) -> None:
    made = adopted(vllm(ports={8000: (ip, 8123)}), tmp_path)
    assert yaml.safe_load(made.profile_text)["bind"] == bind
    assert made.launch.service.http == f"http://{http}:8123"


def test_what_may_not_be_open_is_closed_and_told(tmp_path: Path) -> None:
    """Whoever reaches a server with explicit control can change what it serves: no profile may say so."""
    (tmp_path / "repository" / "m" / "1").mkdir(parents=True)
    (tmp_path / "repository" / "m" / "config.pbtxt").write_text('backend: "python"\n')
    (tmp_path / "repository" / "m" / "1" / "model.py").touch()
    one = report(
        TRITON,
        *("tritonserver", "--model-repository=/models", "--model-control-mode=explicit", "--load-model=m"),
        ports={8000: ("0.0.0.0", 9000), 8001: ("0.0.0.0", 9001)},
        mounts=[{"Type": "bind", "Source": str(tmp_path / "repository"), "Destination": "/models", "RW": False}],
    )
    made = adopted(one, tmp_path)
    data = yaml.safe_load(made.profile_text)
    assert "bind" not in data
    assert data["expose"] == {"http": 9000, "grpc": 9001}
    assert any("`bind` opens them again" in note for note in made.notes)
    assert made.launch.service.grpc == "127.0.0.1:9001"
    assert made.launch.service.metrics is None


def test_who_else_may_bring_it_back_is_told(tmp_path: Path) -> None:
    one = vllm(
        host={"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
        container_labels={"com.docker.compose.project": "team\x1b[31m", "io.kubernetes.pod.name": "pod-1"},
    )
    notes = " ".join(adopted(one, tmp_path).notes)
    for words in ("`--rm`", "restart policy is `always`", "Docker Compose made it (project team)", "pod pod-1"):
        assert words in notes
    assert "\x1b" not in notes


def test_no_secret_reaches_the_profile(tmp_path: Path) -> None:
    made = adopted(vllm(env=[f"HF_TOKEN={TOKEN}", "VLLM_API_KEY=very-secret", "LEVEL=info"]), tmp_path)
    assert TOKEN not in repr(made)
    assert "very-secret" not in repr(made)
    data = yaml.safe_load(made.profile_text)
    assert data["secrets"] == {"HF_TOKEN": "env", "VLLM_API_KEY": "env"}
    assert data["env"] == {"LEVEL": "info"}
    assert made.launch.service.api_key == "env:VLLM_API_KEY"


def test_what_no_profile_can_say_is_refused_with_a_way_out(tmp_path: Path) -> None:
    one = report(TRITON, "tritonserver", "--model-repository=s3://bucket", ports={8000: ("", 8000)}, name="x")
    with pytest.raises(InvalidProfile, match=r"docker/x cannot be adopted.*repository.*profiles import --container x"):
        adopted(one, tmp_path)


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert free_name("llama", {"llama", "llama-2"}) == "llama-3"
    assert free_name("tritontui-x", ()) == "x"
    long = free_name("a" * 200, {"a" * LONGEST_NAME})
    assert NAME.fullmatch(long)
    assert long.endswith("-2")


# -- the operation ----------------------------------------------------------------------------------------------------


class Steps:
    def __init__(self, before: Callable[[StepKind], None] = lambda _: None) -> None:
        self.done: list[StepKind] = []
        self._before = before

    @contextmanager
    def __call__(self, kind: StepKind) -> Iterator[Waiting]:
        self._before(kind)
        yield Waiting()
        self.done.append(kind)


@pytest.fixture
def plan(tmp_path: Path) -> Adoption:
    return adopted(vllm(name="x"), tmp_path)


@pytest.fixture
def runtime() -> MemoryRuntime:
    runtime = MemoryRuntime("docker")
    runtime.outside["docker/x"] = seen(vllm(name="x"))
    return runtime


def test_the_profile_is_written_and_the_container_claimed(
    plan: Adoption, runtime: MemoryRuntime, tmp_path: Path
) -> None:
    steps = Steps()
    adopt(plan, runtime, steps)
    assert steps.done == [StepKind.PROFILE, StepKind.ADOPT]
    deployment = runtime.held["x"]
    assert (deployment.id, deployment.adopted, runtime.outside) == (plan.id, True, {})
    # What a plan of the written profile says is what is kept with the deployment: nothing has drifted.
    entry = CatalogReader(settings_in(tmp_path)).load().get("x")
    assert entry.digest == plan.launch.profile_digest == deployment.profile_digest


def test_a_claim_that_fails_takes_the_profile_away_again(plan: Adoption, runtime: MemoryRuntime) -> None:
    runtime.held["x"] = replace(runtime.outside["docker/x"], name="x", id="another")
    with pytest.raises(Refused, match="exists already"):
        adopt(plan, runtime, Steps())
    assert list(Path(plan.profile_path).parent.iterdir()) == []
    assert list(runtime.outside) == ["docker/x"]


def test_cancelled_before_the_claim_it_leaves_nothing(plan: Adoption, runtime: MemoryRuntime) -> None:
    def cancel(kind: StepKind) -> None:
        if kind is StepKind.ADOPT:
            raise Cancelled("It was cancelled.")

    with pytest.raises(Cancelled):
        adopt(plan, runtime, Steps(cancel))
    assert list(Path(plan.profile_path).parent.iterdir()) == []
    assert "x" not in runtime.held


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_no_profile_is_written_over(suffix: str, plan: Adoption, runtime: MemoryRuntime) -> None:
    there = Path(plan.profile_path).with_suffix(suffix)
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    with pytest.raises(Refused, match="There is a profile"):
        adopt(plan, runtime, Steps())
    assert [(path, path.read_text()) for path in there.parent.iterdir()] == [(there, "mine")]
    assert "x" not in runtime.held


def test_another_container_of_that_name_is_not_adopted(plan: Adoption, runtime: MemoryRuntime) -> None:
    runtime.outside["docker/x"] = replace(runtime.outside["docker/x"], id="another")
    with pytest.raises(Refused, match="not as it was"):
        adopt(plan, runtime, Steps())
    assert not Path(plan.profile_path).exists()


def test_a_folder_that_cannot_be_written(plan: Adoption, runtime: MemoryRuntime) -> None:
    folder = Path(plan.profile_path).parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    with pytest.raises(OperationFailed, match=r"cannot be written.*TRITONTUI_CONFIG_DIR"):
        adopt(plan, runtime, Steps())
    assert "x" not in runtime.held
