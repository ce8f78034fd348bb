"""Expositions that lie: whatever they say, what is told of them is true or nothing, and costs no more than it may."""

import math
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.freshness import Freshness
from engine.inference.prompt import PromptEvent, PromptRequest, Token
from engine.metrics_reading import Bound, MetricsReading
from engine.notice import Rule
from engine.observe import exposition
from engine.observe.canary import KEPT, Canaries, Wanted
from engine.observe.metric_lines import MOST_PARTS
from engine.observe.metrics import MOST_GPUS, MetricsTracker
from engine.observe.probe import Health, Probe, asleep
from engine.observe.runs import Run
from engine.observe.scrape import MetricsError
from engine.observe.thresholds import passed
from engine.observe.watch import Watches
from engine.profile import Canary, Watch
from engine.snapshot import Model
from engine.text import clean_line

URL = "http://127.0.0.1:1/metrics"
TOKENS = 'vllm:generation_tokens_total{model_name="m"} '
TTFT = 'vllm:time_to_first_token_seconds_bucket{le="%s"} %s\n'
RATES = ("requests", "failures", "generation", "prompt")


def read(*texts: str, every_s: float = 1.0) -> MetricsReading:
    tracker = MetricsTracker(URL)
    for number, text in enumerate(texts):
        tracker.update(text, 1000.0 + number * every_s)
    return tracker.reading(1000.0 + (len(texts) - 1) * every_s)


def value(reading: MetricsReading, key: str) -> float | None:
    return next(one.value for one in reading.series if one.key == key)


anything = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**6), 10**6) | st.just(1.7e308)
scrapes = st.lists(
    st.fixed_dictionaries(
        {
            "tokens": st.none() | anything,
            "failed": st.none() | anything,
            "buckets": st.dictionaries(
                st.sampled_from(["-Inf", "-1", "0.1", "0.5", "2", "+Inf", "NaN", "x"]), anything
            ),
        }
    ),
    min_size=2,
    max_size=12,
)


@settings(deadline=None)
@given(scrapes, st.sampled_from([0.5, 1.0, 9.0, 61.0]))
@example(
    [
        {"tokens": None, "failed": None, "buckets": {}},
        {"tokens": None, "failed": None, "buckets": {"-Inf": 0.0, "-1": 0.0, "0.5": 5e-324, "+Inf": 0.0}},
    ],
    1.0,
)
def test_no_rate_is_negative_and_no_quantile_beyond_the_bounds(told: list[dict[str, object]], apart: float) -> None:
    tracker, bounds = MetricsTracker(URL), set[float]()
    for number, one in enumerate(told):
        text = "vllm:num_requests_running 1\n"
        text += f"{TOKENS}{one['tokens']}\n" if one["tokens"] is not None else ""
        if one["failed"] is not None:
            text += f'vllm:request_success_total{{finished_reason="error"}} {one["failed"]}\n'
        buckets = one["buckets"]
        assert isinstance(buckets, dict)
        text += "".join(TTFT % bucket for bucket in buckets.items())
        bounds |= {float(bound) for bound in buckets if bound != "x"}
        tracker.update(text, 1000.0 + number * apart)
        reading = tracker.reading(1000.0 + number * apart)
        for series in reading.series:
            known = [kept for kept in (*series.values, series.value) if kept is not None]
            assert all(map(math.isfinite, known)), series
            if series.key in RATES:
                assert all(kept >= 0 for kept in known), series
            if series.key.startswith("ttft_p") and known:
                finite = [bound for bound in bounds if math.isfinite(bound)]
                assert min(finite) <= min(known) <= max(known) <= max(finite), series
        list(passed(Watch(ttft_p99=1, waiting=1), reading, 0.0, 1000.0 + number * apart))


def test_numbers_beyond_all_measure_are_no_numbers_and_break_nothing_that_comes_after() -> None:
    def text(number: object) -> str:
        return f"vllm:num_requests_running {number}\n{TOKENS}{number}\n"

    hostile = [text(number) for number in ("1.7e308", "-1.7e308", "1e31", "NaN", "+Inf") for _ in range(25)]
    assert value(read(*hostile), "running") is None
    after = [text(number) for number in range(5, 105)]
    assert value(read(*hostile, *after), "running") == 104
    assert value(read(*hostile, *after), "generation") == 1


