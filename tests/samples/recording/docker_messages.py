"""What a container engine says itself, and how it ends what it was told to limit. Needs a Docker Engine."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator

from tests.real.registry import registry
from tests.samples.recording.room import Impossible, Recorded, Room, case, copied, taken_port
from tests.samples.recording.start_triton import CONFIG, ECHO, add
from tests.samples.recording.start_vllm import EAGER
from tests.samples.recording.versions import TRITON_IMAGE, VLLM_IMAGE, vllm_folder

NOBODY = "65534:65534"
LIMIT_S = 300
_CLIENT = ("See '", "Run '", "Unable to find image", "WARNING: Error loading config file")
"""What the command adds to the engine's own word"""


def docker(*words: str) -> "subprocess.CompletedProcess[str]":
    if not shutil.which("docker"):
        raise Impossible("there is no docker")
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=LIMIT_S)


@contextlib.contextmanager
def named(room: Room) -> Iterator[str]:
    """A container's name; what has it is removed at the end."""
    name = f"sample-{secrets.token_hex(4)}"
    room.places[name] = "llama"
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def word(room: Room, *options: str, image: str = TRITON_IMAGE, command: tuple[str, ...] = ("--help",)) -> Recorded:
    """What the engine itself says of `docker run`."""
    with named(room) as name:
        ended = docker("run", "--detach", "--name", name, *options, image, *command)
        if not ended.returncode:
            raise Impossible("the engine did not refuse it")
        return Recorded("", runtime_error=_said(room, name, ended.stderr))


def _said(room: Room, name: str, error: str) -> str:
    identity = docker("inspect", "--format", "{{.Id}}", name).stdout.strip()
    if identity:
        room.places[identity] = "0123456789ab" * 5 + "0123"
    lines = [line for line in error.splitlines() if not line.startswith(_CLIENT)]
    text = room.clean("\n".join(lines).strip())
    return text.removeprefix("docker: ").removeprefix("Error response from daemon: ")


def run(room: Room, image: str, *options: str, program: str, command: tuple[str, ...]) -> Recorded:
    """A container to its end: its log, in which both streams are in order, and what the engine tells of the end."""
    with named(room) as name:
        joined = ("--entrypoint", "/bin/sh", image, "-c", 'exec "$@" 2>&1', "sh", program, *command)
        alone = ("--hostname", "server", "--network", "none")
        started = docker("run", "--detach", "--name", name, *alone, *options, *joined)
        if started.returncode:
            raise Impossible(started.stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):
            docker("wait", name)
        state = json.loads(docker("inspect", "--format", "{{json .State}}", name).stdout)
        log = docker("logs", name).stdout
        code = None if state["Running"] else state["ExitCode"]
        return Recorded(room.clean(log), code, oom_killed=state["OOMKilled"], runtime_error=state["Error"])


def vllm(room: Room, *docker_options: str, options: tuple[str, ...] = EAGER) -> Recorded:
    if not (room.folder / "tiny").exists():
        copied(vllm_folder() / "model", room.folder / "tiny")
    given = ("VLLM_CPU_KVCACHE_SPACE=1", "HF_HUB_OFFLINE=1", "VLLM_NO_USAGE_STATS=1")
    env = tuple(word for value in given for word in ("--env", value))
    mount = ("--volume", f"{room.folder / 'tiny'}:/models/tiny:ro")
    command = ("serve", "/models/tiny", "--host", "127.0.0.1", *options)
    if "--shm-size" not in docker_options:
        docker_options = ("--shm-size", "1g", *docker_options)
    return run(room, VLLM_IMAGE, *env, *mount, *docker_options, program="vllm", command=command)


def triton(room: Room, *docker_options: str) -> Recorded:
    mount = ("--volume", f"{room.folder / 'models'}:/models:ro")
    command = ("--model-repository=/models", "--backend-directory=/opt/tritonserver/backends")
    return run(room, TRITON_IMAGE, *mount, *docker_options, program="tritonserver", command=command)


@case("the container's name is taken")
def docker_name_taken(room: Room) -> Recorded:
    with named(room) as name:
        docker("create", "--name", name, TRITON_IMAGE, "--help")
        ended = docker("create", "--name", name, TRITON_IMAGE, "--help")
        return Recorded("", runtime_error=_said(room, name, ended.stderr))


@case("the port is published by another container")
def docker_port_allocated(room: Room) -> Recorded:
    with named(room) as first:
        with taken_port() as port:
            room.places[f":{port}"] = ":8000"
        docker("run", "--detach", "--name", first, "--publish", f"127.0.0.1:{port}:8000", TRITON_IMAGE, "sleep", "600")
        return word(room, "--publish", f"127.0.0.1:{port}:8000")


@case("the port is taken by a program outside of Docker")
def docker_port_taken(room: Room) -> Recorded:
    with taken_port() as port:
        room.places[f":{port}"] = ":8000"
        return word(room, "--publish", f"127.0.0.1:{port}:8000")


@case("GPUs are asked for, and the NVIDIA toolkit is not installed")
def docker_no_gpu_driver(room: Room) -> Recorded:
    return word(room, "--gpus", "all")


@case("the runtime nvidia is not configured")
def docker_runtime_unknown(room: Room) -> Recorded:
    return word(room, "--runtime", "nvidia")


@case("a device of the host that is not there")
def docker_device_missing(room: Room) -> Recorded:
    return word(room, "--device", "/dev/nvidia0")


