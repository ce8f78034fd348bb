"""What a model repository needs against what the server has, before it is started."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidProfile
from engine.gpu_reading import Gpu
from engine.plan import Plan
from engine.profile import Expose, Profile
from engine.settings import Settings
from engine.stacks import STACKS, backends, model_repository
from engine.stacks.context import PlanContext
from engine.stacks.model_repository import read_repository
from engine.stacks.placement import Machine

FULL = "nvcr.io/nvidia/tritonserver:25.12-py3"


class Repository:
    """A model repository in a folder, made file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, config: str | None = "", *files: str) -> "Repository":
        """`config` None: no `config.pbtxt`; a file that ends with a slash is a folder."""
        (self.folder / name).mkdir()
        if config is not None:
            (self.folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
        for file in files:
            path = self.folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.touch()
        return self

    def plan(self, *, runtime: str = "docker", machine: Machine | None = None, **keys: Any) -> Plan:
        free = Expose(http="auto", grpc="auto", metrics="auto")  # what else runs here must not be warned of
        profile = Profile(name="p", stack="triton", repository="repo", expose=free, **{"image": FULL, **keys})
        folder = self.folder.parent
        state = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
        return STACKS["triton"](PlanContext(profile, folder / "p.yaml", "", runtime, state, machine or Machine()))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


@pytest.mark.parametrize(
    ("config", "file", "backend"),
    [
        ('backend: "vllm"', "1/", "vllm"),
        ('platform: "onnxruntime_onnx"', "1/", "onnxruntime"),
        ('platform: "tensorrt_plan"', "1/", "tensorrt"),
        ('platform: "pytorch_libtorch"', "1/", "pytorch"),
        ('default_model_filename: "model.xml"', "1/", "openvino"),
        ("", "1/model.plan", "tensorrt"),
        (None, "1/model.onnx", "onnxruntime"),
        (None, "7/model.pt", "pytorch"),
        (None, "1/model.py", "python"),
        (None, "1/model.xml", "openvino"),
        (None, "1/model.savedmodel/", "tensorflow"),
    ],
)
def test_the_backend_is_the_one_that_triton_would_choose(
    repository: Repository, config: str | None, file: str, backend: str
) -> None:
    model = read_repository(repository.add("m", config, file).folder)["m"]
    assert (model.problem, model.backend) == ("", backend)


def test_a_model_may_be_named_for_its_backend(repository: Repository) -> None:
    assert read_repository(repository.add("model.square", None, "1/").folder)["model.square"].backend == "square"


@pytest.mark.parametrize(
    ("config", "files", "said"),
    [
        ('backend: "python"', (), r"The model m has no version folder: at least one .* into .*/repo/m/1/\."),
        ('backend: "python"', ("01/model.py", "one/model.py"), "no version folder"),
        ('backend: "fil" version_policy { specific { versions: [3] } }', ("1/",), r"none of the versions \[3\]"),
        ('name: "n" backend: "fil"', ("1/",), "folder .*/repo/m holds a configuration for the model n: .* be the same"),
        ("max_batch_size: 0\ninstance_group [{ count: ${count} }]", ("1/",), r"repo/m/config.pbtxt:2: .* \$\{count\}"),
        (
            'backend: "${triton_backend}"',
            ("1/",),
            r"config.pbtxt:1: the placeholder \$\{triton_backend\} is not filled",
        ),
        ('backend "python"', ("1/",), r"repo/m/config.pbtxt:1:9: this is no model configuration"),
        ("", ("1/weights.bin",), "could not tell the backend of the model m: .* Write `backend`"),
        ('backend: "python"', ("1/",), r"The Python model m has no model.py in .*/repo/m/1\. Put it there"),
        ('backend: "python" default_model_filename: "x.py"', ("1/model.py",), "has no x.py"),
        ('backend: "paddle"', ("1/",), r"the model m needs the backend paddle, which .*:25.12-py3 does not have"),
        (
            'backend: "vllm"',
            ("1/",),
            r"needs the backend vllm.* Use nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3\.",
        ),
        ('backend: "tensorrtllm"', ("1/",), r"Use nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3\."),
        ('platform: "tensorflow_graphdef"', ("1/",), r"needs the backend tensorflow.* Use .*tritonserver:25.02-py3\."),
        (
            'platform: "ensemble" ensemble_scheduling { step { model_name: "x" } }',
            ("1/",),
            "the ensemble m has a step x, which is not in the model repository",
        ),
        ('backend: "fil" instance_group { kind: KIND_GPU }', ("1/",), "the model m has an instance group of KIND_GPU"),
    ],
)
def test_what_the_server_would_refuse_is_said(
    repository: Repository, config: str, files: tuple[str, ...], said: str
) -> None:
    repository.add("good", None, "1/model.py").add("m", config, *files)
    with pytest.raises(InvalidProfile, match=said):
        repository.plan()
    # The same, where the model is not loaded, or the server starts without it, is a warning.
    for options in ({"model_control_mode": "explicit", "load_model": "good"}, {"exit_on_error": False}):
        (warning,) = repository.plan(engine=options).warnings
        assert warning.startswith("m cannot be loaded: ")
    with pytest.raises(InvalidProfile, match=said):
        repository.plan(engine={"model_control_mode": "explicit", "load_model": ["*"]})


def test_a_placeholder_in_a_parameter_is_a_default(repository: Repository) -> None:
    config = 'backend: "python"\nparameters: { key: "k" value: { string_value: "${k}" } }  # ${comment}\n'
    assert not repository.add("m", config, "1/model.py").plan().warnings


def test_what_an_ensemble_is_made_of_is_loaded_with_it(repository: Repository) -> None:
    ensemble = 'platform: "ensemble" ensemble_scheduling {{ step {{ model_name: "{}" }} }}'
    repository.add("outer", ensemble.format("inner"), "1/").add("inner", ensemble.format("leaf"), "1/")
    repository.add("leaf", 'backend: "vllm"', "1/")
    with pytest.raises(InvalidProfile, match="leaf needs the backend vllm"):
        repository.plan(engine={"model_control_mode": "explicit", "load_model": "outer"})


def test_ensembles_that_go_in_circles_end(repository: Repository) -> None:
    ensemble = 'platform: "ensemble" ensemble_scheduling {{ step {{ model_name: "{}" }} }}'
    repository.add("a", ensemble.format("b"), "1/").add("b", ensemble.format("a"), "1/")
    repository.plan(engine={"model_control_mode": "explicit", "load_model": "a"})


def test_names_that_are_not_in_the_repository(repository: Repository) -> None:
    repository.add("whisper", None, "1/model.py")
    with pytest.raises(InvalidProfile, match=r"`model` names wisper, .* Did you mean whisper"):
        repository.plan(model="wisper")
    with pytest.raises(InvalidProfile, match=r"`load_model` names x, .* It has whisper"):
        repository.plan(engine={"model_control_mode": "explicit", "load_model": "x"})


def test_an_empty_repository_is_warned_of(repository: Repository) -> None:
    assert "has no models" in " ".join(repository.plan().warnings)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3", "onnxruntime, which .* Use .*:25.12-py3"),
        ("nvcr.io/nvidia/tritonserver:24.06-pyt-python-py3@sha256:" + "0" * 64, "onnxruntime, which .*:24.06-py3"),
        (
            "mirror.example:5000/nvidia/tritonserver:25.12-trtllm-python-py3",
            r"Use mirror.example:5000/nvidia/trit\S+-py3",
        ),
        ("nvcr.io/nvidia/tritonserver:25.12-py3-min", "serves nothing: .* without the server. Use .*:25.12-py3"),
        ("nvcr.io/nvidia/tritonserver:25.12-py3-sdk", "serves nothing: .* clients .* Use .*:25.12-py3"),
        ("nvcr.io/nvidia/tritonserver:24.02-py3", "needs the backend onnxruntime"),
    ],
)
def test_each_kind_of_image_has_its_backends(repository: Repository, image: str, said: str) -> None:
    repository.add("m", None, "1/model.onnx")
    with pytest.raises(InvalidProfile, match=said):
        repository.plan(image=image)


