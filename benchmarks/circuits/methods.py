"""Scores of neurons: relevance, gradients, chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from lrp_hooks.rules import Attention
from torch import Tensor

from lrp_hooks import RuleSet
from lrp_hooks.circuits.sites import Site

from .case import Case, Method

__all__ = ["METHODS"]

STEPS = json.loads(Path(__file__).with_name("config.json").read_text())["steps"]
CONSERVATIVE = RuleSet.named("conservative")


def _by(rules: RuleSet) -> Method:
    return lambda case, sites, others: case.relevance(rules, sites, others)


def _integrated(
    case: Case, sites: Sequence[Site], others: Sequence[Tensor]
) -> list[Tensor]:
    return case.integrated(sites, others, STEPS)


def _random(
    case: Case, sites: Sequence[Site], others: Sequence[Tensor]
) -> list[Tensor]:
    draw = torch.Generator().manual_seed(int(case.ids.sum()))
    return [torch.rand(other.shape, generator=draw) for other in others]


METHODS: dict[str, Method] = {
    "conservative": _by(CONSERVATIVE),
    "attnlrp": _by(RuleSet.named("attnlrp")),
    "RelP": _by(CONSERVATIVE.override(attention=Attention(None))),
    "integrated gradients": _integrated,
    "attribution patching": _by(RuleSet.named("gradient")),
    "random": _random,
}
