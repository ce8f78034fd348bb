"""Load tests as files: complete, escaped, and drawn where they belong."""

import csv
import json
import re
import resource
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.inference.prompt import Fault, Sampling, Style
from engine.load import codec, report
from engine.load.export import CSV_HEADER, SUFFIXES, document, export
from engine.load.picture import svg
from engine.load.statistics import request_figures
from engine.load_plan import Arrival, Level, LoadPlan, Objectives, Workload
from engine.load_result import Digest, Doubt, Failures, LevelResult, LoadOutcome, LoadResult, ServerFigures
from tests.unit.load_results import failed, load_result

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\x1b[31m\x00 &\"'"


def hostile() -> LoadResult:
    result, _ = load_result()
    level = replace(result.levels[0], failures=(Failures(Fault.ERROR, 3, HOSTILE),), doubts=tuple(Doubt))
    return replace(
        result,
        deployment=HOSTILE,
        what=HOSTILE,
        model=HOSTILE,
        message=HOSTILE,
        machine=HOSTILE,
        outcome=LoadOutcome.FAILED,
        levels=(level, *result.levels[1:]),
        plan=replace(result.plan, workload=Workload(file=Path(f"/{HOSTILE}")), lora=HOSTILE),
    )


def drawn(result: LoadResult) -> ElementTree.Element:
    return ElementTree.fromstring(svg(result))


def points(picture: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.attrib["points"].split() for line in picture.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (one.split(",") for one in line)] for line in lines]


