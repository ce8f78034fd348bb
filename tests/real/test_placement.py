"""GPUs by UUID, from the driver to the container and back, on the real engine and a stand-in for the driver.

A Docker Engine takes `--gpus` when it finds `nvidia-container-runtime-hook`: it names the GPUs in the container's
environment and has that program run before the container's own. Here it does nothing, and the image's `nvidia-smi`
tells what the engine named.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from engine.deployment import Lifecycle
from engine.errors import Exit
from engine.runtimes.docker import DockerRuntime
from engine.runtimes.process import ProcessRuntime
from tests import fakenvml
from tests.real.docker_support import SHELL_IMAGE, PrivateEngine, deployment, import_shell_image, settings
from tests.real.triton_support import free_ports, kill_all, of, settings_in

UUIDS = [f"GPU-00000000-0000-0000-0000-{index:012d}" for index in range(3)]
OTHER = "GPU-00000000-0000-0000-0000-000000000099"
SHELL = shutil.which("sh")
NVIDIA_SMI = (
    f"#!{SHELL}\n"
    + """\
if [ "$HANGS" ]; then sleep 600; fi
if [ "$BROKEN" ]; then echo "Failed to initialize NVML: $OTHER_GPU"; exit 255; fi
n=0
# What the engine adds to the environment is the container's alone, and not that of what is run in it later.
while read -r entry; do
    case $entry in NVIDIA_VISIBLE_DEVICES=*) devices=${entry#*=} ;; esac
done <<END
$(tr '\\0' '\\n' </proc/1/environ)
END
for uuid in $(echo ${OTHER_GPU:-$devices} | tr , ' '); do
    echo "GPU $n: NVIDIA H100 80GB HBM3 (UUID: $uuid)"
    n=$((n+1))
done
"""
)
TRITON = f"#!{SHELL}\necho up\nexec sleep 600\n"
needs_compiler = pytest.mark.skipif(fakenvml.compiler() is None, reason="needs gcc to build the stand-in for NVML")


@dataclass
class Machine:
    """With two GPUs, and profiles that a test writes."""

    folder: Path
    library: Path

    def profile(self, name: str, **keys: Any) -> None:
        (self.folder / "repository").mkdir(exist_ok=True)
        (self.folder / "profiles").mkdir(exist_ok=True)
        port = free_ports(1)[0]
        given = {"stack": "triton", "image": SHELL_IMAGE, "repository": "../repository", "expose": {"http": port}}
        lines = [f"{key}: {json.dumps(value)}" for key, value in {**given, **keys}.items()]
        (self.folder / "profiles" / f"{name}.yaml").write_text("\n".join([f"name: {name}", *lines]))

    def act(self, action: str, name: str, **options: Any) -> dict[str, Any]:
        given = {} if action == "plan" else {"wait": False}
        return fakenvml.act(self.library, "count=2", self.folder, (action, name, {**given, **options}))[0]

    def start(self, name: str, **options: Any) -> None:
        came = self.act("start", name, **options)
        assert came.get("outcome") == "done", came

    def detail(self, name: str, **options: Any) -> str:
        came = self.act("start", name, **options)
        return next(str(step["detail"]) for step in came["steps"] if step["kind"] == "gpus")


@pytest.fixture
def machine(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path / "machine"
    folder.mkdir()
    return Machine(folder, fakenvml.build(tmp_path_factory.mktemp("nvml")))


@pytest.fixture
def engine_with_gpus(
    private_engine: PrivateEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[docker.DockerClient]:
    hook = tmp_path / "bin" / "nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    engine = private_engine.start(hook.parent)
    import_shell_image(engine, {"usr/bin/nvidia-smi": NVIDIA_SMI, "usr/bin/tritonserver": TRITON})
    monkeypatch.setenv("DOCKER_HOST", private_engine.url)
    yield engine
    engine.close()


def visible(engine: docker.DockerClient, name: str) -> str:
    code, output = engine.containers.get(f"tritontui-{name}").exec_run(["cat", "/proc/1/environ"])
    assert code == 0
    assert isinstance(output, bytes)
    environment = dict(entry.partition("=")[::2] for entry in output.decode().split("\0"))
    return environment["NVIDIA_VISIBLE_DEVICES"]


@needs_compiler
@pytest.mark.docker
def test_each_deployment_gets_a_gpu_of_its_own(
    machine: Machine, engine_with_gpus: docker.DockerClient, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        machine.profile(name, gpus=1)
    machine.profile("shared", gpus=1, share_gpus=True)
    assert machine.detail("a") == "as planned"
    plan = machine.act("plan", "b")
    assert [gpu["uuid"] for gpu in plan["placement"]] == [UUIDS[1]]
    assert not plan["obstacles"]
    assert not [warning for warning in plan["warnings"] if "GPU" in warning]
    assert machine.detail("b") == "as planned"
    assert [visible(engine_with_gpus, name) for name in ("a", "b")] == UUIDS[:2]
    runtime = DockerRuntime(settings(tmp_path))
    assert [deployment(runtime, name).gpus for name in ("a", "b")] == [(UUIDS[0],), (UUIDS[1],)]

    refused = machine.act("start", "c")
    assert refused["exit_code"] == Exit.REFUSED
    assert "GPU 0 is used by a: stop it, or set `share_gpus: true`" in refused["message"]
    assert "`--force` starts it all the same" in refused["message"]
    assert [one.name for one in runtime.deployments()] == ["a", "b"]
    machine.start("c", force=True)
    machine.start("shared")
    assert {visible(engine_with_gpus, name) for name in ("c", "shared")} == {UUIDS[0]}

    # Its place is taken when it comes back, unless it insists: it is made anew on another, or refused.
    machine.act("stop", "b")
    machine.act("stop", "c")
    machine.act("stop", "shared")
    before = deployment(runtime, "b").id
    machine.start("b")
    assert deployment(runtime, "b").id == before, "its own GPU was still free"
    machine.act("stop", "b")
    machine.profile("d", gpus=[1])
    machine.start("d")
    assert machine.act("start", "b")["exit_code"] == Exit.REFUSED
    machine.act("stop", "a")
    machine.start("b")
    assert visible(engine_with_gpus, "b") == UUIDS[0]
    assert deployment(runtime, "b").id != before


@needs_compiler
@pytest.mark.docker
def test_what_got_another_gpu_is_stopped_again(
    machine: Machine, engine_with_gpus: docker.DockerClient, tmp_path: Path
) -> None:
    machine.profile("wrong", gpus=1, env={"OTHER_GPU": OTHER})
    failed = machine.act("start", "wrong")
    assert failed["outcome"] == "failed"
    assert f"wrong was placed on {UUIDS[0]}, and it got {OTHER}" in failed["message"]
    runtime = DockerRuntime(settings(tmp_path))
    assert deployment(runtime, "wrong").lifecycle is Lifecycle.EXITED

    machine.profile("broken", gpus=2, env={"BROKEN": "yes"})
    assert machine.detail("broken") == "cannot be told: no nvidia-smi in it"


@needs_compiler
@pytest.mark.docker
def test_an_nvidia_smi_that_hangs_or_is_not_there_holds_nothing_up(
    machine: Machine, engine_with_gpus: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtimes.docker.GPUS_S", 0.5)
    runtime = DockerRuntime(settings(tmp_path))
    machine.profile("hangs", gpus=0, env={"HANGS": "yes"})
    machine.start("hangs")
    assert runtime.gpus("hangs") is None
    engine_with_gpus.containers.get("tritontui-hangs").exec_run(["sh", "-c", f"echo '#!{SHELL}' > /usr/bin/nvidia-smi"])
    assert runtime.gpus("hangs") == (), "it runs, and lists none"
    machine.act("stop", "hangs")
    assert runtime.gpus("hangs") is None
    import_shell_image(engine_with_gpus, {"usr/bin/tritonserver": TRITON})
    machine.profile("lacks", gpus=0)
    machine.start("lacks")
    assert runtime.gpus("lacks") is None


@needs_compiler
def test_a_local_process_gets_its_gpus_and_tells_of_them(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings_in(tmp_path)
    monkeypatch.setenv("TRITONTUI_STATE_DIR", str(own.state_dir))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    program = tmp_path / "opt" / "bin" / "tritonserver"
    program.parent.mkdir(parents=True)
    program.write_text(TRITON)
    program.chmod(0o755)
    try:
        for name in ("a", "b", "c"):
            machine.profile(name, gpus=1, runtime="process", program=str(program), ready={"timeout": "1s"})
        assert [machine.detail(name) for name in ("a", "b")] == ["as planned"] * 2
        runtime = ProcessRuntime(own)
        assert [(of(runtime, name).gpus, runtime.gpus(name)) for name in ("a", "b")] == [
            ((UUIDS[0],), (UUIDS[0],)),
            ((UUIDS[1],), (UUIDS[1],)),
        ]
        assert "GPU 0 is used by a" in machine.act("start", "c")["message"]
        machine.profile("b", gpus=1, runtime="process", program=str(program), env={"CUDA_VISIBLE_DEVICES": OTHER})
        failed = machine.act("restart", "b")
        assert f"placed on {UUIDS[1]}, and it got {OTHER}" in failed["message"]
        assert "b was not ready within 1 s" in failed["message"], "what was there before is started again, and asked"
        assert (of(runtime, "b").lifecycle, runtime.gpus("b")) == (Lifecycle.RUNNING, (UUIDS[1],))
        machine.act("stop", "b")
        program.unlink()
        assert f"{program} does not exist" in machine.act("start", "b")["message"]
    finally:
        kill_all(own)


@needs_compiler
def test_a_driver_that_hangs_leaves_a_plan_with_a_warning(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{machine.folder}/none.sock")
    machine.profile("a", gpus=1)
    (plan,) = fakenvml.act(machine.library, "count=2\ndelay_ms=60000", machine.folder, ("plan", "a", {}))
    assert plan["launch"]["gpus"] == 1
    assert plan["placement"] == []
    assert any("driver did not answer within 5 s" in warning for warning in plan["warnings"])
    assert sum("none.sock does not exist" in warning for warning in plan["warnings"]) == 1
