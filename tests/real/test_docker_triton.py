"""The real Triton server in a container that the Docker runtime started."""

import urllib.request
from pathlib import Path

import pytest

from engine.deployment import Lifecycle
from engine.plan import Mount, PortBinding
from engine.runtimes.docker import DockerRuntime
from tests.real.docker_support import Launches, deployment, free_port, read, texts, wait_until

DEMO_REPOSITORY = Path(__file__).parents[2] / "profiles" / "repositories" / "demo"


def answers(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bytes(response.read()) or b"ready"
    except OSError:
        return None


@pytest.mark.docker
@pytest.mark.triton
def test_triton_serves_the_demo_repository_from_a_container(
    runtime: DockerRuntime, launches: Launches, triton_image: str
) -> None:
    ports = tuple(
        PortBinding(purpose, "127.0.0.1", free_port(), inside)
        for purpose, inside in (("http", 8000), ("grpc", 8001), ("metrics", 8002))
    )
    launch = launches(
        image=triton_image,
        command=("tritonserver", "--model-repository=/models"),
        mounts=(Mount(str(DEMO_REPOSITORY), "/models"),),
        ports=ports,
        shm_bytes=256 << 20,
    )
    runtime.create(launch)
    runtime.start(launch.name)

    def ready() -> bool:
        assert deployment(runtime, launch.name).lifecycle is Lifecycle.RUNNING, read(runtime, launch.name).decode()
        return answers(launch.service.health) is not None

    wait_until(ready, "Triton to be ready", timeout_s=90)
    metrics = f"http://127.0.0.1:{ports[2].host_port}/metrics"
    wait_until(  # Triton opens its metrics port after it has said that it is ready
        lambda: b"nv_inference_request_success" in (answers(metrics) or b""), "the metrics port", timeout_s=30
    )
    assert any(b"successfully loaded 'prose'" in line for line in texts(read(runtime, launch.name)))

    # Triton's own orderly shutdown, not a kill.
    runtime.stop(launch.name, timeout_s=launch.stop_timeout_s)
    stopped = deployment(runtime, launch.name)
    assert (stopped.lifecycle, stopped.exit_code) == (Lifecycle.EXITED, 0)
    assert answers(launch.service.health) is None
