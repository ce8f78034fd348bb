"""A plan as titled facts, for the screen and for standard output alike."""

from engine.plan import Launch, Plan
from tui import format as write


def plan_facts(plan: Plan) -> list[tuple[str, str]]:
    """Those that are empty say nothing and are left out."""
    launch = plan.launch
    service = launch.service
    prompt = f", and it answers “{service.ready_prompt}”" if service.ready_prompt else ""
    facts = [
        ("profile", plan.source),
        ("summary", plan.summary),
        ("stack", f"{launch.stack} on {launch.runtime}"),
        ("image", launch.image or ""),
        ("GPUs", _gpus(launch)),
        ("ports", "  ".join(f"{port.purpose} {port.host_ip}:{port.host_port}" for port in launch.ports)),
        ("model", service.model or ""),
        *(("mount", f"{m.source} → {m.target} ({'read-only' if m.read_only else 'writable'})") for m in launch.mounts),
        *(("env", f"{key}={value}") for key, value in sorted(launch.env.items())),
        *(("secret", f"{key} from {reference}") for key, reference in sorted(launch.secrets.items())),
        ("ready when", f"{service.health} answers 200{prompt}"),
        ("at most", write.duration(service.ready_timeout_s)),
    ]
    return [(title, value) for title, value in facts if value]


def _gpus(launch: Launch) -> str:
    if isinstance(launch.gpus, tuple):
        return ", ".join(launch.gpus)
    return "all" if launch.gpus < 0 else str(launch.gpus) if launch.gpus else "none"
