"""What closed forms are compared with: autograd, and LIME's fit to the classifier."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .classifier import UNKNOWN_TOKEN, AttentionClassifier
from .lime import at_positions, kernel, word_columns

__all__ = ["differentiated", "enumerated", "sampled"]


def differentiated(
    model: AttentionClassifier, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Call the classifier once, and differentiate.

    Attention is the derivative of what a head mixes for the values that it mixes.

    Args:
        model: The classifier.
        ids: One document ``[T]``.

    Returns:
        Attention ``[H, T]``; the gradient of class 1's logit for the embeddings and the
        embeddings with their positions, ``[T, D]``.
    """
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        seen[module] = output

    def keep_input(module: nn.Module, args: tuple[Tensor]) -> None:
        seen[module] = args[0]

    parts = [
        (head.get_submodule("value"), head.get_submodule("classifier"))
        for head in model.heads
    ]
    with ExitStack() as hooks, torch.enable_grad():
        hooks.enter_context(model.embedding.register_forward_hook(keep))
        for value, classifier in parts:
            hooks.enter_context(value.register_forward_hook(keep))
            hooks.enter_context(classifier.register_forward_pre_hook(keep_input))
        logit = model(ids[None])[0, 1]
    words = seen[model.embedding]
    (grads,) = torch.autograd.grad(logit, words, retain_graph=True)
    weights = [
        torch.autograd.grad(seen[classifier][0, 0], seen[value], retain_graph=True)[0]
        for value, classifier in parts
    ]
    x = words[0].detach() + model.positions
    return torch.cat(weights)[:, :, 0], grads[0], x


def enumerated(model: AttentionClassifier, ids: Tensor, width: float) -> Tensor:
    """Fit LIME's linear model to all subsets of the words, as likely as it draws them.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        width: Width of the kernel.

    Returns:
        Each word's slope at its positions ``[T]``, 0 elsewhere.
    """
    columns, d = word_columns(ids)
    masks = (torch.arange(2**d)[:, None] >> torch.arange(d) & 1).double()
    sizes = masks.sum(1)
    # A size is drawn first: the many subsets of one size share its probability.
    chances = (torch.lgamma(sizes + 1) + torch.lgamma(d - sizes + 1)).exp()
    if d > 1:
        chances[-1] = 0.0  # the original is one sample of infinitely many
    return _fitted(model, ids, columns, masks, chances * kernel(masks.mean(1), width))


def sampled(
    model: AttentionClassifier, ids: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """Fit LIME's linear model to samples: the original, then subsets of random size.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        samples: Their number.
        generator: The source of chance.

    Returns:
        Each word's slope at its positions ``[T]``, 0 elsewhere.
    """
    columns, d = word_columns(ids)
    removed = torch.randint(1, d + 1, (samples, 1), generator=generator)
    removed[0] = 0
    ranks = torch.rand(samples, d, generator=generator).argsort(1)
    masks = (ranks >= removed).double()
    return _fitted(model, ids, columns, masks, kernel(masks.mean(1), 25.0))


def _fitted(
    model: AttentionClassifier,
    ids: Tensor,
    columns: Tensor,
    masks: Tensor,
    weights: Tensor,
) -> Tensor:
    """Fit to the logit of class 1 under masks of kept words ``[N, d]``."""
    design = pad(masks, (0, 1), value=1.0)  # the last column: what stays, the intercept
    documents = ids.where(design[:, columns].bool(), UNKNOWN_TOKEN)
    with torch.no_grad():
        logits = torch.cat([
            model(batch)[:, 1:] for batch in torch.split(documents, 512)
        ])
    root = weights.sqrt()[:, None]
    slopes = torch.linalg.lstsq(root * design, root * logits).solution[:-1, 0]
    return at_positions(slopes, columns)
