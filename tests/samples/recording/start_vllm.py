"""Starts the real vLLM in a room, with a model of its own that a case can break."""

import atexit
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.samples.recording.room import Act, Recorded, Room, copied, edit_json, free_port
from tests.samples.recording.versions import vllm_folder

_PRELOADED = Path(__file__).with_name("preloaded.py")
_READ_AT_IMPORT = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HOME")
"""With another value of these it is started by itself"""
READY = r"Application startup complete\."


def tiny(room: Room, name: str = "tiny", **config: Any) -> Path:
    """A model's folder that may be changed; `config`: what config.json is to say otherwise, None takes a key out."""
    room.places[str(room.folder / "models")] = "/models"
    folder = copied(vllm_folder() / "model", room.folder / "models" / name)
    if config:
        edit_json(folder / "config.json", config)
    return folder


def serve(
    room: Room,
    model: str | Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    ready: str = "",
    then: Act | None = None,
    within: tuple[str, ...] = (),
    port: int | None = None,
) -> Recorded:
    """`vllm serve`, on loopback. `within`: a program and its arguments that start it, with the environment of it."""
    root = vllm_folder()
    room.places |= {
        str(root / "env"): "/opt/venv",
        sys.base_prefix: "/usr",
        str(room.folder / "cache"): "/cache",
        str(_shared()): "/cache/vllm",
        str(room.folder / "lora"): "/lora",
        str(room.folder): "/srv",
        str(Path.home()): "/home/user",
    }
    base = {
        "PATH": os.pathsep.join([str(root / "env/bin"), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
        "HOME": str(room.folder / "home"),
        "HF_HOME": str(room.folder / "cache/huggingface"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(_shared()),
        "TORCHINDUCTOR_CACHE_DIR": str(room.folder / "cache/inductor"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    (room.folder / "home").mkdir(exist_ok=True)
    merged = {key: value for key, value in (base | dict(env or {})).items() if value}
    address = ("--host", "127.0.0.1", "--port", str(port or free_port()))
    command = (str(root / "env/bin/vllm"), "serve", str(model), *address, *options)
    if within or any(merged.get(name) != base.get(name) for name in _READ_AT_IMPORT):
        return room.run((*within, *command), merged, ready=ready, then=then)
    return room.follow(_preloaded().start(command, merged, room), ready=ready, then=then)


@cache
def _shared() -> Path:
    """Where vLLM keeps what it has found out about its models, which takes it long."""
    folder = tempfile.mkdtemp(prefix="sample-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class _Started:
    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server
        self._code: int | None = None
        self.pid = int(self._line())

    def _line(self) -> str:
        assert self._server.stdout
        return self._server.stdout.readline()

    def poll(self) -> int | None:
        assert self._server.stdout
        if self._code is None and select.select([self._server.stdout], [], [], 0)[0]:
            self.wait()
        return self._code

    def wait(self) -> int:
        if self._code is None:
            self._code = int(self._line() or -1)  # nothing: the one that started it has ended as well
        return self._code


class _Preloaded:
    """One vLLM that is imported, and starts others from itself."""

    def __init__(self) -> None:
        self._said = _shared() / "imported"
        self._server = subprocess.Popen(
            ["nice", "-n", "10", str(vllm_folder() / "env/bin/python3"), str(_PRELOADED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said.open("wb"),
            text=True,
            bufsize=1,
            env={"PATH": os.defpath, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "HOME": str(_shared())},
        )
        atexit.register(self._server.kill)

    def start(self, argv: Sequence[str], env: Mapping[str, str], room: Room) -> _Started:
        assert self._server.stdin
        room.output.touch()
        request = {"argv": list(argv), "env": dict(env), "cwd": str(room.folder), "output": str(room.output)}
        self._server.stdin.write(json.dumps(request) + "\n")
        return _Started(self._server)


@cache
def _preloaded() -> _Preloaded:
    return _Preloaded()


EAGER = ("--dtype", "bfloat16", "--max-model-len", "1024", "--enforce-eager")
"""What makes the tiny model start soon"""
