"""`tritontui metrics`: what it prints where, and that a script can rely on it."""

import csv
import io
import json
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from engine.errors import NotFound
from engine.freshness import Freshness
from engine.metrics_reading import Bound, Group, MetricsReading, Series
from engine.observe import metric_follow
from engine.observe.scrape import MetricsError
from tests.unit.cli_bench import Capture, FakeEngine
from tui.cli import main

SERIES = (
    Series("requests", "Finished", "req/s", 2.5, "rate of nv_inference_request_success", group=Group.REQUESTS),
    Series("failures/OTHER", "Failed", "req/s", 0.5, "rate of failures", group=Group.REQUESTS, of="OTHER"),
    *(
        Series(f"ttft_p{percent}", f"TTFT p{percent}", "s", value, f"p{percent} of ttft", group=Group.LATENCY)
        for percent, value in ((50, 0.05), (99, 0.4))
    ),
    Series("sleep", "Sleep", "", None, "engine_sleep_state", group=Group.ENGINE, word="awake"),
    Series("lost", "Lost", "%", float("nan"), "nowhere"),
)
READING = MetricsReading(1000.0, Freshness.FRESH, "http://127.0.0.1:8002/metrics", series=SERIES)
MISSED = "It did not answer within 3 s."


class Measured(FakeEngine):
    """Its readings are the test's; after them Ctrl+C is pressed."""

    def __init__(self, *readings: MetricsReading) -> None:
        super().__init__()
        self.readings = readings or (READING,)
        self.ended = False

    def scrape(self, name: str) -> MetricsReading:
        self._ask("scrape", name)
        return self.readings[0]

    def watch_metrics(self, name: str) -> Generator[MetricsReading, None, None]:
        self._ask("watch", name)
        try:
            yield from self.readings
            raise KeyboardInterrupt
        finally:
            self.ended = True

    def family(self, name: str, family: str) -> Sequence[str]:
        if family != "up":
            raise NotFound(f"It reports no family {family}.")
        return ("# TYPE up gauge", "up 1")


@pytest.fixture
def thrice() -> Measured:
    """Three readings, of which the second scrape failed."""
    return Measured(READING, replace(READING, message=MISSED), replace(READING, at=1002.0))


def test_once_it_is_a_table_with_units_and_sources(capsys: Capture) -> None:
    assert main(["metrics", "demo"], Measured()) == 0
    out, err = capsys.readouterr()
    rows = out.splitlines()
    assert rows[0].split() == ["METRIC", "VALUE", "SOURCE"]
    assert rows[1].split() == ["Finished", "2.50", "req/s", "rate", "of", "nv_inference_request_success"]
    assert rows[2].startswith("Failed · OTHER")
    assert "TTFT p50/99" in rows[3]
    assert "50 / 400 ms" in rows[3]
    assert rows[3].endswith("p50/99 of ttft")
    assert "awake" in rows[4]
    assert "–" in rows[5]
    assert err == ""


def test_json_has_every_series_and_no_number_that_is_none(capsys: Capture) -> None:
    assert main(["metrics", "demo", "--json"], Measured()) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"name", "at", "freshness", "url", "message", "series"}
    assert set(found["series"][0]) == {"key", "title", "value", "unit", "source", "group", "of", "bound", "word"}
    assert found["series"][-1]["value"] is None
    assert found["series"][4]["word"] == "awake"


def test_csv_is_a_header_and_a_line_for_each_value(capsys: Capture) -> None:
    below = replace(SERIES[2], bound=Bound.BELOW)
    assert main(["metrics", "demo", "--csv"], Measured(replace(READING, series=(*SERIES, below)))) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == {
        "time": "1000.000",
        "key": "requests",
        "of": "",
        "value": "2.5",
        "bound": "",
        "unit": "req/s",
        "word": "",
    }
    assert rows[1]["of"] == "OTHER"
    assert (rows[4]["value"], rows[4]["word"]) == ("", "awake")
    assert rows[5]["value"] == ""
    assert (rows[6]["bound"], rows[6]["value"]) == ("<", "0.05")


def test_watching_prints_each_scrape_until_ctrl_c(thrice: Measured, capsys: Capture) -> None:
    assert main(["metrics", "demo", "--watch", "--json"], thrice) == 130
    out, err = capsys.readouterr()
    assert [json.loads(line)["at"] for line in out.splitlines()] == [1000.0, 1002.0], "what was not read is not printed"
    assert err.splitlines() == [MISSED]
    assert thrice.ended


