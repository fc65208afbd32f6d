"""Products: a product of n tensors that carry relevance gives each an n-th.

The gradient of a product a * b at (a, b) would count its relevance twice, once for
each factor. Sharing it evenly is the uniform rule (Achtibat et al. 2024, Prop. 3.2:
R(a) = R(b) = R(ab)/2). A power is a product of equal factors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..engine import (
    FunctionTable,
    ScopeRule,
    carries,
    freeze,
    pass_through,
    role,
    scale_gradient,
    set_role,
    spellings,
    splice,
    split,
    table,
    trainable,
    watch_source,
)
from .affine import affine
from .composite import COMPOSITES
from .gated import GATED as GATES
from .layer import LAYERS, bilinear, layer_plainly, layer_product
from .normalization import POWERS
from .reduction import REDUCTIONS

__all__ = ["Product", "summed"]

ELEMENTWISE = spellings("mul multiply")
CONTRACTIONS = spellings(
    """
    matmul __matmul__ mm bmm mv dot inner outer ger vdot kron cross _grouped_mm
    vecdot linalg_vecdot tensordot _sparse_mm hspmm smm multi_dot linalg_multi_dot
    chain_matmul trapezoid trapz cumulative_trapezoid stft
    """,
    torch.functional.einsum,
    torch.einsum,
    torch.sparse.mm,
)
WITH_SUMMAND = spellings("addmm baddbmm addbmm addmv addr addcmul", torch.sparse.addmm)
DEGREES = {**dict.fromkeys(spellings("square var"), 2.0)}
DEGREES |= dict.fromkeys(spellings("sqrt"), 0.5)
BILINEAR = spellings("bilinear")
FACTORIALS = spellings("prod cumprod")
HOMOGENEOUS = spellings(
    """
    norm std std_mean linalg_norm linalg_vector_norm vector_norm matrix_norm
    linalg_matrix_norm svdvals linalg_svdvals nuclear_norm
    """
)
GATED = spellings("glu")
LERP = frozenset(spellings("lerp"))


def shared(func: Callable[..., Any], args: Any, kwargs: Any, first: int = 0) -> Any:
    """Evaluate a product whose relevance is shared by the factors that carry any.

    A factor that came out of a softmax takes that softmax's query and key share, and
    the others what is left.

    Args:
        func: The function.
        args: Its arguments.
        kwargs: Its keyword arguments.
        first: The place of the first factor; what stands before it is added.

    Returns:
        The product.
    """
    live = [v for v in _factors((*args[first:], *kwargs.values())) if carries(v)]
    if len(live) < 2:
        return func(*args, **kwargs)
    share = next((role(v) for v in live if isinstance(role(v), float)), None)
    if share is None and not first:
        return scale_gradient(func(*args, **kwargs), 1.0 / len(live))
    rest = 1.0 / len(live) if share is None else (1.0 - share) / (len(live) - 1)

    def part(value: Any) -> Any:
        if not carries(value):
            return value
        own = rest if share is None or not isinstance(role(value), float) else share
        return split(value, 1.0 / own)

    weighed = (*args[:first], *map(part, args[first:]))
    return func(*weighed, **{key: part(value) for key, value in kwargs.items()})


def _factors(values: Any) -> list[Any]:
    """List arguments, and those in lists of factors."""
    lists = [value if isinstance(value, list | tuple) else [value] for value in values]
    return [factor for factors in lists for factor in factors]


class Product(ScopeRule):
    """R(a) = R(b) = R(ab)/2: element-wise products, contractions, powers, gated units.

    A factor with the role of a gate (a constant plus an activation, a GLU's sigmoid) is
    frozen; an activation that multiplies something else is frozen too where
    ``freeze_activated`` is set (CP-LRP's gated units).
    """

    def __init__(self, split: bool = True, freeze_activated: bool = False) -> None:
        """Choose how relevance is shared.

        Args:
            split: Share evenly; otherwise the plain gradient.
            freeze_activated: Freeze the activated factor of a gated unit.
        """
        self.split = split
        self.freeze_activated = freeze_activated

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of products.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        plain = {
            **table(HOMOGENEOUS, None),
            **table(WITH_SUMMAND, _summed_plainly),
            **table(LAYERS, layer_plainly),
        }
        if not self.split:
            known = [*ELEMENTWISE, *CONTRACTIONS, *BILINEAR, *DEGREES, *FACTORIALS]
            rarer = [*COMPOSITES, *GATES, *REDUCTIONS]
            free = table([*known, *GATED, *(f for f in rarer if f not in LERP)], None)
            return {**plain, **free}
        return {
            **plain,
            **COMPOSITES,
            **GATES,
            **REDUCTIONS,
            **table(ELEMENTWISE, self._multiply),
            **table(CONTRACTIONS, _contract),
            **table(BILINEAR, bilinear),
            **table(WITH_SUMMAND, summed),
            **table(LAYERS, layer_product),
            **table(POWERS, _power),
            **table(DEGREES, _homogeneous),
            **table(FACTORIALS, _factorial),
            **table(GATED, _gated_unit),
        }

    def _multiply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        notes = [role(value) for value in args]
        if len(args) == 2 and carries(args[0]) and carries(args[1]):
            frozen = [self._is_gate(note) for note in notes]
            if frozen[0] != frozen[1]:
                pairs = zip(args, frozen, strict=True)
                return func(*(freeze(v) if gate else v for v, gate in pairs), **kwargs)
            return shared(func, args, kwargs)
        out = shared(func, args, kwargs)
        note = next((note for note in notes if note is not None), None)
        return set_role(out, note) if note is not None and carries(out) else out

    def _is_gate(self, note: object) -> bool:
        return note == "gate" or (note == "activated" and self.freeze_activated)


def _contract(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if len(args) == 2 and isinstance(args[1], list | tuple):  # einsum(equation, list)
        args = (args[0], *args[1])
    out = shared(func, args, kwargs)
    if "matmul" in func.__name__ and len(args) == 2 and _folds_trained(*args):
        plain = _matmul_as_trained(func, *args)
        return splice(plain, out, lambda grad: grad) if carries(out) else plain
    return out


def _folds_trained(a: Tensor, b: Tensor) -> bool:
    """Tell whether torch folds a product because a small factor is trainable."""
    small, large = (a, b) if a.ndim < b.ndim else (b, a)
    return small.ndim <= 2 < large.ndim and trainable(small)


def _matmul_as_trained(func: Callable[..., Any], a: Tensor, b: Tensor) -> Tensor:
    with torch.enable_grad():
        pair = [
            t.detach().requires_grad_() if trainable(t) else t.detach() for t in (a, b)
        ]
        result: Tensor = func(*pair)
    return result.detach()


def summed(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Evaluate beta * summand + alpha * a @ b.

    Args:
        func: ``addmm`` and the like.
        *args: The summand and the factors.
        **kwargs: Its keyword arguments.

    Returns:
        The sum; its factors share the relevance of the product.
    """
    if not any(map(carries, (*args[1:], *kwargs.values()))):
        return affine(func, *args, **kwargs)
    out = shared(func, args, kwargs, first=1)
    return _watch_summand(out, args, kwargs)


def _summed_plainly(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not any(map(carries, (*args[1:], *kwargs.values()))):
        return affine(func, *args, **kwargs)
    return _watch_summand(func(*args, **kwargs), args, kwargs)


def _watch_summand(out: Any, args: Any, kwargs: Any) -> Any:
    beta = kwargs.get("beta", 1)
    if carries(out) and not carries(args[0]) and beta != 0:
        watch_source(out, args[0] if beta == 1 else args[0] * beta, args[0])
    return out


def _power(func: Callable[..., Any], base: Any, exponent: Any, **kwargs: Any) -> Any:
    """x^p passes relevance unchanged (gradient / p); what has a pole at 0 is frozen."""
    exponent = freeze(exponent) if carries(exponent) else exponent
    if not carries(base):
        return func(base, exponent, **kwargs)
    degree = torch.as_tensor(exponent)
    if degree.is_complex() or (degree.ndim == 0 and not degree > 0):
        return func(freeze(base), exponent, **kwargs)
    if degree.ndim == 0:
        return func(split(base, float(degree)), exponent, **kwargs)
    with torch.no_grad():
        y = func(base, exponent, **kwargs)
    # Element by element, for one example must not decide on another.
    live = torch.where(degree > 0, base, freeze(base))  # exponents may broadcast
    out = pass_through(lambda x: func(x, exponent, **kwargs), live, y)
    watch_source(out, torch.where(degree > 0, 0.0, y), func.__name__)
    return out


def _homogeneous(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return func(split(x, DEGREES[func]), *args, **kwargs)


def _factorial(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    dim = args[0] if args else kwargs.get("dim")
    n = x.numel() if dim is None or not x.ndim else x.shape[dim]
    if func.__name__ == "prod":
        return func(split(x, max(n, 1)), *args, **kwargs)
    out = func(x, *args, **kwargs)
    counts = torch.arange(1, n + 1, device=x.device)
    shape = [1] * x.ndim
    if x.ndim:
        shape[dim or 0] = n
    return splice(out.clone(), out, lambda grad: grad / counts.view(shape))


def _gated_unit(func: Callable[..., Any], x: Tensor, dim: int = -1) -> Any:
    """A * sigmoid(b): the sigmoid is a gate, so a takes it all."""
    if not carries(x):
        return func(x, dim)
    with torch.no_grad():
        out = func(x, dim)

    def backward(grad: Tensor, x: Tensor) -> Tensor:
        gate = x.chunk(2, dim)[1].sigmoid()
        return torch.cat([grad * gate, torch.zeros_like(gate)], dim)

    return splice(out, x, backward, x)
