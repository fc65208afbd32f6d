"""Files that are either whole or not there: written beside, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from ..errors import ArgumentError

__all__ = ["StrPath", "check_writable", "write_whole"]

StrPath = str | PathLike[str]


def write_whole(contents: Mapping[StrPath, bytes]) -> None:
    """Write files, all of them or none.

    Each is written under another name in its own folder and renamed once all are
    written, so that no reader meets half a file and no failure costs an older one.

    Args:
        contents: The bytes of each path.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            target, beside = _target_and_beside(path)
            staged[target] = beside
            _write(path, beside, data)
        for target, beside in staged.items():
            beside.replace(target)
    finally:
        for target, beside in staged.items():
            if beside != target:
                beside.unlink(missing_ok=True)


def check_writable(path: StrPath) -> None:
    """Refuse a path that cannot be written, before the work that it is for.

    Args:
        path: The file to be written later; an existing one is left as it is.
    """
    target, beside = _target_and_beside(path)
    if beside != target:
        _write(path, beside, b"")
        beside.unlink()


def _target_and_beside(path: StrPath) -> tuple[Path, Path]:
    """Return the file that a path stands for, and where to write in the meantime.

    Raises:
        ArgumentError: If the path is a folder or no path at all.
    """
    try:
        plain = Path(path)
        if plain.exists() and not plain.is_file() and not plain.is_dir():
            return plain, plain  # a pipe or a device must not be replaced by a file
        target = plain.resolve()  # a link stays, what it points to is replaced
    except (OSError, ValueError, RuntimeError) as error:
        raise ArgumentError(_unwritable(path, error)) from error
    if target.is_dir():
        raise ArgumentError(_unwritable(path, "it is a folder"))
    return target, target.with_name(f".{secrets.token_hex(8)}.part")


def _write(path: StrPath, beside: Path, data: bytes) -> None:
    try:
        beside.write_bytes(data)
    except OSError as error:
        raise ArgumentError(_unwritable(path, error)) from error


def _unwritable(path: StrPath, reason: Exception | str) -> str:
    text = getattr(reason, "strerror", None) or reason
    full = getattr(reason, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
    advice = (
        "Free some space, or name a file on another device."
        if full
        else "Name a file in a folder that exists and is yours to write in."
    )
    return f"path {os.fspath(path)!r} cannot be written: {text}. {advice}"