def test_watching_as_csv_has_one_header(thrice: Measured, capsys: Capture) -> None:
    assert main(["metrics", "demo", "--watch", "--csv"], thrice) == 130
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["time"] for row in rows] == ["1000.000"] * len(SERIES) + ["1002.000"] * len(SERIES)


def test_watching_into_a_pipe_appends_and_clears_no_screen(thrice: Measured, capsys: Capture) -> None:
    assert main(["metrics", "demo", "--watch"], thrice) == 130
    out = capsys.readouterr().out
    assert "\x1b" not in out
    blocks = out.split("\n\n")
    assert len(blocks) == 3
    assert MISSED in blocks[1].splitlines()[0]
    assert all("2.50 req/s" in block for block in blocks)


def test_watching_in_a_terminal_is_in_place_and_fits(
    thrice: Measured, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["metrics", "demo", "--watch"], thrice) == 130
    out = capsys.readouterr().out
    assert out.count("\x1b[H") == 3
    assert out.count("\x1b[2J") == 1
    drawn = out.split("\x1b[H")[-1].replace("\x1b[K", "").replace("\x1b[J", "").splitlines()
    assert len(drawn) == 4
    assert re.fullmatch(r"… \d+ more lines than have room", drawn[-1])
    assert all(len(line) <= 40 for line in drawn)


def test_what_went_wrong_is_told_whole_in_a_narrow_terminal(
    thrice: Measured, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["metrics", "demo", "--watch"], thrice) == 130
    second = capsys.readouterr().out.split("\x1b[H")[2].replace("\x1b[K", "")
    assert MISSED in " ".join(second.split())


def test_a_family_is_printed_as_the_endpoint_words_it(capsys: Capture) -> None:
    assert main(["metrics", "demo", "--family", "up"], Measured()) == 0
    assert capsys.readouterr().out == "# TYPE up gauge\nup 1\n"
    assert main(["metrics", "demo", "--family", "up", "--json"], Measured()) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "demo", "family": "up", "lines": ["# TYPE up gauge", "up 1"]}
    assert main(["metrics", "demo", "--family", "down"], Measured()) == 2
    assert "reports no family down" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--csv", "--json"], ["--family", "up", "--watch"], ["--family", "up", "--csv"]])
def test_what_contradicts_itself_is_wrong_usage(wrong: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["metrics", "demo", *wrong], Measured())
    assert ended.value.code == 2
    assert "usage: tritontui metrics" in capsys.readouterr().err


# The endpoint

EXPOSITION = """\
# HELP nv_inference_request_success Number of successful inference requests
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="a",version="1"}} {count}
# TYPE nv_inference_request_success_other gauge
nv_inference_request_success_other 1
# TYPE wait histogram
wait_bucket{{le="+Inf"}} 1
wait_sum 0.5
wait_count 1
"""


@contextmanager
def _endpoint(failing: frozenset[int] = frozenset()) -> Iterator[str]:
    """Counts ten requests with each scrape; some scrapes, by number, are answered with 503."""
    scrapes = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal scrapes
            scrapes += 1
            self.send_response(503 if scrapes in failing else 200)
            self.end_headers()
            self.wfile.write(EXPOSITION.format(count=10 * scrapes).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_follow, "APART_S", 0.05)


def _rate(reading: MetricsReading) -> float | None:
    return next(one.value for one in reading.series if one.key == "requests")


@pytest.mark.usefixtures("_in_haste")
def test_following_goes_on_after_a_scrape_that_failed() -> None:
    with _endpoint(failing=frozenset({3})) as url:
        readings = metric_follow.follow(url)
        first, missed, third = next(readings), next(readings), next(readings)
        readings.close()
    assert first.freshness is Freshness.FRESH
    assert (_rate(first) or 0) > 0
    assert missed.at == first.at
    assert "503" in missed.message
    assert third.at is not None
    assert first.at is not None
    assert third.at > first.at
    assert third.message == ""


@pytest.mark.usefixtures("_in_haste")
@pytest.mark.parametrize("failing", [1, 2])
def test_an_endpoint_that_gives_nothing_at_first_is_an_error(failing: int) -> None:
    with _endpoint(failing=frozenset({failing})) as url, pytest.raises(MetricsError):
        next(metric_follow.follow(url))


def test_a_family_is_its_own_lines_only() -> None:
    with _endpoint() as url:
        own = metric_follow.family(url, "nv_inference_request_success")
        assert [line.split()[-1] for line in own] == ["requests", "counter", "10"]
        assert len(metric_follow.family(url, "wait")) == 4
        with pytest.raises(NotFound, match=r"no family success") as told:
            metric_follow.family(url, "success")
    assert "nv_inference_request_success" in str(told.value)
