"""What closed forms are compared with: autograd, and LIME's fit to the classifier."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from .classifier import AttentionClassifier
from .lime import at_positions, kernel, word_columns
from .subsets import fitted, shown

__all__ = ["KERNEL_WIDTH", "differentiated", "sampled"]

KERNEL_WIDTH = 25.0
"""LIME's own, in hundredths of a cosine distance."""


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
    weights = kernel(masks.mean(1), KERNEL_WIDTH)
    slopes = fitted(masks, weights, shown(model, ids, columns, masks))[:-1]
    return at_positions(slopes, columns)
