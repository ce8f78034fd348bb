"""A plan on standard output: facts, GPUs, memory, generated files, and the line that does the same by hand."""

from engine.by_hand import command_line
from engine.fit.result import Fit
from engine.plan import PlacedGpu, Plan
from tui import cli_output as out
from tui.plan_facts import fit_numbers, gib_range, plan_facts
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
        rows = [(row.title, gib_range(row.low, row.high), row.note) for row in fit.rows]
        out.print_table(("MEMORY OF EACH GPU", "GiB", ""), rows)
    if numbers := fit_numbers(fit):
        print(numbers)
    print(fit.summary)
    for sentence in fit.advice:
        print(f"→ {sentence}")
