"""Properties of explanations that need no tokens taken away, or only disturbed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, TargetError
from ..explainers.calls import check_number
from ..results.explanation import Explanation
from ..support.seeds import check_seed

__all__ = ["conservation_error", "sensitivity"]


def conservation_error(explanation: Explanation) -> Tensor:
    """Compare the sum of scores with the output that they explain.

    |output - sum of scores| / max(|output|, sum of |scores|): 0 where all of the output
    is given to the inputs. A relevance's ``ledger.error`` counts its sources, too.

    Args:
        explanation: Of any method.

    Returns:
        ``[B]``.

    Raises:
        ArgumentError: If its scores were read at several tensors.
    """
    if not isinstance(explanation.scores, Tensor):
        raise ArgumentError(
            "conservation_error() needs the scores of one tensor, got "
            f"{', '.join(map(repr, explanation.scores))}. Read one, with wrt=."
        )
    scores = explanation.scores.detach().double().flatten(1)
    output = explanation.output.detach().double()
    size = torch.maximum(output.abs(), scores.abs().sum(1))
    return (output - scores.sum(1)).abs() / torch.where(size == 0, 1.0, size)


def sensitivity(
    explainer: Callable[..., Explanation],
    batch: Mapping[str, Any],
    target: Any,
    *,
    model: nn.Module | None = None,
    radius: float = 0.02,
    n_samples: int = 10,
    seed: int = 0,
) -> Tensor:
    """Find how far scores move when embeddings do, by ``captum.metrics``.

    max |scores(e + d) - scores(e)| / |scores(e)| over random d of at most ``radius`` in
    each dimension (Yeh et al. 2019, Eq. 2).

    Args:
        explainer: One of `lrp_hooks.explainers`, or any function of a mapping with
            ``inputs_embeds`` and a target.
        batch: Token ids as ``input_ids`` ``[B, T]``, and what belongs to them.
        target: The class of each example ``[B]``, or one for all.
        model: Where embeddings come from. Defaults to ``None``: the explainer's own.
        radius: Of the disturbance.
        n_samples: How many disturbances an example.
        seed: Of them; no global random state is read or moved.

    Returns:
        ``[B]``; 0 is best.

    Raises:
        TargetError: If the target is something else.
    """
    from captum.metrics import sensitivity_max

    check_number("n_samples", n_samples, least=1, whole=True)
    own = getattr(explainer, "model", None) if model is None else model
    embeddings, rest = _embedded(own, batch)
    generator = torch.Generator().manual_seed(check_seed(seed))
    names = list(rest)

    def scores(inputs: Any, target: Any, additional_forward_args: Any) -> Any:
        embedded = inputs[0] if isinstance(inputs, tuple) else inputs
        others = dict(zip(names, additional_forward_args or (), strict=True))
        each = target.expand(len(embedded))  # Captum repeats none of a single example
        found = explainer({"inputs_embeds": embedded, **others}, target=each).scores
        return (found,)  # Captum iterates over the examples of a bare tensor

    def disturb(inputs: Tensor, radius: float) -> Tensor:
        noise = torch.rand((n_samples, *inputs.shape[1:]), generator=generator) * 2 - 1
        # The same for each example, whatever else is in the batch.
        every = noise.repeat(len(inputs) // n_samples, 1, 1)
        return inputs + radius * every.to(inputs)

    try:
        classes = torch.as_tensor(target).expand(len(embeddings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TargetError(
            f"target={target!r} must be the class of each example, "
            f"[{len(embeddings)}], or one for all."
        ) from error
    found: Tensor = sensitivity_max(
        scores,
        embeddings,
        disturb,
        perturb_radius=radius,
        n_perturb_samples=n_samples,
        target=classes,
        additional_forward_args=tuple(rest.values()),
    )
    return found


def _embedded(
    model: nn.Module | None, batch: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """Return the embeddings of the tokens, and what else is in the batch."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not isinstance(ids, Tensor):
        raise ArgumentError(
            "batch holds no input_ids; sensitivity() disturbs the embeddings of "
            "tokens. Pass a tokenizer's output."
        )
    embed = getattr(model, "get_input_embeddings", None)
    if embed is None:
        raise ArgumentError(
            f"model is a {type(model).__name__} without get_input_embeddings(), so "
            "there is nothing to disturb. Pass a model of transformers as model=."
        )
    names = {"input_ids", "special_tokens_mask"}
    rest = {key: value for key, value in batch.items() if key not in names}
    with torch.no_grad():
        return embed()(ids).detach(), rest
