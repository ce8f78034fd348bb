"""Requests that change what a server holds, within its own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from engine.deployment import Service
from engine.errors import EngineError
from engine.inference.channel import PromptFailed

if TYPE_CHECKING:
    from engine.inference.calls import Calls


class ControlFailed(EngineError):
    """A server did not do what it was asked to, or nobody knows whether it did."""


@asynccontextmanager
async def connected(service: Service, timeout_s: float, doing: str) -> AsyncIterator["Calls"]:
    """A way to the server for the block, which ends after `timeout_s` at the latest, whatever the server does.

    Raises `ControlFailed`. `doing`: for the sentence, as in `mixtral was not loaded within 5 s`.
    """
    from engine.inference.calls import Calls

    connection = Calls(service.http, service.api_key)
    try:
        async with asyncio.timeout(timeout_s):
            try:
                yield connection
            finally:
                await connection.close()
    except TimeoutError:
        raise ControlFailed(f"{doing} within {timeout_s:.0f} s by {service.http}.", "Its log may say why.") from None
    except PromptFailed as error:
        raise ControlFailed(error.what, error.remedy) from error


def path_of(model: str) -> str:
    return quote(model, safe="")
