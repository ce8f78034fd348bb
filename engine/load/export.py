"""A load test as a file: JSON, CSV, SVG, or an HTML page that needs nothing else."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from engine import __version__
from engine.errors import EngineError
from engine.load import codec, report
from engine.load.codec import Records
from engine.load.picture import svg
from engine.load.statistics import is_good, request_figures
from engine.load.store import left_out
from engine.load_plan import LoadPlan
from engine.load_result import LoadOutcome, LoadResult
from engine.text import clean_line

FORMAT = "tritontui-load/1"
CSV_HEADER = (
    *("level", "arrival", "amount", "repeat", "number", "intended_s", "sent_s", "first_token_s", "last_token_s"),
    *("ended_s", "ttft_s", "itl_s", "e2e_s", "ttft_intended_s", "e2e_intended_s", "tokens_in", "tokens_out"),
    *("counted", "arrivals", "good", "fault"),
)
_STYLE = """
body { font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1f2937; background: #fff;
  max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin-top: 2rem; }
p, dd { overflow-wrap: anywhere; } svg { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { color: #6b7280; } dd { margin: 0; }
div { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #e5e7eb; white-space: nowrap; }
th { color: #6b7280; font-weight: 500; } th:first-child, td:first-child { text-align: left; }
"""


def export(result: LoadResult, records: Records, path: Path) -> int:
    """By the file's suffix, over what is there. How many requests are missing in it because they are not kept.

    Blocks. Raises `EngineError` for another suffix, or when it fails.
    """
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise EngineError(
            f"{clean_line(str(path))}: a load test is written as {', '.join(_FORMATS)}.",
            "Choose the format by the file's suffix.",
        )
    text = write(result, records)
    try:
        _put(path.resolve(), text)
    except (OSError, ValueError, RuntimeError) as error:
        why = clean_line(str(getattr(error, "strerror", None) or error))
        raise EngineError(
            f"{clean_line(str(path))} cannot be written: {why}.",
            f"The load test is kept: `tritontui loads --show {result.id} --out FILE` writes it." if result.id else "",
        ) from error
    return left_out(result, records) if write in (_json, _csv) else 0


def _put(path: Path, text: str) -> None:
    """All of it or, as on a full disk, none: what was there before stays."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        # Made anew: in a folder that others write to, a link may stand there, and lead elsewhere.
        with part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def document(result: LoadResult) -> dict[str, Any]:
    """As JSON says it: the format's name, which program wrote it, and all of the result but its requests."""
    return {"format": FORMAT, "tritontui": __version__, "result": json.loads(codec.dump(result))}


def _json(result: LoadResult, records: Records) -> str:
    requests = {"requests": json.loads(codec.dump(records)), "requests_left_out": left_out(result, records)}
    return json.dumps(document(result) | requests, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(result: LoadResult, records: Records) -> str:
    found = io.StringIO()
    writer = csv.writer(found, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    wanted = result.plan.objectives
    for place, (level, requests) in enumerate(zip(result.levels, records, strict=False), start=1):
        about = (place, level.level.arrival.value, f"{level.level.amount:g}", level.repeat + 1)
        for number, one in enumerate(requests, start=1):
            own = request_figures(one)
            times = (one.intended, one.sent, one.first_token, one.last_token, one.ended)
            measured = (own.ttft, own.itl, own.e2e, own.ttft_intended, own.e2e_intended)
            good = is_good(one, wanted) if wanted.any else None
            tokens = (one.tokens_in, one.tokens_out, int(one.counted), one.arrivals)
            fault = one.fault.value if one.fault else ""
            kept = "" if good is None else int(good)
            writer.writerow((*about, number, *map(_seconds, (*times, *measured)), *tokens, kept, fault))
    return found.getvalue()


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _svg(result: LoadResult, _: Records) -> str:
    return svg(result)


def _html(result: LoadResult, _: Records) -> str:
    name = escape(clean_line(result.deployment))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Load test of {name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(_page(result)) + "\n</body>\n</html>\n"
    )


def _page(result: LoadResult) -> Iterator[str]:
    yield f"<h1>Load test of {_text(result.deployment)}</h1>"
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(result.began_at))
    yield f"<p>{_text(began)}</p>"
    if result.outcome is not LoadOutcome.DONE:
        yield f"<p><strong>{_text(result.outcome.value)}</strong>: {_text(result.message)}</p>"
    yield svg(result)
    yield from _table("Figures", *report.table(result))
    yield from _table("The server's own count beside the client's", *report.server_table(result))
    yield from _list("Doubts", list(report.doubts(result)))
    yield from _list("Failures", list(report.failures(result)))
    yield from _list("Definitions", report.DEFINITIONS)
    yield "<h2>What was measured</h2>\n<dl>"
    for title, text in _facts(result).items():
        if text:
            yield f"<dt>{_text(title)}</dt><dd>{_text(text)}</dd>"
    yield "</dl>"


def _facts(result: LoadResult) -> Mapping[str, str]:
    plan = result.plan
    length = (f"{plan.requests} requests" if plan.requests else "", f"{plan.duration_s:g} s" if plan.duration_s else "")
    return {
        "model": result.model,
        "image": result.what,
        "protocol": result.transport,
        "LoRA adapter": plan.lora or "",
        "style": plan.style or "",
        "sampling": ", ".join(f"{name} {value}" for name, value in _sampling(plan).items()),
        "workload": report.workload(plan),
        "each level": " or ".join(text for text in length if text) + f", after {plan.warmup} of warm-up",
        "objectives": report.objectives(plan.objectives),
        "client": result.machine,
        "measured by": f"tritontui {__version__}",
        "id": result.id,
    }


def _sampling(plan: LoadPlan) -> Mapping[str, object]:
    """What was asked for beside the lengths, which are the workload's."""
    told = {one.name: getattr(plan.sampling, one.name) for one in fields(plan.sampling) if one.name != "max_tokens"}
    return {name: value for name, value in told.items() if value not in (None, (), False)}


def _table(title: str, header: report.Row, rows: Sequence[report.Row]) -> Iterator[str]:
    if rows:
        yield f"<h2>{_text(title)}</h2>\n<div><table>\n<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in header)}</tr>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>"
        yield "</table></div>"


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{_text(title)}</h2>"
        yield from (f"<p>{_text(line)}</p>" for line in lines)


def _text(text: str) -> str:
    return escape(clean_line(text))


_FORMATS: Mapping[str, Callable[[LoadResult, Records], str]] = {
    ".json": _json,
    ".csv": _csv,
    ".svg": _svg,
    ".html": _html,
}
SUFFIXES = tuple(_FORMATS)
