"""Where each local deployment lives: in a folder of its name or, by a claim, in that of another one's server.

A claim says that a server now serves another profile's model, for as long as its present run lasts. It is a file in the
folder of the deployment whose server it is; once that has been started anew it is void, and ignored.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, NotFound, Refused, RuntimeUnreachable
from engine.plan import Launch
from engine.runtimes import shim
from engine.runtimes.process_identity import as_identity, is_alive
from engine.runtimes.process_state import Facts, Record, is_deployment
from engine.runtimes.process_truth import Truth
from engine.runtimes.shim import Identity

CLAIM = "claim.json"
ASIDE = ".aside"
"""Folder of what is set aside until another of its name serves"""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Claim:
    name: str
    """The deployment's"""
    run: Identity | None
    """The supervisor of the run that it is for"""
    facts: Facts

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Claim":
        """Raises KeyError, TypeError or ValueError when the data is no claim."""
        return cls(str(data["name"]), as_identity(data["run"]), Facts.from_data(data["facts"]))


@dataclass(frozen=True, slots=True)
class Held:
    """A deployment, the state that it is told from, and the claim by which it is one."""

    record: Record
    deployment: Deployment
    claimed: bool = False

    @property
    def spent(self) -> bool:
        """The run that it was claimed for has ended: what starts now is what the folder says."""
        return self.claimed and self.deployment.lifecycle is not Lifecycle.RUNNING


class Homes:
    """Of all local deployments. Raises `NotFound`, and `RuntimeUnreachable` for what cannot be read."""

    def __init__(self, root: Path, truth: Truth) -> None:
        self._root = root
        self._truth = truth

    def all(self) -> Iterator[Held]:
        for folder in self._folders():
            with suppress(NotFound):  # removed meanwhile
                yield from self._inside(folder)

    def find(self, name: str) -> Held:
        found = next((held for held in self._inside(self.home(name)) if held.deployment.name == name), None)
        if found is None:
            raise NotFound(f"There is no local deployment named {name}.")
        return found

    def own(self, name: str) -> Path:
        """The folder of that name."""
        if not _NAME.fullmatch(name):
            raise NotFound(f"No local deployment can be named {name!r}.")
        return self._root / name

    def aside(self, name: str) -> Path:
        """Where that name is set aside. Under another path than its files are used by it cannot be started."""
        return self._root / ASIDE / self.own(name).name

    def home(self, name: str) -> Path:
        """Where the deployment of that name is or, when there is none, would be."""
        for folder in self._folders():
            if (folder / CLAIM).exists():
                with suppress(NotFound):
                    if any(held.claimed and held.deployment.name == name for held in self._inside(folder)):
                        return folder
        own, aside = self.own(name), self.aside(name)
        return aside if aside.exists() and not is_deployment(own) else own

    def claim(self, launch_id: str, launch: Launch) -> None:
        """Raises `Refused` when the name is taken or nothing runs, and OSError."""
        there = list(self.all())
        found = next((held for held in there if held.deployment.id == launch_id), None)
        if found is None:
            raise NotFound(f"There is no local deployment with the launch id {launch_id}.")
        claimed = found.record
        others = (held for held in there if held.record.folder != claimed.folder and not held.spent)
        if launch.name in {held.deployment.name for held in others}:
            raise taken(launch.name)
        own, run = claimed.facts, claimed.run.shim if claimed.run else None
        if own is None or found.deployment.lifecycle is not Lifecycle.RUNNING or not is_alive(run):
            raise Refused(
                f"{claimed.folder.name} does not run, so it serves nothing as {launch.name}.",
                f"Start it first (`tritontui up {claimed.folder.name}`).",
            )
        self.unclaim(launch.name)
        if launch.name == claimed.folder.name:
            (claimed.folder / CLAIM).unlink(missing_ok=True)
            return
        # What it was launched with stays as it is; what it serves does not.
        facts = replace(
            Facts.of(launch, own.id, own.created_at),
            command=own.command,
            env=own.env,
            secrets=own.secrets,
            gpus=own.gpus,
        )
        data = {"name": launch.name, "run": run, "facts": facts.to_data()}
        shim.write_json(str(claimed.folder), CLAIM, data)

    def unclaim(self, name: str) -> None:
        """None of that name is no error. Raises OSError."""
        for folder in self._folders():
            claim, _ = _read(folder)
            if claim and claim.name == name:
                (folder / CLAIM).unlink(missing_ok=True)

    def _inside(self, folder: Path) -> Iterator[Held]:
        """One, or with a claim whose run has ended two."""
        try:
            record = Record.read(folder)
            deployment = self._truth.judge(record)
        except OSError as error:
            raise unreadable(folder.name, error) from error
        claim, damage = _read(folder)
        if claim is None or record.run is None or record.run.shim is None or record.run.shim != claim.run:
            yield Held(record, replace(deployment, error=deployment.error or damage, replaces=self._replaced(folder)))
            return
        facts = replace(record, facts=claim.facts)
        now = facts.deployment(deployment.lifecycle, deployment.pid, deployment.error)
        if now.lifecycle is not Lifecycle.RUNNING:
            # Ended, it is shown under both names: what it was last, and what a start would make of it again.
            yield Held(record, deployment)
            now = replace(now, profile_digest="")
        yield Held(record, replace(now, name=claim.name, made_as=folder.name), claimed=True)

    def _replaced(self, folder: Path) -> str:
        """The launch id of what is set aside for it."""
        aside = self.aside(folder.name)
        if folder == aside or not aside.exists():
            return ""
        with suppress(FileNotFoundError):  # brought back meanwhile
            return Record.read(aside).launch_id or aside.name
        return ""

    def _folders(self) -> list[Path]:
        """Without what is set aside and has another in its place."""
        own = self._in(self._root)
        return sorted(
            [*own, *(one for one in self._in(self._root / ASIDE) if not is_deployment(self._root / one.name))]
        )

    def _in(self, root: Path) -> list[Path]:
        try:
            return [root / entry.name for entry in os.scandir(root) if _NAME.fullmatch(entry.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RuntimeUnreachable(
                f"The state folder {root} cannot be read: {error.strerror}.", "Correct its owner or permissions."
            ) from error


def taken(name: str) -> Refused:
    return Refused(f"A local deployment named {name} exists already.", f"Remove {name} first.")


def unreadable(name: str, error: OSError) -> EngineError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"There is no local deployment named {name}.")
    return RuntimeUnreachable(
        f"The state of {name} cannot be read: {error.strerror}.", "Correct its owner or permissions."
    )


def _read(folder: Path) -> tuple[Claim | None, str]:
    """The claim, or None and why it cannot be read; both empty when there is none."""
    path = folder / CLAIM
    try:
        return Claim.from_data(json.loads(path.read_bytes())), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, f"The file {path} cannot be read: {error.strerror}."
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None, f"The file {path} is damaged, and ignored. Delete it."