@pytest.mark.parametrize("image", ["example/own:1", "nvcr.io/nvidia/tritonserver-like:25.12-py3-min", FULL])
def test_images_that_are_not_known_are_not_judged(repository: Repository, image: str) -> None:
    assert not repository.add("m", None, "1/model.onnx").plan(image=image).warnings


def test_a_tag_that_cannot_be_read_is_warned_of(repository: Repository) -> None:
    made = repository.add("m", None, "1/model.onnx").plan(image="nvcr.io/nvidia/tritonserver:latest-special")
    assert ["is not known by its tag" in warning for warning in made.warnings] == [True]


def test_no_image_for_two_engines_at_once(repository: Repository) -> None:
    """Each remedy alone would send its reader back and forth."""
    repository.add("a", 'backend: "vllm"', "1/").add("b", None, "1/model.onnx")
    with pytest.raises(InvalidProfile, match="No image of NVIDIA's has onnxruntime, vllm together"):
        repository.plan()


def test_a_backend_beside_the_model_or_mounted_is_enough(repository: Repository) -> None:
    repository.add("m", 'backend: "own"', "1/libtriton_own.so").add("n", 'backend: "own"', "1/", "libtriton_own.so")
    repository.plan()
    repository.add("o", 'backend: "own"', "1/")
    repository.plan(engine={"backend_directory": "/backends"}, mounts=["/somewhere:/backends"])


