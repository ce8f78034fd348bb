"""What has ended answers nothing, whoever has its ports now."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import OperationFailed
from engine.facade import Engine
from engine.inference.prompt import PromptRequest
from engine.settings import Settings
from tests.unit.memory_runtime import MemoryRuntime
from tests.unit.model_server import Server


@pytest.mark.parametrize(
    "look",
    [
        lambda engine: engine.scrape("m"),
        lambda engine: engine.family("m", "up"),
        lambda engine: engine.ask_blocking("m", PromptRequest("ping"), lambda _: None),
    ],
)
def test_of_one_that_has_ended_nobody_else_is_asked(tmp_path: Path, look: Callable[[Engine], object]) -> None:
    other = Server()
    other.ready.set()
    try:
        runtime = MemoryRuntime("docker")
        service = Service(Protocol.OPENAI, other.url, f"{other.url}/health", metrics=f"{other.url}/metrics")
        runtime.held["m"] = Deployment("m", "docker", "vllm", "id", "i:1", Lifecycle.EXITED, service, 1.0, 2.0, 3.0, 0)
        engine = Engine(Settings(tmp_path, tmp_path, tmp_path), {"docker": runtime})
        with pytest.raises(OperationFailed, match="m does not run"):
            look(engine)
    finally:
        other.close()