@case("the folder to mount does not exist")
def docker_mount_missing(room: Room) -> Recorded:
    return word(room, "--mount", "type=bind,source=/srv/models,target=/models")


@case("a file is mounted over a folder")
def docker_mount_file_over_folder(room: Room) -> Recorded:
    file = room.folder / "models"
    file.write_text("")
    room.places[str(file)] = "/srv/models"
    return word(room, "--volume", f"{file}:/opt/tritonserver")


@case("the mount's target is no absolute path")
def docker_mount_target(room: Room) -> Recorded:
    return word(room, "--volume", "/srv:models")


@case("the program is not in the image")
def docker_program_missing(room: Room) -> Recorded:
    return word(room, "--entrypoint", "trtllm-serve")


@case("the program may not be executed")
def docker_program_not_executable(room: Room) -> Recorded:
    return word(room, "--entrypoint", "/etc/passwd")


@case("the working folder may not be made")
def docker_user_unknown(room: Room) -> Recorded:
    return word(room, "--user", "triton-server")


@case("the network does not exist")
def docker_network_missing(room: Room) -> Recorded:
    return word(room, "--network", "serving")


@case("a memory limit that is less than the least")
def docker_memory_too_small(room: Room) -> Recorded:
    return word(room, "--memory", "1m")


@case("more CPUs than there are")
def docker_cpus_too_many(room: Room) -> Recorded:
    return word(room, "--cpus", "4096")


@case("the image is not in the registry")
def docker_manifest_unknown(room: Room) -> Recorded:
    with registry() as served:
        room.places[served.address] = "registry.example.com"
        image = f"{served.address}/nvidia/tritonserver:99.99-py3"
        ended = docker("pull", image)
        return Recorded("", runtime_error=_said(room, "none", ended.stderr))


@case("the registry wants a password")
def docker_registry_unauthorized(room: Room) -> Recorded:
    with registry() as served:
        served.password = "secret"
        room.places[served.address] = "registry.example.com"
        ended = docker("pull", f"{served.address}/nvidia/tritonserver:24.05-py3")
        return Recorded("", runtime_error=_said(room, "none", ended.stderr))


@case("nothing listens where the registry should be")
def docker_registry_refused(room: Room) -> Recorded:
    with taken_port() as port:
        pass
    room.places[f"127.0.0.1:{port}"] = "registry.example.com"
    ended = docker("pull", f"127.0.0.1:{port}/nvidia/tritonserver:24.05-py3")
    return Recorded("", runtime_error=_said(room, "none", ended.stderr))


@case("the reference to the image is not valid")
def docker_reference_invalid(room: Room) -> Recorded:
    ended = docker("pull", "NVIDIA/TritonServer:24.05-py3")
    return Recorded("", runtime_error=_said(room, "none", ended.stderr))


@case("no daemon answers")
def docker_no_daemon(room: Room) -> Recorded:
    ended = docker("--host", "unix:///var/run/docker-none.sock", "version")
    return Recorded("", runtime_error=_said(room, "none", ended.stderr).replace("docker-none", "docker"))


@case("the daemon's socket is of another user")
def docker_socket_denied(room: Room) -> Recorded:
    if os.geteuid():
        raise Impossible("becoming another user needs root")
    ended = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "docker", "ps"],
        capture_output=True,
        text=True,
        check=False,
    )
    return Recorded("", runtime_error=_said(room, "none", ended.stderr))


@case("vLLM in a container with less memory than it needs")
def vllm_container_out_of_memory(room: Room) -> Recorded:
    return vllm(room, "--memory", "200m", "--memory-swap", "200m")


@case("compiling, in an image without a C++ compiler")
def vllm_container_no_compiler(room: Room) -> Recorded:
    return vllm(room, options=("--dtype", "bfloat16", "--max-model-len", "1024"))


@case("the model's folder may not be read by the container's user")
def vllm_container_model_unreadable(room: Room) -> Recorded:
    model = copied(vllm_folder() / "model", room.folder / "tiny")
    model.chmod(0o700)
    return vllm(room, "--user", NOBODY, "--env", "HOME=/tmp")


@case("the weights may not be read by the container's user")
def vllm_container_weights_unreadable(room: Room) -> Recorded:
    model = copied(vllm_folder() / "model", room.folder / "tiny")
    (model / "model.safetensors").chmod(0o600)
    return vllm(room, "--user", NOBODY, "--env", "HOME=/tmp")


@case("a container's file system that is read-only")
def vllm_container_read_only(room: Room) -> Recorded:
    return vllm(room, "--read-only")


@case("/dev/shm of a container is as small as Docker makes it by itself")
def vllm_container_shared_memory(room: Room) -> Recorded:
    return vllm(room, "--shm-size", "64m")


@case("/dev/shm of a container is too small for Triton's Python backend")
def triton_container_shared_memory(room: Room) -> Recorded:
    add(room, config=CONFIG.replace("KIND_CPU", "KIND_CPU count: 4"))
    return triton(room, "--shm-size", "1m")


@case("Triton in a container whose model takes more memory than it may")
def triton_container_out_of_memory(room: Room) -> Recorded:
    body = "    def initialize(self, args):\n        self.words = bytearray(1 << 30)\n\n"
    add(room, model=ECHO.replace("    def execute", body + "    def execute"))
    return triton(room, "--memory", "300m", "--memory-swap", "300m")
