"""Where a model takes its inputs."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["device_of"]


def device_of(model: nn.Module) -> torch.device:
    """Return the device that a model's inputs belong on.

    Args:
        model: Any model; weights that accelerate has put away come back to the device
            that their modules run on.

    Returns:
        The device; the CPU for a model without weights.
    """
    first = next(model.parameters(), torch.zeros(()))
    if not first.is_meta:
        return first.device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    device = next((d for h in hooks if (d := _runs_on(h)) is not None), "cpu")
    return torch.device(device)


def _runs_on(hook: object) -> int | str | torch.device | None:
    """Return where a module with accelerate's hook runs, if the hook says it."""
    parts = [hook, *getattr(hook, "hooks", ())]
    found = (getattr(part, "execution_device", None) for part in parts)
    return next((device for device in found if device is not None), None)
