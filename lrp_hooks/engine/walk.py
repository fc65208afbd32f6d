"""A model's modules and parameters, without the names that torch makes up on the way.

Every call of `attribute` looks at all of them; names cost ten times as much as that.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn import Parameter

__all__ = ["modules_of", "parameters_of"]


def modules_of(model: nn.Module) -> list[nn.Module]:
    """List a model's modules, itself among them, each once and in no order.

    Args:
        model: Any module.

    Returns:
        The modules.
    """
    found = {id(model): model}
    stack = [model]
    while stack:
        for module in stack.pop()._modules.values():
            if module is not None and id(module) not in found:
                found[id(module)] = module
                stack.append(module)
    return list(found.values())


def parameters_of(model: nn.Module) -> Iterator[Parameter]:
    """Go through a model's parameters, in no order; what is shared may come again.

    Args:
        model: Any module.

    Yields:
        Each parameter.
    """
    for module in modules_of(model):
        for parameter in module._parameters.values():
            if parameter is not None:
                yield parameter
