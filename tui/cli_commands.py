"""What each subcommand does: asks the engine, prints facts, returns the exit code."""

from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Protocol

from engine.api import LogLine
from engine.by_hand import command_line
from engine.deployment import State
from engine.errors import Exit, NotFound
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Token, Transport
from engine.plan import Plan
from engine.request import Action
from engine.snapshot import Freshness, GpuReading, MetricsReading, Model, OperationStatus, Outcome, Snapshot
from tui import cli_output as out
from tui.cli_plan import print_plan
from tui.format import duration
from tui.widgets.glyphs import gib, with_unit
from tui.widgets.state import LOOKS


class Engine(Protocol):
    """What the commands ask of `engine.facade.Engine`. Every call blocks and raises `EngineError`."""

    def survey(self) -> Snapshot: ...
    def plan(self, name: str, runtime: str | None = None) -> Plan: ...
    def perform(
        self,
        action: Action,
        name: str,
        *,
        runtime: str | None = None,
        wait: bool = True,
        timeout_s: float | None = None,
        force: bool = False,
        progress: Callable[[OperationStatus], None] | None = None,
    ) -> OperationStatus: ...
    def read_log(
        self, name: str, *, tail: int | None, follow: bool, since: float | None = None
    ) -> Generator[LogLine, None, None]: ...
    def scrape(self, name: str) -> MetricsReading: ...
    def gpus(self) -> GpuReading: ...
    def ask_blocking(
        self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]
    ) -> PromptResult: ...
    def close(self) -> None: ...


def ls(engine: Engine, args: Namespace) -> int:
    snapshot = engine.survey()
    if args.json:
        out.print_json({"models": _models(snapshot.models), "problems": out.plain(snapshot.problems)})
        return Exit.DONE
    if snapshot.models:
        rows = [_row(model, snapshot.at) for model in snapshot.models]
        out.print_table((" ", "MODEL", "STATE", "STACK", "RUNTIME", "SINCE", "ENDPOINT", ""), rows)
    else:
        out.talk("There are no profiles and no deployments. Profiles go into ./profiles, or where --profiles says.")
    _complain(snapshot)
    return Exit.DONE


def status(engine: Engine, args: Namespace) -> int:
    snapshot = engine.survey()
    models = snapshot.models
    if args.name is not None:
        model = snapshot.model(args.name)
        if model is None:
            raise NotFound(f"There is no model {args.name}.", "`tritontui ls` shows those that exist.")
        models = (model,)
    if args.json:
        parts = {
            key: out.plain(getattr(snapshot, key)) for key in ("at", "hostname", "runtimes", "operations", "problems")
        }
        out.print_json({**parts, "models": _models(models)})
        return Exit.DONE
    if args.name is not None:
        _print_model(models[0], snapshot)
        return Exit.DONE
    out.print_facts([("host", snapshot.hostname), *((runtime.name, runtime.detail) for runtime in snapshot.runtimes)])
    deployed = [_row(model, snapshot.at) for model in models if model.state is not State.ABSENT]
    if deployed:
        out.print_table((" ", "MODEL", "STATE", "STACK", "RUNTIME", "SINCE", "ENDPOINT", ""), deployed)
    else:
        out.talk("Nothing has been started.")
    for operation in snapshot.operations:
        print(_operation(operation, snapshot.at))
    _complain(snapshot)
    return Exit.DONE


def plan(engine: Engine, args: Namespace) -> int:
    found = engine.plan(args.name, args.runtime)
    if args.json:
        out.print_json({**out.plain(found), "command_line": command_line(found.launch)})
    else:
        print_plan(found)
    return Exit.REFUSED if found.obstacles else Exit.DONE


def change(engine: Engine, args: Namespace) -> int:
    """up, down, restart and rm: one operation, with its steps told as they happen."""
    try:
        done = engine.perform(
            args.action,
            args.name,
            runtime=getattr(args, "runtime", None),
            wait=getattr(args, "wait", True),
            timeout_s=getattr(args, "timeout", None),
            force=getattr(args, "force", False),
            progress=out.progress(args.name),
        )
    except KeyboardInterrupt:
        out.talk(f"Interrupted; what was begun with {args.name} goes on. `tritontui status {args.name}` shows it.")
        raise
    if args.json:
        out.print_json(out.plain(done))
    else:
        out.talk(done.message)
    return Exit.DONE if done.outcome is Outcome.DONE else Exit.FAILED


def logs(engine: Engine, args: Namespace) -> int:
    with closing(engine.read_log(args.name, tail=args.tail, follow=args.follow, since=args.since)) as lines:
        for line in lines:
            if args.grep and not args.grep.search(line.text):
                continue
            if args.json:
                out.print_json(out.plain(line), indent=None)
            else:
                print(line.text, flush=args.follow)
    return Exit.DONE


