"""Causes that no line of a log tells: exit codes, the container engine's own word, too many instances of an engine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.diagnose.catalogue import CONSEQUENCE, ROOT, SYMPTOM, catalogue
from engine.diagnose.causes import cause_of, worded
from engine.diagnose.matcher import matches
from engine.diagnose.run import Found, Run
from engine.diagnosis import Cause, Evidence, Proof, Weight
from engine.text import clean_line, mask_secrets

if TYPE_CHECKING:
    from engine.profile import Profile

_LOOP = 2
"""Restarts by the container engine from which on it is a loop"""
_NOT_STARTED = (125, 126, 127, 128)
_SERVER = "APIServer"
"""vLLM's process that is not of the engine"""
_NONE_FAILED = "Failed core proc(s): {}"
"""With an exit code it would have raised something, and logged it"""
Ranked = tuple[int, Cause]
"""With its depth"""

_EXITS: dict[int, tuple[int, str, str, str]] = {
    125: (
        SYMPTOM,
        "container not run",
        "Docker itself failed to run the container (exit code 125).",
        "Read Docker's message: an option, a mount or a device of the container was refused.",
    ),
    126: (
        SYMPTOM,
        "program not executable",
        "The program was found in the image and could not be executed (exit code 126).",
        "Check its permissions, and that the image is made for this machine's processor.",
    ),
    127: (
        SYMPTOM,
        "program not found",
        "The program that should run was not found (exit code 127).",
        "Check that the image is the one for this stack, and the command if one is given.",
    ),
    128: (
        SYMPTOM,
        "container not started",
        "Docker made the container and could not start it (exit code 128).",
        "Read Docker's message, and remove the container that was left behind.",
    ),
    132: (
        SYMPTOM,
        "illegal instruction",
        "The program used an instruction that this processor does not have (exit code 132).",
        "Use an image that is built for this processor, or a machine with AVX2 or AVX-512.",
    ),
    134: (
        CONSEQUENCE + 5,
        "program aborted",
        "The program aborted itself (exit code 134): an assertion in native code, in most cases.",
        "Read the last lines of the log before the end.",
    ),
    135: (
        SYMPTOM,
        "bus error",
        "The program died of a bus error (exit code 135): shared memory (/dev/shm) was too small, in most cases.",
        "Give the container more with `shm_size`, or `ipc: host`.",
    ),
    136: (
        CONSEQUENCE + 5,
        "arithmetic exception",
        "The program died of an arithmetic exception in native code (exit code 136).",
        "Try another version of the image, and report it to the makers with its log.",
    ),
    137: (
        SYMPTOM - 5,
        "killed (137)",
        "The program was killed with SIGKILL (exit code 137), and not for the container's own memory limit.",
        "Look for whoever killed it: the kernel for want of memory (`dmesg -T | grep -i oom`), a stop that took longer "
        "than its grace period, or a person.",
    ),
    139: (
        CONSEQUENCE + 5,
        "segmentation fault",
        "The program crashed in native code (exit code 139, segmentation fault).",
        "Check that the image fits the driver and the GPU, and that nothing was installed into it; then try another "
        "version of the image.",
    ),
    143: (
        SYMPTOM - 5,
        "ended by SIGTERM",
        "The program was told to end (SIGTERM, exit code 143) by someone other than tritontui.",
        "Start it again; if it happens again, look for what else manages this container.",
    ),
}


def ended_badly(evidence: Evidence) -> bool:
    by_itself = bool(evidence.exit_code or evidence.restarts) and not evidence.stopped_on_purpose
    return by_itself or evidence.oom_killed or bool(evidence.runtime_error)


