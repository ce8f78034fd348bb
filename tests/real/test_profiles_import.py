"""A profile of a container that a real Docker Engine runs."""

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import yaml

from tests.real.commands import Commands

pytestmark = pytest.mark.docker
TOKEN = "hf_" + secrets.token_hex(12)


@pytest.fixture
def container(docker_engine: docker.DockerClient, shell_image: str, tmp_path: Path) -> Iterator[str]:
    """Stands for vLLM's: only what it was run with counts."""
    name = f"import-{secrets.token_hex(4)}"
    (tmp_path / "weights").mkdir()
    line = [
        *("docker", "run", "-d", "--name", name, "--shm-size", "128m", "--user", "1000", "--restart", "on-failure"),
        *(
            "-p",
            "127.0.0.1:0:8080",
            "-v",
            f"{tmp_path}/weights:/weights:ro",
            "-e",
            "LEVEL=info",
            "-e",
            f"HF_TOKEN={TOKEN}",
        ),
        *(
            "--entrypoint",
            "sh",
            shell_image,
            "-c",
            "sleep 600; exec vllm serve /weights --port 8080 --max-model-len 64",
        ),
    ]
    try:
        subprocess.run(line, check=True, capture_output=True, timeout=60)
        yield name
    finally:
        for one in docker_engine.containers.list(all=True, filters={"name": name}):
            one.remove(force=True)


def test_a_running_container_becomes_a_profile(container: str, tmp_path: Path) -> None:
    done = Commands(tmp_path, docker=True)("profiles", "import", "--print", "--container", container)
    data = yaml.safe_load(done.stdout)
    assert data["name"] == container
    assert data["stack"] == "vllm"
    assert data["model"] == str(tmp_path / "weights")
    assert data["engine"] == {"max_model_len": 64}
    assert data["shm_size"] == "128m"
    assert data["env"] == {"LEVEL": "info"}
    assert data["secrets"] == {"HF_TOKEN": "env"}
    assert data["expose"] == {"http": "auto"}
    assert "mounts" not in data
    assert "--user" in done.stderr
    assert "--restart" in done.stderr
    assert "`sleep 600 …` is left out" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_a_container_that_is_not_there(docker_engine: docker.DockerClient, tmp_path: Path) -> None:
    done = Commands(tmp_path, docker=True)("profiles", "import", "--container", f"none-{secrets.token_hex(4)}")
    assert done.returncode == 2
    assert "Docker has no container" in done.stderr
    assert not list(tmp_path.glob("**/*.yaml"))
