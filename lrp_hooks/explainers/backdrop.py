"""What scores are shown over, where a method does not say it itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..attribution.inputs import bind
from ..attribution.places import laid_out, seen_axes
from ..attribution.seen import patches_of, pictures_of, sounds_of
from ..engine.subject import Subject
from ..results.explanation import Explanation

__all__ = ["lay_over"]


def lay_over(found: Explanation, model: nn.Module, batch: Any) -> None:
    """Note the pictures, the patches and the sounds that scores are of.

    Args:
        found: The explanation; it is changed.
        model: The model.
        batch: What it was given.
    """
    several = batch.values() if isinstance(batch, Mapping) else batch
    tensors = [batch] if isinstance(batch, Tensor) else several
    if not any(isinstance(t, Tensor) and t.is_floating_point() for t in tensors):
        return
    floats, scores = bind(Subject(model), batch).floats, found.scores
    if isinstance(scores, Tensor):
        scores = dict.fromkeys(floats, scores) if len(floats) == 1 else {}
    own = {
        name: part
        for name, part in scores.items()
        if name in floats and _covers(name, part, floats[name], model)
    }
    reads = {name: floats[name] for name in own}
    found.images = pictures_of(own, reads, len(found.output))
    found.meta.update(**patches_of(own, model, reads), **sounds_of(own, reads))


def _covers(name: str, scores: Tensor, given: Tensor, model: nn.Module) -> bool:
    """Tell scores that have one number for each place of an input."""
    axes = seen_axes(name, given.shape, model)
    left = [axis for axis in range(given.ndim) if axis not in axes]
    kept = given.sum(left) if left else given
    return scores.shape == laid_out(kept, axes).shape
