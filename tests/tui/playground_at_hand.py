"""A playground whose model is ready, and what is read of it."""

from textual.pilot import Pilot
from textual.widgets import Static

from engine.deployment import State
from engine.inference.offer import ModelOffer, Offer, Parameter
from engine.inference.prompt import Style, Transport
from engine.snapshot import Model
from tests.tui.test_playground_pane import Harness, until

PARAMETERS = (Parameter("max_tokens", 1, 300, why="max_model_len 300"), Parameter("temperature", 0, 2, "1"))
CHAT = ModelOffer("prose", (Style.CHAT, Style.COMPLETION), 300, PARAMETERS, ("sql", "legal"))
OFFER = Offer((CHAT, ModelOffer("tiny", (Style.COMPLETION,))), (Transport.OPENAI, Transport.TRITON_GRPC))
TENSORS = Offer((ModelOffer("add", example='{"INPUT0": [1, 2]}'),), (Transport.TRITON_HTTP,))
MIXTRAL = Model("mixtral", State.READY)


async def ready(pilot: Pilot[None], app: Harness, offer: Offer | None = OFFER, *others: Model) -> None:
    if offer:
        app.fake.offered = offer
    app.select("llama", State.READY, *others)
    await until(pilot, lambda: app.fake.offers_asked and "asking" not in app.told)
    app.editor.focus()


def said(app: Harness, where: str) -> str:
    return str(app.screen.query_one(where, Static).content)
