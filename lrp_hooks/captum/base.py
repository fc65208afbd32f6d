"""What Captum's three attribution classes share: options, inputs, convergence delta."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..attribution.instrument import Instrumentation
from ..attribution.passes import eval_mode
from ..attribution.readout import find_logits
from ..engine.acceptance import Key
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from .run import check_finite
from .targets import select
from .twin import Twin, owner

__all__ = [
    "RelevanceMethod",
    "Tensors",
    "carrying",
    "checked_layers",
    "detached",
    "leaves_of",
    "times",
    "unreadable",
    "wrapped",
]

Method = TypeVar("Method", bound=Callable[..., Any])
Tensors = Tensor | tuple[Tensor, ...]


def wrapped(method: Method) -> Method:
    """Give a method the ``__wrapped__`` that Captum's classes call each other by."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return call  # type: ignore[return-value]


class RelevanceMethod:
    """What the three classes share: the model's twin, and what is called."""

    forward_func: Any
    _twin: Twin

    def _adopt(
        self,
        rules: RuleSet | str | None,
        overrides: Mapping[Key, Rule] | None,
        strict: bool,
    ) -> None:
        model, self.forward_func = owner(self.forward_func)
        self._twin = Twin(model, rules, overrides, strict)

    def active(self) -> AbstractContextManager[Instrumentation]:
        """Have the rules in force for a block, so that calls inside do not have to."""
        return self._twin.active()

    def has_convergence_delta(self) -> bool:
        """Return whether the output minus the sum of relevance means anything."""
        return bool(self.multiplies_by_inputs)

    @property
    def multiplies_by_inputs(self) -> bool:
        """True: relevance is gradient times value."""
        return True

    def compute_convergence_delta(
        self,
        attributions: Any,
        start_point: Any,
        end_point: Tensors | None = None,
        target: Any = None,
        additional_forward_args: Any = None,
    ) -> Any:
        """Compute the output minus the sum of relevance.

        It is what biases, positions and other constants got. No baseline comes into it,
        unlike in Captum's gradient methods.

        Args:
            attributions: Relevance, a tensor [B, ...] or a tuple of such; or a list of
                either, one for each layer.
            start_point: Not read where ``end_point`` is given; otherwise the explained
                outputs, [B], as in ``captum.attr.LRP``.
            end_point: The inputs that were explained.
            target: See `attribute`.
            additional_forward_args: See `attribute`.

        Returns:
            [B], or a list of such.
        """
        if end_point is None:
            return self._delta(torch.as_tensor(start_point), attributions)
        arguments = *_tuple(end_point), *_tuple(additional_forward_args)
        with torch.no_grad(), eval_mode(self._twin.model):
            output = find_logits(self.forward_func(*arguments))
        return self._delta(select(output, target), attributions)

    def _delta(self, output: Tensor, attributions: Any) -> Any:
        if not self.has_convergence_delta():
            raise ArgumentError(
                f"this {type(self).__name__} has no convergence delta: what it returns "
                "is not to add up to the output (multiply_by_inputs=False, or the "
                "relevance for a neuron)."
            )
        return _delta(output, attributions)


def checked_layers(model: nn.Module, layer: Any) -> Sequence[nn.Module]:
    """List layers that are modules of the model."""
    layers = layer if isinstance(layer, list) and layer else [layer]
    known = set(model.modules())
    for one in layers:
        if not isinstance(one, nn.Module) or one not in known:
            what = type(one).__name__ if isinstance(one, nn.Module) else repr(one)
            raise ArgumentError(
                f"layer={what} is no module of this {type(model).__name__}; pass one "
                "of model.modules(), such as model.get_submodule(name), or a list."
            )
    return layers


def unreadable(layer: nn.Module, why: str) -> ArgumentError:
    """Return the error for a layer at which relevance cannot be read.

    Args:
        layer: The layer.
        why: What is wrong with it.

    Returns:
        The error.
    """
    return ArgumentError(
        f"layer={type(layer).__name__} {why}: Captum reads tensors of floats that a "
        "layer returns, or is given by position (attribute_to_layer_input). Pass a "
        "module inside or after it, such as its last linear layer."
    )


def leaves_of(caller: str, inputs: Any) -> tuple[Tensor, ...]:
    """Return copies of float inputs that gradients are taken at."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"inputs holds a {type(tensor).__name__}; it must be a tensor or a "
                "tuple of tensors. What is none goes to additional_forward_args."
            )
        if not tensor.is_floating_point():
            raise ArgumentError(
                f"inputs holds a {tensor.dtype} tensor, which has no gradient; "
                f"{caller} explains floats. For token ids take LayerRelevance(model, "
                "model.get_input_embeddings()); pass masks and the like as "
                "additional_forward_args."
            )
    if not tensors:
        raise ArgumentError("inputs is an empty tuple; pass at least one tensor.")
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


def carrying(inputs: Any) -> Any:
    """Have float inputs carry relevance, as the default read-out does."""
    if isinstance(inputs, tuple):
        return tuple(carrying(value) for value in inputs)
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        return inputs.detach().clone().requires_grad_()
    return inputs


def times(leaves: tuple[Tensor, ...], grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Multiply inputs by their gradients.

    Args:
        leaves: The inputs.
        grads: A gradient for each.

    Returns:
        Relevance, without a graph.
    """
    grads = tuple(grad.detach() for grad in grads)
    check_finite(grads, "the relevance")
    return tuple(x.detach() * grad for x, grad in zip(leaves, grads, strict=True))


def detached(found: Any) -> Any:
    """Take the graph off relevance, and refuse NaN.

    Args:
        found: A tensor, or tuples and lists of such.

    Returns:
        The same without a graph.
    """
    if isinstance(found, Tensor):
        check_finite([found], "the relevance")
        return found.detach()
    return type(found)(detached(one) for one in found)


def _tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _delta(output: Tensor, relevance: Any) -> Any:
    """Subtract the relevance of each example from its output, [B]."""
    if isinstance(relevance, list):
        return [_delta(output, one) for one in relevance]
    rest = output.detach().double().flatten().clone()
    for one in _tuple(relevance):
        if len(one) != len(rest):
            raise ArgumentError(
                f"the relevance has shape {tuple(one.shape)}, which does not start "
                f"with the {len(rest)} examples, so there is no convergence delta of "
                "each."
            )
        rest -= one.detach().double().reshape(len(rest), -1).sum(1).to(rest)
    return rest.to(output.dtype)
