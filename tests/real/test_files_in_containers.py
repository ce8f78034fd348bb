"""Generated files, limits and shared memory inside what was made, by a runtime or by the line that does it by hand."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

from engine.by_hand import command_line
from engine.deployment import Lifecycle, Protocol, Service
from engine.errors import NotFound, OperationFailed, Refused
from engine.plan import GeneratedFile, Launch, Mount, PortBinding
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.docker_container import refused_limit
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from tests.real.docker_support import Launches, deployment, free_port, read, texts, wait_until
from tests.real.triton_support import kill_all, of, settings_in, text_of

ROOT = "/tritontui"
CONFIG = "name: \"m\"\n# $HOME `id` 'quoted' ünser\n"
FILES = (
    GeneratedFile("repository/m/config.pbtxt", CONFIG),
    GeneratedFile("repository/m/1/model.json", "{}"),
    GeneratedFile("start.sh", "echo started $0\n", executable=True),
)
SHOW = (
    "cat {root}/repository/m/config.pbtxt; stat -c '%a %u %n' {root} {root}/start.sh {root}/repository/m/1/model.json;"
    "echo TOKEN=$TOKEN FILE=$FILE PLAIN=$PLAIN; exec sleep 600"
)
SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")


def shown(root: str, modes: tuple[str, str, str], owner: int = 0) -> str:
    folder, program, file = modes
    return (
        CONFIG + f"{folder} {owner} {root}\n{program} {owner} {root}/start.sh\n"
        f"{file} {owner} {root}/repository/m/1/model.json\n"
    )


def lines_of(runtime: DockerRuntime, name: str, last: bytes) -> list[bytes]:
    """Its output, once it has come to a line that begins with `last`."""

    def complete() -> list[bytes]:
        lines = texts(read(runtime, name))
        return lines if lines and lines[-1].startswith(last) else []

    return wait_until(complete, "its output")


def log_of(runtime: DockerRuntime, name: str) -> str:
    return b"\n".join(lines_of(runtime, name, b"TOKEN")).decode()


@pytest.mark.docker
def test_files_are_in_the_container_before_it_starts_and_are_no_mount(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    launch = launches(SHOW.format(root=ROOT), files=FILES, files_root=ROOT)
    runtime.create(launch)
    container = docker_engine.containers.get(launch.container_name)
    assert (container.attrs["Mounts"], container.attrs["HostConfig"]["Binds"]) == ([], None)
    runtime.start(launch.name)
    assert log_of(runtime, launch.name).startswith(shown(ROOT, ("755", "755", "644")))
    # They are the container's own: another start has them again.
    runtime.stop(launch.name, 1)
    runtime.start(launch.name)
    wait_until(lambda: read(runtime, launch.name).count(b"TOKEN=") == 2, "it has run twice")
    assert read(runtime, launch.name).count(b"quoted") == 2


@pytest.mark.docker
def test_without_its_files_nothing_is_left(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient, tmp_path: Path
) -> None:
    """A folder cannot be made where the container has a read-only mount."""
    launch = launches(files=FILES, files_root=ROOT, mounts=(Mount(str(tmp_path), ROOT),))
    with pytest.raises(OperationFailed, match=f"Docker could not put the generated files into {launch.name}: "):
        runtime.create(launch)
    assert not docker_engine.containers.list(all=True, filters={"name": launch.container_name})


@pytest.mark.docker
def test_the_machines_ipc_and_limits_are_seen_inside(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    script = "ulimit -n; ulimit -Hn; ulimit -s; df -P /dev/shm | tr -s ' '; echo end; exec sleep 600"
    launch = launches(script, host_ipc=True, ulimits={"nofile": 4321, "stack": 16 << 20})
    runtime.create(launch)
    host = docker_engine.containers.get(launch.container_name).attrs["HostConfig"]
    assert (host["IpcMode"], host["Privileged"], host["PidMode"], host["NetworkMode"] in ("default", "bridge")) == (
        "host",
        False,
        "",
        True,
    )
    runtime.start(launch.name)
    lines = lines_of(runtime, launch.name, b"end")
    assert lines[:3] == [b"4321", b"4321", b"%d" % (16 << 10)]
    here = os.statvfs("/dev/shm")
    assert int(lines[4].split()[1]) == here.f_blocks * here.f_frsize // 1024, "the size of this machine's"

    own = launches(script, shm_bytes=96 << 20)
    runtime.create(own)
    runtime.start(own.name)
    lines = lines_of(runtime, own.name, b"end")
    assert int(lines[4].split()[1]) == 96 << 10


@pytest.mark.docker
def test_a_limit_that_the_engine_may_not_raise_is_gone_without(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    """As on an engine without root; where this one may raise it, both limits hold."""
    script = "ulimit -n; ulimit -l; cat /tritontui/repository/m/1/model.json; echo; exec sleep 600"
    launch = launches(script, ulimits={"memlock": -1, "nofile": 4321}, files=FILES, files_root=ROOT)
    may_raise = _may_raise_memlock(launches, docker_engine)
    runtime.create(launch)
    runtime.start(launch.name)
    lines = lines_of(runtime, launch.name, b"{}")
    assert (lines[0], lines[2]) == (b"4321", b"{}")
    assert (lines[1] == b"unlimited") is may_raise
    assert deployment(runtime, launch.name).lifecycle is Lifecycle.RUNNING


def _may_raise_memlock(launches: Launches, docker_engine: docker.DockerClient) -> bool:
    unlimited = docker.types.Ulimit(name="memlock", soft=-1, hard=-1)
    container = docker_engine.containers.create(
        launches.image, "true", ulimits=[unlimited], name=launches.prefix + "-l"
    )
    refused = ""
    try:
        container.start()
    except APIError as error:
        refused = refused_limit(error)
    assert refused in ("", "memlock")
    return not refused


@pytest.mark.docker
def test_what_is_not_here_is_told_before_anything_is_made(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    launch = launches()
    assert runtime.missing(launch) == ""
    assert runtime.missing(replace(launch, image="tritontui-test/none:9")) == "", "it can be fetched"
    assert runtime.image_id("tritontui-test/none:9") == ""
    assert "no image" in runtime.missing(replace(launch, image=None))

    container = docker_engine.containers.create(launches.image, "true", name=f"{launches.prefix}-image")
    changes = ["ENV VLLM_VERSION=0.11.0", 'ENV ODD="a=b \x1b]52;c;aGk=\x07c"']
    container.commit("tritontui-test/env", launches.prefix, changes="\n".join(changes))
    image = f"tritontui-test/env:{launches.prefix}"
    try:
        env = runtime.image_env(image)
        assert env["VLLM_VERSION"] == "0.11.0"
        assert "\x1b" not in str(env)
    finally:
        docker_engine.images.remove(image)
    assert runtime.image_env(image) == {}
    assert runtime.image_env("") == {}


@pytest.mark.docker
def test_the_line_by_hand_makes_the_same_container(
    runtime: DockerRuntime,
    launches: Launches,
    docker_engine: docker.DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTHER", "s3cret $HOME")
    (tmp_path / "a token").write_text("from-a-file\n")
    (tmp_path / "models").mkdir()
    launch = launches(
        SHOW.format(root=ROOT),
        files=FILES,
        files_root=ROOT,
        env={"PLAIN": "it's plain"},
        secrets={"TOKEN": "env:OTHER", "FILE": f"file:{tmp_path}/a token"},
        mounts=(Mount(str(tmp_path / "models"), "/models"),),
        ports=(PortBinding("http", "127.0.0.1", free_port(), 8000),),
        ulimits={"nofile": 4321},
        host_ipc=True,
    )
    runtime.create(launch)
    ours = _facts(docker_engine, launch)
    runtime.start(launch.name)
    output = log_of(runtime, launch.name)
    assert output.endswith("TOKEN=s3cret $HOME FILE=from-a-file PLAIN=it's plain")
    runtime.stop(launch.name, 1)
    runtime.remove(launch.name)

    line = command_line(launch)
    assert "s3cret" not in line
    paste(line, tmp_path)
    assert _facts(docker_engine, launch) == ours
    container = docker_engine.containers.get(launch.container_name)
    wait_until(lambda: b"PLAIN" in container.logs(), "its output")
    assert container.logs().decode().rstrip("\n") == output
    with pytest.raises(NotFound):
        runtime.stop(launch.name, 1)
    container.remove(force=True)

    without_files = replace(launch, files=(), files_root="", command=("sh", "-c", "echo PLAIN=$PLAIN; exec sleep 600"))
    paste(command_line(without_files), tmp_path)
    container = docker_engine.containers.get(launch.container_name)
    wait_until(lambda: container.logs() == b"PLAIN=it's plain\n", "its output")


def _facts(engine: docker.DockerClient, launch: Launch) -> dict[str, Any]:
    """All that matters of a container, less what is the runtime's own (labels) or written in two ways (mounts)."""
    attrs = engine.containers.get(launch.container_name).attrs
    host, config = attrs["HostConfig"], attrs["Config"]
    return {
        "mounts": [(mount["Source"], mount["Destination"], mount["RW"], mount["Type"]) for mount in attrs["Mounts"]],
        "env": sorted(config["Env"]),
        **{key: config[key] for key in ("Image", "Cmd", "Entrypoint", "StopTimeout", "ExposedPorts", "User")},
        **{key: host[key] for key in ("PortBindings", "Init", "IpcMode", "ShmSize", "Ulimits", "Privileged")},
    }


