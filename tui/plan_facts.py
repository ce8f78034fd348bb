"""A plan as titled facts, for the screen and for standard output alike."""

from engine.fit.result import Fit
from engine.fit.values import grouped
from engine.plan import Launch, Plan
from tui import format as write
from tui.startup_words import told
from tui.widgets.glyphs import gib, with_unit


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Those that are empty say nothing and are left out. GPUs that are known, the fit and the files stand apart."""
    launch = plan.launch
    service = launch.service
    prompt = f", and the prompt “{service.ready_prompt}” is answered" if service.ready_prompt else ""
    facts = [
        ("profile", plan.source),
        ("summary", plan.summary),
        ("stack", f"{launch.stack} on {launch.runtime}"),
        ("image", launch.image or ""),
        ("versions", ", ".join(f"{what} {version}" for what, version in plan.versions.items())),
        # Told with their names and memory beside these, when they are known.
        ("GPUs", "" if plan.placement else _gpus(launch)),
        ("ports", "  ".join(f"{port.purpose} {port.host_ip}:{port.host_port}" for port in launch.ports)),
        ("model", service.model or ""),
        *(("mount", f"{m.source} → {m.target} ({'read-only' if m.read_only else 'writable'})") for m in launch.mounts),
        ("memory", _shared_memory(launch)),
        ("limits", "  ".join(f"{key} {'unlimited' if n < 0 else n}" for key, n in sorted(launch.ulimits.items()))),
        *(("env", f"{key}={value}") for key, value in sorted(launch.env.items())),
        *(("secret", f"{key} from {reference}") for key, reference in sorted(launch.secrets.items())),
        ("ready when", f"{service.health} answers 200{prompt}"),
        ("at most", write.duration(service.ready_timeout_s)),
    ]
    return [(title, _on_one_line(value)) for title, value in facts if value]


def _on_one_line(value: str) -> str:
    """A value from a profile must not look like another fact."""
    return value.replace("\n", "\\n")


def fit_numbers(fit: Fit) -> str:
    """What is known of the GPU and of the model, beside the table of its memory."""
    parts = []
    if fit.gpu_total is not None:
        share = f", of which the engine may take {gib(fit.budget)}" if fit.budget is not None else ""
        parts.append(f"A GPU has {gib(fit.gpu_total)} GiB{share}.")
    if fit.kv_tokens is not None:
        parts.append(f"There is room for {grouped(fit.kv_tokens)} tokens of KV cache.")
    if fit.source:
        parts.append(f"The model's numbers come from {fit.source}.")
    return " ".join(parts)


def told_before(plan: Plan) -> list[tuple[str, str]]:
    """What the engine told of itself when this was last started here, with what is planned beside it."""
    if not plan.reported:
        return []
    from engine.observe.startup import against_plan

    planned = {one.key: one.low for one in against_plan(plan.reported, plan.fit) if one.low is not None}
    return told(plan.reported, planned)


def gib_range(low: int, high: int) -> str:
    """`1.2–3.0`; beside a negative number a dash would be taken for a sign."""
    shown = [gib(low), gib(high)]
    if shown[0] == shown[1]:
        return shown[0]
    return (" to " if low < 0 or high < 0 else "–").join(shown)


def _shared_memory(launch: Launch) -> str:
    if launch.host_ipc:
        return "the machine's own shared memory (ipc host)"
    return f"{with_unit(launch.shm_bytes, 'bytes')} of /dev/shm" if launch.shm_bytes else ""


def _gpus(launch: Launch) -> str:
    if isinstance(launch.gpus, tuple):
        return ", ".join(launch.gpus)
    return "all" if launch.gpus < 0 else str(launch.gpus) if launch.gpus else "none"
