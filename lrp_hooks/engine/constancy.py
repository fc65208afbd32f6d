"""Tells tensors that depend on constants alone, though autograd records them.

Where a tensor is overwritten by constants, its history is dropped; but earlier views of
it go on to require a gradient, and so does all that is made of them. What leads to no
leaf carries no relevance.
"""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

__all__ = ["drop_history", "expect_histories", "histories", "leads_nowhere"]

_LEADS_ON = "lrp_hooks: leads to a leaf"


class _Histories(threading.local):
    dropped = False


histories = _Histories()
"""Whether one was dropped in this thread, since when tensors may lead nowhere."""


def expect_histories() -> None:
    """Spare tensors the look at the graph until a history is dropped again."""
    histories.dropped = False


def drop_history(tensor: Tensor) -> None:
    """Make a constant of a tensor that is about to be overwritten by constants.

    Args:
        tensor: No leaf, and no view; what views there are of it are constants as soon
            as it is overwritten.
    """
    tensor.detach_()
    # Hooks stay with the node that they were registered at; new ones need a new list.
    tensor._backward_hooks = None
    histories.dropped = True


def leads_nowhere(tensor: Tensor) -> bool:
    """Tell whether a tensor depends on nothing but constants, though it is recorded.

    Args:
        tensor: A tensor that requires a gradient.

    Returns:
        True if no path of its graph ends in a leaf.
    """
    start = tensor.grad_fn
    return start is not None and not _leads_on(start)


def _leads_on(start: Any) -> bool:
    """Look for a leaf; every node answers for good, since what lies behind is fixed."""
    path = [(start, iter(start.next_functions))]
    while path:
        node, parents = path[-1]
        known = node.metadata.get(_LEADS_ON)
        if known is None and hasattr(node, "variable") and not node.next_functions:
            known = True
        if known is None:
            parent = next((p for p, _ in parents if p is not None), None)
            if parent is not None:
                path.append((parent, iter(parent.next_functions)))
                continue
        if known:
            for passed, _ in path:
                passed.metadata[_LEADS_ON] = True
            return True
        node.metadata[_LEADS_ON] = False
        path.pop()
    return False
