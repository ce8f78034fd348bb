"""Why a deployment failed, from its log and from what the runtime tells of its end, and what to change."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from engine.diagnose.catalogue import CONSEQUENCE
from engine.diagnose.causes import cause_of
from engine.diagnose.evidence import Ranked, ended_badly, engine_gone, engine_per_gpu, of_runtime
from engine.diagnose.matcher import Scan
from engine.diagnose.run import Run
from engine.diagnosis import Cause, Diagnosis, Evidence, Weight

if TYPE_CHECKING:
    from engine.profile import Profile

MAX_CAUSES = 6
NO_EVIDENCE = Evidence()
_AT_ONCE = 10_000
"""Lines"""
_MARKS = {BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
_BESIDE = 2
"""Lines"""
_FOLLOWS = CONSEQUENCE + 5
"""Depth up to which a cause may follow from what no signature knows"""


def explain(lines: Iterable[str], evidence: Evidence = NO_EVIDENCE, profile: "Profile | None" = None) -> Diagnosis:
    """`lines` without their line feeds. The profile, if it is known, gets the changes that would mend it."""
    return explain_text(_blocks(lines), evidence, profile)


def explain_text(
    data: bytes | Iterable[bytes], evidence: Evidence = NO_EVIDENCE, profile: "Profile | None" = None
) -> Diagnosis:
    """As `explain`, for a log as it is stored: whole, or in blocks of any size (64 KiB to 1 MiB are quick)."""
    scan = Scan()
    for block in _decoded([data] if isinstance(data, bytes) else data):
        scan.feed(block)
    scan.close()
    return _diagnosis(scan, evidence, profile)


def _diagnosis(scan: Scan, evidence: Evidence, profile: "Profile | None") -> Diagnosis:
    run = _telling(scan)
    stack = evidence.stack or (profile.stack if profile else "") or _stack(scan.programs)
    runtime = evidence.runtime or (profile.runtime if profile else "")
    evidence = replace(evidence, runtime=runtime)
    context = {**run.context, "runtime": runtime}
    if "vllm" in scan.versions:
        context["version"] = scan.versions["vllm"]
    serves = run.serves and not ended_badly(evidence)
    ranked: list[tuple[int, Ranked]] = []
    requests: list[Cause] = []
    for found in run.found.values():
        told = cause_of(found, context, profile)
        if found.signature.request:
            requests += [told] if found.weight is Weight.CAUSE else []
        elif not (found.signature.starting and serves) and not any(map(run.tells, found.signature.follows)):
            ranked.append((found.line or 0, (found.signature.depth, told)))
    if "vllm" in (*scan.programs, *stack.split("-")):
        ranked += [(0, one) for one in (*engine_per_gpu(run), *engine_gone(run))]
    ranked += [(scan.lines, one) for one in of_runtime(evidence, run, profile)]
    ranked.sort(key=lambda one: (-one[1][0], one[0]))
    causes = list({cause.signature: cause for _, (_, cause) in reversed(ranked)}.values())[::-1]
    chosen = _distinct([cause for cause in causes if cause.weight is Weight.CAUSE])
    deepest = max((depth for _, (depth, cause) in ranked if cause.weight is Weight.CAUSE), default=0)
    known = {proof.line for cause in requests for proof in cause.proofs}
    told_why = deepest > _FOLLOWS or any(proof.line in known for proof in run.first_error)
    if not chosen and (run.failed or ended_badly(evidence)):
        chosen = sorted(causes, key=lambda cause: cause.weight is Weight.WRAPPER)
    versions = tuple(sorted(scan.versions.items()))
    return Diagnosis(
        tuple(chosen[:MAX_CAUSES]),
        () if told_why else run.first_error,
        scan.lines,
        stack,
        versions,
        tuple(requests[:MAX_CAUSES]),
        died=stack == "vllm" and scan.run.died,
    )


def _telling(scan: Scan) -> Run:
    """The last run, unless it did not come far enough to say anything and one before it did."""
    last, earlier = scan.run, scan.earlier
    if earlier is None or last.ready or last.causes:
        return last
    return earlier if earlier.causes or not (last.failed or last.first_error) else last


def _distinct(causes: list[Cause]) -> list[Cause]:
    """Without those that stand right beside a deeper one in the log: they say the same, in fewer words."""
    kept: list[Cause] = []
    for cause in causes:
        first = cause.proofs[0].line
        deeper = (proof.line for other in kept for proof in other.proofs)
        if first is None or not any(line is not None and abs(first - line) <= _BESIDE for line in deeper):
            kept.append(cause)
    return kept


def _stack(programs: Collection[str]) -> str:
    if "triton" in programs:
        engines = [name for name in ("vllm", "trtllm") if name in programs]
        return f"triton-{engines[0]}" if engines else "triton"
    return "vllm" if "vllm" in programs else ""


def _blocks(lines: Iterable[str]) -> Iterator[bytes]:
    left = iter(lines)
    while some := list(islice(left, _AT_ONCE)):
        text = "\n".join(line.replace("\n", " ") if "\n" in line else line for line in some)
        yield text.encode("utf-8", "replace") + b"\n"


def _decoded(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """As UTF-8: some shells redirect a program's output to a file in UTF-16, which a mark at its begin tells."""
    left = iter(blocks)
    first = next((block for block in left if block), b"")
    encoding = _MARKS.get(first[:2])
    if encoding is None:
        yield first
        yield from left
        return
    decoder = getincrementaldecoder(encoding)("replace")
    for block in chain((first,), left):
        yield decoder.decode(block).encode("utf-8", "replace")
