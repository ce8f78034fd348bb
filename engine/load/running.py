"""A level's distributions while it goes on, at a cost that does not grow with the number of requests."""

import math

from engine.load.statistics import is_done, request_figures
from engine.load_result import LEAST_FOR_P99, Digest, RequestRecord

PRECISION = 0.005
"""By which share a quantile may be off; the figures of a level that has ended are exact"""
_STEP = 2 * math.log1p(PRECISION)
_ZERO = -(1 << 30)
"""Of values that have no logarithm"""


class RunningDigest:
    """Counts values in buckets of which each is by 1 % larger than the one before."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._n = 0
        self._mean = self._squares = 0.0
        self._least, self._most = math.inf, -math.inf

    def add(self, value: float) -> None:
        bucket = math.floor(math.log(value) / _STEP) if value > 0 else _ZERO
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self._n += 1
        off = value - self._mean
        self._mean += off / self._n
        self._squares += off * (value - self._mean)
        self._least, self._most = min(self._least, value), max(self._most, value)

    def digest(self) -> Digest:
        """`n`, mean, spread, least and most are exact, quantiles to `PRECISION`."""
        count = self._n
        if not count:
            return Digest()
        shares = (0.50, 0.90, 0.95, 0.99)
        p50, p90, p95, p99 = self._quantiles(shares)
        spread = math.sqrt(self._squares / (count - 1)) if count > 1 else None
        most_known = p99 if count >= LEAST_FOR_P99 else None
        return Digest(count, self._mean, spread, self._least, p50, p90, p95, most_known, self._most)

    def _quantiles(self, shares: tuple[float, ...]) -> list[float]:
        """For ascending shares, interpolated between the two nearest ranks as `statistics.quantile` does."""
        ranks = [share * (self._n - 1) for share in shares]
        wanted = sorted({place for rank in ranks for place in (math.floor(rank), math.ceil(rank))})
        found: dict[int, float] = {}
        counted = 0
        places = iter(wanted)
        place: int | None = next(places)
        for bucket in sorted(self._buckets):
            counted += self._buckets[bucket]
            while place is not None and place < counted:
                found[place] = self._value(bucket)
                place = next(places, None)
        lows, highs = ([found[cut(rank)] for rank in ranks] for cut in (math.floor, math.ceil))
        return [low + (high - low) * (rank % 1) for low, high, rank in zip(lows, highs, ranks, strict=True)]

    def _value(self, bucket: int) -> float:
        """In its middle, and never beyond what there was."""
        value = math.exp((bucket + 0.5) * _STEP) if bucket != _ZERO else 0.0
        return min(self._most, max(self._least, value))


class Running:
    """Of the level that is under way: TTFT, ITL and E2E of the requests that were answered so far.

    With a rate, TTFT and E2E are from when a request was meant to be sent.
    """

    def __init__(self) -> None:
        self._ttft, self._itl, self._e2e = RunningDigest(), RunningDigest(), RunningDigest()

    def add(self, record: RequestRecord) -> None:
        """One that has ended, however it did."""
        if not is_done(record):
            return
        figures = request_figures(record)
        for digest, value in (
            (self._ttft, figures.ttft_intended),
            (self._itl, figures.itl),
            (self._e2e, figures.e2e_intended),
        ):
            if value is not None:
                digest.add(value)

    def digests(self) -> tuple[Digest, Digest, Digest]:
        """TTFT, ITL and E2E."""
        return self._ttft.digest(), self._itl.digest(), self._e2e.digest()
