"""Operations, and models in every state that they can come to be in, for tests of screens."""

from dataclasses import replace

from engine.deployment import State
from engine.snapshot import AuditEntry, Estimate, LeaseStatus, Model, OperationStatus, Outcome, Step, StepKind
from tests.tui.fake_api import NOW, model

OWNER = "ann@gpu-box-3 from 10.1.2.3"
ESTIMATE = Estimate(662.0, 541.0, 843.0, 6)


def steps(*ended: Outcome, details: tuple[str, ...] = ()) -> tuple[Step, ...]:
    """Of a swap from mixtral to llama3-70b; those that have begun with their outcomes."""
    mixtral, llama = "mixtral", "llama3-70b"
    every = (
        Step(StepKind.CHECK, "check", subject=llama),
        Step(StepKind.CREATE, "create", subject=llama),
        Step(StepKind.DRAIN, "drain", subject=mixtral),
        Step(StepKind.STOP, "stop", subject=mixtral),
        Step(StepKind.MEMORY, "wait for GPU memory", subject=llama),
        Step(StepKind.START, "start", subject=llama),
        Step(StepKind.GPUS, "check GPUs", subject=llama),
        Step(StepKind.WAIT, "wait until ready", subject=llama),
        Step(StepKind.PROMPT, "answer a prompt", subject=llama),
        Step(StepKind.LET_GO, "let go", subject=mixtral),
    )
    shown = []
    for index, step in enumerate(every):
        if index >= len(ended):
            shown.append(step)
            continue
        began = NOW - 192 + 10 * index
        over = None if ended[index] is Outcome.RUNNING else began + 10
        detail = details[index] if index < len(details) else ""
        shown.append(replace(step, outcome=ended[index], began_at=began, ended_at=over, detail=detail))
    return tuple(shown)


DETAILS = (
    "They are two containers, and neither serves the other's model.",
    "http 127.0.0.1:8000",
    "no request is under way (after 4 s)",
    "exit code 0",
    "1.2 of 80.0 GiB in use on GPU 0, steady for 3 s",
    "",
    "GPU 0, 1 as planned",
    "loading weights 61 %",
)
SWAP = OperationStatus(
    "5f2c81d0a7",
    "swap",
    "llama3-70b",
    steps(*[Outcome.DONE] * 7, Outcome.RUNNING, details=DETAILS),
    NOW - 192,
    Outcome.RUNNING,
    OWNER,
    outgoing=("mixtral",),
    pid=4711,
    estimate=ESTIMATE,
)
BACK = (
    Step(StepKind.STOP, "stop", Outcome.DONE, "exit code 1", NOW - 60, NOW - 50, "llama3-70b", undo=True),
    Step(StepKind.KEEP_LOG, "keep its log", Outcome.DONE, "", NOW - 50, NOW - 49, "llama3-70b", undo=True),
    Step(StepKind.REMOVE, "remove", Outcome.DONE, "", NOW - 49, NOW - 48, "llama3-70b", undo=True),
    Step(StepKind.START, "start again", Outcome.DONE, "", NOW - 48, NOW - 46, "mixtral", undo=True),
    Step(
        StepKind.WAIT, "wait until ready", Outcome.RUNNING, "loading weights 12 %", NOW - 46, None, "mixtral", undo=True
    ),
    Step(StepKind.PROMPT, "answer a prompt", subject="mixtral", undo=True),
)
LOG = "/home/ann/.local/state/tritontui/logs/llama3-70b-20270115-080000.log"
CAUSE = "llama3-70b ended by itself with exit code 1 while its weights were loaded: CUDA out of memory."
ROLLING_BACK = replace(
    SWAP,
    steps=(*steps(*[Outcome.DONE] * 7, Outcome.FAILED, details=DETAILS)[:8], *BACK),
    message=CAUSE,
    log_path=LOG,
)
ROLLED_BACK = replace(
    ROLLING_BACK,
    steps=(
        *ROLLING_BACK.steps[:-2],
        *(replace(s, outcome=Outcome.DONE, began_at=NOW - 9, ended_at=NOW) for s in BACK[-2:]),
    ),
    outcome=Outcome.ROLLED_BACK,
    ended_at=NOW - 1,
    exit_code=1,
    message=f"{CAUSE} llama3-70b is removed; its log is kept in {LOG}. mixtral serves again, and answers.",
)
INTERRUPTED = replace(
    SWAP,
    steps=steps(*[Outcome.DONE] * 4, Outcome.INTERRUPTED, details=DETAILS),
    outcome=Outcome.INTERRUPTED,
    message="Its process is gone, and left no outcome.",
    estimate=None,
)
SETTLING = replace(
    SWAP,
    id="91aa",
    kind="roll back",
    steps=(
        Step(StepKind.CHECK, "look what is left of it", Outcome.DONE, "", NOW - 20, NOW - 19, INTERRUPTED.id),
        *BACK[3:],
    ),
    began_at=NOW - 20,
    estimate=None,
    message="swap mixtral → llama3-70b was interrupted.",
)
LEASE = LeaseStatus("swap qwen3-30b → smollm2", "bob@gpu-box-3 from 10.1.2.9", NOW - 192, alive=True, operation="77aa")
DRIFT = (
    "image: nvcr.io/nvidia/tritonserver:25.12 is sha256:aaaa1111 now, and sha256:bbbb2222 runs",
    "--max-model-len: 8192 runs, the profile says 16384",
)
FOREIGN = replace(model("docker/vllm-by-hand", State.READY, since=NOW - 7300), has_profile=False, foreign=True)
OTHERS: tuple[Model, ...] = (
    replace(model("aya-8b", State.ABSENT), estimate=ESTIMATE),
    FOREIGN,
    replace(model("llama3-70b", State.READY, since=NOW - 131), drift=DRIFT),
    replace(model("mixtral", State.STOPPED), estimate=ESTIMATE),
    model("phi-4", State.ASLEEP, since=NOW - 700),
    model("qwen3-30b", State.FAILED, detail="exit code 1"),
    model("smollm2", State.ABSENT),
)
DURING: tuple[Model, ...] = (
    replace(model("llama3-70b", State.STARTING, since=NOW - 140, detail="loading weights 61 %")),
    model("mixtral", State.STOPPED),
    model("qwen3-30b", State.ABSENT),
    model("smollm2", State.ABSENT),
)


def entry(
    event: str, what: str, ago: float, seconds: float | None = None, message: str = "", user: str = "ann"
) -> AuditEntry:
    return AuditEntry(
        NOW - ago, user, "gpu-box-3", "10.1.2.3", "console", f"{what}{ago}", event, what, "", seconds, message
    )


ENTRIES = [
    replace(entry("began", "swap mixtral → llama3-70b", 192), operation="now"),
    replace(entry("rolled back", "swap llama3-70b → qwen3-30b", 4000, 702.4, CAUSE), operation="old"),
    replace(entry("began", "swap llama3-70b → qwen3-30b", 4702), operation="old"),
    entry("refused", "start smollm2", 5000, 0.2, "Port 8000 of smollm2 is in use on 127.0.0.1.", user="bob"),
    entry("done", "start mixtral", 90000, 611.0, "mixtral is ready at http://127.0.0.1:8000."),
]
