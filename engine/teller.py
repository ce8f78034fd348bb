"""Tells how a process stands, in lines, to whoever reads them or does not."""

import threading
from collections.abc import Callable
from typing import Generic, TextIO, TypeVar

T = TypeVar("T")


class Teller(Generic[T]):
    """Encodes and writes the latest news in a thread of its own: a reader that is suspended holds up nothing."""

    def __init__(self, out: TextIO, encode: Callable[[T], str], last_words_s: float) -> None:
        """`encode`: on one line. `last_words_s`: how long a reader may take to read the last."""
        self._out = out
        self._encode = encode
        self._last_words_s = last_words_s
        self._news = threading.Condition()
        self._latest: T | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name="teller", daemon=True)
        self._thread.start()

    def tell(self, news: T) -> None:
        """In place of what has not been written yet."""
        with self._news:
            self._latest = news
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(self._last_words_s)

    def _write_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._latest is not None or self._closed)
                news, self._latest = self._latest, None
            if news is None:
                return
            line = self._encode(news)
            try:
                self._out.write(f"{line}\n")
                self._out.flush()
            except (OSError, ValueError):
                return  # nobody reads any more
