"""What only the graph knows: custom autograd functions, and what depends on what."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import Any

from torch import Tensor

__all__ = ["depends", "foreign_functions", "graph_nodes", "last_gate", "reached"]


def foreign_functions(output: Tensor) -> set[str]:
    """List the custom ``torch.autograd.Function`` classes behind a tensor.

    Args:
        output: A tensor that carries relevance.

    Returns:
        Their qualified names; this package's own and torch's checkpoints are left out.
    """
    # torch's full backward hooks pass gradients on as they are.
    hook = "torch.nn.modules._functions.BackwardHookFunction"
    known = (f"{__name__.partition('.')[0]}.", "torch.utils.checkpoint", hook)
    found: set[str] = set()
    for node in _nodes(output):
        custom = getattr(node, "_forward_cls", None)
        if custom is None:
            continue
        name = f"{custom.__module__}.{custom.__qualname__}"
        if not name.startswith(known):
            found.add(name)
    return found


def depends(output: Tensor, leaves: Iterable[Tensor]) -> bool:
    """Tell whether a tensor was made of any of the leaves of its graph.

    Args:
        output: Any tensor.
        leaves: Tensors that require a gradient and have no history.

    Returns:
        True if a gradient would reach one of them.
    """
    wanted = {id(leaf) for leaf in leaves}
    return any(id(getattr(n, "variable", None)) in wanted for n in _nodes(output))


def graph_nodes(value: Any) -> tuple[Any, ...]:
    """List the graph nodes that nested results came out of.

    Args:
        value: What a function returned.

    Returns:
        The nodes of the tensors that carry relevance.
    """
    if isinstance(value, list | tuple):
        return tuple(node for item in value for node in graph_nodes(item))
    node = value.grad_fn if isinstance(value, Tensor) else None
    return () if node is None else (node,)


def reached(output: Tensor, nodes: Iterable[Any]) -> set[Any]:
    """Tell which nodes the graph behind a tensor holds.

    Args:
        output: Any tensor.
        nodes: Nodes of any graph.

    Returns:
        Those of them that a backward pass from ``output`` comes to.
    """
    return set(nodes).intersection(_nodes(output))


def last_gate(output: Tensor) -> str | None:
    """Name the gate that a tensor is a part, a multiple or a sum of.

    Args:
        output: A tensor of a plain graph.

    Returns:
        The function's name as autograd has it; None where something else comes last.
    """
    found: str | None = None
    seen: set[Any] = set()
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = re.sub(r"Backward\d*$", "", node.name())
        if name in _GATES:
            found = name
        elif name in _STEPS or hasattr(node, "variable"):
            stack += [parent for parent, _ in node.next_functions]
        else:
            return None
    return found


_GATES = frozenset(
    "Exp Exp2 Hardsigmoid LogSigmoid LogSoftmax SafeSoftmax Sigmoid Softmax "
    "Softplus".split()
)
_STEPS = frozenset(
    "Add Alias Amax Amin AsStrided Cat Clamp Clone Copy Cumsum Div Expand Gather Index "
    "IndexSelect Log Max Mean Min Mul Neg Permute Pow Reciprocal ReshapeAlias Rsub "
    "Select Slice Sort Squeeze Stack Sub Sum T ToCopy Topk Transpose Unbind Unsqueeze "
    "UnsafeView View Where".split()
)
"""What a gate's values may go through and still be what is explained."""


def _nodes(output: Tensor) -> Generator[Any]:
    """Walk the graph behind a tensor, each node once."""
    seen: set[Any] = set()
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack += [parent for parent, _ in node.next_functions]
