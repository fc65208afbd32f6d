"""The same numbers as on the CPU, and a ledger that closes there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks import Relevance, instrument

from ..cost.cases import Case, build_model, random_batch

Record = dict[str, Any]


def agreement(config: Record, device: torch.device) -> list[Record]:
    """Compare relevance with the CPU's, in float32 and in bfloat16.

    Args:
        config: The configuration.
        device: The device.

    Returns:
        For each model and rule set the largest difference of a score, relative to the
        largest score, and the largest error of the ledger.
    """
    own, found = config["agreement"], []
    for name in own["models"]:
        model = build_model(config, name)
        case = Case(name, own["batch"], own["length"])
        batch = random_batch(model, case, config["seed"])
        for rules in own["rules"]:
            right = explained(model.float().cpu(), batch, rules)
            for dtype in (torch.float32, torch.bfloat16):
                model.to(device, dtype)
                there = {key: value.to(device) for key, value in batch.items()}
                target = right.target
                got = explained(model, there, rules, target)
                found.append({
                    "model": name,
                    "rules": rules,
                    "dtype": str(dtype).removeprefix("torch."),
                    "difference": difference(got.scores, right.scores),
                    "ledger": float(got.ledger.error.max()),
                })
                model.float().cpu()
    return found


def explained(
    model: nn.Module, batch: dict[str, Tensor], rules: str, target: Any = None
) -> Relevance:
    """Return the relevance of a batch."""
    with instrument(model, rules) as lrp:
        return lrp.attribute(batch, target=target)


def difference(got: Any, right: Any) -> float:
    """Return the largest difference, relative to the largest score."""
    gap = (got.double().cpu() - right.double()).abs().max()
    return float(gap / right.double().abs().max())
