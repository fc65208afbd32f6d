"""TorchScript functions: run by no Python, they are seen only by what they compute.

A scope replaces what Python calls. Where a process has TorchScript functions at all,
the operations below are watched too: one that runs while no function is called by
Python is a script's. It is told unless it is linear in what carries relevance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .autograd import carries
from .stack import OpenScope

__all__ = ["ScriptWatch", "script_names"]


def script_names(operation: str = "") -> list[str]:
    """Name the TorchScript functions of this process.

    Args:
        operation: Only those that call this operation, such as ``"aten::gelu"``.

    Returns:
        Their names, without those of the modules that hold them.
    """
    found: Any = torch.jit._state._python_cu  # torch's stub says that it returns none
    return sorted({
        function.name
        for function in found.get_functions()
        if not operation or f"{operation}(" in str(function.inlined_graph)
    })


class ScriptWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tells of operations that bend relevance and that Python has not called.

    Attributes:
        found: Each with the module that was running.
    """

    def __init__(self, scope: OpenScope) -> None:
        """Prepare the watch; it is a context manager.

        Args:
            scope: Replaces what Python calls.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.scope = scope
        self.found: set[tuple[str, str]] = set()

    def __torch_dispatch__(  # noqa: PLW3201
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and tell of it if need be."""
        kwargs = kwargs or {}
        seen = self._sees() or not torch.is_grad_enabled()
        self.scope.resting = True  # the scope is for what the model calls
        try:
            result = func(*args, **kwargs)
            live = not seen and any(map(carries, tree_leaves((args, kwargs))))
            if live and not _is_linear(func, args, kwargs, result):
                # TorchScript would make another error of one that is raised here.
                self.found.add((_label(func), self.scope.frames[-1].name))
        finally:
            self.scope.resting = False
        return result

    def _sees(self) -> bool:
        """Tell whether a function is being called, for which torch takes a mode off."""
        top = torch._C._len_torch_function_stack() - 1
        if self.scope.in_leaf or top < 0:
            return True
        return torch._C._get_function_stack_at(top) is not self.scope


def _is_linear(func: Any, args: Any, kwargs: Any, result: Any) -> bool:
    """Tell whether twice the signal gives twice the result."""
    before = [r for r in tree_leaves(result) if _is_float(r)]
    if not before or func._schema.is_mutable:
        return not before
    doubled, named = tree_map(_doubled, (args, kwargs))
    after = [r for r in tree_leaves(func(*doubled, **named)) if _is_float(r)]
    return all(torch.allclose(b * 2, a) for b, a in zip(before, after, strict=True))


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _doubled(value: Any) -> Any:
    return value.detach() * 2 if carries(value) else value


def _label(func: Any) -> str:
    operation = func._schema.name
    names = script_names(operation) or script_names()
    return f"{operation.removeprefix('aten::')} in TorchScript ({', '.join(names)})"
