"""What the playground knows from the engine beside the answers: what a server takes, and earlier prompts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from textual import work

from engine.api import EngineApi
from engine.deployment import State
from engine.errors import EngineError
from engine.inference.offer import ModelOffer, Offer
from tui.widgets.playground_sending import PlaygroundSending
from tui.widgets.prompt_history import PromptHistory
from tui.widgets.prompt_offers import KnownOffer, start_of
from tui.widgets.prompt_runs import PromptRun, PromptSession, earlier_run
from tui.widgets.prompt_settings import model_of

if TYPE_CHECKING:
    from engine.prompt_record import KeptPrompt

Found = TypeVar("Found")


class PlaygroundFacts(PlaygroundSending):
    """A pane with a `PromptHistory`. The engine is asked in threads; what fails is told, and nothing waits for it."""

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._kept: Sequence[PromptRun] = ()

    @property
    def history(self) -> PromptHistory:
        return self.query_one(PromptHistory)

    @property
    def asked_model(self) -> ModelOffer | None:
        """The one that the next prompt is for, when the server has said what it takes."""
        return model_of(self._session.offer.offer, self._session.settings.model)

    def offer_came(self) -> None:
        """It, or why it cannot be had, is in the session now."""
        raise NotImplementedError

    def show_told(self) -> None:
        """How the next prompt is put."""
        raise NotImplementedError

    def show_history(self) -> None:
        raise NotImplementedError

    def look_for_offer(self) -> None:
        """What the server takes, once a start of it: by the pane alone that is looked at."""
        session, model = self._session, self._model
        transport = session.settings.transport
        start = start_of(model, transport)
        if model is None or model.state is not State.READY or not self.display or start == session.offer.of:
            return
        session.offer = replace(session.offer, of=start, asking=True, trouble="")
        self.show_told()
        self._ask_engine(lambda: self.api.offer(model.name, transport), partial(self._take_offer, session, start))

    def _take_offer(self, session: PromptSession, start: object, result: Offer | EngineError) -> None:
        if session.offer.of != start:
            return  # another was asked for meanwhile
        if isinstance(result, EngineError):
            session.offer = replace(session.offer, asking=False, trouble=str(result))
        else:
            session.offer = KnownOffer(result, start)
        if session is self._session:
            self.offer_came()

    def read_kept(self) -> None:
        name = self._model.name if self._model else None
        if name is None:
            self._kept = ()
            return
        everywhere = self.history.everywhere
        self.history.trouble = "" if self._kept else "reading earlier ones …"
        self._ask_engine(
            lambda: self.api.kept_prompts(None if everywhere else name), partial(self._take_kept, name, everywhere)
        )

    def _take_kept(self, name: str, everywhere: object, result: "Sequence[KeptPrompt] | EngineError") -> None:
        if self._model is None or self._model.name != name or everywhere != self.history.everywhere:
            return
        if isinstance(result, EngineError):
            self.history.trouble = f"▲ earlier prompts cannot be read: {result}"
        else:
            self.history.trouble = ""
            self._kept = [earlier_run(kept) for kept in result]
        self.show_history()

    @work(thread=True, group="playground")
    def _ask_engine(self, ask: Callable[[], Found], take: Callable[[Found | EngineError], None]) -> None:
        try:
            result: Found | EngineError = ask()
        except EngineError as error:
            result = error
        self.app.call_from_thread(self._taken, result, take)

    def _taken(self, result: Found | EngineError, take: Callable[[Found | EngineError], None]) -> None:
        if self.is_mounted:
            take(result)
