"""Where tritontui keeps things, and what the environment says about it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

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
    drain_s: float = 60.0
    """How long a swap waits for requests under way, unless it is told"""

    @classmethod
    def load(cls, profiles_dirs: tuple[Path, ...] = ()) -> "Settings":
        """TRITONTUI_CONFIG_DIR, TRITONTUI_STATE_DIR and TRITONTUI_CACHE_DIR override the user's usual folders."""
        dirs = platformdirs.PlatformDirs("tritontui", appauthor=False)
        return cls(
            config_dir=Path(os.environ.get("TRITONTUI_CONFIG_DIR", dirs.user_config_dir)),
            state_dir=Path(os.environ.get("TRITONTUI_STATE_DIR", dirs.user_state_dir)),
            cache_dir=Path(os.environ.get("TRITONTUI_CACHE_DIR", dirs.user_cache_dir)),
            profiles_dirs=profiles_dirs,
        )

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


def _working_dir() -> Path:
    """The root when the folder that this program was started in has been deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")
