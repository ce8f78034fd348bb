"""A plan, written for a person."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.plan import Launch, Plan
from tui import format as write


def plan_text(plan: Plan) -> RenderableType:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for title, value in _facts(plan):
        if value:
            facts.add_row(title, Text(value))
    warnings = [Text(f"▲ {warning}", style="bold") for warning in plan.warnings]
    by_hand = Text(plan.command_line(), overflow="fold")
    return Group(*warnings, facts, Text("\nThe same by hand", style="dim"), by_hand)


def _facts(plan: Plan) -> list[tuple[str, str]]:
    launch = plan.launch
    service = launch.service
    prompt = f", and it answers “{service.ready_prompt}”" if service.ready_prompt else ""
    return [
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


def _gpus(launch: Launch) -> str:
    if isinstance(launch.gpus, tuple):
        return ", ".join(launch.gpus)
    return "all" if launch.gpus < 0 else str(launch.gpus) if launch.gpus else "none"
