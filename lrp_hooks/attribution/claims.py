"""Whose a module is: one instrumentation at a time."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from ..engine.undo import Undo
from ..errors import AlreadyInstrumentedError

__all__ = ["claim"]

_claimed: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Any]] = (
    weakref.WeakKeyDictionary()
)


def claim(modules: Mapping[str, nn.Module], owner: object, undo: Undo) -> None:
    """Claim modules for an instrumentation, which is not kept alive.

    Args:
        modules: The modules by name.
        owner: The instrumentation.
        undo: Where it is noted how the claim is given up.

    Raises:
        AlreadyInstrumentedError: If one of them is another's.
    """
    for name, module in modules.items():
        if module in _claimed:
            raise AlreadyInstrumentedError(
                f"{name or type(module).__name__} is instrumented already; use that "
                "instrumentation, or remove() it first. Where it was lost: except "
                "AlreadyInstrumentedError as error: error.instrumentation.remove()",
                _claimed[module](),
            )
    own = weakref.ref(owner)
    undo.add(partial(_disclaim, tuple(modules.values()), own))
    _claimed.update(dict.fromkeys(modules.values(), own))


def _disclaim(modules: Sequence[nn.Module], own: weakref.ref[Any]) -> None:
    for module in modules:
        if _claimed.get(module) is own:
            del _claimed[module]
