"""Everything that rules have registered, so that what fails can be taken back."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["all_or_nothing", "kept"]

Table = TypeVar("Table", dict[Any, Any], list[Any])

_tables: list[Any] = []


def kept(table: Table) -> Table:
    """Take back what is registered in a table where `all_or_nothing` says so.

    Args:
        table: Where something is registered.

    Returns:
        The table itself.
    """
    _tables.append(table)
    return table


@contextmanager
def all_or_nothing(*modules: str) -> Generator[None]:
    """Import modules that register rules, or take back what they have registered.

    Args:
        *modules: Names of all that may be imported meanwhile.
    """
    imported = set(sys.modules)
    before = [table.copy() for table in _tables]
    try:
        yield
    except BaseException:
        for table, old in zip(_tables, before, strict=True):
            table.clear()
            (table.extend if isinstance(table, list) else table.update)(old)
        # What is imported again has to register again.
        for name in sys.modules.keys() - imported:
            if any(f"{name}.".startswith(f"{module}.") for module in modules):
                del sys.modules[name]
        raise
