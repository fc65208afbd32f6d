"""Where tensors lie in memory."""

from __future__ import annotations

import sys

from torch import Tensor

__all__ = ["is_distributed", "storage_address"]


def is_distributed(value: object) -> bool:
    """Tell a tensor that knows how it is spread over ranks.

    Args:
        value: Anything.

    Returns:
        True for a ``DTensor``.
    """
    # Whoever has one has imported this, which takes a second.
    module = sys.modules.get("torch.distributed.tensor")
    kind = getattr(module, "DTensor", None)  # not while it is being imported
    return kind is not None and isinstance(value, kind)


def storage_address(tensor: Tensor) -> int:
    """Return where a tensor's memory begins.

    Args:
        tensor: Any tensor.

    Returns:
        The address of its storage, or of this rank's share; 0 where it has none.
    """
    try:
        mine: Tensor = getattr(tensor, "_local_tensor", tensor)
        return mine.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse, meta or wrapper tensors
        return 0
