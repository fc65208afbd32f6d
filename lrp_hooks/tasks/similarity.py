"""Two towers: the similarity of each text with the image, or sound, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..attribution.readable import is_plain
from ..errors import ArgumentError, TargetError
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["compared", "is_compared", "paired_similarity"]

_GRID = "logits_per_text"


def is_compared(asked: Asked) -> bool:
    """Tell whether a model compares each text with each of something else.

    Args:
        asked: The question.

    Returns:
        Whether its output is a grid of similarities.
    """
    grid = asked.field(_GRID)
    return grid is not None and grid.ndim == 2


def compared(asked: Asked) -> Posed:
    """Pose a question about the similarity of each text with what stands beside it.

    Args:
        asked: The question; its target is None.

    Returns:
        The question about both sides.

    Raises:
        ArgumentError: If the sides have different numbers of rows, or are not named.
        TargetError: If there is a target.
    """
    if asked.target is not None:
        raise TargetError(
            f"target={asked.target!r} must be left out: {type(asked.model).__name__} "
            "compares, and each text is explained with what stands beside it. For "
            "another similarity pass a function of the output, such as lambda output: "
            "output.logits_per_image[:, 1]."
        )
    sides = _sides(asked)
    counts = {name: len(asked.batch[name]) for name in sides}
    if len(set(counts.values())) > 1:
        raise ArgumentError(
            "each text is explained with what stands beside it, but inputs have "
            f"{' and '.join(f'{n} rows of {name}' for name, n in counts.items())}. "
            "Pass as many of one as of the other, or a function as target=."
        )
    return Posed(
        asked.batch, asked.encoded, paired_similarity, Task.SIMILARITY, read=sides
    )


def paired_similarity(output: Any) -> Tensor:
    """Pick the similarity of each text with what stands beside it.

    Args:
        output: What a model of two towers returned.

    Returns:
        The diagonal of its grid, ``[B]``.
    """
    grid: Tensor = getattr(output, _GRID)
    return grid.diagonal()


def _sides(asked: Asked) -> tuple[str, ...]:
    """Name the inputs that carry content: floats that are no masks, and the ids."""
    named = asked.batch if isinstance(asked.batch, Mapping) else {}
    tensors = {n: v for n, v in named.items() if isinstance(v, Tensor)}
    floats = [n for n, v in tensors.items() if is_plain(v) and "mask" not in n]
    if not floats or "input_ids" not in tensors:
        raise ArgumentError(
            "inputs must be a mapping with \"input_ids\" and what the texts are "
            f"compared with; they have {', '.join(map(repr, named)) or 'no names'}. "
            "Pass what the model's processor returns, or (pixel values, text)."
        )
    return tuple(n for n in tensors if n in floats or n == "input_ids")
