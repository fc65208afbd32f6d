"""Scores for people: one number for each place that they know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..engine.walk import named_modules_of
from .call import Call
from .content import may_be_merged
from .graphs import owner_of_edges
from .merged import by_owner, given_back, grid_of, placed
from .passes import Pass
from .places import SOUND, by_place, is_waveform, laid_out, seen_axes
from .readable import is_plain
from .settings import setting

__all__ = ["boxes_of", "patches_of", "pictures_of", "scores_of", "sounds_of"]


def scores_of(name: str, values: Tensor, model: nn.Module, done: Pass) -> Tensor:
    """Sum what was read over all but the places that people see.

    Args:
        name: What was read: an input or a module.
        values: Its relevance, in its own shape.
        model: The model.
        done: The passes that brought it.

    Returns:
        ``[B, T]`` for texts and sounds, ``[B, H, W]`` for images, ``[B, F, H, W]`` for
        videos, ``[B, V, T]`` for series; what lies behind one another is its example's.
    """
    call, apart = done.forward.call, done.apart
    given = call.tensors.get(name)
    if call.owner is not None and name in {*call.floats, *done.forward.reads}:
        parts = {} if apart is None else apart.shares
        whole = parts[name].sum(0) if name in parts else values
        return _of_graphs(whole, call.owner, call)
    if given is None or not is_plain(given):
        seen = by_place(values, choices=call.has_choices)
        several = given is not None and len(seen) % call.batch == 0 < len(seen)
        if several and len(seen) != call.batch:  # several texts an example
            return seen.reshape(call.batch, -1, *seen.shape[1:])
        return seen
    if apart is not None and name in apart.shares:
        grid = grid_of(name, call.tensors, model, given)
        values = given_back(apart.shares[name], grid, may_be_merged(name))
        if grid is not None:
            return values
    shapes = call.tensors.get("spatial_shapes")
    if shapes is not None and values.ndim == 3 and name.startswith("pixel"):
        return placed(values, shapes, setting(model, "patch_size") or 1)
    return _summed(name, values, model)


def _of_graphs(whole: Tensor, owner: Tensor, call: Call) -> Tensor:
    """Give nodes, or edges, back to their graphs: [B, N] or [B, E]."""
    if len(whole) != len(owner):
        edges = owner_of_edges(call.tensors, owner)
        if len(whole) != len(edges):
            return by_place(whole)
        owner = edges
    return by_owner(whole.flatten(1).sum(1), owner.tolist(), call.batch)


def _summed(name: str, values: Tensor, model: nn.Module) -> Tensor:
    axes = seen_axes(name, values.shape, model)
    left = [axis for axis in range(values.ndim) if axis not in axes]
    return laid_out(values.sum(left) if left else values, axes)


def sounds_of(
    scores: Mapping[str, Tensor], floats: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Tell which inputs go on in time, for ``meta``.

    Args:
        scores: What is shown of each thing that was read.
        floats: The inputs.

    Returns:
        ``{"sounds": {name: "samples" or "frames"}}``; empty where there are none.
    """
    found = {
        name: "samples" if is_waveform(name, floats[name]) else "frames"
        for name, part in scores.items()
        if name in SOUND and name in floats and part.ndim == 2
    }
    return {"sounds": found} if found else {}


def boxes_of(target: Any) -> dict[str, Any]:
    """Tell where in the pictures what is explained lies, for ``meta``.

    Args:
        target: What is explained.

    Returns:
        ``{"boxes": [[left, top, right, bottom], ...]}``; empty where it has no place.
    """
    boxes = getattr(target, "boxes", ())
    return {"boxes": [list(box) for box in boxes]} if boxes else {}


def patches_of(
    scores: Mapping[str, Tensor], model: nn.Module, floats: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Tell how large the patches are that a model reads, for ``meta``.

    Args:
        scores: What is shown of each thing that was read.
        model: The model; its configuration tells, or else its first convolution.
        floats: The inputs.

    Returns:
        ``{"patches": {name: [height, width]}}`` of images whose sides they divide; of
        none where nothing tells.
    """
    size = _patch_of(model) if floats else None
    found = {
        name: size
        for name, part in scores.items()
        if name in floats and floats[name].ndim != 3 and part.ndim in {3, 4}
        if size is not None
        and all(n % s == 0 for n, s in zip(part.shape[-2:], size, strict=True))
    }
    return {"patches": found} if found else {}


def _patch_of(model: nn.Module) -> list[int] | None:
    """Return height and width of a patch."""
    size = setting(model, "patch_size")
    if size is None:
        named = named_modules_of(model)
        first = next((m for _, m in named if isinstance(m, nn.Conv2d)), None)
        cuts = first is not None and first.kernel_size == first.stride
        size = first.kernel_size if first is not None and cuts else None
    sides = [size, size] if isinstance(size, int) else list(size or ())[-2:]
    return sides if len(sides) == 2 and all(s > 1 for s in sides) else None


def pictures_of(
    scores: Mapping[str, Tensor], reads: Mapping[str, Tensor], batch: int
) -> Tensor | None:
    """Return what scores are shown over: pictures, frames, or a sound.

    Args:
        scores: What is shown of each thing that was read.
        reads: What that was.
        batch: B.

    Returns:
        The one input that is such; None where none is, or several are.
    """
    found = []
    for name, read in reads.items():
        heard = name in SOUND and scores[name].ndim == 2
        pictured = read.ndim in {4, 5} and read.shape[-3] in {1, 3}
        alone = len(read) == batch
        if heard and alone:
            found.append(_sound(read.detach(), scores[name].shape[1]))
        elif pictured and alone and scores[name].ndim == read.ndim - 1:
            found.append(read.detach())
        elif read.ndim == 5 and alone and read.shape[1] == 1 and scores[name].ndim == 3:
            found.append(read.detach()[:, 0])
    return found[0] if len(found) == 1 else None


def _sound(read: Tensor, length: int) -> Tensor:
    """Return a waveform [B, T], or bands by time [B, F, T]."""
    if read.ndim == 4:
        read = read[:, 0]
    if read.ndim == 3:
        turned = read if read.shape[2] == length else read.transpose(1, 2)
        return turned.mean(1) if turned.shape[1] <= 2 else turned
    return read