def words(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def test_json_holds_all_of_it(tmp_path: Path) -> None:
    result, records = load_result()
    path = tmp_path / "a.json"
    export(result, records, path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) == {"format", "tritontui", "result", "requests", "requests_left_out"}
    assert found["format"] == "tritontui-load/1"
    assert codec.result(json.dumps(found["result"])) == result
    assert codec.records(json.dumps(found["requests"])) == records
    assert found["requests_left_out"] == 0
    assert found["result"] == document(result)["result"]
    export(result, tuple(level[:90] for level in records), path)
    assert json.loads(path.read_text(encoding="utf-8"))["requests_left_out"] == 60


def test_csv_is_a_line_a_request(tmp_path: Path) -> None:
    result, records = load_result()
    records = ((*records[0][:-1], failed(3.0, Fault.IDLE, 63.0)), *records[1:])
    path = tmp_path / "A.CSV"
    export(result, records, path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == CSV_HEADER
    assert len(rows) == 600
    assert {(row["level"], row["arrival"], row["amount"], row["repeat"]) for row in rows[300:400]} == {
        ("4", "closed", "1", "2")
    }
    itl = request_figures(records[0][4]).itl
    assert float(rows[4]["itl_s"]) == pytest.approx(itl, abs=1e-6)
    assert rows[4]["good"] == "1"
    lost = rows[99]
    assert (lost["fault"], lost["good"], lost["ttft_s"], lost["ended_s"]) == ("idle", "0", "", "63.000000")


def test_another_suffix_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    result, records = load_result()
    with pytest.raises(EngineError, match=r"\.json, \.csv, \.svg, \.html"):
        export(result, records, tmp_path / "a.png")
    with pytest.raises(EngineError, match="cannot be written"):
        export(result, records, tmp_path / "none" / "a.svg")


def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("an earlier one")
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, whole[1]))  # as a disk that is nearly full
    try:
        with pytest.raises(EngineError, match=r"a\.csv cannot be written: File too large\. .*--show 3fa --out"):
            export(replace(load_result()[0], id="3fa"), load_result()[1], path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    assert [one.read_text() for one in tmp_path.iterdir() if one.is_file()] == ["an earlier one"]


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "onload")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_link_that_stands_where_the_file_is_made_is_not_followed(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "a.json"
    other.write_text("kept")
    (tmp_path / ".a.json.part").symlink_to(other)
    result, records = load_result()
    export(result, records, path)
    assert other.read_text() == "kept"
    assert json.loads(path.read_text())
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == ["a.json", "other"]


def test_a_page_needs_nothing_else_and_believes_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    export(hostile(), (), path)
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.links == []
    assert "\x1b" not in text
    assert "\x00" not in text
    assert page.tags.count("svg") == 1
    assert page.tags.count("table") == 2
    for part in (*report.DEFINITIONS, *report.doubts(hostile()), "alert(1)", "tritontui"):
        assert part in page.text


def test_a_page_says_how_the_prompts_were_put(tmp_path: Path) -> None:
    result, records = load_result()
    plan = replace(result.plan, style=Style.COMPLETION, sampling=Sampling(temperature=0.9, top_k=40, stop=("END",)))
    export(replace(result, plan=plan), records, tmp_path / "a.html")
    page = Page()
    page.feed((tmp_path / "a.html").read_text(encoding="utf-8"))
    for part in ("completion", "temperature 0.9, top_k 40, stop ('END',)"):
        assert part in page.text


def test_a_picture_is_xml_whatever_the_names_are() -> None:
    assert any("<script>" in text for text in words(drawn(hostile())))


def test_points_lie_where_the_figures_say() -> None:
    """To the right: more tokens a second; upwards: longer. Both evenly, from 0."""
    result, _ = load_result()
    first, last, between, _ = points(drawn(result))
    assert len(first) == len(last) == 3, "the mean of each level's repeats"
    by_level = [[one for one in result.levels if one.level == level] for level in result.plan.levels]
    for axis in (0, 1):
        values = [
            sum(one.ttft_intended.p50 or 0.0 if axis else one.output_tokens_per_s for one in repeats) / len(repeats)
            for repeats in by_level
        ]
        places = [point[axis] for point in first]
        scale = (places[1] - places[0]) / (values[1] - values[0])
        assert (places[2] - places[1]) / (values[2] - values[1]) == pytest.approx(scale, rel=0.05)
    assert all(p99 < p50 for (_, p50), (_, p99) in zip(first, last, strict=True)), "up is smaller"
    assert [x for x, _ in between] == pytest.approx([x + 476 for x, _ in first])
    pale = [one for one in drawn(result).iter(f"{SVG}circle") if "fill-opacity" in one.attrib]
    assert len(pale) == 4 * 6, "each repeat of each level"


def test_figures_far_apart_are_drawn_logarithmically() -> None:
    result, _ = load_result(LoadPlan(load_result()[0].plan.levels))
    levels = tuple(
        replace(one, ttft_intended=Digest(100, p50=value, p99=value))
        for one, value in zip(result.levels, (0.01, 0.1, 1.0), strict=True)
    )
    picture = drawn(replace(result, levels=levels))
    ys = [y for _, y in points(picture)[0]]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert {"Time to first token, s, logarithmic", "0.01", "0.1"} <= set(words(picture))


def test_what_cannot_be_drawn_is_said() -> None:
    result, _ = load_result()
    few = tuple(replace(one, ttft_intended=replace(one.ttft_intended, p99=None)) for one in result.levels)
    assert "p99: too few values" in words(drawn(replace(result, levels=few)))
    assert any("Nothing was measured" in text for text in words(drawn(replace(result, levels=()))))
    doubted = replace(result.levels[2], doubts=(Doubt.SHORT,))
    hollow = drawn(replace(result, levels=(*result.levels[:2], doubted)))
    assert any("1 of 3 levels are in doubt" in text for text in words(hollow))
    assert sum(one.attrib["fill"] == "#ffffff" for one in hollow.iter(f"{SVG}circle")) == 4


def test_all_suffixes_are_written(tmp_path: Path) -> None:
    result, records = load_result()
    for suffix in SUFFIXES:
        export(replace(result, levels=()), (), tmp_path / f"empty{suffix}")
        export(result, records, tmp_path / f"full{suffix}")
        assert (tmp_path / f"full{suffix}").stat().st_size > (tmp_path / f"empty{suffix}").stat().st_size


def test_every_doubt_has_a_sentence_of_its_own() -> None:
    result, _ = load_result()
    found = list(report.doubts(replace(result, levels=(replace(result.levels[0], doubts=tuple(Doubt)),))))
    assert len(set(found)) == len(Doubt)
    assert all(re.fullmatch(r"1 at once: .+\.", sentence) for sentence in found)


def test_what_is_told_of_a_level_names_its_repeat() -> None:
    result, _ = load_result()
    failures = (Failures(Fault.CUT, 2, ""),)
    levels = tuple(replace(level, failures=failures, doubts=(Doubt.STOPPED,)) for level in result.levels)
    told = [*report.failures(replace(result, levels=levels)), *report.doubts(replace(result, levels=levels))]
    assert told[0] == "1 at once, repeat 1: 2 failed, cut"
    assert len(set(told)) == len(told) == 2 * len(levels)


@pytest.mark.parametrize(
    ("done", "said"), [(0, "no request was"), (1, "only 1 request was"), (2, "only 2 requests were")]
)
def test_few_requests_are_counted_in_words(done: int, said: str) -> None:
    result, _ = load_result()
    few = replace(result.levels[0], done=done, doubts=(Doubt.SHORT,))
    assert f": {said} answered" in next(report.doubts(replace(result, levels=(few,))))


def test_tables_say_the_repeat_and_goodput_only_where_there_are_some() -> None:
    result, _ = load_result()
    header, rows = report.table(result)
    assert header[1] == "REPEAT"
    assert header[-1] == "GOOD/S"
    assert {len(row) for row in rows} == {len(header)}
    header, rows = report.server_table(result)
    assert header[1] == "REPEAT"
    assert [row[1] for row in rows] == [row[1] for row in report.table(result)[1]]
    plain, _ = load_result(LoadPlan((Level(Arrival.CLOSED, 1),)))
    header, rows = report.table(plain)
    assert header == ("LEVEL", "DONE", "FAILED", "REQ/S", "TOK/S", "TTFT 50/99", "ITL 50/99", "E2E 50/99")
    assert rows[0][:3] == ("1 at once", "100", "0")
    header, rows = report.server_table(plain)
    assert rows[0][1:4] == ("100 / 100", "12800 / 12800", "6400 / 6400")
    assert rows[0][4].startswith("60.0 / ")
    no_server: LevelResult = replace(plain.levels[0], server=None)
    assert report.server_table(replace(plain, levels=(no_server,)))[1] == []
    unknown = replace(plain.levels[0], server=ServerFigures())
    assert report.server_table(replace(plain, levels=(unknown,)))[1][0][1] == "– / 100"


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "0"), (0.1234, "0.12"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100"), (12345.6, "12346")],
)
def test_figures_have_three_digits(value: float, told: str) -> None:
    assert report.figure(value) == told
    assert report.milliseconds(None) == "–"


def test_the_workload_is_told_in_words() -> None:
    assert report.workload(LoadPlan(())) == "prompts of 128 tokens, answers of 64 tokens, seed 0"
    assert report.objectives(Objectives(0.2, None, 5.0)) == "TTFT at most 200 ms, E2E at most 5000 ms"
    assert report.objectives(Objectives()) == ""
