"""The measured calls: a forward pass, Gradient x Input, relevance.

Each method is a context manager over a model and a batch: entering it prepares the
model, the value is the call to measure, leaving it restores the model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks import instrument

Batch = dict[str, Tensor]
Call = Callable[[], object]
Method = Callable[[nn.Module, Batch], AbstractContextManager[Call]]

OWN = __name__
FORWARD = "forward"
GRADIENT = "gradient_x_input"
TRAINABLE = "gradient_x_input_trainable"


def methods_of(config: dict[str, Any]) -> dict[str, Method]:
    """Name every method of a configuration.

    Args:
        config: What `load_config` returned; its ``"methods"`` names the module that
            has the table, this one by default.

    Returns:
        Methods by name.
    """
    module = import_module(config.get("methods", OWN))
    table: dict[str, Method] = module.methods(config["rules"])
    return table


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: The rule sets to attribute with.

    Returns:
        Methods by name; `attribute` has one for each rule set.
    """
    table: dict[str, Method] = {
        FORWARD: forward,
        GRADIENT: partial(gradient_x_input, trainable=False),
        TRAINABLE: partial(gradient_x_input, trainable=True),
    }
    return table | {
        attribute_name(name): partial(attribute, rules=name) for name in rules
    }


def attribute_name(rules: str) -> str:
    """Name the method that attributes with a rule set."""
    return f"attribute {rules}"


@contextmanager
def forward(model: nn.Module, batch: Batch) -> Generator[Call]:
    """A plain forward pass without a graph."""

    def call() -> object:
        with torch.no_grad():
            return model(**batch)

    yield call


@contextmanager
def gradient_x_input(
    model: nn.Module, batch: Batch, trainable: bool
) -> Generator[Call]:
    """Plain Gradient x Input at the output of the input-embedding module.

    Args:
        model: The model to explain.
        batch: Its keyword arguments.
        trainable: Whether parameters require a gradient, as they do by default; then
            the forward pass saves what their gradients would need.

    Yields:
        The call.
    """
    embed = model.get_input_embeddings()
    rest = {name: value for name, value in batch.items() if name != "input_ids"}

    def call() -> Tensor:
        leaf = embed(batch["input_ids"]).detach().requires_grad_()
        output = explained(model(inputs_embeds=leaf, **rest).logits)
        (gradient,) = torch.autograd.grad(output.sum(), leaf)
        return (gradient * leaf.detach()).sum(-1)

    flags = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(trainable)
    try:
        yield call
    finally:
        for parameter, flag in zip(model.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)


@contextmanager
def attribute(model: nn.Module, batch: Batch, rules: str) -> Generator[Call]:
    """Relevance of the same logit, on the model as a user has it."""
    with instrument(model, rules=rules) as lrp:
        yield lambda: lrp.attribute(batch)


def explained(logits: Tensor) -> Tensor:
    """Pick what `attribute` explains by default: the largest logit.

    Args:
        logits: ``[B, C]``, or ``[B, T, V]`` of which the last position counts.

    Returns:
        One logit of each example, ``[B]``.
    """
    last = logits if logits.ndim == 2 else logits[:, -1]
    return last.max(dim=-1).values
