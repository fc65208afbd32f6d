"""Refuses texts of which a model has read the padding."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import TextError
from ..results.explanation import Explanation
from ..results.ledger import wide
from ..texts.encoding import Encoded

__all__ = ["check_padding"]

MATERIAL = 1e-4
"""Which part of all that a text's positions have is more than rounding."""


def check_padding(
    found: Explanation, encoded: Encoded | None, model: nn.Module
) -> None:
    """Refuse an explanation of a text that was padded, and whose padding counts.

    Such a model reads the last place of each row, or mixes tokens that the mask says
    are none. It returns another output for the text alone.

    Args:
        found: What was explained.
        encoded: The texts; None for inputs that were made elsewhere, padding included.
        model: The model.

    Raises:
        TextError: If padding has scores.
    """
    scores, attended = found.scores, found.attended
    if encoded is None or encoded.texts is None or attended is None:
        return
    if not isinstance(scores, Tensor) or scores.shape != attended.shape:
        return
    sizes = wide(scores).abs().flatten(1)
    strays = sizes.masked_fill(attended.cpu().flatten(1), 0.0).sum(1)
    wrong = (strays > MATERIAL * sizes.sum(1)).nonzero().flatten().tolist()
    if wrong:
        raise TextError(
            f"text {wrong[0] + 1} is shorter than another and was padded, and a "
            f"{type(model).__name__} reads the padding, so that its output is not that "
            "of the text. Explain texts one by one, or those of one length together."
        )
