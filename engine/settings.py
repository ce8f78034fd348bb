"""Where tritontui keeps things, what may be done from here, and what the environment and configuration say of both."""

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import platformdirs

from engine.errors import Refused

CONFIGURATION = "config.yaml"
SYSTEM_CONFIGURATION = Path("/etc/tritontui") / CONFIGURATION
DRAIN_S = 60.0
OPTION, VARIABLE = "--read-only", "TRITONTUI_READ_ONLY"
_OFF = ("", "0", "false", "no", "off")
SHIPPED_IN_WHEEL = Path(__file__).parent / "shipped"
SHIPPED_IN_CHECKOUT = Path(__file__).parent.parent / "profiles"


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders of one user. The state folder holds what the process runtime must not lose."""

    config_dir: Path
    state_dir: Path
    cache_dir: Path
    profiles_dirs: tuple[Path, ...] = ()
    """Folders given on the command line; searched before all others"""
    working_dir: Path = field(default_factory=lambda: _working_dir())
    read_only: str = ""
    """What says that nothing may be changed (an option, a variable, a file); empty when it may"""
    drain_s: float = DRAIN_S
    """How long a swap waits for requests under way, unless it is told"""
    audit: Path | None = None
    """The audit's file, when a configuration names one"""
    bell: bool = True
    """A notice that begins rings the terminal's"""
    keep_prompts: bool = True
    """Prompts of the playground and of `ask` are kept with what came of them"""

    @classmethod
    def load(cls, profiles_dirs: tuple[Path, ...] = (), *, read_only: bool = False) -> "Settings":
        """TRITONTUI_CONFIG_DIR, TRITONTUI_STATE_DIR and TRITONTUI_CACHE_DIR override the user's usual folders.

        Raises `EngineError` when a configuration file is wrong.
        """
        dirs = platformdirs.PlatformDirs("tritontui", appauthor=False)
        config_dir = Path(os.environ.get("TRITONTUI_CONFIG_DIR", dirs.user_config_dir))
        by_option = OPTION if read_only else ""
        by_variable = VARIABLE if os.environ.get(VARIABLE, "").strip().lower() not in _OFF else ""
        by_file, drain_s, audit, bell, keep_prompts = "", DRAIN_S, None, True, True
        system = Path(os.environ.get("TRITONTUI_SYSTEM_CONFIG") or SYSTEM_CONFIGURATION)
        if files := [path for path in (system, config_dir / CONFIGURATION) if _is_there(path)]:
            from engine.configuration import load

            configured = load(files)
            by_file, audit = configured.read_only, configured.audit
            drain_s = DRAIN_S if configured.drain_s is None else configured.drain_s
            bell, keep_prompts = configured.bell, configured.keep_prompts
        return cls(
            config_dir=config_dir,
            state_dir=Path(os.environ.get("TRITONTUI_STATE_DIR", dirs.user_state_dir)),
            cache_dir=Path(os.environ.get("TRITONTUI_CACHE_DIR", dirs.user_cache_dir)),
            profiles_dirs=profiles_dirs,
            read_only=by_option or by_variable or by_file,
            drain_s=drain_s,
            audit=audit,
            bell=bell,
            keep_prompts=keep_prompts,
        )

    def to_json(self) -> str:
        """For a process that may have another working folder: every path is absolute."""
        here = self.working_dir

        def plain(value: object) -> object:
            if isinstance(value, tuple):
                return [plain(item) for item in value]
            return str(here / value) if isinstance(value, Path) else value

        return json.dumps({one.name: plain(getattr(self, one.name)) for one in fields(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Raises ValueError, TypeError or KeyError when the text is not what `to_json` writes."""
        data = json.loads(text)
        folders = {name: Path(data[name]) for name in ("config_dir", "state_dir", "cache_dir", "working_dir")}
        given = {
            "profiles_dirs": tuple(Path(folder) for folder in data["profiles_dirs"]),
            "audit": Path(data["audit"]) if data["audit"] else None,
        }
        return cls(**{**data, **folders, **given})

    @property
    def history_path(self) -> Path:
        return self.state_dir / "history.sqlite"

    @property
    def audit_path(self) -> Path:
        return self.audit or self.state_dir / "audit.jsonl"

    @property
    def shipped_profiles(self) -> Path:
        return SHIPPED_IN_WHEEL if SHIPPED_IN_WHEEL.is_dir() else SHIPPED_IN_CHECKOUT

    def deployment_files(self, name: str) -> Path:
        """Where a local process finds the files that were generated for it."""
        return self.state_dir / "deployments" / name / "files"

    @property
    def profile_folders(self) -> tuple[Path, ...]:
        """First wins."""
        return (*self.profiles_dirs, self.working_dir / "profiles", self.config_dir / "profiles", self.shipped_profiles)

    @property
    def shipped_prompts(self) -> Path:
        return self.shipped_profiles / "prompts"

    @property
    def prompt_folders(self) -> tuple[Path, ...]:
        """First wins."""
        return (self.working_dir / "prompts", self.config_dir / "prompts", self.shipped_prompts)


def refuse_read_only(settings: Settings, what: str) -> None:
    """Raises `Refused` when nothing may be changed from here. `what`: e.g. `swap mixtral → llama3-70b`."""
    if not settings.read_only:
        return
    remedy = {
        OPTION: f"Run it without {OPTION}.",
        VARIABLE: f"Unset {VARIABLE}.",
    }.get(settings.read_only, "Whoever may decide so takes `read_only` out of that file.")
    raise Refused(
        f"Nothing may be changed from here: tritontui is read-only ({settings.read_only}). Not done: {what}.", remedy
    )


def _is_there(path: Path) -> bool:
    """One that this user may not look at counts: what it forbids must not be missed."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _working_dir() -> Path:
    """The root when the folder that this program was started in has been deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")
