"""What only the graph knows: custom autograd functions, and what depends on what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .scripts import script_names

__all__ = [
    "crosses_threads",
    "depends",
    "foreign_functions",
    "graph_nodes",
    "last_gate",
    "nodes",
]


def foreign_functions(graph: Iterable[Any]) -> set[str]:
    """List what a scope never makes in a graph.

    Args:
        graph: Its nodes.

    Returns:
        The qualified names of custom ``torch.autograd.Function`` classes, those of
        functions in C++, and TorchScript; this package's own and torch's checkpoints
        are left out.
    """
    kinds = {type(node): node for node in graph}
    names = {_custom(node) for node in kinds.values()}
    if any(kind.__name__ == _COMPILED for kind in kinds):
        names |= {_compiled(n) for n in graph if type(n).__name__ == _COMPILED}
    return {name for name in names if name is not None}


def crosses_threads(graph: Mapping[Any, int], spans: Iterable[tuple[int, int]]) -> bool:
    """Tell whether a part of a graph was made by another thread, out of all scopes.

    Args:
        graph: A graph; see `nodes`.
        spans: The numbers of the nodes that scopes of other threads made.

    Returns:
        True for such a graph. A thread counts its nodes for itself, so one that is
        followed by a lower number was made elsewhere.
    """
    for node, number in graph.items():
        for parent, _ in node.next_functions:
            later = graph[parent] if parent is not None else _LEAF
            if later < number or later == _LEAF:
                continue
            if _is_view(parent) and later - number <= _SOON:
                continue
            if not any(a <= n < b for a, b in spans for n in (number, later)):
                return True
    return False


_COMPILED = "CppFunction"
_LEAF = 2**64 - 1
"""The number of what accumulates a leaf's gradient: it is called last of all."""
_SOON = 4
"""How much later than what follows a view's node may be made: as it is looked for."""


def _is_view(node: Any) -> bool:
    name = re.sub(r"Backward\d*$", "", node.name())
    return name in _VIEWS or name == "CopySlices"


_VIEWS = frozenset(
    "Alias AsStrided Diagonal Expand Narrow Permute ReshapeAlias Select Slice Split "
    "SplitWithSizes Squeeze T Transpose Unbind Unfold Unsqueeze UnsafeView View "
    "ViewAsComplex ViewAsReal".split()
)

_KNOWN = (
    f"{__name__.partition('.')[0]}.",
    "torch.utils.checkpoint",
    # These pass gradients on as they are, to other ranks.
    "torch.distributed.",
    "torch.nn.parallel.",
    "transformers.distributed.",
    # torch's full backward hooks pass gradients on as they are.
    "torch.nn.modules._functions.BackwardHookFunction",
)


def _custom(node: Any) -> str | None:
    custom = getattr(node, "_forward_cls", None)
    if custom is None:
        return None
    name = f"{custom.__module__}.{custom.__qualname__}"
    return None if name.startswith(_KNOWN) else name


def _compiled(node: Any) -> str:
    name = str(node.name())
    if not name.startswith("torch::jit::"):
        return name
    return f"TorchScript ({', '.join(script_names()) or 'a module'})"


def depends(output: Tensor, leaves: Iterable[Tensor]) -> bool:
    """Tell whether a tensor was made of any of the leaves of its graph.

    Args:
        output: Any tensor.
        leaves: Tensors that require a gradient and have no history.

    Returns:
        True if a gradient would reach one of them.
    """
    wanted = {id(leaf) for leaf in leaves}
    return any(id(getattr(n, "variable", None)) in wanted for n in nodes(output))


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


def nodes(output: Tensor) -> dict[Any, int]:
    """Walk the graph behind a tensor.

    Args:
        output: Any tensor.

    Returns:
        Its nodes, and the number that each has in the thread that made it.
    """
    graph: dict[Any, int] = {}
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in graph:
            graph[node] = node._sequence_nr()
            stack += [parent for parent, _ in node.next_functions]
    return graph
