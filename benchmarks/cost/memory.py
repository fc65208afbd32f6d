"""Peak memory of one call over the loaded model, in a process of its own (Linux).

``python -m benchmarks.cost.memory JSON`` prints the bytes; `measure` calls that.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from .cases import Case, build_model, random_batch
from .methods import Call, methods_of

ROOT = Path(__file__).resolve().parents[2]
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): write 5 to reset the high-water mark
PR_SET_THP_DISABLE = 41

# Noise is a fixed number of pages, so that only small peaks need several calls.
SMALL_TOKENS = 512
SMALL_REPEATS = 3

# Freed tensors go back to the system at once, so that resident memory is live memory.
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def measure(config: dict[str, Any], case: Case, method: str) -> int:
    """Measure one method in a fresh process.

    Args:
        config: The run's configuration.
        case: The model shape, batch size and length.
        method: A name of `methods_of`.

    Returns:
        The peak increase of resident memory in bytes.

    Raises:
        RuntimeError: If the process failed; its last lines are in the message.
    """
    task = json.dumps({"config": config, "case": vars(case), "method": method})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost.memory", task],
        cwd=ROOT,
        env=os.environ | MALLOC,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"memory of {method!r} on {case.name!r}: the process ended with exit code "
            f"{done.returncode}:\n{done.stderr[-2000:]}"
        )
    return int(done.stdout.split()[-1])


def resident(field: str, status: str) -> int:
    """Read a field of ``/proc/self/status`` in bytes.

    Args:
        field: ``"VmRSS"`` for now, ``"VmHWM"`` for the high-water mark.
        status: The file's text.

    Returns:
        The number of bytes.

    Raises:
        ValueError: If the text has no such field.
    """
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ValueError(f"field: {field!r} is not in {STATUS}; memory needs Linux.")


def peak_increase(config: dict[str, Any], case: Case, method: str) -> int:
    """Load the model, warm up, and watch the method.

    Args:
        config: The run's configuration.
        case: The model shape, batch size and length.
        method: A name of `methods_of`.

    Returns:
        The peak increase in bytes, the median of several calls for a small case.
    """
    # Huge pages would keep freed neighbours of a live tensor resident.
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    torch.set_num_threads(config["threads"])
    model = build_model(config, case.model)
    run = methods_of(config)[method]
    # Code that is read from disk at the first call is no part of the method's peak.
    with run(model, random_batch(model, case.warm_up(), config["seed"])) as call:
        call()
    repeats = SMALL_REPEATS if case.tokens <= SMALL_TOKENS else 1
    with run(model, random_batch(model, case, config["seed"])) as call:
        return statistics.median_low([watch(call) for _ in range(repeats)])


def watch(call: Call) -> int:
    """Measure one call.

    Args:
        call: What to measure; its result counts as long as it lives.

    Returns:
        The high-water mark during the call less what was resident before.
    """
    gc.collect()
    CLEAR_REFS.write_text(RESET_PEAK, encoding="utf-8")
    before = resident("VmRSS", STATUS.read_text(encoding="utf-8"))
    result = call()
    peak = resident("VmHWM", STATUS.read_text(encoding="utf-8"))
    del result
    return peak - before


def main(argument: str) -> None:
    """Print the peak of the task that `measure` wrote."""
    task = json.loads(argument)
    print(peak_increase(task["config"], Case(**task["case"]), task["method"]))


if __name__ == "__main__":
    main(sys.argv[1])