def of_runtime(evidence: Evidence, run: Run, profile: "Profile | None") -> Iterator[Ranked]:
    """What the container engine, or whatever ran the program, tells."""
    if evidence.runtime_error:
        yield from _runtime_error(evidence.runtime_error, profile)
    if evidence.oom_killed:
        yield (
            ROOT + 30,
            Cause(
                "oom-killed",
                "out of host memory",
                "The kernel killed a process of the container for its memory limit (OOMKilled): the machine's memory, "
                "and not the GPU's, ran out.",
                "Free memory of the machine, raise the container's limit, or load less at once: smaller "
                "`cpu_offload_gb` or `swap_space`, fewer parallel loads.",
                Weight.CAUSE,
                (Proof(None, f"OOMKilled, exit code {evidence.exit_code}"),),
            ),
        )
    code = evidence.exit_code
    if code is not None and code < 0:  # a process of this machine's: its signal
        code = 128 - code
    told = (evidence.oom_killed and code == 137) or (evidence.runtime_error and code in _NOT_STARTED)
    if code in _EXITS and not evidence.stopped_on_purpose and not told:
        depth, title, cause, remedy = _EXITS[code]
        context = {"runtime": evidence.runtime}
        proof = f"exit code {code}"
        yield depth, _fact(f"exit-{code}", title, worded(cause, context), worded(remedy, context), proof)
    elif code == 0 and not evidence.stopped_on_purpose and not run.ready:
        cause = "The program ended by itself, without an error and without having served."
        remedy = "Its command must stay: a launch script that returns ends the container; wait for what it started."
        yield CONSEQUENCE, _fact("exit-0", "ended at once", cause, remedy, "exit code 0")
    if evidence.restarts >= _LOOP and not evidence.stopped_on_purpose:
        cause = f"It fails again and again: the container engine has started it anew {evidence.restarts} times."
        remedy = "Stop it, mend the cause that its log tells, and start it again."
        loop = _fact("restart-loop", "restart loop", cause, remedy, f"{evidence.restarts} restarts")
        yield CONSEQUENCE - 5, loop


def engine_per_gpu(run: Run) -> Iterator[Ranked]:
    """Triton made several instances of a model whose engine takes all GPUs by itself, and it failed.

    Without an instance group, or with KIND_GPU, it makes one for each GPU; with `count: n`, n on the same.
    """
    if not run.failed:
        return
    for model, instances in run.instances.items():
        devices = {device for _, device in instances}
        if len(instances) < 2 or (run.failed_models and model not in run.failed_models):
            continue
        where = f"one on each of {len(devices)} devices" if len(devices) > 1 else f"all on {next(iter(devices))}"
        cause = f"Triton started {len(instances)} instances of {model}, {where}, where one engine was meant."
        remedy = (
            "Write `instance_group [{ count: 1 kind: KIND_MODEL }]` in the model's config.pbtxt: "
            "the engine divides the GPUs by itself."
        )
        proofs = tuple(instances.values())[:4]
        reference = "https://github.com/triton-inference-server/server/issues/6855"
        yield (
            ROOT - 5,
            Cause("engine-per-gpu", "an engine per GPU", cause, remedy, Weight.CAUSE, proofs, reference=reference),
        )


def engine_gone(run: Run) -> Iterator[Ranked]:
    """vLLM's server says that its engine did not start, and the engine has not said a word: of a log from its begin."""
    found = run.found.get("engine-not-started")
    if not found or not run.began or set(found.ranks) - {_SERVER}:
        return
    first = {proof.line for proof in run.first_error}
    if any(proof.line in first and _NONE_FAILED in proof.text for proof in found.proofs):
        signature = catalogue()["engine-process-ended"]
        gone = Found(signature, found.line, {}, signature.weight, proofs=found.proofs)
        yield signature.depth, cause_of(gone)


def _runtime_error(text: str, profile: "Profile | None") -> Iterator[Ranked]:
    shown = mask_secrets(clean_line(text))
    known = False
    for signature, values in matches(shown):
        if signature.weight is Weight.CAUSE:
            known = True
            found = Found(signature, None, values, Weight.CAUSE)
            found.add(Proof(None, shown), shown, "")
            yield signature.depth + 10, cause_of(found, profile=profile)
    if not known:
        cause = f"The container engine could not start it: {shown.rstrip('.')}."
        yield (
            ROOT,
            _fact("runtime-error", "container not started", cause, "Mend what it names, and start again.", shown),
        )


def _fact(name: str, title: str, cause: str, remedy: str, proof: str) -> Cause:
    return Cause(name, title, cause, remedy, Weight.CAUSE, (Proof(None, proof),))
