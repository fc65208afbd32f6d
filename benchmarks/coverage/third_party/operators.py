"""Lets torchvision be imported where its compiled operators cannot be loaded.

Its wheel on PyPI is linked against CUDA. Beside a torch without it only the names of
two operators are missing, which no model of the list calls.
"""

from __future__ import annotations

import torch

__all__ = ["declare"]

_NAMES = ("nms", "qnms")
_kept = torch.library.Library("torchvision", "FRAGMENT")


def declare() -> None:
    """Declare the operators that are missing."""
    if torch.version.cuda is not None:
        return
    for name in _NAMES:
        if not hasattr(torch.ops.torchvision, name):
            _kept.define(f"{name}(Tensor boxes, Tensor scores, float most) -> Tensor")
