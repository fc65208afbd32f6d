"""Where tensors lie in memory."""

from __future__ import annotations

from torch import Tensor

__all__ = ["storage_address"]


def storage_address(tensor: Tensor) -> int:
    """Return where a tensor's memory begins.

    Args:
        tensor: Any tensor.

    Returns:
        The address of its storage; 0 where it has none.
    """
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # sparse, meta or wrapper tensors
        return 0
