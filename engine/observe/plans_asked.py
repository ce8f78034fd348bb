"""Asks for the plans that drift and estimates are told by: one at a time, at leisure."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from engine.observe.aside import aside
from engine.observe.drift import History, Question, read_image_ids, references
from engine.observe.pace import Pace
from engine.observe.picture import Known
from engine.runtimes.base import Runtime

EVERY_S = 2.0
IMAGES_EVERY_S = 30.0
FIRST_PLANS_S = 3.0
"""How long the first snapshot that counts as complete waits for them"""


class PlansAsked:
    """For one event loop."""

    def __init__(
        self,
        known: Known,
        runtimes: Mapping[str, Runtime],
        history: History | None,
        *,
        changed: Callable[[], None],
        reported: Callable[[], None],
    ) -> None:
        """`changed`: told when there is something else to show; `reported`: when nobody need wait any longer."""
        self._known = known
        self._runtimes = runtimes
        self._history = history
        self._changed = changed
        self._reported = reported

    async def keep(self, surveyed: asyncio.Event) -> None:
        """Does not end once there are profiles. `surveyed`: that it is known what there is."""
        known, images_at = self._known, -IMAGES_EVERY_S
        await surveyed.wait()
        asyncio.get_running_loop().call_later(FIRST_PLANS_S, self._reported)
        pace = Pace()
        while known.catalog:
            images_at = await self._read_images(images_at)
            launched = await aside(self._history.names) if self._history else ()
            question = self._due(launched)
            if question and (answer := await aside(known.planned.answer, question)):
                known.planned.keep(question, answer)
                self._changed()
                self._due(launched)
            await pace.rest(EVERY_S)

    def _due(self, launched: Collection[str]) -> Question | None:
        known = self._known
        entries = known.catalog.entries if known.catalog else {}
        question = known.planned.look(entries, known.newest(), known.images, known.operations, launched)
        if question is None or not (question.launch_facts or question.on_gpus):  # nobody waits for a mere estimate
            self._reported()
        return question

    async def _read_images(self, read_at: float) -> float:
        """New ones at once, and all of them now and then: their names may come to mean others. When that was last."""
        known, now = self._known, asyncio.get_running_loop().time()
        entries, newest = known.catalog.entries if known.catalog else {}, known.newest()
        wanted = {key for name in entries.keys() & newest for key in references(entries[name], newest[name])}
        all_due = now - read_at >= IMAGES_EVERY_S
        found = {key: known.images[key] for key in wanted & known.images.keys()}
        if due := wanted if all_due else wanted - found.keys():
            found |= await aside(read_image_ids, self._runtimes, due)
        if found != known.images:
            known.images = found
            self._changed()
        return now if all_due else read_at
