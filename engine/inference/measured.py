"""What has come of one prompt so far, and when. Times are of the clock of `time.perf_counter`."""

import time
from collections.abc import Callable
from itertools import pairwise
from threading import get_ident

from engine.inference.channel import Chunk, NoTextModel, PromptFailed
from engine.inference.output import MAX_CHARACTERS, Output
from engine.inference.prompt import (
    Fault,
    PromptOutcome,
    PromptRequest,
    PromptResult,
    Style,
    Timing,
    Token,
)
from engine.processor import waited_s

MOST_WITHOUT_TEXT = 2
"""Messages without text for each token that was asked for: special tokens have none, nor have parts of a character"""
SOME_WITHOUT_TEXT = 1000


class Measured:
    """Told by a channel, on one event loop. Text is put together and cleaned as it comes only for `on_token`."""

    def __init__(self, request: PromptRequest, on_token: Callable[[Token], None] | None = None) -> None:
        self.request = request
        self.model = ""
        self.transport = request.transport
        self.style: Style | None = None
        self.connected_s: float | None = None
        self._on_token = on_token
        self._output = Output()
        self._pieces: list[bytes] = []
        self._size = 0
        self._sent_at: float | None = None
        self._thread = 0
        self._waited_s: float | None = None
        """By when it was sent, of that thread"""
        self._began_at: float | None = None
        self.ended_at: float | None = None
        """When the last of the answer came"""
        self._times: list[float] = []
        """Of the chunks with text"""
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None
        self._finish_reason = ""
        self._finished_at: float | None = None

    def silent(self, where: str) -> PromptFailed:
        """The failure of an answer that does not go on."""
        limit = f"for {self.request.idle_timeout_s:g} s"
        if self._times:
            silence = f"sent nothing more {limit}, {self._so_far}"
        else:
            silence = f"took the prompt and sent nothing {limit}{', but the beginning of an answer' * self.begun}"
        what = f"{where} {silence}."
        return PromptFailed(what, "Its log and metrics say whether it still works.", Fault.IDLE)

    def cut(self, where: str) -> PromptFailed:
        """The failure of an answer whose connection has ended before it."""
        if self.begun:
            how = f"cut the connection in the middle of its answer, {self._so_far}"
        else:
            how = "closed the connection without an answer"
        return PromptFailed(f"{where} {how}.", "Its log says why.", Fault.CUT)

    def check(self, messages: int, where: str) -> None:
        """Raises `PromptFailed` when so many messages so far are too many for what is in them: they may never end."""
        most = MOST_WITHOUT_TEXT * self.request.sampling.max_tokens + SOME_WITHOUT_TEXT
        if messages - len(self._times) > most:
            raise PromptFailed(
                f"{where} sent more than {most} messages without text, and was stopped there.",
                f"At most {self.request.sampling.max_tokens} tokens were asked for.",
            )

    @property
    def pieces(self) -> int:
        """Of text, so far; about as many as tokens."""
        return len(self._times)

    @property
    def begun(self) -> bool:
        """Whether some of the answer has come."""
        return self._began_at is not None

    @property
    def _so_far(self) -> str:
        pieces = len(self._times)
        return f"after {pieces} piece{'s' * (pieces > 1)} of text" if pieces else "before any text"

    def sent(self, at: float) -> None:
        """Right before the request was written, on an open connection. What came of another one before is nothing."""
        self._sent_at, self._began_at = at, None
        self._thread, self._waited_s = get_ident(), waited_s()

    def began(self, at: float) -> None:
        """The first of the answer has come."""
        if self._began_at is None:
            self._began_at = at

    def ended(self, at: float) -> None:
        """The first time counts."""
        if self.ended_at is None:
            self.ended_at = at

    def text(self, piece: bytes, at: float) -> None:
        """New text; UTF-8, perhaps cut inside a character. Raises `PromptFailed` when the answer is too long."""
        self._times.append(at)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._on_token is not None:
            shown = self._put_together()
            if shown:
                self._on_token(Token(shown, at - (self._sent_at or at)))
        if self._size >= MAX_CHARACTERS:
            self._put_together()
            if self._output.full:
                raise PromptFailed(
                    f"The answer passed {MAX_CHARACTERS >> 20} Mi characters and was stopped there.",
                    "Ask for fewer tokens.",
                )

    def finish(self, reason: str, at: float) -> None:
        """The server's word on why the answer ends. It comes with the token that ends it, which may have no text."""
        self._finish_reason, self._finished_at = reason, at

    def count(self, tokens_in: int | None, tokens_out: int | None) -> None:
        """The server's own counts so far."""
        self._tokens_in = tokens_in if tokens_in is not None else self._tokens_in
        self._tokens_out = tokens_out if tokens_out is not None else self._tokens_out

    def chunk(self, chunk: Chunk, at: float) -> None:
        """Raises what `text` raises."""
        if chunk.finish_reason:
            self.finish(chunk.finish_reason, at)
        self.count(chunk.tokens_in, chunk.tokens_out)
        if chunk.text:
            self.text(chunk.text, at)

    def done(self) -> PromptResult:
        return self._result(PromptOutcome.DONE)

    def cancelled(self) -> PromptResult:
        """With the text so far."""
        return self._result(PromptOutcome.CANCELLED)

    def failed(self, failure: PromptFailed) -> PromptResult:
        return self._result(PromptOutcome.FAILED, failure)

    def _put_together(self) -> str:
        shown = self._output.feed(b"".join(self._pieces))
        self._pieces.clear()
        return shown

    def _result(self, outcome: PromptOutcome, failure: PromptFailed | None = None) -> PromptResult:
        self._put_together()
        rest = self._output.end()
        sent_at, times = self._sent_at, self._times
        if rest and self._on_token is not None and outcome is not PromptOutcome.CANCELLED:
            self._on_token(Token(rest, times[-1] - (sent_at or times[-1])))
        fault, error = None, ""
        if failure:
            fault, error = failure.fault, str(failure)
            if times and fault in (Fault.ERROR, Fault.RUBBISH):  # other sentences say themselves what came before
                error = f"{self._so_far.capitalize()}: {error}"
        return PromptResult(
            request=self.request,
            outcome=outcome,
            text=self._output.text,
            model=self.model,
            transport=self.transport,
            finish_reason=self._finish_reason,
            error=error,
            timing=self._timing(),
            no_text_model=isinstance(failure, NoTextModel),
            gaps_s=tuple(later - earlier for earlier, later in pairwise(times)),
            fault=fault,
            style=self.style,
            sent_at=sent_at,
        )

    def _timing(self) -> Timing:
        sent_at, began_at, times = self._sent_at, self._began_at, self._times
        counted = self._tokens_out is not None
        if sent_at is None:
            return Timing(connected_s=self.connected_s)
        last = times[-1] if times else None
        if counted and last is not None and self._finished_at is not None:
            last = max(last, self._finished_at)  # the token that ended it is in the server's count
        return Timing(
            connected_s=self.connected_s,
            first_byte_s=began_at - sent_at if began_at is not None else None,
            first_token_s=times[0] - sent_at if times else None,
            last_token_s=last - sent_at if last is not None else None,
            total_s=(self.ended_at or time.perf_counter()) - sent_at,
            tokens_in=self._tokens_in,
            tokens_out=self._tokens_out if counted else len(times) if began_at is not None else None,
            token_source="server" if counted else "chunks",
            waited_s=self._waited(),
        )

    def _waited(self) -> float | None:
        if self._waited_s is None or self._thread != get_ident() or (now := waited_s()) is None:
            return None
        return now - self._waited_s
