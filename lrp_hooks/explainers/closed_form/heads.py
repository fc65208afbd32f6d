"""What the heads make of one document: the few numbers that all closed forms share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ArgumentError, NonFiniteError
from .classifier import CLASS_TOKEN, UNKNOWN_TOKEN, AttentionClassifier

__all__ = [
    "Reading",
    "check_choice",
    "check_model",
    "factor",
    "like_model",
    "read",
    "stacked",
]

_INTEGERS = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}


@dataclass(frozen=True, eq=False)
class Reading:
    """A document as the heads see it, in float64 on the CPU.

    Attributes:
        x: Embeddings with their positions ``[T, D]``.
        keys: ``W_k^T q / sqrt(d_att)``, without the root where the classifier has no
            scale, ``[H, D]``: the direction in which x gains a head's attention.
        values: ``W_v^T W_l`` ``[H, D]``: the direction in which attended x raises the
            logit of class 1.
    """

    x: Tensor
    keys: Tensor
    values: Tensor

    @property
    def scores(self) -> Tensor:
        """What the softmax is taken of, ``[H, T]``."""
        return self.keys @ self.x.T

    @property
    def attention(self) -> Tensor:
        """Attention of the class token, ``[H, T]``."""
        return self.scores.softmax(-1)

    @property
    def outputs(self) -> Tensor:
        """Each head's logit of class 1 if it attended to one position, ``[H, T]``."""
        return self.values @ self.x.T

    @property
    def logits(self) -> Tensor:
        """Each head's logit of class 1, ``[H]``."""
        return (self.attention * self.outputs).sum(-1)


def read(model: AttentionClassifier, ids: Tensor) -> Reading:
    """Read a document without calling the model.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        What its heads make of it.

    Raises:
        NonFiniteError: If a NaN or an infinity comes out.
    """
    check_model(model)
    _check_ids(model, ids)
    table = model.embedding.weight.detach()
    x = _exact(table[ids.long().to(table.device)]) + _exact(model.positions)
    query = torch.einsum("had,d->ha", stacked(model, "query"), x[0])
    key, value = stacked(model, "key"), stacked(model, "value")
    keys = torch.einsum("had,ha->hd", key, query) * factor(model)
    # Row 1 of the classifier: class 1 is explained.
    values = torch.einsum("had,ha->hd", value, stacked(model, "classifier")[:, 1])
    reading = Reading(x, keys, values)
    if not (reading.scores.isfinite().all() and reading.outputs.isfinite().all()):
        raise NonFiniteError(
            "model gives NaN or infinite attention scores or values for these ids, "
            "since its weights hold some or are too large. Check its parameters with "
            "torch.isfinite()."
        )
    return reading


def stacked(model: AttentionClassifier, part: str) -> Tensor:
    """Return one weight of all heads.

    Args:
        model: The classifier.
        part: ``"query"``, ``"key"``, ``"value"`` or ``"classifier"``.

    Returns:
        ``[H, out, in]`` in float64 on the CPU.
    """
    return torch.stack([_exact(getattr(head, part).weight) for head in model.heads])


def factor(model: AttentionClassifier) -> float:
    """Return what scores are multiplied by, which is one number for all heads."""
    found: float = model.heads[0].factor  # type: ignore[assignment]
    return found


def like_model(scores: Tensor, model: AttentionClassifier) -> Tensor:
    """Bring a result to the model's device and dtype.

    Args:
        scores: ``[T]`` in float64.
        model: The classifier.

    Returns:
        ``[T]``.
    """
    return scores.to(model.embedding.weight)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse an option that does not exist.

    Args:
        name: The argument.
        value: What came.
        choices: What is allowed.

    Raises:
        ArgumentError: If it is none of them; the message lists all.
    """
    allowed = list(choices)
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise ArgumentError(f"{name}={value!r} is unknown; it must be one of {listed}.")


def check_model(model: object) -> None:
    """Refuse what is no such classifier.

    Args:
        model: What came.

    Raises:
        ArgumentError: If it is something else.
    """
    if not isinstance(model, AttentionClassifier):
        raise ArgumentError(
            f"model is a {type(model).__name__}; closed forms hold for "
            "closed_form.AttentionClassifier alone. Load its weights into one, or "
            "explain other models with lrp_hooks.explain()."
        )


def _exact(tensor: Tensor) -> Tensor:
    """Return a constant for exact work: not every device has float64."""
    return tensor.detach().cpu().double()


def _check_ids(model: AttentionClassifier, ids: object) -> None:
    """Refuse what is no padded document.

    Raises:
        ArgumentError: If it is none; the message says what to do.
    """
    length, size = model.max_length, model.embedding.num_embeddings
    wanted = f"one document, an integer tensor of {length} ids from 0 to {size - 1}"
    if not isinstance(ids, Tensor):
        raise ArgumentError(
            f"ids are a {type(ids).__name__}; they must be {wanted}: torch.tensor(ids)."
        )
    if ids.dtype not in _INTEGERS:
        raise ArgumentError(f"ids have dtype {ids.dtype}; they must be {wanted}.")
    if ids.shape != (length,):
        raise ArgumentError(
            f"ids have shape {list(ids.shape)}; they must be {wanted}. Give one row of "
            f"a batch at a time, padded with {UNKNOWN_TOKEN}."
        )
    if ids.min() < 0 or ids.max() >= size:
        worst = ids.min() if ids.min() < 0 else ids.max()
        raise ArgumentError(
            f"ids hold {int(worst)}; they must be {wanted}. Replace words without an "
            f"id by {UNKNOWN_TOKEN}."
        )
    if ids[0] != CLASS_TOKEN:
        raise ArgumentError(
            f"ids start with {int(ids[0])}; they must start with the class token, "
            f"{CLASS_TOKEN}. Put it before the words."
        )
