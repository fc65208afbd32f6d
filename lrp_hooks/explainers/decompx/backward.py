"""The backward path: bias rules that do not look at vectors, on any architecture.

Class attributions are Gradient x Input of the linearised model, read where the vectors
start; what is left of the output are the biases, which the rule shares.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.instrument import instrument
from ...engine.rule import LeafRule, Rule
from ...engine.ruleset import RuleSet
from ...engine.surroundings import storage_address
from ...errors import ArgumentError, LrpHooksWarning
from ...results.relevance import Relevance
from .decomposition import Settings
from .explanation import DecompXExplanation
from .forward import record_encoder
from .reading import Place

__all__ = [
    "RULES",
    "check_attended",
    "explain_backward",
    "extra_column",
    "give",
    "is_all",
]

RULES = {"secant": "conservative", "tangent": "ah+ln"}
"""The rule set of each way to take an activation's slope."""
MATERIAL = 1e-4
"""Which part of all scores of an example is more than rounding."""


class Cut(LeafRule):
    """R(x) = 0: the branch is left out."""

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Return zeros.

        Args:
            module: The last module of the branch.
            x: Its input.
            y: Its output.
            grad: The gradient for ``y``.

        Returns:
            Zeros in the shape of ``x``.
        """
        return torch.zeros_like(x)


def explain_backward(
    model: nn.Module,
    settings: Settings,
    strict: bool,
    place: Place,
    inputs: Any,
    target: Any,
) -> DecompXExplanation:
    """Attribute by backward passes, one a class.

    Args:
        model: Any model the engine covers.
        settings: The variant, with a linear bias rule.
        strict: See `instrument`.
        place: Where vectors start.
        inputs: See `Instrumentation.attribute`.
        target: See `DecompX`.

    Returns:
        The attributions, [B, K]; [B, K, C] for ``target="all"``.
    """
    ends = () if settings.include_ffn else _feed_forward_ends(model, inputs, place)
    rules = RuleSet.named(RULES[settings.activation])
    overrides: dict[Any, Rule] = dict.fromkeys(ends, Cut())
    if overrides:  # what was asked to be left out is no failure of the ledger
        rules = replace(rules, complete=False)
    with (
        instrument(model, rules, overrides=overrides, strict=strict) as lrp,
        _calls(model, place.value_bias) as calls,
    ):
        if is_all(target):
            found = lrp.attribute_each(inputs, wrt=place.wrt)
        else:
            found = [lrp.attribute(inputs, target, wrt=place.wrt)]
    if settings.value_bias == "distribute" or not _is_apart(place, calls):
        place = replace(place, value_bias=None)
    parts = [_shared(relevance, settings, place) for relevance in found]
    scores, biases = (torch.stack(values, -1) for values in zip(*parts, strict=True))
    output = torch.stack([relevance.output for relevance in found], -1)
    if not is_all(target):
        scores, biases, output = scores[..., 0], biases[..., 0], output[..., 0]
    meta = {"path": "backward", "bias": settings.bias, **found[0].meta}
    meta |= extra_column(settings)
    return DecompXExplanation(
        scores=scores,
        output=output,
        target="all" if is_all(target) else found[0].target,
        method="decompx",
        attended=found[0].attended,
        biases=biases,
        meta=meta,
    )


def extra_column(settings: Settings) -> dict[str, list[str]]:
    """Name the column of the biases, where they have one.

    Args:
        settings: The variant.

    Returns:
        An entry for an explanation's ``meta``.
    """
    return {"extra": ["(biases)"]} if settings.bias == "token" else {}


def is_all(target: object) -> bool:
    """Tell whether every class is to be explained.

    Args:
        target: See `DecompX`.

    Returns:
        True for ``"all"``.
    """
    return isinstance(target, str) and target == "all"


def _shared(
    relevance: Relevance, settings: Settings, place: Place
) -> tuple[Tensor, Tensor]:
    """Give the relevance of biases to the sources by the rule.

    Returns:
        Attributions [B, K], and what all biases have [B].

    Raises:
        ArgumentError: If relevance was not read at tokens.
    """
    scores, ledger = relevance.scores, relevance.ledger
    batch = len(relevance.output)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != batch:
        raise ArgumentError(
            "inputs have no tokens that DecompX could attribute to: it found no "
            "attention in the model, and what is read is not [B, T, D]. Use method "
            "'lrp' for this model."
        )
    attended = relevance.attended
    if attended is not None and attended.shape != scores.shape:
        raise ArgumentError(
            f"inputs have tokens of shape {list(attended.shape)}, which the model lays "
            f"out anew as {list(scores.shape)}. Use method 'lrp' for this model."
        )
    if attended is not None:
        check_attended(scores, attended)
    total = sum(ledger.sources.values(), torch.zeros_like(ledger.output)).to(scores)
    if settings.activation == "tangent":  # a tangent's offset is a bias, too
        total = relevance.output.to(scores) - scores.sum(1)
    followed = ledger.positions.get(place.value_bias or "")
    if followed is None:
        return give(scores, total, relevance.attended, settings.bias), total
    followed = followed.to(scores)
    scores, total = scores + followed, total - followed.sum(1)
    return give(scores, total, relevance.attended, settings.bias), total


@contextmanager
def _calls(model: nn.Module, parameter: str | None) -> Generator[list[None]]:
    """Count the calls of a parameter's module.

    Yields:
        A list with one entry a call.
    """
    calls: list[None] = []
    owner = model.get_submodule((parameter or "").rpartition(".")[0])
    # A batch may take a second forward pass, whose calls are the same ones again.
    handles = [
        model.register_forward_pre_hook(lambda *_: calls.clear()),
        owner.register_forward_hook(lambda *_: calls.append(None)),
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _is_apart(place: Place, calls: list[None]) -> bool:
    """Tell whether the first layer's value bias is no other layer's."""
    if place.value_bias is None or len(calls) < 2:
        return True
    warnings.warn(
        f"value_bias='follow' is taken as 'distribute': {place.value_bias} belongs to "
        f"{len(calls)} layers, which a backward pass cannot tell apart. Pass stages= "
        "for the forward decomposition, which can.",
        LrpHooksWarning,
        stacklevel=5,
    )
    return False


def check_attended(scores: Tensor, attended: Tensor) -> None:
    """Refuse an explanation of what the attention mask hides.

    Args:
        scores: Of the sources, ``[B, K, ...]``; a further column is of no token.
        attended: 0 at padding, ``[B, T]`` with T of at most K.

    Raises:
        ArgumentError: If the model reads a token that is hidden.
    """
    sizes = scores.detach().abs().flatten(2).sum(2) if scores.ndim > 2 else scores.abs()
    hidden = sizes[:, : attended.shape[1]] * (attended == 0)
    strays = hidden.sum(1) > MATERIAL * sizes.sum(1)
    if bool(strays.any()):
        row = int(strays.nonzero()[0])
        place = int(hidden[row].argmax())
        raise ArgumentError(
            f"the model reads token {place} of example {row}, which the attention mask "
            "hides; pad on the other side (tokenizer.padding_side), or pass the "
            "example without padding."
        )


def give(scores: Tensor, total: Tensor, attended: Tensor | None, bias: str) -> Tensor:
    """Share what constants have among the sources.

    Args:
        scores: What the sources have, ``[B, T]``.
        total: What constants have, ``[B]``.
        attended: 0 at padding, ``[B, T]``, or None.
        bias: One of `biases.LINEAR`.

    Returns:
        ``[B, T]``; with ``"token"`` constants are one more column.
    """
    if bias == "none":
        return scores
    if bias == "token":
        return torch.cat([scores, total[:, None]], 1)
    weights = torch.ones_like(scores) if attended is None else attended.to(scores)
    if bias == "first":
        weights = (weights.cumsum(1) * weights == 1).to(scores)
    return scores + weights * (total / weights.sum(1).clamp(min=1))[:, None]


def _feed_forward_ends(model: nn.Module, inputs: Any, place: Place) -> list[str]:
    """Return the names of the last linear layer of each feed-forward network."""
    blocks = record_encoder(model, inputs, place).encoder.blocks
    ends = {storage_address(block.down.weight) for block in blocks}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor)
        and storage_address(weight) in ends
    ]