def test_a_local_server_has_what_is_in_its_folder(repository: Repository, tmp_path: Path) -> None:
    program = tmp_path / "server/bin/tritonserver"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "server/backends/python").mkdir(parents=True)
    (tmp_path / "other/onnxruntime").mkdir(parents=True)
    repository.add("m", None, "1/model.onnx")
    with pytest.raises(InvalidProfile, match=r"onnxruntime, which .*/server/backends does not have. Install"):
        repository.plan(runtime="process", program=str(program))
    made = repository.plan(runtime="process", program=str(program), engine={"backend_directory": "./other"})
    given = [word for word in made.launch.command if word.startswith("--backend-directory")]
    assert given == [f"--backend-directory={tmp_path / 'other'}"]


def test_groups_of_gpus_are_counted_as_the_server_sees_them(repository: Repository) -> None:
    gpus = tuple(Gpu(index, f"GPU-{index}", "H100", 80 << 30, 0, None, None, None, None) for index in range(4))
    repository.add("m", 'backend: "fil" instance_group { kind: KIND_GPU gpus: [0, 2] }', "1/")
    repository.plan(gpus=3, machine=Machine(gpus))
    repository.plan(gpus="all")
    with pytest.raises(InvalidProfile, match="wants GPU 2, and the server sees 2, counted from 0"):
        repository.plan(gpus=[1, 3], machine=Machine(gpus))


def test_without_completion_a_configuration_is_needed(repository: Repository) -> None:
    repository.add("m", None, "1/model.onnx")
    with pytest.raises(InvalidProfile, match=r"repo/m has no config\.pbtxt"):
        repository.plan(engine={"disable_auto_complete_config": True})


def test_another_configuration_by_name(repository: Repository) -> None:
    repository.add("m", 'backend: "vllm"', "1/model.onnx", "configs/")
    (repository.folder / "m/configs/cpu.pbtxt").write_text('backend: "onnxruntime"')
    repository.plan(engine={"model_config_name": "cpu"})


def test_hostile_files_are_sentences(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(repository.add("pipe", None, "1/model.onnx").folder / "pipe/config.pbtxt")
    (repository.add("loop", None, "1/model.onnx").folder / "loop/config.pbtxt").symlink_to("config.pbtxt")
    (repository.add("bytes", None, "1/model.onnx").folder / "bytes/config.pbtxt").write_bytes(b'name: "\xff"')
    (repository.add("long", None, "1/model.onnx").folder / "long/config.pbtxt").write_text(" " * (2 << 20))
    (repository.add("folder", None, "1/model.onnx").folder / "folder/config.pbtxt").mkdir()
    repository.add("\x1b[31mred", "5")
    models = read_repository(repository.folder)
    for name, said in {
        "pipe": "is no file",
        "bytes": "is no UTF-8 text",
        "long": "longer than 1 MiB",
        "folder": "is no file",
        "\x1b[31mred": "no model configuration",
    }.items():
        assert said in models[name].problem
        assert "\x1b" not in models[name].problem + models[name].name
    assert "loop/config.pbtxt cannot be read" in models["loop"].problem
    assert models["loop"].unreadable
    monkeypatch.setattr(model_repository, "LARGEST_REPOSITORY", 3)
    with pytest.raises(InvalidProfile, match="more than 3 folders"):
        read_repository(repository.folder)


def test_what_this_user_cannot_read_a_container_may(repository: Repository, tmp_path: Path) -> None:
    (repository.add("m", None, "1/model.onnx").folder / "m/config.pbtxt").symlink_to("config.pbtxt")
    (warning,) = repository.plan().warnings
    assert "The model m is not checked: " in warning
    (tmp_path / "backends/onnxruntime").mkdir(parents=True)
    program = tmp_path / "tritonserver"
    program.touch(0o755)
    with pytest.raises(InvalidProfile, match=r"m/config\.pbtxt cannot be read"):
        repository.plan(runtime="process", program=str(program), engine={"backend_directory": "backends"})


IMAGES = st.from_regex(r"\A(nvcr\.io/|a\.b:5000/)?(nvidia/)?tritonserver(:2[3-6]\.(0[1-9]|1[0-2])-[a-z0-9-]{1,20})?\Z")


@settings(deadline=None)
@given(
    image=IMAGES | st.text(), needed=st.sets(st.sampled_from(sorted({*backends.FULL, "vllm", "tensorrtllm", "own"})))
)
def test_a_remedy_has_all_that_is_needed(image: str, needed: set[str]) -> None:
    offer = backends.of_image(image)
    remedy = offer.remedy(needed) if offer else ""
    if remedy.startswith("Use "):
        better = backends.of_image(remedy.removeprefix("Use ").removesuffix("."))
        assert better
        assert needed <= better.backends