def paste(line: str, folder: Path) -> None:
    """Into a shell of its own, and it must go through to its end."""
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# -- local processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def own_settings(tmp_path: Path) -> Iterator[Settings]:
    own = settings_in(tmp_path)
    yield own
    kill_all(own)


def local(settings: Settings, **changes: Any) -> Launch:
    root = str(settings.deployment_files("a"))
    command = ("sh", "-c", SHOW.format(root=root).replace("exec sleep 600", "true"))
    return replace(
        Launch("a", "triton", "process", command, SERVICE, files=FILES, files_root=root, env={"PLAIN": "it's"}),
        **changes,
    )


def test_files_of_a_local_process_are_its_owners_and_go_with_it(own_settings: Settings) -> None:
    runtime = ProcessRuntime(own_settings)
    launch = local(own_settings)
    runtime.create(launch)
    runtime.start("a")
    wait_until(lambda: of(runtime, "a").lifecycle is Lifecycle.EXITED, "it has ended")
    expected = shown(launch.files_root, ("700", "700", "600"), os.geteuid())
    assert text_of(runtime, "a").startswith(expected)
    runtime.remove("a")
    assert list(own_settings.deployment_files("a").parent.parent.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "", "a//b", "./a", "a/", "a\0b"])
def test_files_that_would_leave_the_folder_are_refused(own_settings: Settings, path: str) -> None:
    runtime = ProcessRuntime(own_settings)
    with pytest.raises(Refused, match="would not be in the deployment's own folder"):
        runtime.create(local(own_settings, files=(*FILES, GeneratedFile(path, "x"))))
    assert list(own_settings.deployment_files("a").parent.parent.iterdir()) == []


