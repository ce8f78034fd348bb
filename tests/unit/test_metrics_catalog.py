"""Ideas in the terms of each server and version; parts by model and by reason; words; pinned families."""

from pathlib import Path

import pytest

from engine.errors import NotFound
from engine.metrics_reading import Bound, Family, Group, MetricsReading, Series
from engine.observe.metric_catalog import CATALOGUE
from engine.observe.metrics import MetricsTracker

SAMPLES = Path(__file__).parents[1] / "samples" / "metrics"
VLLM = (SAMPLES / "vllm-0.32-idle.txt").read_text()
TRITON = (SAMPLES / "triton-2.51-nine-requests.txt").read_text()

TRTLLM = """\
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 3
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 5
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 8
nv_trt_llm_runtime_memory_metrics{memory_type="gpu",model="tensorrt_llm",version="1"} 1610236
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 1560
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="tensorrt_llm",version="1"} 6240
nv_trt_llm_inflight_batcher_metrics{inflight_batcher_specific_metric="generation_requests",model="tensorrt_llm"} 4
"""


def _feed(*texts: str, tracker: MetricsTracker | None = None) -> MetricsReading:
    tracker = tracker or MetricsTracker("url")
    for number, text in enumerate(texts):
        tracker.update(text, 100.0 + number)
    return tracker.reading(100.0 + len(texts) - 1)


def _by_key(reading: MetricsReading) -> dict[str, Series]:
    return {series.key: series for series in reading.series}


def _values(*texts: str) -> dict[str, float | None]:
    return {key: series.value for key, series in _by_key(_feed(*texts)).items()}


def test_every_key_is_one_idea_in_one_unit() -> None:
    titles: dict[str, tuple[str, str, Group]] = {}
    for idea in CATALOGUE:
        assert titles.setdefault(idea.key, (idea.title, idea.unit, idea.group)) == (idea.title, idea.unit, idea.group)


def test_the_view_is_in_the_order_of_its_groups() -> None:
    groups = [series.group for series in _feed(VLLM).series]
    assert groups == sorted(groups, key=list(Group).index)
    assert set(groups) == {Group.REQUESTS, Group.LATENCY, Group.TOKENS, Group.CACHE, Group.ENGINE}


def test_what_failed_and_what_was_cancelled() -> None:
    finished = 'vllm:request_success_total{{finished_reason="{}",model_name="m"}} {}\n'
    rejected = 'vllm:admission_rejections_total{{model_name="m",reason="max_num_queued_reqs"}} {}\n'

    def exposed(*counts: int) -> str:
        reasons = zip(("stop", "length", "abort", "error"), counts, strict=False)
        return "".join(finished.format(*one) for one in reasons) + rejected.format(counts[4])

    reading = _by_key(_feed(exposed(0, 0, 0, 0, 0), exposed(5, 2, 3, 1, 4)))
    assert {key: series.value for key, series in reading.items()} == {
        "requests": 7,
        "failures": 5,
        "failures/error": 1,
        "failures/max_num_queued_reqs": 4,
        "cancelled": 3,
    }
    assert reading["failures/error"].of == "error"
    assert "abort" not in reading["failures"].source


def test_a_server_that_does_not_tell_errors_has_no_failures() -> None:
    text = 'vllm:request_success_total{finished_reason="stop"} 1\n'
    assert _values(text).keys() == {"requests"}


def test_names_of_the_older_engine() -> None:
    values = _values(
        "vllm:gpu_prefix_cache_hit_rate 0.25\nvllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_swapped 2\n"
    )
    assert values == {"swapped": 2, "kv_cache": 50, "prefix_hits": 25}
    assert _values("vllm:gpu_prefix_cache_hit_rate -1\n") == {"prefix_hits": None}


def test_the_newer_name_counts_where_both_are_reported() -> None:
    both = "vllm:gpu_cache_usage_perc 0.1\nvllm:kv_cache_usage_perc 0.5\n"
    series = _by_key(_feed(both))["kv_cache"]
    assert (series.value, series.source) == (50, "vllm:kv_cache_usage_perc")


