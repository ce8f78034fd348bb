"""vLLM's sleep mode: its weights go to the machine's memory and its cache is dropped, until it is woken.

The endpoints are there in developer mode only (vllm, entrypoints/serve/dev/sleep/api_router.py); none asks for the API
key, which is sent all the same, for what may stand before the server.
"""

from engine.deployment import Service
from engine.inference.calls import Calls
from engine.inference.control import ControlFailed, connected
from engine.inference.sse import excerpt, parse_object

LEVEL = 1
"""Level 2 drops the weights too, and they would have to be loaded again"""


async def is_asleep(service: Service, timeout_s: float) -> bool:
    """Raises `ControlFailed`."""
    async with connected(service, timeout_s, "Whether it sleeps was not told") as connection:
        return await _is_asleep(connection)


async def sleep(service: Service, timeout_s: float) -> None:
    """Returns when it says itself that it sleeps. Requests that it has are aborted. Raises `ControlFailed`."""
    async with connected(service, timeout_s, "It was not put to sleep") as connection:
        if not await _is_asleep(connection):
            await _ask(connection, "POST", f"/sleep?level={LEVEL}")
        if not await _is_asleep(connection):
            raise ControlFailed(f"{connection.base} was told to sleep and says that it is awake.", "See its log.")


async def wake(service: Service, timeout_s: float) -> None:
    """Returns when it says itself that it is awake. Raises `ControlFailed`."""
    async with connected(service, timeout_s, "It was not woken") as connection:
        if await _is_asleep(connection):
            await _ask(connection, "POST", "/wake_up")
        if await _is_asleep(connection):
            raise ControlFailed(f"{connection.base} was woken and says that it sleeps.", "See its log.")


async def _is_asleep(connection: Calls) -> bool:
    answer = parse_object(await _ask(connection, "GET", "/is_sleeping")).get("is_sleeping")
    if not isinstance(answer, bool):
        raise ControlFailed(f"{connection.base} does not say whether it sleeps: {excerpt(str(answer))}.")
    return answer


async def _ask(connection: Calls, method: str, path: str) -> bytes:
    status, body = await connection.call(method, path)
    if status == 404:
        raise ControlFailed(
            f"{connection.base} has no endpoint to put it to sleep: it was started without VLLM_SERVER_DEV_MODE=1.",
            "Write `enable_sleep_mode: true` under `engine` and start it anew, or swap with --full.",
        )
    if status != 200:
        raise ControlFailed(f"{connection.base} refused {path} (HTTP {status}): {connection.reason(body)}")
    return body
