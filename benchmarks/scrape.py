"""A scrape's text to numbers: our reader beside `prometheus_client`'s parser, over the same expositions, in turn.

Both read each text to its end; ours keeps only what the console shows. The whole is what a scrape costs beside its
transport (`benchmarks.targets` has both): read, rates and quantiles computed, and kept. Processor time.

python -m benchmarks.scrape [rounds]
"""

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.machine import machine
from engine.observe.exposition import ExpositionReader
from engine.observe.metric_catalog import WANTED
from engine.observe.metrics import MetricsTracker

SAMPLES = Path(__file__).parents[1] / "tests" / "samples" / "metrics"
TARGETS = 50
SCRAPES = 60
WARM = 5
"""Scrapes that are not counted: series are learnt at the first"""


def grown(text: str, scrapes: int, share: float) -> Iterator[str]:
    """As if a server were at work: at each scrape that share of the samples is more than before."""
    chance = random.Random(1)
    lines = text.split("\n")
    samples = [number for number, line in enumerate(lines) if line and line[0] != "#"]
    for _ in range(scrapes):
        for number in samples:
            if chance.random() < share:
                series, _, value = lines[number].rpartition(" ")
                lines[number] = f"{series} {float(value) + 1}"
        yield "\n".join(lines)


def seconds(read: Callable[[str, int], object], texts: Sequence[str]) -> float:
    """Of processor time a scrape."""
    for number, text in enumerate(texts[:WARM]):
        read(text, number)
    began = time.process_time()
    for number, text in enumerate(texts[WARM:], start=WARM):
        read(text, number)
    return (time.process_time() - began) / (len(texts) - WARM)


def parsed(text: str, _: int) -> None:
    for family in text_string_to_metric_families(text):
        for _sample in family.samples:
            pass


def reading(reader: ExpositionReader) -> Callable[[str, int], object]:
    return lambda text, _: reader.read(text)


def tracking(tracker: MetricsTracker) -> Callable[[str, int], object]:
    return lambda text, number: tracker.update(text, float(number))


def main(rounds: int) -> None:
    print(f"machine: {machine()}; best of {rounds} rounds of {SCRAPES} scrapes; times in ms a scrape")
    print(f"{'exposition':<32}{'changed':>8}{'parser':>9}{'reader':>9}{'':>8}{'whole':>9}{'':>8}{TARGETS:>5} at 1 Hz")
    for path in sorted(SAMPLES.glob("*.txt")):
        for share in (0.0, 0.3, 1.0):
            texts = list(grown(path.read_text(), SCRAPES, share))
            best = [float("inf")] * 3
            for _ in range(rounds):
                ways = (parsed, reading(ExpositionReader(WANTED)), tracking(MetricsTracker("")))
                best = [min(known, seconds(way, texts)) for known, way in zip(best, ways, strict=True)]
            parser, read, whole = (one * 1000 for one in best)
            print(
                f"{path.stem:<32}{share:>7.0%} {parser:>9.3f}{read:>9.3f}{parser / read:>6.0f} ×"
                f"{whole:>9.3f}{parser / whole:>6.0f} ×{best[2] * TARGETS:>9.1%} of a core"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
