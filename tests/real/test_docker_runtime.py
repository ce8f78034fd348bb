"""The Docker runtime against a real engine: what it creates, reports, reads, and leaves alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from engine.deployment import Lifecycle
from engine.errors import NotFound, OperationFailed, Refused
from engine.plan import Mount, PortBinding
from engine.runtimes.base import Runtime
from engine.runtimes.docker import DockerRuntime
from tests.real.docker_support import Launches, deployment, free_port, read, settings, texts, wait_until

pytestmark = pytest.mark.docker


def test_it_is_a_runtime_and_tells_dockers_version(runtime: DockerRuntime, docker_engine: docker.DockerClient) -> None:
    assert isinstance(runtime, Runtime)
    assert runtime.check() == f"Docker {docker_engine.version()['Version']}"


def test_a_deployment_lives_in_docker_alone(runtime: DockerRuntime, launches: Launches, tmp_path: Path) -> None:
    launch = launches()
    runtime.create(launch)
    created = deployment(runtime, launch.name)
    assert (created.lifecycle, created.started_at, created.pid) == (Lifecycle.CREATED, None, None)

    runtime.start(launch.name)
    # Another console knows as much as the one that started it.
    other = DockerRuntime(settings(tmp_path))
    running = deployment(other, launch.name)
    assert running.lifecycle is Lifecycle.RUNNING
    assert (running.service, running.stack, running.what) == (launch.service, launch.stack, launch.image)
    assert (running.runtime, running.profile_digest) == ("docker", "digest")
    assert running.id == created.id
    assert running.created_at <= (running.started_at or 0) <= time.time() + 1
    assert running.pid
    assert Path(f"/proc/{running.pid}").exists()
    with pytest.raises(Refused, match="is running"):
        other.remove(launch.name)

    other.stop(launch.name, timeout_s=10)
    stopped = deployment(runtime, launch.name)
    assert (stopped.lifecycle, stopped.exit_code, stopped.oom_killed) == (Lifecycle.EXITED, 143, False)
    assert (stopped.finished_at or 0) >= (stopped.started_at or 0) > 0
    other.stop(launch.name, timeout_s=10)

    runtime.remove(launch.name)
    assert launch.name not in {one.name for one in runtime.deployments()}
    for change in (runtime.start, runtime.remove, lambda name: runtime.stop(name, 1.0)):
        with pytest.raises(NotFound, match=launch.name):
            change(launch.name)


def test_what_is_asked_for_reaches_docker_and_secrets_only_the_environment(
    runtime: DockerRuntime,
    launches: Launches,
    docker_engine: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TEST_TOKEN", "s3cret-value")
    (tmp_path / "token").write_text("from-a-file\n")
    (tmp_path / "models").mkdir()
    port = free_port()
    launch = launches(
        'echo "$TEST_TOKEN $OTHER $FILE $PLAIN"; exec sleep 600',
        env={"PLAIN": "plain"},
        secrets={"TEST_TOKEN": "env", "OTHER": "env:TEST_TOKEN", "FILE": f"file:{tmp_path}/token"},
        ports=(PortBinding("http", "127.0.0.1", port, 8000),),
        mounts=(Mount(str(tmp_path / "models"), "/models"),),
        shm_bytes=128 << 20,
        gpus=("0", "GPU-1"),
        stop_timeout_s=7.5,
    )
    runtime.create(launch)
    container = docker_engine.containers.get(launch.container_name)
    host = container.attrs["HostConfig"]
    assert host["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    assert (host["Privileged"], host["Init"], host["ShmSize"]) == (False, True, 128 << 20)
    assert host["DeviceRequests"][0]["DeviceIDs"] == ["0", "GPU-1"]
    assert host["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
    assert container.attrs["Config"]["StopTimeout"] == 8
    assert [(mount["Destination"], mount["RW"]) for mount in container.attrs["Mounts"]] == [("/models", False)]
    assert "s3cret" not in str(container.labels) + str(container.attrs["Args"])

    without_gpus = replace(launch, name=launch.name + "-b", gpus=0)
    runtime.create(without_gpus)
    runtime.start(without_gpus.name)
    wait_until(lambda: read(runtime, without_gpus.name), "the secrets to be printed")
    assert texts(read(runtime, without_gpus.name)) == [b"s3cret-value s3cret-value from-a-file plain"]


def test_a_missing_secret_is_refused_before_anything_is_made(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches(secrets={"HF_TOKEN": "env:NO_SUCH_VARIABLE"})
    with pytest.raises(Refused, match=r"HF_TOKEN.*NO_SUCH_VARIABLE.*not set"):
        runtime.create(launch)
    assert launch.name not in {one.name for one in runtime.deployments()}


def test_gpus_on_a_machine_without_them_fail_with_what_to_do(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    if "nvidia" in docker_engine.info()["Runtimes"]:
        pytest.skip("this engine has GPUs")
    launch = launches(gpus=-1)
    runtime.create(launch)
    with pytest.raises(OperationFailed, match=r"could not select device driver.*nvidia-container-toolkit"):
        runtime.start(launch.name)


def test_a_taken_port_fails_the_start_and_leaves_what_can_be_retried(
    runtime: DockerRuntime, launches: Launches
) -> None:
    ports = (PortBinding("http", "127.0.0.1", free_port(), 8000),)
    first, second = launches(ports=ports), launches(ports=ports)
    runtime.create(first)
    runtime.start(first.name)
    runtime.create(second)
    with pytest.raises(OperationFailed, match=r"port is already allocated.*`expose`") as failure:
        runtime.start(second.name)
    assert len(str(failure.value)) < 450
    left = deployment(runtime, second.name)
    assert left.lifecycle is not Lifecycle.RUNNING
    assert "already allocated" in left.error

    with pytest.raises(Refused, match="exists already"):
        runtime.create(second)
    runtime.remove(second.name)
    runtime.stop(first.name, timeout_s=1)
    runtime.create(second)
    runtime.start(second.name)
    assert deployment(runtime, second.name).lifecycle is Lifecycle.RUNNING


def test_a_missing_image_is_refused_with_the_command_that_fetches_it(
    runtime: DockerRuntime, launches: Launches
) -> None:
    with pytest.raises(Refused, match=r"not on this machine.*`docker pull tritontui-test/none:9`"):
        runtime.create(launches(image="tritontui-test/none:9"))


def test_a_missing_model_folder_is_refused_rather_than_made(
    runtime: DockerRuntime, launches: Launches, tmp_path: Path
) -> None:
    with pytest.raises(OperationFailed, match="does not exist"):
        runtime.create(launches(mounts=(Mount(str(tmp_path / "none"), "/models"),)))
    assert not (tmp_path / "none").exists()


def test_what_others_made_is_neither_shown_nor_touched(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    launch, source = launches(), launches()
    foreign = docker_engine.containers.create(launches.image, ["sleep", "600"], name=launch.container_name)
    # `docker commit` copies our labels into an image; a container of it is still not ours.
    runtime.create(source)
    labels = docker_engine.containers.get(source.container_name).labels
    copy = docker_engine.containers.create(
        launches.image, ["sleep", "600"], name=f"{launches.prefix}-copy", labels=labels
    )

    assert [one.name for one in runtime.deployments() if one.name.startswith(launches.prefix)] == [source.name]
    with pytest.raises(Refused, match=r"tritontui did not make.*docker rename"):
        runtime.create(launch)
    for change in (runtime.start, runtime.remove, lambda name: runtime.stop(name, 1.0)):
        with pytest.raises(NotFound):
            change(launch.name)
    runtime.remove(source.name)
    for container in (foreign, copy):
        container.reload()
        assert container.status == "created"


def test_labels_from_another_version_do_not_hide_a_container(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    launch = launches()
    labels = {"tritontui.schema": "99", "tritontui.name": launch.name, "tritontui.service": "\x1b]52;not json"}
    docker_engine.containers.create(launches.image, ["sleep", "600"], name=launch.container_name, labels=labels)
    shown = deployment(runtime, launch.name)
    assert "schema 99" in shown.error
    runtime.remove(launch.name)


def test_a_container_that_exits_at_once_keeps_its_code_and_its_log(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches("echo cannot find the model >&2; exit 3")
    runtime.create(launch)
    runtime.start(launch.name)
    ended = wait_until(
        lambda: [one for one in runtime.deployments() if one.name == launch.name and one.lifecycle is Lifecycle.EXITED],
        "the container to exit",
    )
    assert ended[0].exit_code == 3
    assert texts(b"".join(runtime.logs(launch.name, tail=None, follow=True))) == [b"cannot find the model"]


def test_a_command_that_does_not_exist_ends_with_127_and_says_so(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches(command=("--port=1",), entrypoint=("/no/such/program", "serve"))
    runtime.create(launch)
    runtime.start(launch.name)
    wait_until(lambda: deployment(runtime, launch.name).exit_code == 127, "the container to exit with 127")
    assert b"/no/such/program failed" in read(runtime, launch.name)


def test_many_threads_may_ask_at_once(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches("echo up; exec sleep 600")
    runtime.create(launch)
    runtime.start(launch.name)
    wait_until(lambda: read(runtime, launch.name), "the log")

    def ask(_: int) -> list[bytes]:
        assert deployment(runtime, launch.name).lifecycle is Lifecycle.RUNNING
        runtime.check()
        return texts(read(runtime, launch.name))

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, range(60))) == [[b"up"]] * 60
