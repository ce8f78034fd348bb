import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.processor import waited_s

BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system does not tell")
def test_who_shares_a_processor_with_others_waits_for_it() -> None:
    processor = min(os.sched_getaffinity(0))

    def compete() -> float:
        os.sched_setaffinity(0, {processor})  # of this thread alone
        before, deadline = waited_s(), time.monotonic() + 30
        assert before is not None
        while (waited := (waited_s() or 0.0) - before) < 0.05 and time.monotonic() < deadline:
            pass
        return waited

    with subprocess.Popen([sys.executable, "-c", BUSY, str(processor)], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        try:
            with ThreadPoolExecutor(1) as threads:
                assert threads.submit(compete).result() >= 0.05
        finally:
            other.kill()
