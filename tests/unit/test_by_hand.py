"""The line that does by hand what a runtime would do, and the archive of generated files that is in it."""

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from engine.by_hand import archive, command_line
from engine.deployment import Protocol, Service
from engine.plan import GeneratedFile, Launch, Mount, PortBinding

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")
FILES = (
    GeneratedFile("repository/m/config.pbtxt", "name: \"m\"\n# $HOME `id` 'quoted' ü\n"),
    GeneratedFile("repository/m/1/model.json", "{}"),
    GeneratedFile("start.sh", "#!/bin/sh\n", executable=True),
)
DOCKER = Launch("m", "triton", "docker", ("serve", "--x=a b"), SERVICE, image="image:1")


def test_the_archive_has_each_folder_once_before_its_files_and_is_always_the_same() -> None:
    launch = Launch("m", "triton", "docker", (), SERVICE, files=FILES)
    packed = archive(launch, "/tritontui")
    assert packed == archive(launch, "/tritontui")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: (member.isdir(), member.mode, member.uid) for member in tar}
        text = tar.extractfile("tritontui/repository/m/config.pbtxt")
        assert text is not None
        assert text.read().decode() == FILES[0].text
    assert list(members) == [
        "tritontui",
        "tritontui/repository",
        "tritontui/repository/m",
        "tritontui/repository/m/config.pbtxt",
        "tritontui/repository/m/1",
        "tritontui/repository/m/1/model.json",
        "tritontui/start.sh",
    ]
    assert members["tritontui"] == (True, 0o755, 0)
    assert members["tritontui/start.sh"] == (False, 0o755, 0)
    assert members["tritontui/repository/m/1/model.json"] == (False, 0o644, 0)


def test_what_docker_is_told() -> None:
    launch = Launch(
        **{name: getattr(DOCKER, name) for name in ("name", "stack", "runtime", "command", "service", "image")},
        entrypoint=("/bin/sh", "-c"),
        ports=(PortBinding("http", "::1", 18000, 8000),),
        mounts=(Mount("/a b", "/models"), Mount("cache", "/cache", read_only=False)),
        gpus=("GPU-a", "GPU-b"),
        host_ipc=True,
        ulimits={"stack": 67108864, "memlock": -1},
    )
    assert command_line(launch) == (
        "docker run -d --init --name tritontui-m --gpus '\"device=GPU-a,GPU-b\"' --ipc host"
        " --ulimit memlock=-1 --ulimit stack=67108864 --stop-timeout 45 -p '[::1]:18000:8000'"
        " --mount 'type=bind,source=/a b,target=/models,readonly' --mount type=volume,source=cache,target=/cache"
        " --entrypoint /bin/sh image:1 -c serve '--x=a b'"
    )


def shell(line: str, folder: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    bash = shutil.which("bash")
    assert bash
    path = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [bash, "-c", line], cwd=folder, env={**path, **env}, capture_output=True, text=True, timeout=20, check=False
    )


def local(script: str, **changes: object) -> Launch:
    return Launch("m", "triton", "process", ("sh", "-c", script), SERVICE, **changes)  # type: ignore[arg-type]


def test_a_local_line_writes_the_files_and_runs_the_program(tmp_path: Path) -> None:
    root = tmp_path / "a folder" / "files"
    launch = local(
        f'cd "{root}" && cat repository/m/config.pbtxt && test -x start.sh && echo "$A"',
        env={"A": "b c"},
        files=FILES,
        files_root=str(root),
    )
    done = shell(command_line(launch), tmp_path)
    assert (done.returncode, done.stdout) == (0, FILES[0].text + "b c\n"), done.stderr
    assert (root / "repository/m/1/model.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("gpus", "visible"), [(0, ""), (2, "0,1"), (-1, "all of them"), (("GPU-a", "GPU-b"), "GPU-a,GPU-b")]
)
def test_a_local_line_sees_the_gpus_that_the_runtime_would_give(
    tmp_path: Path, gpus: int | tuple[str, ...], visible: str
) -> None:
    line = command_line(local("echo ${CUDA_VISIBLE_DEVICES-all of them}", gpus=gpus))
    assert shell(line, tmp_path).stdout == visible + "\n"


@pytest.mark.parametrize("path", ["{home}/a token", "~/a token"])
def test_secrets_are_resolved_by_the_shell_and_stand_nowhere_in_the_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "a token").write_text("from-file\n")
    secrets = {"ONE": "env", "TWO": "env:OTHER", "THREE": f"file:{path.format(home=tmp_path)}"}
    line = command_line(local('echo "$ONE $TWO $THREE"', secrets=secrets))
    assert shell(line, tmp_path, ONE="first", OTHER="second").stdout == "first second from-file\n"
    lacking = shell(line, tmp_path, ONE="first")
    assert lacking.returncode != 0
    assert (lacking.stdout, "OTHER" in lacking.stderr) == ("", True), "nothing is run without its secrets"
