"""How a surrogate is fitted, as options say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ArgumentError
from ...support.numbers import is_whole

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How a surrogate is fitted.

    Args:
        method: A name of `learning.FITS`.
        fix_importances: Whether importances stay equal, and values alone are fitted.
        learning_rate: Of ``"sgd"``; ``None`` is the authors' for the sampling.
        epochs: Of ``"sgd"``; likewise.
    """

    method: str = "gauss-newton"
    fix_importances: bool = False
    learning_rate: float | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        """Refuse options of gradient descent elsewhere, or of no use.

        Raises:
            ArgumentError: If one is such.
        """
        if not isinstance(self.fix_importances, bool):
            raise ArgumentError(
                f"fix_importances={self.fix_importances!r} must be True or False."
            )
        rate, epochs = self.learning_rate, self.epochs
        for name, value in (("learning_rate", rate), ("epochs", epochs)):
            if value is not None and self.method != "sgd":
                raise ArgumentError(
                    f"{name}={value!r} is an option of fit='sgd', and fit is "
                    f"{self.method!r}. Leave one of them out."
                )
        if rate is not None and not (_is_number(rate) and 0 < rate < math.inf):
            raise ArgumentError(f"learning_rate={rate!r} must be a number above 0.")
        if epochs is not None and not (is_whole(epochs) and epochs > 0):
            raise ArgumentError(f"epochs={epochs!r} must be a whole number above 0.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
