"""A plan on standard output: facts, GPUs, memory, generated files, and the line that does the same by hand."""

from engine.by_hand import command_line
from engine.fit.result import Fit
from engine.plan import PlacedGpu, Plan
from tui import cli_output as out
from tui.plan_facts import plan_facts
from tui.widgets.glyphs import gib


def print_plan(plan: Plan) -> None:
    """What stands in the way of it, and what is doubtful, goes to standard error, before all else."""
    _talk(plan)
    out.print_facts(plan_facts(plan))
    if plan.placement:
        print()
        out.print_table(("GPU", "NAME", "UUID", "IN USE, GiB", "USED BY"), [_gpu_row(gpu) for gpu in plan.placement])
    if plan.fit:
        print()
        _print_fit(plan.fit)
    for file in plan.launch.files:
        print(f"\n── {plan.launch.files_root.rstrip('/')}/{file.path}{' (executable)' if file.executable else ''}")
        print(file.text, end="" if file.text.endswith("\n") else "\n")
    if plan.launch.files:
        print("──")
    print(f"\nby hand:\n{command_line(plan.launch)}")


def _talk(plan: Plan) -> None:
    if plan.obstacles:
        out.talk("A start would be refused; --force starts it all the same.")
    for obstacle in plan.obstacles:
        # The verdict says it, in its place.
        out.talk("refused: it does not fit." if plan.fit and obstacle == plan.fit.summary else f"refused: {obstacle}")
    for warning in plan.warnings:
        out.talk(f"warning: {warning}")


def _gpu_row(gpu: PlacedGpu) -> tuple[str, ...]:
    index = str(gpu.index) if gpu.index >= 0 else "–"  # a MIG instance has none
    used = f"{gib(gpu.memory_used)} of {gib(gpu.memory_total)}" if gpu.memory_total else ""
    return index, gpu.name, gpu.uuid, used, ", ".join(gpu.used_by)


def _print_fit(fit: Fit) -> None:
    if fit.rows:
        rows = [(row.title, _range(row.low, row.high), row.note) for row in fit.rows]
        out.print_table(("MEMORY OF EACH GPU", "GiB", ""), rows)
    parts = []
    if fit.gpu_total is not None:
        share = f", of which the engine may take {gib(fit.budget)}" if fit.budget is not None else ""
        parts.append(f"A GPU has {gib(fit.gpu_total)} GiB{share}.")
    if fit.kv_tokens is not None:
        parts.append(f"There is room for {fit.kv_tokens:,} tokens of KV cache.")
    if fit.source:
        parts.append(f"The model's numbers come from {fit.source}.")
    if parts:
        print(" ".join(parts))
    print(fit.summary)
    for sentence in fit.advice:
        print(f"→ {sentence}")


def _range(low: int, high: int) -> str:
    """`1.2–3.0`; beside a negative number a dash would be taken for a sign."""
    shown = [gib(low), gib(high)]
    if shown[0] == shown[1]:
        return shown[0]
    return (" to " if low < 0 or high < 0 else "–").join(shown)