def test_after_a_leap_the_window_counts_what_is_in_it_and_no_rounding_error() -> None:
    idle = TTFT % ("0.1", 0) + TTFT % ("1", 0) + TTFT % ("+Inf", 0)
    leap = "".join(TTFT % (bound, 1e16) for bound in ("0.1", "1", "+Inf"))
    some = TTFT % ("0.1", 1) + TTFT % ("1", 3) + TTFT % ("+Inf", 3)
    reading = read(idle, leap, *[some] * 130)
    assert [one.value for one in reading.series if one.key.startswith("ttft_p")] == [None] * 3


def test_an_exemplar_is_no_value() -> None:
    def text(count: int, seen: str) -> str:
        lines = TTFT % ("0.1", f'{count} # {{trace_id="{seen}"}} 0.067 1700000000.5')
        lines += TTFT % ("+Inf", f'{count} 1700000000 # {{trace_id="a # {{b}} 7"}} 0.2')
        return f'{lines}{TOKENS}{count} # {{t="{seen}"}} 1\nvllm:num_requests_running{{m="}} # {{"}} 3\n# EOF'

    reading = read(text(10, "a"), text(20, 'b\\"}'), text(40, "c"))
    assert value(reading, "generation") == 20
    assert value(reading, "running") == 3
    assert [one.bound for one in reading.series if one.key == "ttft_p99"] == [Bound.BELOW]


def test_of_a_series_that_is_there_twice_the_first_counts() -> None:
    texts = [f"{TOKENS}{number}\n{TOKENS}5\n" for number in (1, 2, 3, 3)]
    assert [value(read(*texts[:count]), "generation") for count in (2, 3, 4)] == [1, 1, 0]
    family = "nv_inference_request_success"
    doubled = f'{family}{{model="m",version="1"}} %s\n{family}{{version="1",model="m"}} 9\n'
    assert value(read(doubled % 1, doubled % 4), "requests") == 3


def test_a_bucket_whose_bound_is_no_number_spoils_no_other() -> None:
    reading = read(*(TTFT % ("NaN", 7) + TTFT % ("x", 7) + TTFT % ("0.1", n) + TTFT % ("+Inf", n) for n in (0, 9)))
    assert value(reading, "ttft_p50") == 0.1


def test_labels_that_are_others_with_each_scrape_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_KNOWN_LINES", 5000)
    tracker, began = MetricsTracker(URL), time.thread_time()
    for scrape in range(12):
        text = "vllm:num_requests_running 1\nvllm:num_requests_waiting 2\n"
        for number in range(1000):
            text += f'http_requests_total{{path="/{scrape}/{number}"}} 1\n'
            text += f'nv_inference_request_success{{model="{scrape}-{number}",version="1"}} {number + 1}\n'
            text += f'nv_gpu_utilization{{gpu_uuid="GPU-{scrape}-{number}"}} 0.5\n'
        tracker.update(text, 1000.0 + scrape)
    assert time.thread_time() - began < 10
    reading = tracker.reading(1011.0)
    assert len(tracker._reader._known) <= 5000 + 3002
    assert len(tracker._known) <= 2 * 2000 + MOST_PARTS + 100
    assert sum(bool(one.of) for one in tracker.current(1011.0).series) <= MOST_PARTS
    assert len(tracker.gpus()) == MOST_GPUS
    assert (value(reading, "running"), value(reading, "waiting")) == (1, 2)


def test_what_nobody_asked_for_is_forgotten_before_what_rates_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_KNOWN_CHARACTERS", 5000)
    tracker = MetricsTracker(URL)
    for scrape in range(20):
        text = "".join(f'http_requests_total{{path="/{scrape}/{number}"}} 1\n' for number in range(50))
        tracker.update(f"{text}{TOKENS}{scrape * 7}\n", 1000.0 + scrape)
    series = next(one for one in tracker.reading(1019.0).series if one.key == "generation")
    assert series.values == (None, *[7.0] * 19)


def test_lines_that_never_end_hold_nobody_up() -> None:
    began = time.thread_time()
    assert asleep("vllm:engine_sleep_state{" + 'sleep_state="awake"' * 200_000 + "\n") is None
    assert asleep('vllm:engine_sleep_state{sleep_state="awake"} 1.2.3\n') is None
    for line in ('vllm:num_requests_running{a="' + "\\" * (8 << 20), f'{TOKENS}1 # {{a="{"}" * (8 << 20)}'):
        with pytest.raises(MetricsError, match="line 2"):
            read(f"vllm:num_requests_running 1\n{line}\n")
    assert time.thread_time() - began < 2


