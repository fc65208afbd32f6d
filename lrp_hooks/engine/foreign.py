"""What only the graph knows: custom autograd functions, and what depends on what."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from torch import Tensor

from .scripts import script_names

__all__ = ["crosses_threads", "depends", "foreign_functions", "nodes"]


def foreign_functions(output: Tensor) -> set[str]:
    """List what a scope never makes in the graph behind a tensor.

    Args:
        output: A tensor that carries relevance.

    Returns:
        The qualified names of custom ``torch.autograd.Function`` classes, those of
        functions in C++, and TorchScript; this package's own and torch's checkpoints
        are left out.
    """
    kinds: dict[type, Any] = {}
    compiled: set[str] = set()
    for node in nodes(output):
        kind = type(node)
        kinds[kind] = node
        if kind.__name__ == "CppFunction":
            compiled.add(_compiled(node))
    names = {_custom(node) for node in kinds.values()}
    return {name for name in names | compiled if name is not None}


def crosses_threads(output: Tensor, spans: Iterable[tuple[int, int]]) -> bool:
    """Tell whether a part of a graph was made by another thread, out of all scopes.

    Args:
        output: A tensor that carries relevance.
        spans: The numbers of the nodes that scopes of other threads made.

    Returns:
        True for such a graph. A thread counts its nodes for itself, so one that is
        followed by a lower number was made elsewhere.
    """
    for node in nodes(output):
        number = node._sequence_nr()
        for parent, _ in node.next_functions:
            if parent is None or hasattr(parent, "variable"):
                continue
            pair = (number, parent._sequence_nr())
            if pair[0] <= pair[1] and not any(
                first <= n < last for first, last in spans for n in pair
            ):
                return True
    return False


def _custom(node: Any) -> str | None:
    known = (f"{__name__.partition('.')[0]}.", "torch.utils.checkpoint")
    custom = getattr(node, "_forward_cls", None)
    if custom is None or custom.__module__.startswith(known):
        return None
    return f"{custom.__module__}.{custom.__qualname__}"


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


def nodes(output: Tensor) -> Generator[Any]:
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
