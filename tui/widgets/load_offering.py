"""What the form of a load test offers is asked of the server: in a thread, once a start of it and transport."""

from dataclasses import replace

from textual import on, work

from engine.deployment import State
from engine.errors import EngineError
from engine.inference.offer import Offer
from engine.inference.prompt import Transport
from tui.widgets.load_browsing import LoadBrowsing
from tui.widgets.load_form import LoadForm
from tui.widgets.load_session import LoadSession, Mode
from tui.widgets.prompt_offers import KnownOffer, start_of


class LoadOffering(LoadBrowsing):
    """A pane with a `LoadForm`."""

    def _fill_form(self) -> None:
        session, model = self._session, self._model
        values = session.values or session.first_values()
        transport = Transport(values["transport"]) if values["transport"] else None
        form = self.query_one(LoadForm)
        form.fill(values, session.offer, start_of(model, transport))
        self._look_for_offer()

    @on(LoadForm.TransportChosen)
    def _look_for_offer(self) -> None:
        """By the form alone that is looked at."""
        session, model = self._session, self._model
        if model is None or model.state is not State.READY or session.mode is not Mode.FORM or not self.display:
            return
        transport = self.query_one(LoadForm).transport
        start = start_of(model, transport)
        if start != session.offer.of:
            session.offer = replace(session.offer, of=start, asking=True, trouble="")
            self._show_offer(session)
            self._ask_offer(session, model.name, transport, start)

    @work(thread=True, group="offer")
    def _ask_offer(self, session: LoadSession, name: str, transport: Transport | None, start: object) -> None:
        try:
            found: Offer | EngineError = self.api.offer(name, transport)
        except EngineError as error:
            found = error
        self.app.call_from_thread(self._take_offer, session, start, found)

    def _take_offer(self, session: LoadSession, start: object, found: Offer | EngineError) -> None:
        if session.offer.of != start:
            return  # another was asked for meanwhile
        if isinstance(found, EngineError):
            session.offer = replace(session.offer, asking=False, trouble=str(found))
        else:
            session.offer = KnownOffer(found, start)
        if self.is_mounted:
            self._show_offer(session)

    def _show_offer(self, session: LoadSession) -> None:
        if session is self._session and session.mode is Mode.FORM:
            form = self.query_one(LoadForm)
            form.show_offer(session.offer, start_of(self._model, form.transport))
