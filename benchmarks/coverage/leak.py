"""Finds the modules that lose or make relevance, from one forward and one backward.

Every tensor that enters or leaves a module is passed on as a copy of its own, so that
its gradient is what this module (or what follows it) asks for and nothing else. Then a
module's own leak is what leaves it, less what enters it, less what the modules that it
calls add, less its own sources.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks import Instrumentation, Relevance

Hook = Callable[..., Any]


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: D102
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: D102
        return grads[0]


class Balance:
    """Each module's own leak, over all its calls.

    Attributes:
        own: ``{module name: relevance}``, before sources are taken off.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.own: dict[str, float] = defaultdict(float)
        self._running: list[str] = []

    def hooks(self, name: str) -> tuple[Hook, Hook]:
        """Make the forward pre-hook and the forward hook of a module.

        Args:
            name: Its qualified name.

        Returns:
            The hooks.
        """

        def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
            given = self._copied((args, kwargs), name, -1.0)
            self._running.append(name)
            return given

        def after(module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
            self._running.pop()
            return self._copied(out, name, 1.0)

        return before, after

    def _copied(self, value: Any, name: str, sign: float) -> Any:
        if isinstance(value, Tensor):
            return self._watched(value, name, sign) if value.requires_grad else value
        if isinstance(value, Mapping):
            found = {k: self._copied(v, name, sign) for k, v in value.items()}
            return found if type(value) is dict else type(value)(**found)
        if type(value) in {list, tuple}:
            return type(value)(self._copied(item, name, sign) for item in value)
        return value

    def _watched(self, x: Tensor, name: str, sign: float) -> Tensor:
        copy: Tensor = _Copy.apply(x)
        copy.__dict__.update(x.__dict__)
        values, caller = x.detach(), self._running[-1] if self._running else None

        def note(grad: Tensor) -> None:
            terms = torch.where(grad == 0, 0.0, grad * values)
            relevance = sign * float(terms.double().sum())
            self.own[name] += relevance
            if caller is not None:
                self.own[caller] -= relevance

        copy.register_hook(note)
        return copy


def leaks(
    lrp: Instrumentation, inputs: dict[str, Any], n: int = 3
) -> list[dict[str, Any]]:
    """Name the modules with the largest leaks of their own.

    Args:
        lrp: The instrumented model.
        inputs: Keyword arguments of one example.
        n: How many to name.

    Returns:
        Module, type and leak relative to the output's scale, the largest first.
    """
    balance = Balance()
    modules = dict(lrp.model.named_modules())
    handles = []
    for name, module in modules.items():
        before, after = balance.hooks(name)
        handles += [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after, with_kwargs=True),
        ]
    try:
        relevance = lrp.attribute(inputs)
    finally:
        for handle in handles:
            handle.remove()
    own = _without_sources(balance.own, modules, relevance)
    scale = max(1e-30, float(relevance.output.abs().max()))
    worst = sorted(own, key=lambda name: -abs(own[name]))[:n]
    return [
        {
            "module": name,
            "type": type(modules[name]).__name__,
            "leak": float(f"{own[name] / scale:.2e}"),
        }
        for name in worst
        if abs(own[name]) > 1e-6 * scale
    ]


def _without_sources(
    own: dict[str, float], modules: dict[str, nn.Module], relevance: Relevance
) -> dict[str, float]:
    """Take off each source, and what was read, where it belongs."""
    left = dict(own)
    for name, values in relevance.ledger.sources.items():
        owner = name
        while owner and owner not in modules:
            owner = owner.rpartition(".")[0]
        left[owner] = left.get(owner, 0.0) - float(values.sum())
    for name in relevance.meta["read"]:
        if name in modules:  # else it is an input, which enters the model
            left[name] = left.get(name, 0.0) - float(relevance.ledger.inputs.sum())
    return left
