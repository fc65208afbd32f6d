"""Numbers for the tokens of a text, read off its surrogate."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .surrogate import Surrogate

__all__ = ["SCORES"]


def _value(surrogate: Surrogate, ids: Tensor) -> Tensor:
    """The log-odds of the token alone, v."""
    return surrogate.look_up(ids, surrogate.values, 0.0)


def _importance(surrogate: Surrogate, ids: Tensor) -> Tensor:
    """How much the token outweighs others, s."""
    return surrogate.look_up(ids, surrogate.importances, 0.0)


def _product(surrogate: Surrogate, ids: Tensor) -> Tensor:
    """The token's part of the numerator, v exp(s)."""
    parts = surrogate.values * surrogate.importances.exp()
    return surrogate.look_up(ids, parts, 0.0)


def _removal(surrogate: Surrogate, ids: Tensor) -> Tensor:
    """What leaving this copy out takes away, F(t) - F(t without it)."""
    return surrogate.removal(ids)


SCORES: dict[str, Callable[[Surrogate, Tensor], Tensor]] = {
    "product": _product,
    "value": _value,
    "importance": _importance,
    "removal": _removal,
}
"""By the names of ``Slalom(score=)``: from a surrogate and ids ``[L]`` to ``[L]``."""
