"""The logit lens: what a node's output direction writes to the vocabulary."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import bind
from ..attribution.passes import eval_mode
from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import ArgumentError, UnsupportedModelError
from .experts import Rows
from .nodes import Node
from .sites import Site
from .watching import acting

__all__ = ["top_tokens"]


def top_tokens(
    model: nn.Module, tokenizer: Any, inputs: Any, node: Node, k: int
) -> list[tuple[str, float]]:
    """Find what a neuron or head writes to the vocabulary.

    Args:
        model: The model.
        tokenizer: Its tokenizer; without one, tokens are named by number.
        inputs: What the model is called with.
        node: The node.
        k: How many tokens.

    Returns:
        The tokens with the highest logits.

    Raises:
        ArgumentError: If the node is no neuron or head, or the model has no head.
    """
    if node.site is None or node.index is None:
        raise ArgumentError(
            f"node {node.id!r} is a {node.kind}; top_tokens() is for neurons and heads."
        )
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None:
        raise ArgumentError(
            f"{type(model).__name__} has no head that writes tokens; top_tokens() is "
            "for language models."
        )
    with torch.no_grad(), eval_mode(model):
        values, norm = _watched(model, inputs, node, head)
        logits = _linear(head, _normed(norm, _direction(model, node, values)))
    best = logits.topk(min(k, len(logits)))
    return [
        (_token(tokenizer, i), value)
        for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _token(tokenizer: Any, number: int) -> str:
    if tokenizer is None:
        return str(number)
    return str(tokenizer.convert_ids_to_tokens(number))


def _watched(
    model: nn.Module, inputs: Any, node: Node, head: nn.Module
) -> tuple[Tensor, nn.Module | None]:
    """Return a node's row of values, the others 0, and the norm before the head."""
    subject, made, rows = Subject(model), {}, []
    given: list[Tensor | None] = []
    assert node.site is not None and node.index is not None
    site, index = node.site, node.index

    def act(number: int, x: Tensor, of: Rows) -> None:
        groups = site.heads or x.shape[1]
        wanted = (of.position == (node.position or 0)) & (of.expert == index // groups)
        for row in wanted.nonzero().flatten().tolist():
            own = torch.arange(x.shape[1], device=x.device) * groups // x.shape[1]
            rows.append(torch.where(own == index % groups, x[row], 0.0))

    def returned(module: nn.Module, args: Any, output: Any) -> None:
        value = first_tensor(output)
        if value is not None and not [*module.children()]:
            made[value.data_ptr()] = module

    def before(module: nn.Module, args: Any) -> None:
        given.append(first_tensor(args))

    with undoing() as undo, acting(subject, [site], act):
        for module in model.modules():
            undo.hook(module, "forward_hook", partial(returned))
        undo.hook(head, "forward_pre_hook", before)
        call = bind(subject, inputs).fresh()
        model(*call.args, **call.kwargs)
    if not rows:
        raise ArgumentError(
            f"node {node.id!r} did not run on the first example; ask for one that did."
        )
    last = given[-1] if given else None
    return rows[0], None if last is None else made.get(last.data_ptr())


def _direction(model: nn.Module, node: Node, values: Tensor) -> Tensor:
    """Return what the layer behind a site makes of a row of values."""
    site: Site | None = node.site
    assert site is not None
    if site.inside:
        raise UnsupportedModelError(
            f"{site.module} keeps its output layer inside, so what {node.id!r} writes "
            "cannot be read alone; ask for nodes of other layers."
        )
    return _linear(model.get_submodule(site.module), values)


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer without its bias."""
    pair = torch.stack([x, torch.zeros_like(x)])[None]
    whole, none = layer(pair)[0]
    return whole - none  # type: ignore[no-any-return]


def _normed(norm: nn.Module | None, x: Tensor) -> Tensor:
    """Apply a norm with its scale frozen, up to that scale."""
    width = getattr(getattr(norm, "weight", None), "shape", (0,))[-1]
    if norm is None or width != len(x):
        return x
    pair = torch.stack([x, torch.zeros_like(x)])[None]
    whole, none = norm(pair)[0]
    return whole - none  # type: ignore[no-any-return]
