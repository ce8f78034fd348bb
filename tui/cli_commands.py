"""The subcommands that print facts: each asks the engine, and returns the exit code."""

from argparse import Namespace
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import groupby
from re import Pattern

from engine.deployment import State
from engine.errors import EngineError, Exit, NotFound, OperationFailed
from engine.snapshot import AuditEntry, LeaseStatus, Model, OperationStatus, Outcome, Snapshot
from tui import cli_output as out
from tui.cli_engine import Engine
from tui.cli_progress import short_id
from tui.format import duration
from tui.operation_words import REFUSED, ending, usual, what
from tui.startup_words import state_detail
from tui.widgets.log_pattern import Bounded, TooSlow
from tui.widgets.model_rows import models_in_order
from tui.widgets.state import LOOKS

_HEADER = (" ", "MODEL", "STATE", "STACK", "RUNTIME", "SINCE", "ENDPOINT", "")
_STATUS_KEYS = ("at", "hostname", "runtimes", "operations", "lease", "read_only", "problems")


def ls(engine: Engine, args: Namespace) -> int:
    snapshot = _surveyed(engine)
    models = models_in_order(snapshot)
    if args.json:
        out.print_json({"models": _models(models), "problems": out.plain(snapshot.problems)})
        return Exit.DONE
    if models:
        out.print_table(_HEADER, [_row(model, snapshot.at) for model in models])
    else:
        out.talk("There are no profiles and no deployments. Profiles go into ./profiles, or where --profiles says.")
    _complain(snapshot)
    return Exit.DONE


def status(engine: Engine, args: Namespace) -> int:
    snapshot = _surveyed(engine)
    models = snapshot.models
    if args.name is not None:
        model = snapshot.model(args.name)
        if model is None:
            hint = out.near(args.name, (one.name for one in models)) or "`tritontui ls` shows those that exist."
            raise NotFound(f"There is no model {args.name}.", hint)
        models = (model,)
    if args.json:
        out.print_json({**{key: out.plain(getattr(snapshot, key)) for key in _STATUS_KEYS}, "models": _models(models)})
    elif args.name is not None:
        _print_model(models[0], snapshot)
    else:
        _print_machine(snapshot)
        _complain(snapshot)
    return Exit.DONE


def history(engine: Engine, args: Namespace) -> int:
    if args.json:
        out.print_json({"entries": out.plain(engine.history(args.limit, name=args.name, since=args.since))})
        return Exit.DONE
    # Those that began and have ended are shown as one.
    entries = engine.history(2 * args.limit, name=args.name, since=args.since)
    ended = {entry.operation for entry in entries if entry.event != "began"}
    rows = [_history_row(entry) for entry in entries if entry.event != "began" or entry.operation not in ended]
    if rows:
        out.print_table(("TIME", "WHO", "WHAT", "OUTCOME", "TOOK", ""), rows[: args.limit])
    else:
        chosen = args.name is not None or args.since is not None
        out.talk("Nothing that fits is in the history." if chosen else "The history is empty.")
    return Exit.DONE


def logs(engine: Engine, args: Namespace) -> int:
    with closing(engine.read_log(args.name, tail=args.tail, follow=args.follow, since=args.since)) as lines:
        for line in lines:
            if args.grep and not _matches(args.grep, line.text):
                continue
            if args.json:
                out.print_json(out.plain(line), indent=None)
            else:
                print(line.text, flush=args.follow)
    return Exit.DONE


def _matches(pattern: Pattern[str], text: str) -> bool:
    try:
        with Bounded():
            return pattern.search(text) is not None
    except TooSlow as error:
        raise OperationFailed(
            f"--grep {pattern.pattern} takes too long on a line of this log.",
            "Avoid a repeat within a repeat, as in (a+)+, or give the output to grep.",
        ) from error


def _surveyed(engine: Engine) -> Snapshot:
    """One look at everything, with the causes of what has failed: a look is over before they are known."""
    snapshot = engine.survey()
    return replace(snapshot, models=tuple(_with_cause(engine, model) for model in snapshot.models))


def _with_cause(engine: Engine, model: Model) -> Model:
    if model.state is not State.FAILED or model.cause or model.stale_since is not None:
        return model
    with suppress(EngineError):  # what has failed is told all the same
        return replace(model, cause=engine.diagnose(model.name).best)
    return model


def _models(models: Sequence[Model]) -> list[object]:
    return [{**out.plain(model), "endpoint": model.endpoint} for model in models]


