"""Plans on standard output: what starting, swapping or adopting would do."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from engine.by_hand import command_line
from engine.errors import Exit
from engine.fit.result import Fit
from engine.plan import Adoption, Outgoing, PlacedGpu, Plan, SwapPlan
from engine.request import Way
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.plan_facts import fit_numbers, gib_range, plan_facts, told_before
from tui.widgets.glyphs import gib


def plan(engine: Engine, args: Namespace) -> int:
    if args.swap or args.outgoing or args.full:
        return swap_plan(engine, args)
    found = engine.plan(args.name, args.runtime)
    if args.json:
        out.print_json({**out.plain(found), "command_line": command_line(found.launch)})
    else:
        _print_plan(found)
    return Exit.REFUSED if found.obstacles else Exit.DONE


def swap_plan(engine: Engine, args: Namespace) -> int:
    found = engine.plan_swap(args.name, tuple(args.outgoing), full=args.full, runtime=args.runtime)
    if args.json:
        incoming: dict[str, Any] = {**out.plain(found.incoming), "command_line": command_line(found.incoming.launch)}
        out.print_json({**out.plain(found), "incoming": incoming, "obstacles": out.plain(found.obstacles)})
    else:
        _print_swap_plan(found)
    return Exit.REFUSED if found.obstacles else Exit.DONE


def _print_plan(plan: Plan) -> None:
    """What stands in the way of it, and what is doubtful, goes to standard error, before all else."""
    _talk("A start would be refused; --force starts it all the same.", plan, plan.warnings)
    out.print_facts(plan_facts(plan))
    if plan.placement:
        print()
        out.print_table(("GPU", "NAME", "UUID", "IN USE, GiB", "USED BY"), [_gpu_row(gpu) for gpu in plan.placement])
    if plan.fit:
        print()
        _print_fit(plan.fit)
    _print_told(plan)
    for file in plan.launch.files:
        print(f"\n── {plan.launch.files_root.rstrip('/')}/{file.path}{' (executable)' if file.executable else ''}")
        print(file.text, end="" if file.text.endswith("\n") else "\n")
    if plan.launch.files:
        print("──")
    print(f"\nby hand:\n{command_line(plan.launch)}")


def _print_swap_plan(plan: SwapPlan) -> None:
    _talk(
        "The swap would be refused; --force does it all the same.",
        plan.incoming,
        (*plan.warnings, *plan.incoming.warnings),
    )
    incoming = plan.incoming
    name = incoming.launch.name
    out.print_facts(
        [
            ("swap", f"{', '.join(one.name for one in plan.outgoing)} → {name}"),
            *(("goes", _outgoing_line(one)) for one in plan.outgoing),
            ("comes", f"{name} on {incoming.launch.runtime}"),
            ("way", _WAYS[plan.way]),
            ("because", plan.reason),
            *(("faster", sentence) for sentence in plan.other_ways),
        ]
    )
    print()
    out.print_table(("STEP", "OF", ""), _swap_steps(plan))
    print()
    out.print_facts(plan_facts(incoming))
    if incoming.placement:
        print()
        header = ("GPU", "NAME", "UUID", "IN USE, GiB", "FREED, GiB", "NEEDED, GiB", "USED BY")
        out.print_table(header, [_swap_gpu_row(plan, gpu) for gpu in incoming.placement])
    if incoming.fit:
        print()
        _print_fit(incoming.fit)
    print(f"\n`tritontui plan {name}` shows its files, and the line that starts it by hand.")


def print_adoption(adoption: Adoption) -> None:
    out.print_facts([("container", adoption.container), ("id", adoption.id), ("becomes", adoption.name)])
    print(f"\n── {adoption.profile_path}")
    print(adoption.profile_text.rstrip("\n"))
    print("──", flush=True)
    for note in adoption.notes:
        out.talk(f"note: {note}")


_WAYS = {
    Way.FULL: "full: what goes is stopped, then what comes is started",
    Way.LOAD: "load: one running server loads what comes and unloads what goes",
    Way.SLEEP: "sleep: what goes is put to sleep; what comes is woken if it sleeps, and started otherwise",
}


def _outgoing_line(one: Outgoing) -> str:
    state = "running" if one.running else "not running"
    drained = f"; {one.drained_by or 'nothing'} tells its requests under way" if one.running else ""
    return f"{one.name} on {one.runtime}, {state}{f' ({one.why})' if one.why else ''}{drained}"


def _swap_steps(plan: SwapPlan) -> list[tuple[str, str, str]]:
    """Numbered as they are when they are carried out, where the check comes before what it decides on."""
    from engine.operations.swap_ways import steps  # it loads what only operations need

    found = [(plan.incoming.launch.name, "check"), *((step.subject, step.title) for step in steps(plan))]
    return [(str(number), subject, title) for number, (subject, title) in enumerate(found, start=1)]


def _swap_gpu_row(plan: SwapPlan, gpu: PlacedGpu) -> tuple[str, ...]:
    index, name, uuid, used, used_by = _gpu_row(gpu)
    freed = [one.frees_bytes[gpu.uuid] for one in plan.outgoing if gpu.uuid in one.frees_bytes]
    return (
        index,
        name,
        uuid,
        used,
        gib(sum(freed) if freed else None),
        gib(plan.incoming.needs_bytes.get(gpu.uuid)),
        used_by,
    )


def _talk(refused: str, plan: Plan, warnings: Sequence[str]) -> None:
    if plan.obstacles:
        out.talk(refused)
    for obstacle in plan.obstacles:
        # The verdict says it, in its place.
        out.talk("refused: it does not fit." if plan.fit and obstacle == plan.fit.summary else f"refused: {obstacle}")
    for warning in warnings:
        out.talk(f"warning: {warning}")


def _print_told(plan: Plan) -> None:
    if lines := told_before(plan):
        print("At its last start the engine told:")
        for title, value in lines:
            print(f"  {title:<10}{value}")


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
