"""Portions of work on a Ray cluster: Ray Data hands them out, lost ones again."""

from __future__ import annotations

import logging
import pickle
import shutil
import socket
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..errors import ArgumentError, LrpHooksError
from ..support.extras import require
from ..support.files import write_whole
from ..support.text import one_line
from .workers import entered

__all__ = ["actors", "pickler"]

ASIDE = "_jobs"
"""The folder of jobs that wait; readers of parquet files leave it out."""
SECONDS = 10
"""How long an address has to answer."""


def pickler() -> Any:
    """Return what pickles functions of a script as well."""
    return require("ray.cloudpickle", "ray", "engine='ray'")


def actors(
    packed: bytes,
    jobs: Iterable[Any],
    workers: int,
    address: str | None,
    num_gpus: float,
    aside: str | PathLike[str] | None,
) -> Generator[tuple[Any, Any]]:
    """Do jobs in actors, each of which unpacks what does them once.

    Jobs are written to files, so that no more than one is held here; whichever actor
    is free reads the next one. Ray gives what a lost actor or node had to another.

    Args:
        packed: What does a job, a pickled callable.
        jobs: What can be pickled.
        workers: How many actors.
        address: Of the cluster; None for one that is found or started.
        num_gpus: Of each actor.
        aside: A folder that all nodes see; None for one of this machine.

    Yields:
        A job and what came of it, as they get done.
    """
    ray = require("ray", "ray", "engine='ray'")
    data = require("ray.data", "ray", "engine='ray'")
    with (
        _quiet(data.DataContext.get_current()),
        _cluster(ray, address),
        _waiting(packed, jobs, aside) as (do, paths),
    ):
        if not paths:
            return
        rows = [{"path": path} for path in paths]
        waiting = data.from_items(rows, override_num_blocks=len(rows))
        done = waiting.map_batches(
            Actor,
            fn_constructor_args=(do,),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=min(workers, len(paths))),
            num_cpus=1,
            num_gpus=num_gpus,
        )
        for row in done.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, LrpHooksError):
                raise result
            yield pickle.loads(Path(row["path"]).read_bytes()), result


class Actor:
    """Does jobs in a process of its own, with one thread."""

    def __init__(self, path: str) -> None:
        """Unpack what does them; it stays entered as long as the process lives."""
        torch.set_num_threads(1)
        self.do = pickle.loads(Path(path).read_bytes())
        entered(self.do).__enter__()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the job of a file; errors of this library travel as results."""
        path = str(batch["path"][0])
        try:
            result = self.do(pickle.loads(Path(path).read_bytes()))
        except LrpHooksError as error:
            result = error
        return {"path": [path], "result": [pickle.dumps(result)]}


@contextmanager
def _waiting(
    packed: bytes, jobs: Iterable[Any], aside: str | PathLike[str] | None
) -> Generator[tuple[str, list[str]]]:
    """Write a file for each job, and one for what does them.

    Yields:
        The file of what does jobs, and those of jobs; they are gone at the end.
    """
    with TemporaryDirectory() as own:
        folder = Path(own if aside is None else aside).resolve() / ASIDE
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir()
        try:
            do, paths = folder / "do.pickle", []
            write_whole({do: packed})
            for number, job in enumerate(jobs):
                path = folder / f"{number:07d}.pickle"
                write_whole({path: pickle.dumps(job)})
                paths.append(str(path))
            yield str(do), paths
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster(ray: Any, address: str | None) -> Generator[None]:
    """Be connected to a cluster: the one that is, that is named, or a new one.

    Yields:
        Nothing; at the end the connection is as it was.

    Raises:
        ArgumentError: If there is none at the address.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # Ray says that there is no cluster by errors of many kinds.
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}", 150)
        raise ArgumentError(
            f"address={address!r}: no Ray cluster answers ({reason}). Start one with "
            "ray start --head, or leave address= out for one on this machine."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Connect to an address, of which Ray would end the process if nobody is there."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), SECONDS).close()


@contextmanager
def _quiet(context: Any) -> Generator[None]:
    """Keep what Ray tells of its own plans off the terminal, for a while."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    before = [(logger, logger.level) for logger in loggers]
    bars = context.enable_progress_bars
    context.enable_progress_bars = False
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        for logger, level in before:
            logger.setLevel(level)
