"""LIME in the limit of infinitely many samples: exact, and the paper's approximation.

LIME explains a document by the slopes of a weighted linear fit to what the classifier
says of it with words removed: a number s of removed words is drawn uniformly from
1, ..., d, then which ones. It is linear in the output, so heads are explained one by
one. Nothing is sampled and the model is not called.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from ...errors import ArgumentError, TextError
from .classifier import CLASS_TOKEN, UNKNOWN_TOKEN, AttentionClassifier
from .heads import Reading, like_model, read
from .moments import summed_moments

__all__ = [
    "at_positions",
    "full_and_blank",
    "kernel",
    "lime_approximation",
    "lime_limit",
    "word_columns",
]


@torch.inference_mode(False)  # the derivative needs a graph
def lime_limit(
    model: AttentionClassifier, ids: Tensor, *, kernel_width: float = 25.0
) -> Tensor:
    """Explain by LIME's coefficients in the limit of infinitely many samples.

    Args:
        model: The classifier.
        ids: One document ``[T]``: the class token, words, and padding. A word is
            replaced by the unknown token wherever it occurs.
        kernel_width: Width of LIME's kernel, in hundredths of a cosine distance;
            ``math.inf`` weighs all samples alike. Defaults to ``25.0``, LIME's own.

    Returns:
        Scores ``[T]``, in the model's dtype: each occurrence of a word shows that
        word's coefficient, other positions 0.

    Raises:
        ArgumentError: If the kernel is so narrow that the fit is not determined.
    """
    _check_positive("kernel_width", kernel_width)
    full, blank, columns, d = full_and_blank(model, ids)
    if d == 1:
        # All samples but the original are the blank document: a line through two.
        slopes = (full.logits - blank.logits).mean()[None]
        return like_model(at_positions(slopes, columns), model)
    weights = _size_weights(d, kernel_width)
    slopes = _slopes(weights, *summed_moments(full, blank, columns, weights))
    if not slopes.isfinite().all():
        raise ArgumentError(
            f"kernel_width={kernel_width!r} gives all weight to documents with one "
            "word removed, which do not determine a fit. Use a wider kernel, such as "
            "LIME's 25."
        )
    return like_model(at_positions(slopes, columns), model)


def lime_approximation(
    model: AttentionClassifier, ids: Tensor, *, factor: float = 1.5
) -> Tensor:
    """Explain by the paper's approximation of LIME's coefficients (Equation 19).

    A word's share of the output less the share of the unknown token in its place in a
    document of unknown tokens. It ranks words much as LIME does, but its size is right
    only for documents that fill the context with words that outweigh the unknown token;
    elsewhere it can be off by as much as the coefficients: ``lime_limit`` is exact.

    Args:
        model: The classifier.
        ids: One document ``[T]``: the class token, words, and padding.
        factor: What the difference is multiplied by. Defaults to ``1.5``, the paper's;
            ``1.0`` is closer where the unknown token is attended to like a word.

    Returns:
        Scores ``[T]``, in the model's dtype: each occurrence of a word shows that
        word's coefficient, other positions 0.
    """
    _check_positive("factor", factor)
    full, blank, columns, d = full_and_blank(model, ids)
    shares = full.attention * full.outputs - blank.attention * blank.outputs
    words = shares.mean(0) @ one_hot(columns, d + 1).double()
    return like_model(at_positions(factor * words[:d], columns), model)


def word_columns(ids: Tensor) -> tuple[Tensor, int]:
    """Find the words of a document.

    Args:
        ids: ``[T]``.

    Returns:
        The index of the word at each position ``[T]``, on the CPU, ``d`` where there is
        none; and ``d``, their number.

    Raises:
        TextError: If there is no word.
    """
    ids = ids.cpu().long()
    is_word = (ids != CLASS_TOKEN) & (ids != UNKNOWN_TOKEN)
    words, columns = torch.unique(ids[is_word], return_inverse=True)
    if not len(words):
        raise TextError(
            f"ids hold no word: all are the class token {CLASS_TOKEN} or the unknown "
            f"token {UNKNOWN_TOKEN}, so LIME has nothing to remove. Give a document "
            "with words of the vocabulary."
        )
    return torch.full_like(ids, len(words)).masked_scatter(is_word, columns), len(words)


def at_positions(slopes: Tensor, columns: Tensor) -> Tensor:
    """Show each word's coefficient wherever it occurs.

    Args:
        slopes: ``[d]``.
        columns: The index of the word at each position ``[T]``, ``d`` where none is.

    Returns:
        ``[T]``, 0 where there is no word.
    """
    return pad(slopes, (0, 1))[columns]


def kernel(kept: Tensor, width: float) -> Tensor:
    """Weigh samples as LIME does, by cosine distance to the original.

    Args:
        kept: The fraction of words that is kept.
        width: Width of the kernel.

    Returns:
        Weights of the same shape, the largest of which is 1.
    """
    distances = 100 * (1 - kept.sqrt())
    exponents = -((distances / width) ** 2) / 2
    return (exponents - exponents.max()).exp()


def full_and_blank(
    model: AttentionClassifier, ids: Tensor
) -> tuple[Reading, Reading, Tensor, int]:
    """Read a document with all of its words and with none, and find them.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        Both readings, the index of the word at each position, and their number.
    """
    full = read(model, ids)
    columns, d = word_columns(ids)
    blank = ids.masked_fill(columns.to(ids.device) < d, UNKNOWN_TOKEN)
    return full, read(model, blank), columns, d


def _size_weights(d: int, width: float) -> Tensor:
    """Return the weight of all documents with m of d words kept, ``[d + 1]``.

    LIME draws each m from 0 to d - 1 with the same probability.
    """
    sizes = torch.arange(d).double()
    return pad(kernel(sizes / d, width), (0, 1))


def _slopes(weights: Tensor, means: Tensor, kept: Tensor) -> Tensor:
    """Solve the normal equations of the weighted fit.

    Their matrix is the same for all words, so slopes are one for the number of words
    kept, shared by all, and one for each word's difference from the others.

    Args:
        weights: Of each number m of words kept ``[d + 1]``.
        means: E[f | m] ``[d + 1]``.
        kept: sum_m weights_m E[f z_j | m] ``[d]``.

    Returns:
        The slope of each word ``[d]``.
    """
    d = len(kept)
    sizes = torch.arange(d + 1).double()
    centred = sizes - weights @ sizes / weights.sum()
    shifts = means - weights @ means / weights.sum()
    shared = (weights * centred) @ shifts / (weights @ centred**2)
    spread = weights @ (sizes * (d - sizes)) / (d * (d - 1))
    return shared + (kept - kept.mean()) / spread


def _check_positive(name: str, value: object) -> None:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not value > 0  # NaN, too
    ):
        raise ArgumentError(f"{name}={value!r} must be a number above 0.")
