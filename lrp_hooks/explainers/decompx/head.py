"""Which tokens a model's head takes, told by what depends on them."""

from __future__ import annotations

import torch
from torch import Tensor

from ...attribution.passes import Forward, select_target
from ...attribution.readout import find_logits
from ...engine.subject import Subject
from ...texts.encoding import writes_text

__all__ = ["of_head"]


def of_head(subject: Subject, forward: Forward) -> Tensor:
    """Return scalars that depend on the tokens that the head takes, or on all.

    A pooler takes one, as do a classifier and what writes the next token; a head at
    each token, and none at all, take each.

    Args:
        subject: The instrumented model.
        forward: Its forward pass.

    Returns:
        [B], a part of the graph.
    """
    taken = getattr(forward.output, "pooler_output", None)
    if taken is None:
        taken = find_logits(forward.output)
        if taken.ndim != 3 or writes_text(subject.model):
            return select_target(subject, forward, None).scalar
    # Not a sum, which a LayerNorm makes a constant.
    weights = torch.linspace(1, 2, taken.shape[-1]).to(taken)
    return (taken * weights).flatten(1).sum(1)
