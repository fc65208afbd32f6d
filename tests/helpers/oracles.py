"""Oracles: what a rule must give, computed without the library.

A replica spells out the linearised twin by hand, with `detach` where a gate is frozen;
its Jacobian is taken by brute force and contracted with a random gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_hooks import Relevance, instrument

exact = partial(assert_close, rtol=1e-9, atol=1e-11)
"""Equal in float64."""


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    """Check that they are equal up to a part, or an amount, of this size."""
    assert_close(a, b, atol=tolerance, rtol=tolerance)


class Calls(nn.Module):
    """A module whose forward is a function of itself and the inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        """Take parts: modules, parameters, and tensors, which become buffers."""
        super().__init__()
        self.function = function
        # With a state of its own it is not tried and taken for a layer as a whole.
        self.register_buffer("state", torch.zeros(1))
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def of(function: Callable[..., Any], **parts: Any) -> Calls:
    """Make a module of a function of the inputs alone."""
    return Calls(lambda _, *inputs: function(*inputs), **parts).double()


def inside(layer: nn.Module) -> nn.Module:
    """Make a layer the part of a model."""
    return nn.Sequential(layer)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw normal numbers, none of them close to zero."""
    generator = torch.Generator().manual_seed(seed + 101)
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (drawn + 0.05 * torch.where(drawn < 0, -1.0, 1.0)).to(dtype)


def randomised(module: nn.Module, seed: int = 0, scale: float = 0.5) -> nn.Module:
    """Give every parameter and running statistic random values, biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator) * scale
                value.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
    return module.eval()


def without_biases(module: nn.Module) -> nn.Module:
    """Zero every bias."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.split(".")[-1].endswith("bias"):
                value.zero_()
    return module


def weighed(x: Tensor, w: float) -> Tensor:
    """The value of x with w times its gradient."""
    return w * x + (1 - w) * x.detach()


def half(x: Tensor, n: float = 2) -> Tensor:
    """The value of x with 1/n of its gradient."""
    return weighed(x, 1 / n)


def dense(q, k, v, mask=None, causal=False, scale=None) -> Tensor:
    """Attention written out; heads of keys and values repeat where there are fewer."""
    if q.ndim == 4 and k.shape[1] != q.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    if mask is not None:
        hidden = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -math.inf) if hidden else scores + mask
    return scores.softmax(-1) @ v


def passed(
    model: nn.Module, *inputs: Tensor, rules: Any = "conservative", **options: Any
) -> list[Tensor]:
    """Return the gradients for the inputs under rules, for a random gradient.

    Also checks that the output is the plain one bit for bit, and that everything that
    was called has a rule.
    """
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    plain = model(*[leaf.clone() for leaf in leaves]).detach()
    with instrument(model, rules, strict=True, **options):
        y = model(*[leaf.clone() for leaf in leaves])
    assert torch.equal(y, plain)
    if not y.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    grads = torch.autograd.grad(y, leaves, seed_like(y), allow_unused=True)
    return [
        torch.zeros_like(x) if g is None else g
        for x, g in zip(inputs, grads, strict=True)
    ]


def seed_like(y: Tensor) -> Tensor:
    """Return the gradient that `passed` and `brute_force` start with."""
    return random(*y.shape, seed=7).to(y.dtype)


def brute_force(replica: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Contract the replica's full Jacobian with the same random gradient."""
    seed = seed_like(replica(*inputs)).flatten()
    jacobians = torch.func.jacrev(replica, argnums=tuple(range(len(inputs))))(*inputs)
    return [
        (seed @ j.reshape(len(seed), -1)).view_as(x)
        for x, j in zip(inputs, jacobians, strict=True)
    ]


def check(
    model: nn.Module,
    replica: Callable[..., Tensor],
    *inputs: Tensor,
    rules: Any = "conservative",
    **options: Any,
) -> None:
    """Compare a model under rules with the Jacobian of its replica."""
    with torch.no_grad():
        exact(replica(*inputs), model(*[x.clone() for x in inputs]))
    expected = brute_force(replica, *inputs)
    for found, right in zip(
        passed(model, *inputs, rules=rules, **options), expected, strict=True
    ):
        exact(found, right)


def explained(
    model: nn.Module, *inputs: Tensor, rules: Any = "conservative", **options: Any
) -> Relevance:
    """Attribute a random combination of each example's outputs."""

    def target(output: Any) -> Tensor:
        y = output if isinstance(output, Tensor) else output[0]
        return (y * seed_like(y)).reshape(len(y), -1).sum(1)

    with instrument(model, rules, strict=True, **options) as lrp:
        return lrp.attribute(tuple(inputs), target=target)


def closes(
    model: nn.Module,
    *inputs: Tensor,
    rules: Any = "conservative",
    tolerance: float = 1e-10,
    **options: Any,
) -> Relevance:
    """Check that the ledger closes for every example."""
    found = explained(model, *inputs, rules=rules, **options)
    assert found.ledger.error.max() <= tolerance, found.ledger
    return found