def test_files_that_cannot_be_written_leave_nothing(own_settings: Settings) -> None:
    runtime = ProcessRuntime(own_settings)
    with pytest.raises(OperationFailed, match="cannot be written"):
        runtime.create(local(own_settings, files=(GeneratedFile("a", ""), GeneratedFile("a/b", ""))))
    assert runtime.deployments() == ()
    assert list(own_settings.deployment_files("a").parent.parent.iterdir()) == []


def test_the_line_by_hand_runs_the_same_process_and_is_in_nobodys_way(
    own_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "s3cret")
    launch = local(own_settings, secrets={"TOKEN": "env:OTHER"})
    runtime = ProcessRuntime(own_settings)
    runtime.create(launch)
    runtime.start("a")
    wait_until(lambda: of(runtime, "a").lifecycle is Lifecycle.EXITED, "it has ended")
    assert text_of(runtime, "a").endswith("TOKEN=s3cret FILE= PLAIN=it's")
    runtime.remove("a")

    line = command_line(launch)
    assert "s3cret" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=20, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(CONFIG)
    assert done.stdout.endswith("TOKEN=s3cret FILE= PLAIN=it's\n")

    # What it leaves is no deployment, and is replaced by one.
    assert own_settings.deployment_files("a").exists()
    assert runtime.deployments() == ()
    with pytest.raises(NotFound):
        runtime.remove("a")
    runtime.create(launch)
    assert [one.name for one in runtime.deployments()] == ["a"]
    with pytest.raises(Refused, match="exists already"):
        runtime.create(launch)


def test_a_record_from_before_there_were_files_and_uuids(own_settings: Settings) -> None:
    runtime = ProcessRuntime(own_settings)
    runtime.create(local(own_settings, files=(), files_root="", gpus=("0", "1"), command=("sleep", "1000")))
    launch_file = own_settings.state_dir / "deployments" / "a" / "launch.json"
    launch_file.write_text(launch_file.read_text().replace(', "api_key": null', ""))
    assert "api_key" not in launch_file.read_text()
    runtime.start("a")
    assert (of(runtime, "a").gpus, of(runtime, "a").error) == ((), "")
    assert runtime.gpus("a") is None, "indices are no UUIDs"
    runtime.stop("a", 5)
    assert runtime.gpus("a") is None


def test_a_program_that_is_not_there_is_missing(own_settings: Settings) -> None:
    runtime = ProcessRuntime(own_settings)
    assert runtime.missing(local(own_settings)) == ""
    for program in ("/no/such/program", "/etc", "/etc/passwd", "no-such-program"):
        assert f"{program} is no program" in runtime.missing(local(own_settings, command=(program,)))
    assert runtime.image_env("any") == {}
    with pytest.raises(NotFound):
        runtime.gpus("none")
