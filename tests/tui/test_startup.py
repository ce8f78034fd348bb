"""How far a start has come, in the pane Launch."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot

from engine.deployment import State
from engine.startup import Phase, PhaseProgress, Reported, Startup
from tests.tui.driving import opened, screen_text, settled
from tests.tui.fake_api import NOW, FakeApi, snapshot
from tests.tui.operations_at_hand import OTHERS, SWAP
from tui import format as write
from tui.app import Console
from tui.startup_words import in_short, phases_took, stall, state_detail

GIB = 1 << 30
BEGAN = NOW - 131
USUAL = (("boot", 11.0), ("engine start", 9.0), ("weights", 55.0), ("compile", 48.0), ("graph capture", 21.0))
BOOT = PhaseProgress(Phase.BOOT, BEGAN, BEGAN + 12)
ENGINE = PhaseProgress(Phase.ENGINE, BEGAN + 12, BEGAN + 20)
FETCHED = PhaseProgress(Phase.DOWNLOAD, BEGAN + 20, BEGAN + 90, 131.4 * GIB, 131.4 * GIB, "bytes")
FETCHING = PhaseProgress(
    Phase.DOWNLOAD, BEGAN + 20, done=52.5 * GIB, total=131.4 * GIB, unit="bytes", rate=0.8 * GIB, detail="4 files"
)
WEIGHTS = PhaseProgress(Phase.WEIGHTS, BEGAN + 90, done=17, total=30, unit="shards")
TOLD = (
    Reported("weights_bytes", 35.2 * GIB),
    Reported("kv_tokens", 188640),
    Reported("kv_bytes", 20.1 * GIB),
    Reported("concurrency", 5.23),
    Reported("concurrency_tokens", 8192),
    Reported("compile_s", 47.2),
)
LOADING = Startup(BEGAN, (BOOT, ENGINE, FETCHED, WEIGHTS), NOW - 2, usual=USUAL)
SCENES = {
    "weights": LOADING,
    "download": Startup(BEGAN, (BOOT, ENGINE, FETCHING), NOW - 1),
    "stalled": replace(LOADING, moved_at=NOW - 400, phases=(BOOT, ENGINE, replace(WEIGHTS, began_at=NOW - 500))),
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    return FakeApi(snapshot(*OTHERS))


def starting(startup: Startup, state: State = State.STARTING) -> FakeApi:
    models = tuple(replace(one, state=state, startup=startup) if one.name == "llama3-70b" else one for one in OTHERS)
    return FakeApi(replace(snapshot(*models), operations=(SWAP,) if state is State.STARTING else ()))


async def at_launch(pilot: Pilot[None]) -> None:
    (await opened(pilot)).select("llama3-70b")
    await pilot.press("5")
    await settled(pilot)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES)
def test_pictures(snap_compare: object, api: FakeApi, scene: str, size: tuple[int, int]) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await at_launch(pilot)

    console = Console(lambda: starting(SCENES[scene]))
    assert snap_compare(console, run_before=prepare, terminal_size=size)  # type: ignore[operator]


def test_a_phase_that_does_not_move_is_told_with_its_usual_time() -> None:
    assert stall(LOADING, NOW) == ""
    assert stall(replace(LOADING, moved_at=NOW - 41), NOW) == ""
    still = replace(LOADING, phases=(replace(WEIGHTS, began_at=NOW - 700),), moved_at=NOW - 300)
    assert stall(still, NOW) == "nothing has moved for 5m00s; weights usually takes 55s"
    assert "not known yet" in stall(replace(still, usual=()), NOW)
    slow = replace(still, usual=(("weights", 900.0),))
    assert stall(slow, NOW) == "", "it usually takes longer than that"
    ended = replace(still, phases=(replace(WEIGHTS, ended_at=NOW),))
    assert stall(ended, NOW) == ""


def test_in_short() -> None:
    assert in_short(LOADING) == "weights 57 %"
    assert in_short(SCENES["download"]) == "download 40 %"
    assert in_short(replace(LOADING, phases=())) == ""
    busy = replace(LOADING, phases=(replace(BOOT, ended_at=None, detail="LlamaForCausalLM"),))
    assert in_short(busy) == "boot", "what it is busy with says nothing without the log beside it"


def test_what_a_state_says_beside_itself() -> None:
    refused = replace(OTHERS[0], state=State.STARTING, detail="nothing listens on its port")
    assert state_detail(refused) == "nothing listens on its port"
    assert state_detail(replace(refused, detail="", startup=LOADING)) == "weights 57 %"
    silent = replace(refused, detail="it did not answer within 2 s", startup=LOADING)
    assert state_detail(silent) == "weights 57 %; it did not answer within 2 s"
    assert state_detail(replace(refused, startup=LOADING, state=State.FAILED)) == "nothing listens on its port"


def test_what_each_phase_took() -> None:
    assert phases_took(LOADING) == "", "it goes on"
    profile = PhaseProgress(Phase.PROFILE, NOW - 30, NOW - 29.99)
    weights = replace(WEIGHTS, ended_at=NOW - 30)
    done = replace(LOADING, phases=(BOOT, ENGINE, weights, profile, PhaseProgress(Phase.READY, NOW - 29, NOW - 29)))
    assert phases_took(done) == "boot 12s, engine start 8s, weights 11s"
    assert phases_took(Startup(BEGAN, reported=TOLD)) == ""


async def test_what_the_engine_told_stays_when_it_is_ready() -> None:
    ready = Startup(BEGAN, (replace(WEIGHTS, ended_at=NOW - 10),), reported=TOLD)
    app = Console(lambda: starting(ready, State.READY))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_launch(pilot)
        text = screen_text(pilot)
    assert "weights 35.2 GiB, KV cache 20.1 GiB" in text
    assert "188,640 tokens, 5.23 requests of 8,192 tokens at once" in text
    assert "compile 47s" in text
    assert "phases     weights 31s" in text


@pytest.mark.parametrize("lines", [[], ["I0115 08:00:00 1 server.cc:1] started"]])
async def test_a_log_without_a_line_says_so(lines: list[str]) -> None:
    api = starting(LOADING)
    api.log = [*lines]
    app = Console(lambda: api)
    async with app.run_test(size=(120, 40)) as pilot:
        await at_launch(pilot)
        assert ("log of llama3-70b: nothing written yet" in screen_text(pilot)) is not bool(lines)
