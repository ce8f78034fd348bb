"""Finds a `tritonserver` on this machine for the process runtime, and what it needs beside its own options."""

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import InvalidProfile, OperationFailed
from engine.settings import Settings

_WHEEL = "nvidia-pytriton"
_STANDARD = Path("/opt/tritonserver")
"""Where NVIDIA's images have it; a server looks for its backends there wherever it lies itself"""
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class LocalTriton:
    program: str
    """Absolute path"""
    version: str
    """A few words: the server's version when it is written beside it, otherwise where the server comes from"""
    backends: Path
    """The folder in which it finds its backends, each in a folder of its name"""
    arguments: tuple[str, ...] = ()
    """To be added to the server's options"""
    env: Mapping[str, str] = field(default_factory=dict)
    """To be set for the server"""


def find_tritonserver(settings: Settings, program: str | None = None) -> LocalTriton:
    """The profile's own program, one on PATH, NVIDIA's usual place, or the wheel of the demo extra; first wins.

    Starts nothing, apart from links in the cache folder that the wheel's Python backend needs. Raises `InvalidProfile`
    when there is none or it lacks something, `OperationFailed` when the cache folder cannot be written.
    """
    wheel = _wheel_root()
    if program:
        try:
            found = shutil.which(str(Path(program).expanduser()))
        except RuntimeError:  # the home of a user who does not exist
            found = None
        if not found:
            raise InvalidProfile(
                f"The program {program} does not exist or may not be executed.", "Correct `program:` in the profile."
            )
        if wheel and Path(found).resolve() == (wheel / "bin/tritonserver").resolve():
            return _from_wheel(settings, wheel)
        return _installed(Path(found))
    for candidate in ("tritonserver", str(_STANDARD / "bin/tritonserver")):
        if found := shutil.which(candidate):
            return _installed(Path(found))
    if wheel:
        return _from_wheel(settings, wheel)
    raise InvalidProfile(
        "No tritonserver was found on this machine.",
        "Install the demo extra: pip install 'tritontui[demo]' (CPython 3.11 or 3.12, x86-64 Linux), give `program:`"
        " in the profile, or use the docker runtime.",
    )


def _installed(program: Path) -> LocalTriton:
    root = program.resolve().parent.parent
    moved = root != _STANDARD and (root / "backends").is_dir()
    try:
        version = f"tritonserver {(root / 'TRITON_VERSION').read_text(encoding='utf-8').strip()}"
    except OSError:
        version = f"tritonserver in {program.parent}"
    return LocalTriton(
        program=str(program.absolute()),
        version=version,
        backends=(root if moved else _STANDARD) / "backends",
        arguments=(f"--backend-directory={root / 'backends'}",) if moved else (),
    )


def _wheel_root() -> Path | None:
    """Found by its metadata: importing the wheel would take a second and do things."""
    try:
        distribution = importlib.metadata.distribution(_WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return None
    root = Path(str(distribution.locate_file("pytriton/tritonserver")))
    return root if (root / "bin/tritonserver").is_file() else None


def _from_wheel(settings: Settings, root: Path) -> LocalTriton:
    stub = root / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    if not stub.is_file():
        raise InvalidProfile(
            f"The tritonserver of {_WHEEL} has no Python backend for Python {_PYTHON}.",
            "Use a Python environment with CPython 3.11 or 3.12.",
        )
    _check_numpy()
    # The wheel's folders are laid out for its own launcher; these links are the layout that a server expects.
    links = {
        "backends/python/triton_python_backend_stub": stub,
        "lib/" + _libpython_name(): _libpython(),
        **{f"backends/python/{file.name}": file for file in (root / "backends/python").iterdir() if file.is_file()},
    }
    folder = _linked(settings.cache_dir / "tritonserver", links)
    libraries = [str(root.parent.parent / "nvidia_pytriton.libs"), str(folder / "lib")]
    return LocalTriton(
        program=str(root / "bin/tritonserver"),
        version=f"tritonserver of {_WHEEL} {importlib.metadata.version(_WHEEL)}",
        backends=folder / "backends",
        arguments=(f"--backend-directory={folder / 'backends'}",),
        env={
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
            # The stub's interpreter takes the packages of the first `python3` on PATH: this environment's.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            # A model repository is not ours to write caches into.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def _check_numpy() -> None:
    """The stub reads arrays of numpy 2 wrongly, so that a model would get corrupted text."""
    try:
        version = importlib.metadata.version("numpy")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if version.partition(".")[0] not in ("0", "1"):
        raise InvalidProfile(
            f"The tritonserver of {_WHEEL} needs numpy 1 in this Python environment, which has {version}.",
            "Install it: pip install 'numpy<2'.",
        )


def _libpython_name() -> str:
    return f"libpython{_PYTHON}.so.1.0"


def _libpython() -> Path:
    """The running Python's own library where it has one; otherwise the system's of the same version."""
    name = _libpython_name()
    for folder in _library_folders():
        if (folder / name).is_file():
            return folder / name
    raise InvalidProfile(
        f"The tritonserver of {_WHEEL} needs the library {name}, which is not on this machine.",
        f"Install it, e.g. apt-get install libpython{_PYTHON}.",
    )


def _library_folders() -> Iterator[Path]:
    if configured := sysconfig.get_config_var("LIBDIR"):
        yield Path(configured)
    yield Path(sys.base_prefix, "lib")
    yield from map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    ldconfig = shutil.which("ldconfig", path=os.pathsep.join([os.environ.get("PATH", ""), "/sbin", "/usr/sbin"]))
    if ldconfig:
        listing = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, errors="replace", check=False)
        for line in listing.stdout.splitlines():
            name, arrow, path = line.partition(" => ")
            if arrow and name.split()[0] == _libpython_name():
                yield Path(path).parent


def _linked(cache: Path, links: Mapping[str, Path]) -> Path:
    """A folder of these links, named after them, so that another environment or version gets its own.

    It appears under its name only when it is whole; one process at a time makes or mends it.
    """
    digest = hashlib.sha256(repr(sorted(links.items())).encode()).hexdigest()[:16]
    folder = cache / digest

    def is_whole() -> bool:
        return all((folder / name).exists() for name in links)

    if is_whole():
        return folder
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_whole():
                with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as new:
                    for name, target in links.items():
                        link = Path(new, digest, name)
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(target)
                    shutil.rmtree(folder, ignore_errors=True)
                    Path(new, digest).rename(folder)
        finally:
            os.close(lock)
    except OSError as error:
        raise OperationFailed(
            f"The cache folder {cache} cannot be written: {error.strerror}.",
            "Correct its owner, permissions or free space, or set TRITONTUI_CACHE_DIR.",
        ) from error
    return folder
