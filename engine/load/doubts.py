"""Why a level's figures are not to be trusted as they are; what each means is said in `engine.load_result.Doubt`."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import median

from engine.load_plan import Arrival, Level
from engine.load_result import Doubt, Generator, RequestRecord, ServerFigures

MOST_LAG_S = 0.010
"""So late a loop may wake, or a request be sent, in one of a hundred times; of fewer times, in one of twenty. Where
others take the processor, many a wait for it falls between two looks at the loop's lag; what was sent late shows it"""
MOST_CPU = 0.9
FEW = 0.5
"""Arrivals of text for each token: where there are fewer, tokens came by several"""
MOST_WITH_FEW = 0.1
"""Share of the answers"""
LEAST_DONE = 30
LEAST_ROUNDS = 2
"""Requests that each of those under way at once should be followed by"""
PARTS = 12
"""That a level is cut into, to see whether waits grow from one to the next"""
FILLING = 3
"""Parts at the beginning that are left out: requests that come to an idle server wait for nothing"""
LEAST_GROWTH = 0.03
"""Seconds that the wait grows by in a second; beyond capacity it is rate / capacity - 1"""
LEAST_TREND = 0.6
"""Kendall's tau of the parts' waits: the share of pairs that rise, less the share of those that fall"""


def doubts(
    level: Level,
    records: Sequence[RequestRecord],
    done: Sequence[RequestRecord],
    server: ServerFigures | None,
    generator: Generator,
    *,
    stopped: bool,
    free_ends: bool = False,
) -> tuple[Doubt, ...]:
    """`done`: those of the records that were answered to their end.

    `free_ends`: `ignore_eos` was left out, because the model does not take it.
    """
    late = max(generator.lag.tail or 0.0, generator.late.tail or 0.0)
    slow = late > MOST_LAG_S or (generator.cpu or 0.0) > MOST_CPU
    least = LEAST_DONE if level.arrival is not Arrival.CLOSED else max(LEAST_DONE, LEAST_ROUNDS * level.amount)
    found = {
        Doubt.CLIENT_SLOW: slow,
        Doubt.NOT_SENT: any(record.sent is None and record.fault is None for record in records),
        Doubt.OVERLOADED: level.arrival is not Arrival.CLOSED and queue_grows(done),
        Doubt.OTHERS: server is not None and not server.alone,
        Doubt.OTHER_MODELS: server is not None and not server.own,
        Doubt.SHORT: len(done) < least,
        Doubt.STOPPED: stopped,
        Doubt.COUNTED_BY_CHUNKS: any(record.tokens_out is not None and not record.counted for record in done),
        Doubt.FEW_ARRIVALS: by_several(done) > MOST_WITH_FEW,
        Doubt.FREE_ENDS: free_ends,
    }
    return tuple(doubt for doubt, holds in found.items() if holds)


def by_several(done: Sequence[RequestRecord]) -> float:
    """The share of answers whose tokens came by several; of those that are long enough to tell."""
    known = [(one.arrivals, one.tokens_out) for one in done if one.arrivals and one.tokens_out and one.tokens_out > 2]
    return sum(arrivals < FEW * tokens for arrivals, tokens in known) / len(known) if known else 0.0


def queue_grows(done: Sequence[RequestRecord]) -> bool:
    """Whether who came later waited longer, all through: from when each request was meant to be sent to its last text.

    The requests are cut into parts by their time. Medians of the parts must rise nearly all the way, and their slope
    (Theil and Sen's, the median of all pairs' slopes) must be more than what chance, or a long answer, makes.
    """
    waits = sorted((one.intended, one.last_token - one.intended) for one in done if one.last_token is not None)
    if len(waits) < 2 * PARTS:
        return False
    cuts = [len(waits) * part // PARTS for part in range(PARTS + 1)]
    parts = [waits[since:until] for since, until in pairwise(cuts)][FILLING:]
    points = [(median(at for at, _ in part), median(wait for _, wait in part)) for part in parts]
    pairs = [(later[0] - sooner[0], later[1] - sooner[1]) for sooner, later in combinations(points, 2)]
    trend = sum((rise > 0) - (rise < 0) for _, rise in pairs) / len(pairs)
    slopes = [rise / span for span, rise in pairs if span > 0]
    return trend >= LEAST_TREND and bool(slopes) and median(slopes) > LEAST_GROWTH
