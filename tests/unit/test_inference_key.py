"""The API key that a server asks for: sent with every request, and repeated nowhere."""

from pathlib import Path

import pytest

from engine.deployment import Protocol
from engine.inference.prompt import PromptOutcome
from tests.unit.asking import ask, ask_openai
from tests.unit.inference_server import END, Script, ScriptedServer, event, head, openai, reply

KEY = "sk-0123456789abcdef"
ANSWER = [head(), event({"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}), event(b"[DONE]"), END]


async def test_the_api_key_goes_with_every_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    for reference in ("env:SERVER_KEY", f"file:{tmp_path}/key"):
        async with ScriptedServer(openai(ANSWER)) as server:
            _, result = await ask(server.service(Protocol.OPENAI, api_key=reference))
        assert (result.text, result.error) == ("yes", "")
        assert [asked.headers.get("authorization") for asked in server.asked] == [f"Bearer {KEY}"] * 2
        assert KEY not in repr(result)


async def test_without_a_reference_no_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    async with ScriptedServer(openai(ANSWER)) as server:
        await ask(server.service(Protocol.OPENAI))
    assert not any("authorization" in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "environment variable SERVER_KEY, which is not set"),
        (f"{KEY}\nx", "characters that no HTTP header can carry"),
        (f"{KEY} x", "characters that no HTTP header can carry"),
        (f"{KEY}\u00e9", "characters that no HTTP header can carry"),
    ],
)
async def test_a_key_that_cannot_be_had_or_sent(value: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVER_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SERVER_KEY", value)
    async with ScriptedServer(openai(ANSWER)) as server:
        _, result = await ask(server.service(Protocol.OPENAI, api_key="env:SERVER_KEY"))
    assert result.outcome is PromptOutcome.FAILED
    assert said in result.error
    assert KEY not in result.error
    assert not server.asked


@pytest.mark.parametrize(
    ("route", "answer", "said"),
    [
        (
            "GET /v1/models",
            reply({"error": f"unknown key {KEY}"}, status=401),
            "does not accept the API key (HTTP 401)",
        ),
        ("GET /v1/models", reply({"error": f"no quota for {KEY}"}, status=429), "(HTTP 429): no quota for ***"),
        ("POST /v1/chat/completions", reply({"error": f"Bearer {KEY}?"}, status=403), "(HTTP 403): Bearer ***?"),
    ],
)
async def test_an_error_never_repeats_the_key(
    route: str, answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)
    async with ScriptedServer({**openai(ANSWER), route: [answer]}) as server:
        _, result = await ask(server.service(Protocol.OPENAI, api_key="env:SERVER_KEY"))
    assert said in result.error
    assert KEY not in repr(result)


@pytest.mark.parametrize(
    "chat", [[reply({"error": f"got Bearer {KEY}"}, status=400)], [head(), event({"error": f"got Bearer {KEY}"}), END]]
)
async def test_a_bearer_token_in_a_server_s_error_is_masked(chat: Script) -> None:
    _, result = await ask_openai(chat)
    assert "got Bearer ***" in result.error
    assert KEY not in result.error
