"""Scores of images: what is read, by what explainer, and at which resolution."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks import explainers
from lrp_hooks.errors import UnruledWarning
from lrp_hooks.explainers import Explainer
from lrp_hooks.results.relevance import Relevance

from ..plausibility.methods import Spec, build
from ..training.vit import BACKGROUND

EMBEDDINGS = "vit.embeddings"
CELLS = ("patches", "pixels")
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {
    "signed": torch.clone,
    "absolute": torch.abs,
}


class Scored(NamedTuple):
    """What an explainer says of images.

    Attributes:
        scores: ``[B, h, w]`` for each resolution that it has: ``"pixels"``, and
            ``"patches"``, where the relevance of pixels is summed.
        seconds: CPU time.
    """

    scores: dict[str, Tensor]
    seconds: float


class FromBlack(nn.Module):
    """A model of how much brighter than black each pixel is.

    Black is -1 to the model, so that ``x * gradient`` speaks of the distance to grey.
    Here black is 0. What black itself adds is a constant of the network.
    """

    def __init__(self, model: Any) -> None:
        """Wrap a model of normalised images."""
        super().__init__()
        self.model, self.config = model, model.config
        self.register_buffer("black", torch.tensor(BACKGROUND))

    def forward(self, pixel_values: Tensor) -> Any:
        """Classify images ``[B, C, H, W]``, black 0."""
        return self.model(pixel_values + self.black)


def score(
    model: Any, spec: Spec, read: str, images: Tensor, target: Tensor, size: int
) -> Scored:
    """Explain images.

    Args:
        model: A ViT of transformers with one input channel.
        spec: The explainer, see ``build``.
        read: ``"pixels"``; ``"pixels from black"``; ``"tokens"``, the embeddings of
            the patches with their positions; ``"tokens, completed"``, with the share
            that ``Relevance.complete`` gives back to them.
        images: ``[B, 1, H, W]``.
        target: The class to explain of each, ``[B]``.
        size: Images in a batch.

    Returns:
        Scores in the order of the images.
    """
    shown = images - BACKGROUND if read.endswith("from black") else images
    explainer = prepare(model, spec, read)
    start = time.process_time()
    found = []
    for part, classes in zip(shown.split(size), target.split(size), strict=True):
        with warnings.catch_warnings():
            # Some rule sets leave activations to autograd on purpose.
            warnings.simplefilter("ignore", UnruledWarning)
            explanation = explainer({"pixel_values": part}, target=classes)
        completed = read.endswith("completed") and isinstance(explanation, Relevance)
        scores = explanation.complete() if completed else explanation.scores
        found.append(scores.detach().double())
    seconds = time.process_time() - start
    by_patches = "patch" in explainer.options()
    side = model.config.patch_size
    return Scored(resolutions(torch.cat(found), side, by_patches), seconds)


def prepare(model: Any, spec: Spec, read: str) -> Explainer:
    """Make the explainer that reads scores where they are wanted; see ``score``."""
    options = dict(spec.get("options", {}))
    if spec["method"] == "lrp" and read.startswith("tokens"):
        options["wrt"] = EMBEDDINGS
    if "patch" in explainers.named(spec["method"]).options():
        options["patch"] = model.config.patch_size
    seen = FromBlack(model).eval() if read.endswith("from black") else model
    return build(seen, None, spec | {"options": options})


def resolutions(scores: Tensor, side: int, by_patches: bool) -> dict[str, Tensor]:
    """Bring scores into the shape of the image, and of its patches.

    Args:
        scores: ``[B, H, W]``, or ``[B, 1 + N]`` of the class token and N patches.
        side: Of a patch, in pixels.
        by_patches: Whether the pixels of a patch share what was measured of it.

    Returns:
        ``[B, h, w]`` by name.
    """
    if scores.ndim == 2:
        return {"patches": grid(scores[:, 1:])}
    summed = patch_sums(scores, side)
    if by_patches:
        return {"patches": summed}
    return {"patches": summed, "pixels": scores}


def grid(tokens: Tensor) -> Tensor:
    """Arrange the tokens ``[B, N]`` of a square image by row, ``[B, h, w]``."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))


def patch_sums(pixels: Tensor, side: int) -> Tensor:
    """Sum pixels ``[B, H, W]`` by patch, ``[B, H / side, W / side]``."""
    return pixels.unflatten(2, (-1, side)).unflatten(1, (-1, side)).sum((2, 4))
