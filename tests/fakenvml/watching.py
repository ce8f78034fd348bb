"""Run in a process of its own: looks at all that there is of the GPUs after each control file of standard input.

The first argument is the control file. Standard input: `controls`, `deployments` (fields of `Deployment` that differ
from a running one), and `around` (other fields of `Around`). Prints the readings, and the histories at the end.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.observe import gpu_paced
from engine.observe.gpu_shares import Around
from engine.observe.gpu_watch import GpuWatch
from engine.observe.gpus import GpuSampler

SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")


def deployment(name: str, runtime: str = "docker", stack: str = "vllm", id: str = "", **rest: Any) -> Deployment:
    rest["gpus"] = tuple(rest.get("gpus", ()))
    return Deployment(name, runtime, stack, id, "vllm", Lifecycle.RUNNING, SERVICE, 1.0, 1.0, **rest)


def main(control: Path) -> None:
    given = json.load(sys.stdin)
    gpu_paced.STUCK_AFTER_S = given["stuck_s"]
    around = Around(tuple(deployment(**one) for one in given["deployments"]), **given["around"])
    watch = GpuWatch(GpuSampler(retry_s=0.0), states_s=0.0, details_s=0.0)
    readings = []
    for content in given["controls"]:
        new = control.with_suffix(".new")
        new.write_text(content)
        new.replace(control)
        began = time.monotonic()
        watch.read(around)
        watch.settle(given["settle_s"])
        reading = watch.read(around)
        readings.append({**asdict(reading), "seconds": time.monotonic() - began})
        watch.settle(given["settle_s"])
    histories = [[asdict(series) for series in watch.history(index)] for index in range(2)]
    sys.stdout.write(json.dumps({"readings": readings, "histories": histories}))
    sys.stdout.flush()


main(Path(sys.argv[1]))