def test_speculative_decoding() -> None:
    text = (
        "vllm:spec_decode_num_drafts_total {}\nvllm:spec_decode_num_draft_tokens_total {}\n"
        "vllm:spec_decode_num_accepted_tokens_total {}\n"
    )
    assert _values(text.format(0, 0, 0), text.format(10, 40, 15)) == {"spec_accepted": 37.5, "spec_length": 2.5}


def test_adapters_and_sleep_are_words() -> None:
    info = 'vllm:lora_requests_info{{max_lora="4",running_lora_adapters="{}",waiting_lora_adapters="{}"}} {}\n'
    lora = info.format("sql,chat", "chat,\x1b[31mred", 1.7e9 + 2) + info.format("old", "", 1.7e9 + 1)
    state = 'vllm:engine_sleep_state{{engine="0",sleep_state="{}"}} {}\n'
    sleep = state.format("awake", 0) + state.format("weights_offloaded", 1) + state.format("discard_all", 0)
    reading = _by_key(_feed(lora + sleep))
    assert reading["lora"].word == "chat, red, sql"
    assert reading["sleep"].word == "asleep, weights in host memory"
    assert reading["lora"].value is None
    assert _by_key(_feed(info.format("", "", 1.7e9)))["lora"].word == "none in use"
    assert _by_key(_feed(VLLM))["sleep"].word == "awake"


def test_what_lies_below_the_first_bound_is_said_so() -> None:
    name = "vllm:e2e_request_latency_seconds_bucket"

    def exposed(low: int, middle: int, all_: int) -> str:
        return f'{name}{{le="0.3"}} {low}\n{name}{{le="10"}} {middle}\n{name}{{le="+Inf"}} {all_}\n'

    reading = _by_key(_feed(exposed(0, 0, 0), exposed(60, 95, 100)))
    told = {key: (series.value, series.bound) for key, series in reading.items()}
    assert told["e2e_p50"] == (0.3, Bound.BELOW)
    assert told["e2e_p90"][1] is Bound.EXACT
    assert told["e2e_p90"][0] == pytest.approx(0.3 + 9.7 * 30 / 35)
    assert told["e2e_p99"] == (10, Bound.ABOVE)
    assert reading["e2e_p99"].source.startswith("p99 of vllm:e2e_request_latency_seconds, last 60 s")


def test_triton_behind_which_vllm_serves() -> None:
    """Its backend has labels of its own, the older name of what lies between tokens, and no gauges."""
    labels = '{model="llama",version="1"'

    def exposed(count: int) -> str:
        name = f"vllm:time_per_output_token_seconds_bucket{labels}"
        return (
            f"nv_inference_request_success{labels}}} {count}\nvllm:generation_tokens_total{labels}}} {count * 10}\n"
            f'{name},le="0.01"}} 0\n{name},le="0.025"}} {count}\n{name},le="+Inf"}} {count}\n'
        )

    values = _values(exposed(0), exposed(4))
    assert (values["requests"], values["generation"]) == (4, 40)
    assert values["itl_p50"] == pytest.approx(0.0175)
    assert "running" not in values


def test_tensorrt_llm() -> None:
    assert _values(TRTLLM) == {
        "running": 5,
        "waiting": 3,
        "active": 8,
        "prefilling": 1,
        "most_requests": 512,
        "kv_cache": 25,
        "kv_blocks_used": 1560,
        "generating": 4,
        "engine_gpu_memory": 1610236,
    }


def _ensemble(first: int, second: int, failed: int = 0) -> str:
    models = (("prose", first), ("tokens", second))
    return "".join(
        f'nv_inference_request_success{{model="{model}",version="1"}} {count}\n'
        f'nv_inference_queue_duration_us{{model="{model}",version="1"}} {count * 1000}\n'
        f'nv_inference_request_failure{{model="{model}",reason="BACKEND",version="1"}} {failed}\n'
        f'nv_inference_request_failure{{model="{model}",reason="CANCELED",version="1"}} 2\n'
        f'nv_model_load_duration_secs{{model="{model}",version="1"}} {first}\n'
        f'nv_cache_num_hits_per_model{{model="{model}",version="1"}} {count}\n'
        f'nv_cache_num_misses_per_model{{model="{model}",version="1"}} {count * 3}\n'
        for model, count in models
    )


