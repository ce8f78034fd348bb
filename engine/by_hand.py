"""A launch as a line for a shell: pasted, it does what the runtime would do. Secrets stay references."""

import base64
import csv
import gzip
import io
import math
import shlex
import tarfile

from engine.plan import Launch, Mount

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def command_line(launch: Launch) -> str:
    """`docker run …`, or the program itself; with generated files, what puts them in their place comes first."""
    secrets = "".join(f"{key}={_reference(key, where)} " for key, where in sorted(launch.secrets.items()))
    if launch.runtime == "process":
        return _local(launch, secrets)
    words = shlex.join(_docker_options(launch))
    if not launch.files:
        return f"{secrets}docker run -d {words}"
    name = shlex.quote(launch.container_name)
    unpack = f"echo {_packed(launch, launch.files_root)} | base64 -d | gunzip"
    return f"{secrets}docker create {words} && {unpack} | docker cp - {name}:/ && docker start {name}"


def visible_gpus(gpus: int | tuple[str, ...]) -> str | None:
    """What `CUDA_VISIBLE_DEVICES` is to be for a local program; None to leave it out: it sees every GPU."""
    if isinstance(gpus, tuple):
        return ",".join(gpus)
    return ",".join(map(str, range(gpus))) if gpus >= 0 else None


def archive(launch: Launch, root: str) -> bytes:
    """The generated files as a tar whose names begin with `root`; the same bytes for the same files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders: set[str] = set()
        for file in launch.files:
            path = f"{root.strip('/')}/{file.path}".lstrip("/")
            parts = path.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    entry = tarfile.TarInfo(folder)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            content = file.text.encode()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755 if file.executable else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _packed(launch: Launch, root: str) -> str:
    return base64.b64encode(gzip.compress(archive(launch, root), mtime=0)).decode()


def _local(launch: Launch, secrets: str) -> str:
    visible = visible_gpus(launch.gpus)
    gpus = {} if visible is None else {VISIBLE_GPUS: visible}
    env = [f"{key}={value}" for key, value in sorted({**gpus, **launch.env}.items())]
    line = secrets + shlex.join([*(["env", *env] if env else []), *launch.command])
    if not launch.files:
        return line
    root = shlex.quote(launch.files_root)
    return f"mkdir -p {root} && echo {_packed(launch, '')} | base64 -d | tar xzC {root} && {line}"


def _reference(variable: str, where: str) -> str:
    """As a shell resolves what `engine.secrets` resolves."""
    kind, _, rest = where.partition(":")
    if kind != "file":
        return f'"${{{rest or variable}:?}}"'
    home = "~/" if rest.startswith("~/") else ""
    return f'"$(cat {home}{shlex.quote(rest.removeprefix(home))})"'


def _mount(mount: Mount) -> str:
    """Not as `-v` has it: that makes an empty folder of a source that is not there, and knows no colon in a path."""
    kind = "bind" if mount.source.startswith("/") else "volume"
    fields = [f"type={kind}", f"source={mount.source}", f"target={mount.target}", *["readonly"][: mount.read_only]]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


def _docker_options(launch: Launch) -> list[str]:
    words = ["--init", "--name", launch.container_name]
    if launch.gpus:
        if isinstance(launch.gpus, tuple):
            words += ["--gpus", '"device=' + ",".join(launch.gpus) + '"']
        else:
            words += ["--gpus", "all" if launch.gpus < 0 else str(launch.gpus)]
    if launch.host_ipc:
        words += ["--ipc", "host"]
    if launch.shm_bytes:
        words += ["--shm-size", f"{launch.shm_bytes}b"]
    for key, limit in sorted(launch.ulimits.items()):
        words += ["--ulimit", f"{key}={limit}"]
    words += ["--stop-timeout", str(math.ceil(launch.stop_timeout_s))]
    for port in launch.ports:
        ip = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        words += ["-p", f"{ip}:{port.host_port}:{port.container_port}"]
    for mount in launch.mounts:
        words += ["--mount", _mount(mount)]
    for key, value in sorted(launch.env.items()):
        words += ["-e", f"{key}={value}"]
    for key in sorted(launch.secrets):
        words += ["-e", key]
    if launch.entrypoint:
        words += ["--entrypoint", launch.entrypoint[0]]
    return [*words, launch.image or "", *(launch.entrypoint or ())[1:], *launch.command]
