"""Measure the paper's methods in one setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrp_hooks import explainers
from lrp_hooks.faithfulness import Occlusion, curves
from lrp_hooks.faithfulness.protocol import PROTOCOLS

from ...faithfulness.molecules.run import Batch
from .cases import Case

__all__ = ["areas", "measure", "names"]

KEPT_FRACTIONS = torch.linspace(0, 1, 11, dtype=torch.float64)


def names(
    config: Mapping[str, Any], case: Case
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List what is measured.

    Args:
        config: The configuration.
        case: What is explained.

    Yields:
        ``(method, options)``, methods that read relevance once for each read-out, as
        ``method @ read-out``.
    """
    yield from config["everywhere"].items()
    for where, module in case.read_outs.items():
        for name, how in config["where_read"].items():
            yield f"{name} @ {where}", {**how, "wrt": module}


def measure(
    config: Mapping[str, Any], case: Case, rows: Sequence[int]
) -> dict[str, list[float]]:
    """Explain some examples for their true class, and measure every method.

    Args:
        config: The configuration.
        case: What is explained.
        rows: Which examples.

    Returns:
        ``{"metric | method": [n]}`` in the order of ``rows``, and ``"sum | method"``
        and ``"output"``, what is conserved and what should be.
    """
    found: dict[str, dict[int, float]] = {}
    for part, batch in case.batches(rows):
        for name, values in _of_batch(config, case, batch).items():
            found.setdefault(name, {}).update(zip(part, values.tolist(), strict=True))
    return {name: [own[row] for row in rows] for name, own in found.items()}


def _of_batch(config: Mapping[str, Any], case: Case, batch: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, how in names(config, case):
        options = dict(how)
        kind = explainers.named(options.pop("method"))
        ours = {"tokenizer": case.tokenizer, "seed": config["seed"]}
        options |= {key: ours[key] for key in ours if key in kind.options()}
        explained = kind(case.model, **options)(batch.inputs, target=batch.labels)
        scores = explained.scores.double()
        for metric, values in areas(batch.occlusion, scores, batch.labels).items():
            found[f"{metric} | {name}"] = values
        if "wrt" in how:
            found[f"sum | {name}"] = scores.sum(1)
            found["output"] = explained.output
    return found


def areas(occlusion: Occlusion, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Measure scores as the authors' ``flip`` does.

    Args:
        occlusion: The inputs.
        scores: ``[B, T]``.
        labels: The true classes, ``[B]``.

    Returns:
        AUAC, AU-MSE and AUPC, the area under the true class's probability while the
        faintest tokens go, ``[B]`` each.
    """
    found = curves(occlusion, scores, labels, ("activation", "pruning"), published=True)
    (pruning,) = PROTOCOLS["pruning"]
    kept = pruning.kept(scores, occlusion.free, occlusion.blank, published=True)
    chances = occlusion.logits(kept).softmax(-1)  # shown already, for AU-MSE
    own = chances.gather(2, labels[:, None, None].expand(*chances.shape[:2], 1))[..., 0]
    return {
        "AUAC": found["activation"].score,
        "AU-MSE": found["pruning"].score,
        "AUPC": torch.trapezoid(own, KEPT_FRACTIONS, dim=1),
    }
