"""Processes that do portions of work, and end with the one that started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

import torch
from tqdm import tqdm

from ..errors import LrpHooksError

__all__ = ["one_thread", "results_of"]


def results_of(
    do: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    setup: Callable[..., None],
    arguments: Sequence[Any],
) -> Generator[tuple[int, Any]]:
    """Do jobs in fresh processes of one thread each.

    However the generator is left, the processes are gone then; close it where an
    exception may keep it alive.

    Args:
        do: A function of a module, called with a job.
        jobs: What can be pickled.
        workers: How many processes.
        setup: A function of a module, called once in each process.
        arguments: What ``setup`` is called with.

    Yields:
        The number of a job and what it returned, as they get done.

    Raises:
        LrpHooksError: If a process dies.
    """
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(setup, tuple(arguments)),
    )
    try:
        with _interrupts_held_back():
            futures = {pool.submit(do, job): n for n, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise LrpHooksError(
            f"one of {workers} worker processes died, perhaps for want of memory. What "
            "they finished is kept: run the same again, with fewer workers."
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
            process.join()
        # Waited for, since its thread must not meet the end of the interpreter.
        pool.shutdown(wait=True, cancel_futures=True)


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


def _start(setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Prepare a process: it is quiet, single-threaded, and nobody's orphan."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.CRITICAL)
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # exceptions are sent back
    # The default one is a semaphore that outlives a process that is ended early.
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    setup(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