def test_each_model_of_a_triton_server_when_it_has_several() -> None:
    reading = _feed(_ensemble(0, 0), _ensemble(4, 8, failed=3))
    series = _by_key(reading)
    assert [series[key].value for key in ("requests", "requests/prose", "requests/tokens")] == [12, 4, 8]
    assert series["requests/tokens"].of == "tokens"
    assert series["requests/tokens"].group is Group.MODELS
    assert series["queue_time/prose"].value == pytest.approx(0.001)
    assert (series["failures"].value, series["failures/prose BACKEND"].value) == (6, 3)
    assert series["failures/prose"].value == 3
    assert series["cache_hits"].value == 25
    assert (series["load_time"].value, series["load_time"].source) == (4, "max of nv_model_load_duration_secs")
    models = [one.of for one in reading.series if one.group is Group.MODELS]
    assert models == sorted(models)


def test_one_model_has_no_lines_of_its_own() -> None:
    assert not [series for series in _feed(TRITON).series if series.of]


def test_a_reason_shows_once_it_was_counted() -> None:
    tracker = MetricsTracker("url")
    failed = 'nv_inference_request_failure{{model="m",reason="OTHER",version="1"}} {}\n'
    assert "failures/OTHER" not in _by_key(_feed(failed.format(0), tracker=tracker))
    assert _by_key(_feed(failed.format(1), tracker=tracker))["failures/OTHER"].of == "OTHER"


def test_summaries_are_shown_as_they_are() -> None:
    series = _by_key(_feed(TRITON))["queue_summary_p99.9"]
    assert series.title == "Queue p99.9"
    assert series.value == pytest.approx(0.030667)
    assert series.source == "nv_inference_queue_summary_us, quantile 0.999 as the server computes it"


def test_created_series_and_others_are_ignored() -> None:
    assert _values("vllm:prompt_tokens_created 1.7e9\npython_info 1\n") == {}


# Families and pins


def _tracker(*texts: str) -> MetricsTracker:
    tracker = MetricsTracker("url")
    _feed(*texts, tracker=tracker)
    return tracker


def test_all_families_of_real_servers() -> None:
    vllm = {family.name: family for family in _tracker(VLLM).families()}
    assert vllm["vllm:iteration_tokens_total"].kind == "histogram"
    assert (vllm["vllm:request_success_total"].kind, vllm["vllm:request_success_total"].series) == ("counter", 5)
    assert vllm["vllm:e2e_request_latency_seconds"].series == 1
    assert vllm["vllm:kv_cache_usage_perc"].help == "KV-cache usage. 1 means 100 percent usage."
    assert not [name for name in vllm if name.endswith(("_created", "_bucket", "_sum"))]
    triton = {family.name: family for family in _tracker(TRITON).families()}
    assert (triton["nv_inference_queue_summary_us"].kind, triton["nv_inference_queue_summary_us"].series) == (
        "summary",
        1,
    )
    assert triton["nv_inference_request_failure"].series == 4


def test_families_of_unusual_expositions() -> None:
    text = (
        '# HELP a Some\\nhelp\x1b[31m\n# TYPE a histogram\na{le="1"} 1\na{le="+Inf"} 2\n'
        '# TYPE nothing gauge\nuntold 3\nuntold_total 4\n# TYPE b summary\nb{quantile="0.5"} 1\nb{quantile="0.9"} 2\n'
    )
    assert _tracker(text).families() == (
        Family("a", "histogram", "Some help", 1),
        Family("b", "summary", "", 1),
        Family("untold", "untyped", "", 1),
        Family("untold_total", "untyped", "", 1),
    )


def test_a_family_that_is_not_reported_cannot_be_pinned() -> None:
    with pytest.raises(NotFound, match="reports no family nv_gpu_temperature"):
        _tracker(TRITON).pin("nv_gpu_temperature", pinned=True)


