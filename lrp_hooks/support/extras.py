"""Packages that only some work needs: imported by it, and named where they lack."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import ArgumentError

__all__ = ["how_to_install", "require"]


def require(package: str, extra: str, work: str) -> Any:
    """Import a package of an extra.

    Args:
        package: The name of its module.
        extra: The extra of this library that installs it.
        work: What needs it, as the message begins.

    Returns:
        The module.

    Raises:
        ArgumentError: If it is not installed; the message says how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ArgumentError(
            f"{work} needs {error.name or package}. {how_to_install(extra)}"
        ) from error


def how_to_install(extra: str) -> str:
    """Say how an extra is installed, from an index and from a checkout.

    Args:
        extra: Its name.

    Returns:
        A sentence.
    """
    return (
        f'Install it with: pip install "lrp_hooks[{extra}]", or in a checkout: '
        f'pip install -c constraints.txt -e ".[{extra}]"'
    )
