"""Where portions of work are done: in this process, in several, or on a cluster.

An engine has one method, and knows nothing of what is done: `Engine.map` takes jobs and
yields each with what came of it.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterable, Sized
from dataclasses import dataclass
from os import PathLike
from typing import Any

from ..errors import ArgumentError
from ..support.suggest import did_you_mean
from . import on_ray
from .workers import Do, entered, one_thread, processes

__all__ = ["ENGINES", "Engine", "as_engine"]

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Where jobs are done.

    Attributes:
        name: ``"local"`` or ``"ray"``.
        workers: How many processes, of one thread each.
        address: The Ray cluster's; None for one that Ray finds, or starts here.
        num_gpus: Of each worker on Ray.
    """

    name: str = "local"
    workers: int = 1
    address: str | None = None
    num_gpus: float = 0

    def map(
        self, do: Do, jobs: Iterable[Any], aside: str | PathLike[str] | None = None
    ) -> Generator[tuple[Any, Any]]:
        """Do jobs.

        Args:
            do: What does one.
            jobs: Any number of them.
            aside: A folder of this run. Defaults to ``None``: there is none.

        Yields:
            Each job and what came of it, as they get done.
        """
        workers = self.workers
        if isinstance(jobs, Sized):
            workers = min(workers, len(jobs))
        if self.name == "ray":
            packed = _packed(do, on_ray.pickler())
            where = (workers, self.address, self.num_gpus)
            yield from on_ray.actors(packed, jobs, *where, aside)
        elif workers > 1:
            yield from processes(_packed(do, pickle), jobs, workers)
        else:
            # So that the number of workers decides no bit.
            with one_thread(), entered(do):
                for job in jobs:
                    yield job, do(job)


def as_engine(
    engine: object, workers: object, address: str | None = None, num_gpus: float = 0
) -> Engine:
    """Understand where work is to be done.

    Args:
        engine: One of `ENGINES`.
        workers: A number from 1 on.
        address: Of a Ray cluster.
        num_gpus: Of each worker on Ray.

    Returns:
        The engine.

    Raises:
        ArgumentError: If there is no such, or an argument belongs to another one.
    """
    if engine not in ENGINES:
        raise ArgumentError(
            f"engine={engine!r} must be one of {', '.join(map(repr, ENGINES))}."
            f"{did_you_mean(engine, ENGINES)}"
        )
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise ArgumentError(f"workers={workers!r} must be a whole number from 1 on.")
    if engine == "local" and (address is not None or num_gpus):
        name, value = (
            ("address", address) if address is not None else ("num_gpus", num_gpus)
        )
        raise ArgumentError(
            f"{name}={value!r} goes with engine='ray', and engine is 'local'. Pass "
            "engine='ray', or leave it out."
        )
    return Engine(str(engine), workers, address, num_gpus)


def _packed(do: Do, pickler: Any) -> bytes:
    """Pickle what does jobs.

    Returns:
        The bytes.

    Raises:
        ArgumentError: If something in it cannot be.
    """
    try:
        packed: bytes = pickler.dumps(do)
    except Exception as error:  # objects refuse to be pickled in every way
        raise ArgumentError(
            f"worker processes need the model and all options, and one of them cannot "
            f"be sent ({type(error).__name__}: {error}). Pass the model's folder, "
            "functions that a module defines, or workers=1."
        ) from error
    return packed