def test_what_a_server_calls_its_parts_reaches_a_screen_clean_and_short() -> None:
    evil = 'a\x1b[2J\x07\r\x85\u202e\\n\\"' + "x" * 5000
    text = f'nv_inference_request_success{{model="{evil}"}} 1\nnv_inference_request_success{{model="b"}} 1\n'
    text += f'vllm:lora_requests_info{{max_lora="1",running_lora_adapters="{evil}"}} 1\n'
    tracker = MetricsTracker(URL, frozenset({"odd"}))
    tracker.update(f'# HELP odd {evil}\n# TYPE odd gauge\nodd{{a="{evil}"}} 1\nodd{{a="b"}} 1\n{text}', 1000.0)
    told = [text for one in tracker.reading(1000.0).series for text in (one.key, one.title, one.of, one.word)]
    told += [text for one in tracker.families() for text in (one.name, one.help)]
    assert any("a" in text and "…" in text for text in told)
    assert all(clean_line(text) == text and len(text) < 400 for text in told)


def test_a_dead_server_is_not_fresh_because_the_clock_was_set_back() -> None:
    tracker = MetricsTracker(URL)
    tracker.update("vllm:num_requests_running 1\n", 10_000.0)
    assert tracker.reading(10_000.0 - 0.5).freshness is Freshness.FRESH  # asked at the same time
    tracker.failed("It refused.", 6400.0)
    assert tracker.reading(6401.0).freshness is Freshness.STALE
    tracker.update("vllm:num_requests_running 1\n", 6402.0)
    assert tracker.reading(6402.0).freshness is Freshness.FRESH


def test_failures_are_told_though_the_clock_was_set_back_to_before_it_was_started() -> None:
    texts = [f'vllm:request_success_total{{finished_reason="error"}} {count}\n' for count in (0, 1, 2, 3)]
    found = list(passed(Watch(), read(*texts), 99_999.0, 1003.0))
    assert [one.rule for one in found] == [Rule.FAILURES]


def test_a_canary_that_is_sung_to_for_ever_is_asked_again_no_sooner() -> None:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
    deployment = Deployment("m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, service, 1.0, 1.0)
    asked, tells = list[float](), list[object]()

    def ask(_: Service, __: PromptRequest, tell: object) -> object:
        asked.append(now)
        tells.append(tell)
        return lambda: None

    canaries = Canaries(ask)  # type: ignore[arg-type]
    wanted = {"run": Wanted(deployment, Canary(every=60, timeout=10), lambda _: False)}
    for now in range(1000, 1600):
        canaries.look(wanted, float(now))
        event: PromptEvent = Token("x", 0.1)
        for tell in tells[-1:]:
            for _ in range(100):
                tell(event)  # type: ignore[operator]
        assert all(len(cage.events) <= KEPT for cage in canaries._cages.values())
    assert 5 <= len(asked) <= 600 / 48 + 1
    assert canaries.of("run") is None


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_canary_lives_through_a_clock_that_jumps_and_a_machine_that_slept(jump: float) -> None:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
    deployment = Deployment("m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, service, 1.0, 1.0)
    run, asked, cancelled = Run(deployment), list[float](), list[float]()
    run.probe = Probe(Health.READY)

    def ask(_: Service, __: PromptRequest, ___: Callable[[PromptEvent], None]) -> Callable[[], None]:
        asked.append(now)
        return lambda: cancelled.append(now)

    watches = Watches(ask)
    model = Model("m", State.READY, deployment=deployment)
    watch = Watch(canary=Canary(every=60, timeout=30))
    now = 100_000.0
    while not asked:
        now += 1
        watches.look([model], {"m": watch}, lambda _: run, (), now)
    now += jump
    watches.look([model], {"m": watch}, lambda _: run, (), now)
    assert cancelled == [now]  # it was under way for nobody knows how long
    assert watches.of(run) == ()
    jumped = now
    while len(asked) < 2:
        now += 1
        watches.look([model], {"m": watch}, lambda _: run, (), now)
    assert now - jumped <= 61
    assert watches.of(run) == ()


def test_silence_is_told_though_the_clock_was_set_back() -> None:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
    deployment = Deployment("m", "docker", "vllm", "1", "i:1", Lifecycle.RUNNING, service, 1.0, 1.0)
    run, watches, now = Run(deployment), Watches(), 100_000.0
    run.probe, run.answered_at = Probe(Health.SILENT, "it did not answer within 2 s"), now
    model, watch = Model("m", State.UNREACHABLE, deployment=deployment), Watch(no_answer=30)
    watches.look([model], {"m": watch}, lambda _: run, (), now)
    for second in range(32):
        watches.look([model], {"m": watch}, lambda _: run, (), now - 3600 + second)
    assert [one.rule for one in watches.of(run)] == [Rule.NO_ANSWER]
