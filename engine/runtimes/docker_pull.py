"""Fetches an image, and tells how far that has come."""

import json
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from docker import auth
from docker.errors import DockerException
from docker.utils import parse_repository_tag

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.runtimes.docker_client import MALFORMED, DockerConnection
from engine.runtimes.docker_container import remedy, word
from engine.runtimes.docker_stream import DockerStream, StreamBrokenError
from engine.startup import Phase, PhaseProgress

BEGINS_WITHIN_S = 90.0
"""The answer begins when the registry has told what the image consists of; Docker itself tries more than once. Before
that a credential helper may be asked, which may ask somebody for a passphrase"""
READ_S = 0.25
TELL_EVERY_S = 0.25
RATE_OVER_S = 5.0
LONGEST_MESSAGE = 1 << 20
"""Bytes; one is some hundreds long"""

Told = Callable[[PhaseProgress], None]


def pull(docker: DockerConnection, image: str, told: Told, cancelled: threading.Event) -> bool:
    """Returns whether it is here now: False when `cancelled` was set. Layers that were complete by then Docker keeps.

    Raises `OperationFailed` with Docker's word and what to do, and `RuntimeUnreachable` when the connection breaks.
    """
    doing = f"fetch the image {image}"
    stream = _begun(lambda: _ask(docker, image, doing), cancelled, doing)
    if stream is None:
        return False
    layers = _Layers(time.time())
    try:
        for message in _messages(stream, cancelled):
            if message is None:
                told(layers.progress(time.time()))
                continue
            if error := _error(message):
                raise OperationFailed(f"Docker could not {doing}: {error.rstrip('.')}.", remedy(error))
            layers.take(message)
    except StreamBrokenError as error:
        raise RuntimeUnreachable(
            f"Docker broke off while it fetched the image {image}: {word(error)}.", "Is the Docker Engine running?"
        ) from error
    finally:
        stream.close()
    told(layers.progress(time.time()))
    return not cancelled.is_set()


def _ask(docker: DockerConnection, image: str, doing: str) -> DockerStream:
    repository, tag = parse_repository_tag(image)
    # Without a tag Docker would fetch all that there are.
    parameters = {"fromImage": repository, "tag": tag or "latest"}
    headers, longer_s = _credentials(docker, repository), 2 * BEGINS_WITHIN_S  # than is waited for
    return docker.stream(doing, "images/create", parameters, {}, headers=headers, begins_within_s=longer_s)


def _begun(ask: Callable[[], DockerStream], cancelled: threading.Event, doing: str) -> DockerStream | None:
    """None when `cancelled` was set first: what is asked for then is closed as soon as it comes.

    In a thread of its own: neither a registry nor a helper that is silent can be told to give up.
    """
    answer: Future[DockerStream] = Future()

    def carry_out() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 (it is raised again, where it is waited for)
            answer.set_exception(error)

    threading.Thread(target=carry_out, name="pull", daemon=True).start()
    deadline = time.monotonic() + BEGINS_WITHIN_S
    while not cancelled.is_set() and time.monotonic() < deadline:
        if wait([answer], READ_S).done:
            return answer.result()
    answer.add_done_callback(_close)
    if cancelled.is_set():
        return None
    raise OperationFailed(
        f"Docker could not {doing}: its registry, or the helper that keeps its credentials, did not answer within "
        f"{BEGINS_WITHIN_S:g} s.",
        "Check the network and its proxy, and what `docker pull` says of it in a terminal.",
    )


def _close(answer: Future[DockerStream]) -> None:
    if answer.exception() is None:
        answer.result().close()


def _credentials(docker: DockerConnection, repository: str) -> Mapping[str, str | bytes]:
    """As `docker login` has left them for the image's registry; read anew each time."""
    try:
        registry, _ = auth.resolve_repository_name(repository)
    except DockerException as error:
        raise OperationFailed(f"{word(repository)} is no name of an image: {word(error).rstrip('.')}.") from error
    with docker.session("read the registry's credentials") as api:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a helper that is not there; its use tells that, too
                api.reload_config()
                header = auth.get_config_header(api, registry)
        except (DockerException, *MALFORMED) as error:
            raise OperationFailed(
                f"The credentials for {word(registry)} cannot be had: {word(error).rstrip('.')}.",
                f"Check `credHelpers` and `credsStore` in Docker's config.json, or log in anew: "
                f"`docker login {word(registry)}`.",
            ) from error
    return {"X-Registry-Auth": header} if header else {}


def _messages(stream: DockerStream, cancelled: threading.Event) -> Iterator[Mapping[str, Any] | None]:
    """Docker's messages; None now and then, so that it can be told how far it is."""
    rest = b""
    tell_at = 0.0
    while not cancelled.is_set():
        block = stream.read(READ_S)
        if block is None:
            return
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > LONGEST_MESSAGE:
            raise StreamBrokenError("the answer is none that Docker gives")
        for line in lines:
            if line.strip():
                yield _message(line)
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + TELL_EVERY_S
            yield None


def _message(line: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise StreamBrokenError("the answer is none that Docker gives") from error
    return message if isinstance(message, dict) else {}


def _error(message: Mapping[str, Any]) -> str:
    detail = message.get("errorDetail")
    said = message.get("error") or (detail.get("message") if isinstance(detail, dict) else "")
    return word(str(said)) if said else ""


@dataclass(slots=True)
class _Layer:
    fetched: float = 0.0
    size: float | None = None
    is_fetched: bool = False
    is_ready: bool = False


class _Layers:
    """What Docker's messages add up to."""

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at
        self._layers: dict[str, _Layer] = {}
        self._course: deque[tuple[float, float]] = deque([(began_at, 0.0)])
        """Time and bytes, over the last seconds"""

    def take(self, message: Mapping[str, Any]) -> None:
        id_, status = message.get("id"), str(message.get("status") or "")
        if not id_ or status.startswith("Pulling from"):
            return
        layer = self._layers.setdefault(str(id_), _Layer())
        detail = message.get("progressDetail")
        current, total = (detail.get("current"), detail.get("total")) if isinstance(detail, dict) else (None, None)
        if status == "Downloading" and isinstance(current, int | float):
            layer.fetched = max(layer.fetched, current)
            if isinstance(total, int | float) and total > 0:
                layer.size = total
        elif status in ("Download complete", "Verifying Checksum", "Extracting"):
            layer.is_fetched = True
        elif status in ("Pull complete", "Already exists"):
            layer.is_fetched = layer.is_ready = True
        if layer.is_fetched and layer.size is not None:
            layer.fetched = layer.size

    def progress(self, now: float) -> PhaseProgress:
        layers = self._layers.values()
        fetched = sum(layer.fetched for layer in layers)
        known = bool(layers) and all(layer.size is not None or layer.is_fetched for layer in layers)
        ready = sum(layer.is_ready for layer in layers)
        unpacking = bool(layers) and all(layer.is_fetched for layer in layers)
        detail = f"{'unpacked ' if unpacking else ''}{ready} of {len(layers)} layers" if layers else ""
        return PhaseProgress(
            Phase.PULL,
            self._began_at,
            done=fetched,
            total=sum(layer.size or 0.0 for layer in layers) if known else None,
            unit="bytes",
            rate=None if unpacking else self._rate(now, fetched),
            detail=detail,
        )

    def _rate(self, now: float, fetched: float) -> float | None:
        self._course.append((now, fetched))
        while len(self._course) > 2 and self._course[1][0] <= now - RATE_OVER_S:
            self._course.popleft()
        since, before = self._course[0]
        return (fetched - before) / (now - since) if now - since >= 1.0 else None