def _row(model: Model, now: float) -> tuple[str, ...]:
    look = LOOKS[model.state]
    marks = {"stale": model.stale_since is not None, "by hand": model.foreign, "drifted": bool(model.drift)}
    marks |= {notice.short: True for notice in model.notices}
    told = ", ".join(mark for mark, holds in marks.items() if holds)
    since = duration(now - model.since) if model.since else ""
    return (
        look.symbol,
        model.name,
        f"{look.word} ({told})" if told else look.word,
        model.stack,
        model.runtime,
        since,
        model.endpoint,
        " ".join(notice.text for notice in model.notices)
        or (model.cause.title if model.cause else state_detail(model) or model.summary),
    )


def _print_machine(snapshot: Snapshot) -> None:
    out.print_facts(
        [
            ("host", snapshot.hostname),
            *((runtime.name, runtime.detail) for runtime in snapshot.runtimes),
            ("read-only", snapshot.read_only),
            ("changed by", _lease(snapshot.lease, snapshot.at) if snapshot.lease else ""),
        ]
    )
    ours = [model for model in snapshot.models if model.state is not State.ABSENT and not model.foreign]
    foreign = [model for model in snapshot.models if model.foreign]
    if ours:
        out.print_table(_HEADER, [_row(model, snapshot.at) for model in ours])
    else:
        out.talk("Nothing has been started.")
    if foreign:
        print("\nstarted by hand, and only watched; `tritontui adopt MODEL` makes one yours")
        out.print_table(_HEADER, [_row(model, snapshot.at) for model in foreign])
    _print_operations(snapshot.operations, snapshot.at)


def _print_model(model: Model, snapshot: Snapshot) -> None:
    look = LOOKS[model.state]
    deployment = model.deployment
    facts = [
        ("model", model.name),
        ("summary", model.summary),
        ("state", f"{look.symbol} {look.word}".strip()),
        ("detail", state_detail(model)),
        *(("notice", notice.text) for notice in model.notices),
        ("cause", model.cause.cause if model.cause else ""),
        ("remedy", model.cause.remedy if model.cause else ""),
        ("proof", f"`tritontui explain {model.name}` shows it, and what to change" if model.cause else ""),
        ("since", f"{duration(snapshot.at - model.since)} ago" if model.since else ""),
        ("stale", f"not heard from since {duration(snapshot.at - model.stale_since)}" if model.stale_since else ""),
        ("by hand", f"only watched; `tritontui adopt {model.name}` makes it yours" if model.foreign else ""),
        *(("drift", line) for line in model.drift),
        ("next start", usual(model.estimate) if model.estimate else ""),
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
    _print_operations((one for one in snapshot.operations if model.name in one.subjects), snapshot.at)


def _print_operations(operations: Iterable[OperationStatus], now: float) -> None:
    """Who is refused tries again: what was refused of one model in a row is one line, with the last reason."""
    for refused, alike in groupby(operations, lambda one: one.target if ending(one) == REFUSED else None):
        group = list(alike)
        for tries in [group] if refused else [[one] for one in group]:
            titles = ", ".join(dict.fromkeys(one.title for one in tries))
            print(f"{titles}: {_operation(tries[0], now, tries=len(tries))}")


def _operation(operation: OperationStatus, now: float, *, tries: int = 1) -> str:
    if operation.outcome is Outcome.RUNNING:
        step = operation.current
        doing = f"{what(operation, step)} {step.detail}".rstrip() if step else "under way"
        back = "rolling back, " if operation.rolling_back else ""
        return f"{back}{doing}, for {duration(now - operation.began_at)}, by {operation.owner}"
    if operation.unsettled:
        which = short_id(operation.id)
        return f"interrupted; `tritontui recover {which}` shows how to finish it or to roll it back"
    ended = f" {duration(now - operation.ended_at)} ago" if operation.ended_at else ""
    settled = f" ({operation.settled_by})" if operation.settled_by else ""
    times = f" {tries} times, last" if tries > 1 else ""
    return f"{ending(operation)}{times}{ended}{settled}{f': {operation.message}' if operation.message else ''}"


def _lease(lease: LeaseStatus, now: float) -> str:
    told = f"{lease.what}, by {lease.who}, for {duration(now - lease.since)}"
    if lease.alive is False:
        return f"{told}; its process is gone, and the next change takes over"
    return f"{told}; whether it still lives cannot be told from here" if lease.alive is None else told


def _history_row(entry: AuditEntry) -> tuple[str, ...]:
    who = f"{entry.user}@{entry.host}{f' from {entry.address}' if entry.address else ''}"
    took = "" if entry.seconds is None else duration(entry.seconds)
    return out.moment(entry.at), who, entry.what, entry.event, took, entry.message


def _complain(snapshot: Snapshot) -> None:
    for problem in snapshot.problems:
        out.talk(f"invalid profile: {problem}")
    lost = any(model.stale_since or model.state is State.UNREACHABLE for model in snapshot.models)
    for runtime in snapshot.runtimes:
        if lost and not runtime.reachable:
            out.talk(f"{runtime.name}: {runtime.detail}")
