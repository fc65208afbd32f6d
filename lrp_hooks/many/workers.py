"""Processes of this machine that do portions of work, and end with who started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

import torch
from tqdm import tqdm

from ..errors import LrpHooksError

__all__ = ["Do", "entered", "one_thread", "processes"]

Do = Callable[[Any], Any]
"""What does a job. It is pickled, and unpickled once in each process; one that is a
context manager is entered before the first job of a process."""

AHEAD = 2
"""Jobs that wait for each process, so that none waits for a job."""


def processes(
    packed: bytes, jobs: Iterable[Any], workers: int
) -> Generator[tuple[Any, Any]]:
    """Do jobs in fresh processes of one thread each.

    However the generator is left, the processes are gone then; close it where an
    exception may keep it alive.

    Args:
        packed: What does a job, a pickled callable; each process unpacks it once.
        jobs: What can be pickled; no more are taken than are being done soon.
        workers: How many processes.

    Yields:
        A job and what came of it, as they get done.

    Raises:
        LrpHooksError: If a process dies.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(packed,),
    )
    try:
        yield from _done(pool, iter(jobs), AHEAD * workers)
    except BrokenProcessPool as error:
        raise LrpHooksError(
            f"one of {workers} worker processes died, perhaps for want of memory. What "
            "they finished is kept: run the same again, with fewer workers."
        ) from error
    finally:
        with _interrupts_held_back():
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
                process.join()
            # Waited for, since its thread must not meet the end of the interpreter.
            pool.shutdown(wait=True, cancel_futures=True)


def _done(
    pool: ProcessPoolExecutor, jobs: Iterable[Any], most: int
) -> Generator[tuple[Any, Any]]:
    """Keep so many jobs under way, and hand on each that is done."""
    jobs = iter(jobs)
    under_way: dict[Future[Any], Any] = {}
    while True:
        for job in islice(jobs, most - len(under_way)):
            with _interrupts_held_back():
                under_way[pool.submit(_do, job)] = job
        if not under_way:
            return
        for future in wait_for(under_way, return_when=FIRST_COMPLETED).done:
            yield under_way.pop(future), future.result()


def entered(do: Do) -> AbstractContextManager[Any]:
    """Make a context of what does jobs.

    Args:
        do: A `Do`.

    Returns:
        Its own context, or one that does nothing.
    """
    return do if isinstance(do, AbstractContextManager) else nullcontext()


@contextmanager
def one_thread() -> Generator[None]:
    """Have torch use one thread, on which the last bits of its sums depend.

    Yields:
        Nothing; the number is as before at the end.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _interrupts_held_back() -> Generator[None]:
    """Hold Ctrl-C back for a moment; processes started then never hear of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What a worker process does jobs with.
_does: Do | None = None


def _start(packed: bytes) -> None:
    """Prepare a process: it is quiet, single-threaded, and nobody's orphan."""
    global _does  # noqa: PLW0603 (a process of its own has one model)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.CRITICAL)
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # exceptions are sent back
    # The default one is a semaphore that outlives a process that is ended early.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    _does = pickle.loads(packed)
    entered(_does).__enter__()


def _do(job: Any) -> Any:
    assert _does is not None
    return _does(job)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
