"""Custom autograd functions of a model: no scope sees them, so the graph is asked."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["foreign_functions"]


def foreign_functions(output: Tensor) -> set[str]:
    """List the custom ``torch.autograd.Function`` classes behind a tensor.

    Args:
        output: A tensor that carries relevance.

    Returns:
        Their qualified names; this package's own and torch's checkpoints are left out.
    """
    known = (f"{__name__.partition('.')[0]}.", "torch.utils.checkpoint")
    found: set[str] = set()
    seen: set[Any] = set()
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        custom = getattr(node, "_forward_cls", None)
        if custom is not None and not custom.__module__.startswith(known):
            found.add(f"{custom.__module__}.{custom.__qualname__}")
        stack += [parent for parent, _ in node.next_functions]
    return found