def metrics(engine: Engine, args: Namespace) -> int:
    reading = engine.scrape(args.name)
    if args.json:
        out.print_json({"name": args.name, **out.plain(reading)})
    else:
        rows = [
            (series.title, with_unit(out.plain(series.value), series.unit), series.source) for series in reading.series
        ]
        if rows:
            out.print_table(("METRIC", "VALUE", "SOURCE"), rows)
        if reading.message:
            out.talk(reading.message)
    return Exit.FAILED if reading.freshness is Freshness.FAILED else Exit.DONE


def gpus(engine: Engine, args: Namespace) -> int:
    reading = engine.gpus()
    if args.json:
        out.print_json(out.plain(reading))
        return Exit.DONE
    if reading.gpus:
        rows = [
            (
                str(gpu.index),
                gpu.name,
                with_unit(gpu.utilization, "%"),
                f"{gib(gpu.memory_used)} / {gib(gpu.memory_total)} GiB",
                with_unit(gpu.temperature, "°C"),
                f"{with_unit(gpu.power, '')} / {with_unit(gpu.power_limit, 'W')}",
                gpu.error,
            )
            for gpu in reading.gpus
        ]
        out.print_table(("GPU", "NAME", "LOAD", "MEMORY", "TEMP", "POWER", ""), rows)
    if reading.host:
        host = reading.host
        memory = f"{gib(host.memory_used)} / {gib(host.memory_total)} GiB"
        print(f"host  CPU {host.cpu:.0f} % of {host.cores} cores, memory {memory}, load {host.load_1m:.2f}")
    if reading.message:
        out.talk(reading.message)
    return Exit.DONE


def ask(engine: Engine, args: Namespace) -> int:
    request = PromptRequest(
        prompt=args.prompt,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        transport=Transport(args.transport) if args.transport else None,
    )

    def show(event: PromptEvent) -> None:
        if isinstance(event, Token) and not args.json:
            with suppress(BrokenPipeError):  # another thread's; the last flush, in `main`, meets it again
                print(event.text, end="", flush=True)

    result = engine.ask_blocking(args.name, request, show)
    if args.json:
        timing = {**out.plain(result.timing), "tokens_per_s": out.plain(result.timing.tokens_per_s)}
        out.print_json({**out.plain(result), "timing": timing})
    else:
        if result.text and not result.text.endswith("\n"):
            print(flush=True)
        told = out.timing_line(result.timing, result.finish_reason)
        out.talk(f"{result.model}: {told}" if result.model else told)
        if result.error:
            out.talk(f"tritontui: {result.error}")
    if result.outcome is PromptOutcome.CANCELLED:
        raise KeyboardInterrupt  # nothing else cancels it
    return Exit.DONE if result.outcome is PromptOutcome.DONE else Exit.FAILED


def _models(models: tuple[Model, ...]) -> list[object]:
    return [{**out.plain(model), "endpoint": model.endpoint} for model in models]


def _row(model: Model, now: float) -> tuple[str, ...]:
    look = LOOKS[model.state]
    since = duration(now - model.since) if model.since else ""
    word = f"{look.word} (stale)" if model.stale_since else look.word
    told = model.detail or model.summary
    return look.symbol, model.name, word, model.stack, model.runtime, since, model.endpoint, told


def _print_model(model: Model, snapshot: Snapshot) -> None:
    look = LOOKS[model.state]
    deployment = model.deployment
    facts = [
        ("model", model.name),
        ("summary", model.summary),
        ("state", f"{look.symbol} {look.word}".strip()),
        ("detail", model.detail),
        ("since", f"{duration(snapshot.at - model.since)} ago" if model.since else ""),
        ("stale", f"not heard from since {duration(snapshot.at - model.stale_since)}" if model.stale_since else ""),
        ("stack", model.stack),
        ("runtime", model.runtime),
    ]
    if deployment:
        service = deployment.service
        facts += [
            ("what", deployment.what),
            ("id", deployment.id),
            ("pid", str(deployment.pid or "")),
            ("exit code", "" if deployment.exit_code is None else str(deployment.exit_code)),
            ("http", service.http),
            ("grpc", service.grpc or ""),
            ("metrics", service.metrics or ""),
        ]
    out.print_facts(facts)
    for operation in snapshot.operations:
        if operation.target == model.name:
            print(_operation(operation, snapshot.at))


def _operation(operation: OperationStatus, now: float) -> str:
    if operation.outcome is Outcome.RUNNING:
        step = operation.current
        what = f"{step.title} {step.detail}".rstrip() if step else "under way"
        since = duration(now - operation.began_at)
        return f"{operation.kind} {operation.target}: {what}, for {since}, by {operation.owner}"
    ended = f"{duration(now - operation.ended_at)} ago" if operation.ended_at else ""
    return f"{operation.kind} {operation.target}: {operation.outcome.value} {ended} {operation.message}".rstrip()


def _complain(snapshot: Snapshot) -> None:
    for problem in snapshot.problems:
        out.talk(f"invalid profile: {problem}")
    lost = any(model.stale_since or model.state is State.UNREACHABLE for model in snapshot.models)
    for runtime in snapshot.runtimes:
        if lost and not runtime.reachable:
            out.talk(f"{runtime.name}: {runtime.detail}")
