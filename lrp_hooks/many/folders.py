"""A folder that takes a run up where it stopped, and belongs to that run alone."""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import ArgumentError, LrpHooksWarning
from ..support.files import StrPath, write_whole

__all__ = ["bind", "claimed", "differing", "made", "sweep"]

LOCK, HOLDER = "_lock", "_running.json"


def made(path: StrPath, *inside: str) -> Path:
    """Make a folder where it is missing.

    Args:
        path: The folder.
        *inside: Folders in it.

    Returns:
        Its path.

    Raises:
        ArgumentError: If that cannot be.
    """
    folder = Path(path)
    try:
        folder.joinpath(*inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"out={str(path)!r} cannot be used: {error}. Name another folder."
        ) from error
    return folder


def bind(
    folder: Path, name: str, wanted: Mapping[str, Any], parts: str, what: str
) -> None:
    """Make a folder a run's own, or see that it is.

    Args:
        folder: The folder.
        name: The file that says what decides the numbers of the run.
        wanted: What does, JSON-able.
        parts: A pattern of files that hold finished portions.
        what: What the folder holds, for the message.

    Raises:
        ArgumentError: If it cannot be used.
        differing: If it belongs to another run.
    """
    wanted = json.loads(json.dumps(wanted))
    try:
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"out={str(folder)!r} cannot be used: {error}. Name another folder."
        ) from error
    if found is None and any(folder.glob(parts)):
        raise ArgumentError(
            f"out={str(folder)!r} has finished portions, but no {name} that says of "
            "what. Name another folder, or delete that one."
        )
    if found is None:
        write_whole({path: json.dumps(wanted, indent=2).encode()})
    elif found != wanted:
        known = found if isinstance(found, dict) else {}
        names = dict.fromkeys([*wanted, *known])
        raise differing(
            folder, what, [n for n in names if known.get(n) != wanted.get(n)]
        )


def differing(folder: StrPath, what: str, names: list[str]) -> ArgumentError:
    """Say that a folder belongs to another run.

    Args:
        folder: The folder.
        what: What it holds.
        names: What differs.

    Returns:
        The error.
    """
    return ArgumentError(
        f"out={str(folder)!r} holds the {what} of another configuration: "
        f"{', '.join(names)} differ. Name another folder, or delete that one."
    )


def sweep(*folders: Path) -> None:
    """Take away what a kill left half-written.

    Args:
        *folders: Of whole files.
    """
    for folder in folders:
        for path in folder.glob(".*.part"):
            path.unlink(missing_ok=True)


@contextmanager
def claimed(folder: Path) -> Generator[None]:
    """Keep others out of a folder.

    The lock is the system's, which lets go of it when a process dies, however; what it
    held the folder for is taken over then, and a warning says from whom.

    Args:
        folder: An existing folder.

    Yields:
        Nothing.

    Raises:
        ArgumentError: If another run is at work in it.
    """
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ArgumentError(_busy(folder, _holder(holder))) from error
    try:
        _take_over(folder, holder)
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        write_whole({holder: json.dumps(me).encode()})
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)
    finally:
        lock.release()


def _take_over(folder: Path, holder: Path) -> None:
    """Say whose run has left the folder without a word.

    Raises:
        ArgumentError: If it may still be there, on another machine.
    """
    if not holder.exists():
        return
    last = _holder(holder)
    if last.get("host") != socket.gethostname():
        raise ArgumentError(
            f"{_busy(folder, last)} Locks do not reach that machine: if the run is "
            f"over, delete {str(holder)!r}."
        )
    warnings.warn(
        f"out={str(folder)!r}: {_named(last)} has ended early and is taken up.",
        LrpHooksWarning,
        stacklevel=5,
    )


def _holder(path: Path) -> dict[str, Any]:
    """Return who holds a folder, as far as that is known."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # it is being written, or has just been taken away
    return found


def _named(holder: Mapping[str, Any]) -> str:
    who, where, since = (holder.get(key, "?") for key in ("pid", "host", "since"))
    return f"process {who} on {where}, begun {since}"


def _busy(folder: Path, holder: Mapping[str, Any]) -> str:
    return (
        f"out={str(folder)!r} is in use by {_named(holder)}. Wait for it, or name "
        "another folder."
    )