def test_a_pinned_family_of_each_kind() -> None:
    text = (
        (
            '# TYPE g gauge\ng{a="1",b="x"} 1\ng{a="2",b="x"} 2\n# TYPE one gauge\none 7\n'
            '# TYPE c_total counter\nc_total{{a="1"}} {0}\nc_total{{a="2"}} {0}\n'
            '# TYPE h_seconds histogram\nh_seconds_bucket{{le="1"}} 0\nh_seconds_bucket{{le="2"}} {0}\n'
            'h_seconds_bucket{{le="+Inf"}} {0}\nh_seconds_sum 1\nh_seconds_count {0}\n'
            '# TYPE s summary\ns{{quantile="0.5"}} 3\ns_sum 1\ns_count 1\nu 5\n'
        )
        .replace('g{a="1",b="x"}', 'g{{a="1",b="x"}}')
        .replace('g{a="2",b="x"}', 'g{{a="2",b="x"}}')
    )
    tracker = _tracker(text.format(0))
    for name in ("g", "one", "c_total", "h_seconds", "s", "u"):
        tracker.pin(name, pinned=True)
    tracker.update(text.format(0), 101)
    tracker.update(text.format(8), 102)
    reading = tracker.reading(102)
    assert {series.group for series in reading.series} == {Group.PINNED}
    assert {key: series.value for key, series in _by_key(reading).items()} == {
        "pin:g/a=1": 1,
        "pin:g/a=2": 2,
        "pin:one": 7,
        "pin:c_total": 16,
        "pin:h_seconds_p50": 1.5,
        "pin:h_seconds_p99": 1.99,
        "pin:s_p50": 3,
        "pin:u": 5,
    }
    assert _by_key(reading)["pin:h_seconds_p50"].unit == "s"
    assert {family.name for family in tracker.families() if family.pinned} == tracker.pins


def test_a_pin_that_is_not_reported_any_more_is_shown_as_that_and_goes() -> None:
    tracker = MetricsTracker("url", pins=frozenset({"vllm:gone_family", "g"}))
    text = 'vllm:num_requests_running{engine="0"} 7\n'
    reading = _feed(f"{text}# TYPE g gauge\ng 1\n", tracker=tracker)
    pinned = [(one.key, one.value, one.word) for one in reading.series if one.group is Group.PINNED]
    assert pinned == [("pin:g", 1.0, ""), ("pin:vllm:gone_family", None, "not reported")]
    families = {family.name: (family.series, family.pinned) for family in tracker.families()}
    assert families == {"g": (1, True), "vllm:gone_family": (0, True), "vllm:num_requests_running": (1, False)}
    # One that goes while it is watched has nothing but that, either.
    tracker.update(text, 102)
    left = [(one.key, one.word, one.times) for one in tracker.reading(102).series if one.group is Group.PINNED]
    assert left == [("pin:g", "not reported", ()), ("pin:vllm:gone_family", "not reported", ())]
    tracker.pin("vllm:gone_family", pinned=False)
    assert [one.key for one in tracker.reading(102).series if one.group is Group.PINNED] == ["pin:g"]
    assert [family.name for family in tracker.families()] == ["g", "vllm:num_requests_running"]
    tracker.update(f"{text}# TYPE g gauge\ng 3\n", 103)
    assert _by_key(tracker.reading(103))["pin:g"].value == 3


def test_a_pin_comes_first_and_goes() -> None:
    tracker = _tracker(VLLM)
    assert tracker.pin("vllm:num_requests_running", pinned=True) == {"vllm:num_requests_running"}
    tracker.update(VLLM, 101)
    assert [series.key for series in tracker.reading(101).series][:2] == ["pin:vllm:num_requests_running", "running"]
    tracker.pin("vllm:num_requests_running", pinned=False)
    tracker.update(VLLM, 102)
    keys = [series.key for series in tracker.reading(102).series]
    assert "pin:vllm:num_requests_running" not in keys
    assert "running" in keys


def test_a_gauge_of_too_many_label_sets_is_summed() -> None:
    text = "# TYPE g gauge\n" + "".join(f'g{{a="{number}"}} 1\n' for number in range(100))
    tracker = MetricsTracker("url", pins=frozenset({"g"}))
    assert {key: series.value for key, series in _by_key(_feed(text, tracker=tracker)).items()} == {"pin:g": 100}
