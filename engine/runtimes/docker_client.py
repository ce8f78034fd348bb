"""The connection to the Docker Engine: where it is, how long it may take, and what its failures mean."""

import json
import os
import pwd
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import docker
import requests
import urllib3
from docker.context.config import get_current_context_name, get_meta_file
from docker.errors import APIError, DockerException, NotFound, create_api_error_from_http_exception
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env
from docker.utils.config import find_config_file

from engine.errors import OperationFailed, RuntimeAbsent, RuntimeUnreachable
from engine.runtimes.docker_container import remedy, word
from engine.runtimes.docker_stream import DockerStream

QUERY_S = 5.0
"""An engine that takes longer to answer a question is taken for unreachable"""
CHANGE_S = 120.0
"""Creating unpacks, and starting waits for the NVIDIA hook, which wakes every GPU"""

DEFAULT_URL = "unix:///var/run/docker.sock"
MALFORMED = (ValueError, TypeError, KeyError, AttributeError)
"""What the SDK raises for a config.json, or the answer of a credential helper, that is not as it should be"""
START_IT = "Start it (`sudo systemctl start docker`), or set DOCKER_HOST if its socket is elsewhere."


class DockerConnection:
    """Hands out clients, and forgets them when they fail, so that a restarted engine is met by a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, float], docker.APIClient] = {}

    @contextmanager
    def session(self, doing: str, *, changes: bool = False) -> Iterator[docker.APIClient]:
        """`doing` completes "Docker could not …"; what changes something may take longer.

        Raises `RuntimeUnreachable`, and `OperationFailed` with Docker's word for what it refuses.
        """
        timeout_s = CHANGE_S if changes else QUERY_S
        url = ""
        try:
            url, tls = _address()
            yield self._client(url, tls, timeout_s)
        except APIError as error:
            explanation = str(error.explanation or error)
            raise OperationFailed(
                f"Docker could not {doing}: {word(explanation).rstrip('.')}.", remedy(explanation)
            ) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            with self._lock:
                self._clients.clear()
            raise _unreachable(error, url, timeout_s) from error

    @property
    def is_local(self) -> bool:
        """Whether process ids that Docker reports are this machine's."""
        return _address()[0].startswith("unix://")

    def inspect(self, container: str) -> dict[str, Any] | None:
        """By name or id; None when there is none. Raises what `session` raises."""
        with self.session(f"look at {container}") as api:
            try:
                return cast("dict[str, Any]", api.inspect_container(container))
            except NotFound:
                return None

    def stream(
        self,
        doing: str,
        path: str,
        parameters: dict[str, Any],
        body: dict[str, Any] | None = None,
        *,
        headers: Mapping[str, str | bytes] | None = None,
        begins_within_s: float = QUERY_S,
    ) -> DockerStream:
        """Asks with GET, or with `body` with POST. Raises what `session` raises, until the answer begins."""
        with self.session(doing) as api:
            url = f"{api.base_url}/v{api.api_version}/{path}"
            method = "GET" if body is None else "POST"
            response = api.request(
                method, url, params=parameters, json=body, headers=headers, stream=True, timeout=begins_within_s
            )
            try:
                response.raise_for_status()
            except requests.HTTPError as error:
                create_api_error_from_http_exception(error)
            return DockerStream(response)

    def _client(self, url: str, tls: TLSConfig | None, timeout_s: float) -> docker.APIClient:
        with self._lock:
            client = self._clients.get((url, timeout_s))
        if client is None:
            # Not under the lock, and never with the long timeout: it asks the engine for its version.
            try:
                client = docker.APIClient(base_url=url, tls=tls or False, timeout=int(QUERY_S))
            except (requests.RequestException, urllib3.exceptions.HTTPError):
                raise  # some of which are MALFORMED, too
            except MALFORMED as error:
                raise RuntimeUnreachable(
                    f"Docker's configuration {word(find_config_file())} cannot be read: {word(error).rstrip('.')}.",
                    "Correct what it has under `auths`: `docker logout` and `docker login` write an entry anew.",
                ) from error
            client.timeout = int(timeout_s)
            with self._lock:
                client = self._clients.setdefault((url, timeout_s), client)
        return client


def _address() -> tuple[str, TLSConfig | None]:
    """DOCKER_HOST, else the context of `docker context use`. Raises `RuntimeUnreachable` for another machine."""
    given = kwargs_from_env()
    origin = "DOCKER_HOST"
    url, tls = given.get("base_url"), given.get("tls")
    if not url:
        context = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
        origin = f"the Docker context {word(context)}"
        url = DEFAULT_URL if context == "default" else _context_url(context)
    url = url.replace("http+unix://", "unix://")
    if not _is_here(url):
        raise RuntimeUnreachable(
            f"Docker is on another machine: {origin} names {word(url)}.",
            "tritontui works with the engine of its own machine: run it there, or choose the engine that is here.",
        )
    return url, tls


def _context_url(context: str) -> str:
    file = Path(get_meta_file(context))
    try:
        return str(json.loads(file.read_bytes())["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeUnreachable(
            f"The Docker context {word(context)} cannot be read from {file}: {word(error)}.",
            "Choose another with `docker context use`, or set DOCKER_HOST.",
        ) from error


def _is_here(url: str) -> bool:
    if url.startswith("unix://"):
        return True
    try:
        parts = urlsplit(url if "://" in url else f"tcp://{url}")
        host = parts.hostname or ""
        return parts.scheme in {"tcp", "http", "https"} and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def _unreachable(error: Exception, url: str, timeout_s: float) -> RuntimeUnreachable:
    causes = list(_causes(error))
    path = Path(url.removeprefix("unix://")) if url.startswith("unix://") else None
    at = str(path or url)
    if any(isinstance(cause, PermissionError) for cause in causes) and path:
        return _forbidden(path)
    if any(isinstance(cause, FileNotFoundError) for cause in causes) and path:
        return RuntimeAbsent(f"No Docker Engine runs here: {at} does not exist.", START_IT)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return RuntimeUnreachable(f"The Docker Engine is stopped: nothing answers at {at}.", START_IT)
    if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes):
        return RuntimeUnreachable(
            f"The Docker Engine at {at} did not answer within {timeout_s:g} s.",
            "It is overloaded or stuck; see its log (`journalctl -u docker`).",
        )
    if any(isinstance(cause, ConnectionError | requests.ConnectionError) for cause in causes):
        return RuntimeUnreachable(f"The Docker Engine at {at} broke the connection off.", START_IT)
    return RuntimeUnreachable(
        f"Docker cannot be used{' at ' + at if at else ''}: {word(causes[-1] if causes else error).rstrip('.')}.",
        "Check DOCKER_HOST, DOCKER_CONTEXT and Docker's configuration with `docker version`.",
    )


def _forbidden(socket_path: Path) -> RuntimeUnreachable:
    import grp

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    try:
        status = socket_path.stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        status, group = None, ""
    if status is None or not group or group == "root" or not status.st_mode & stat.S_IWGRP:
        return RuntimeUnreachable(
            f"The user {user} may not use Docker's socket {socket_path}.", "Ask the machine's administrator for access."
        )
    return RuntimeUnreachable(
        f"The user {user} may not use Docker's socket {socket_path}, which is for the group {group}.",
        f"Join it with `sudo usermod -aG {group} {user}`, then log in again.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: requests and urllib3 keep the real cause in their arguments."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [*cause.args, cause.__cause__, cause.__context__]
