"""Checks every listed architecture: ``python -m benchmarks.coverage.run``."""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import torch

from lrp_hooks import instrument

from .architectures import TASKS, Architecture, architectures
from .probe import Record, prepare, probe

RESULTS = Path(__file__).with_name("results.jsonl")
SECONDS = 180
BYTES = 6 << 30
MAX_WORKERS = 2
QUICK = ("bert", "llama", "t5", "vit")
# The modules that every probe needs are loaded once, and each probe is a fork of that.
CONTEXT = mp.get_context("fork")


class Named(Protocol):
    """What is checked has a name."""

    @property
    def name(self) -> str:
        """Its key in the results."""
        ...


Probe = Callable[[Any], Record]


@dataclass
class Worker:
    """A process that checks one architecture."""

    architecture: Named
    process: Any
    results: Connection
    deadline: float


def main() -> None:
    """Check what the results lack; append one line an architecture."""
    options = parse_arguments()
    path = None if options.quick else options.output
    if path is not None and options.fresh:
        path.unlink(missing_ok=True)
    done = set() if options.only or path is None else finished(path)
    todo = [a for a in chosen(options) if a.name not in done]
    warm_up(todo)
    save(check_all(todo, options.workers), path, len(todo))


def save(records: Iterable[Record], path: Path | None, n: int) -> None:
    """Append records as they come, and print them.

    Args:
        records: What is found.
        path: The results; None to save nothing.
        n: How many there will be.
    """
    for number, record in enumerate(records, 1):
        line = json.dumps(record)
        if path is not None:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        print(f"{number}/{n} {line}", flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="model types or classes, anew")
    parser.add_argument("--task", choices=TASKS, help="one task")
    parser.add_argument("--quick", action="store_true", help="a few, not saved")
    parser.add_argument("--fresh", action="store_true", help="drop earlier results")
    parser.add_argument("--workers", type=int, default=MAX_WORKERS, choices=(1, 2))
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON lines")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Architecture]:
    """List what the command line asks for."""
    names = list(options.only or (QUICK if options.quick else ()))
    return [
        a
        for a in architectures()
        if options.task in {None, a.task}
        and (not names or any(n in {a.model_type, a.kind, a.name} for n in names))
    ]


def warm_up(todo: Sequence[Named]) -> None:
    """Load in this process what every probe needs, so that no fork loads it again."""
    torch.set_num_threads(1)
    if todo:
        bert = Architecture("masked-lm", "bert", "BertForMaskedLM")
        with instrument(prepare(bert)[0]):
            pass


def finished(path: Path) -> set[str]:
    """Name what an earlier run has checked."""
    return {record["name"] for record in read(path)} if path.exists() else set()


def read(path: Path) -> list[Record]:
    """Read results; the last line of a name counts, half a line does not."""
    found: dict[str, Record] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the run was stopped while it wrote
            continue
        found[record["name"]] = record
    return list(found.values())


def check_all(
    todo: Iterable[Named], n_workers: int, check: Probe = probe
) -> Iterable[Record]:
    """Check architectures, each in a process of its own.

    Args:
        todo: The architectures.
        n_workers: How many at a time.
        check: Checks one.

    Yields:
        Their records, in the order in which they are done.
    """
    waiting, workers = list(reversed(list(todo))), []
    while waiting or workers:
        while waiting and len(workers) < n_workers:
            workers.append(start(waiting.pop(), check))
        first = min(worker.deadline for worker in workers)
        wait([w.results for w in workers], timeout=max(0.0, first - time.monotonic()))
        for worker in list(workers):
            record = collect(worker)
            if record is not None:
                workers.remove(worker)
                yield {"name": worker.architecture.name, **record}


def start(architecture: Named, check: Probe = probe) -> Worker:
    """Start a process."""
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=_work, args=(architecture, there, check), daemon=True
    )
    process.start()
    there.close()
    return Worker(architecture, process, here, time.monotonic() + SECONDS)


def _work(architecture: Named, results: Connection, check: Probe) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    results.send(check(architecture))


def collect(worker: Worker) -> Record | None:
    """Take a worker's record; stop it if it is over its time.

    Args:
        worker: The worker.

    Returns:
        The record, or None if it is still at work.
    """
    record: Record | None = None
    if worker.results.poll():
        try:
            record = worker.results.recv()
        except EOFError:
            worker.process.join()
            code = worker.process.exitcode
            record = {"status": "fails", "reason": f"ended with exit code {code}"}
    elif time.monotonic() >= worker.deadline:
        worker.process.kill()
        record = {"status": "fails", "reason": f"not done in {SECONDS} seconds"}
    if record is not None:
        worker.process.join()
        worker.results.close()
    return record


if __name__ == "__main__":
    main()
