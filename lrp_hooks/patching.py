"""Activation patching, and relevance as its estimate (RelP).

Activation patching asks what a component contributes: it runs a model on one input with
the component's activation a taken from another input, a', and sees how the output
moves, one run a component and position. A first-order estimate needs one backward pass
for all of them, (a' - a) . c with c the gradient (attribution patching, Nanda 2023), or
with c = R(a) / a the coefficient of relevance propagation, which is the gradient under
the rules (relevance patching, Jafari et al. 2025, arXiv 2508.21258, eq. 2).
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attribution.finite import check_relevance
from .attribution.inputs import Call, advising, bind
from .attribution.instrument import Instrumentation
from .attribution.passes import (
    Forward,
    Request,
    backward_pass,
    eval_mode,
    forward_pass,
    prepared,
)
from .attribution.readout import Contrast, Selected, select
from .engine.nested import first_tensor, replace_first
from .engine.sources import SourceCollector
from .engine.subject import Subject
from .errors import ArgumentError, UnruledWarning

__all__ = ["Latent", "coefficients", "estimated_effects", "measured_effects"]


@dataclass(frozen=True, eq=False)
class Latent:
    """What a layer returned, and how relevance would follow a change of it.

    Attributes:
        activation: a, as the layer returns it, [B, T, D] for text; [B, H, T, D] for
            attention heads.
        coefficient: c = R(a) / a, the gradient under the rules, in the same shape.
    """

    activation: Tensor
    coefficient: Tensor

    @property
    def relevance(self) -> Tensor:
        """R = a c, in the same shape."""
        return self.activation * self.coefficient


def coefficients(
    lrp: Instrumentation,
    inputs: Any,
    target: Any = None,
    *,
    layers: str | Sequence[str],
) -> dict[str, Latent]:
    """Return the coefficients of relevance propagation: one backward pass.

    They are finite where an activation is 0, which relevance / activation is not.

    Args:
        lrp: An instrumented model; under the rule set ``"gradient"`` coefficients are
            plain gradients.
        inputs: See `Instrumentation.attribute`.
        target: See `Instrumentation.attribute`.
        layers: See `Instrumentation.attribute`.

    Returns:
        ``{layer: Latent}``.
    """
    with _recorded(lrp, inputs, layers) as (subject, forward):
        done = backward_pass(subject, lrp.runtime, forward, target, one_by_one=False)
    check_relevance(subject, done.grads)
    found = {}
    for name, value in forward.seen.items():
        activation, grad = value.detach(), done.of_layer(name)
        zero = torch.zeros_like(activation)
        found[name] = Latent(activation, zero if grad is None else grad)
    return found


def estimated_effects(
    lrp: Instrumentation,
    original: Any,
    patch: Any,
    target: Any = None,
    *,
    layers: str | Sequence[str],
) -> dict[str, Tensor]:
    """Estimate what patching activations would do: two forward passes, one backward.

    Args:
        lrp: An instrumented model. RelP uses the rules of ``"conservative"`` with plain
            gradients in attention: ``Attention(None)``, and a fused kernel (sdpa),
            since the products of an eager one are split evenly. ``"gradient"`` is
            attribution patching.
        original: The inputs whose output is explained.
        patch: Inputs of the same shape, from which activations are taken.
        target: See `Instrumentation.attribute`.
        layers: See `Instrumentation.attribute`.

    Returns:
        ``{layer: (a' - a) c}`` in the layer's shape, [B, T, D] for text; its sum over D
        is the estimate of `measured_effects`.
    """
    latents = coefficients(lrp, original, target, layers=layers)
    with _recorded(lrp, patch, layers) as (_, forward):
        others = {name: value.detach() for name, value in forward.seen.items()}
    effects = {}
    for name, latent in latents.items():
        _check_shapes(name, latent.activation, others[name])
        effects[name] = (others[name] - latent.activation) * latent.coefficient
    return effects


def measured_effects(
    model: nn.Module,
    original: Any,
    patch: Any,
    target: Any = None,
    *,
    layers: str | Sequence[str],
    positions: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Patch activations, one position of one layer at a time.

    Args:
        model: The model, instrumented or not.
        original: The inputs whose output is explained.
        patch: Inputs of the same shape, from which activations are taken.
        target: See `Instrumentation.attribute`; the arg-max is that of ``original``.
        layers: Names of modules that return [B, T, D].
        positions: Positions to patch, all by default; P of them run in a batch of BP.

    Returns:
        ``{layer: [B, P]}``: the explained output with the patch less that without.
    """
    subject = Subject(model)
    modules = {name: subject.module("layers", name) for name in _names(layers)}
    with torch.no_grad(), eval_mode(model):
        call, taken = bind(subject, original), bind(subject, patch)
        with _outputs(modules) as values, advising(call):
            base = _selected(subject, call, target)
        with _outputs(modules) as patches, advising(taken):
            taken = taken.fresh()
            model(*taken.args, **taken.kwargs)
        effects = {}
        for name, module in modules.items():
            _check_positions(name, values.get(name))
            _check_shapes(name, values[name], patches[name])
            places = range(values[name].shape[1]) if positions is None else positions
            at = torch.tensor(list(places), device=values[name].device)
            with _patched(module, patches[name], at):
                after = _selected(subject, _repeated(call, len(at)), base.target)
            effects[name] = after.scalar.view(-1, len(at)) - base.scalar[:, None]
    return effects


@contextmanager
def _recorded(
    lrp: Instrumentation, inputs: Any, layers: str | Sequence[str]
) -> Generator[tuple[Subject, Forward]]:
    """Run an instrumented model forward, watching layers."""
    if lrp.model is None:
        raise ArgumentError(
            "the instrumentation was removed; instrument the model again."
        )
    subject = Subject(lrp.model)
    request = Request(inputs, None, None, _names(layers), _complain)
    with prepared(subject, inputs) as call:
        try:
            yield (
                subject,
                forward_pass(subject, lrp.runtime, call, request, SourceCollector),
            )
        finally:
            lrp.runtime.abandon()


def _selected(subject: Subject, call: Call, target: Any) -> Selected:
    call = call.fresh()
    output = subject.model(*call.args, **call.kwargs)
    repeats = call.batch
    if isinstance(target, Contrast):
        target = Contrast(_each(target.a, repeats), _each(target.b, repeats))
    else:
        target = _each(target, repeats)
    return select(output, target, subject.model, repeats, call.output_mask)


def _each(target: Any, batch: int) -> Any:
    """Repeat one target an example for a batch of patched copies."""
    if isinstance(target, Tensor) and target.ndim == 1 and len(target) < batch:
        return target.repeat_interleave(batch // len(target))
    return target


def _repeated(call: Call, times: int) -> Call:
    """Return a call of every example several times, one copy after the other."""

    def repeat(value: Any) -> Any:
        rows = isinstance(value, Tensor) and value.ndim and len(value) == call.batch
        return value.repeat_interleave(times, 0) if rows else value

    kwargs = {key: repeat(value) for key, value in call.kwargs.items()}
    return call.made_of(tuple(map(repeat, call.args)), kwargs, repeat)


@contextmanager
def _outputs(modules: dict[str, nn.Module]) -> Generator[dict[str, Tensor]]:
    """Keep what modules return."""
    values: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in modules.items():

            def keep(*given: Any, name: str = name) -> None:
                value = first_tensor(given[-1], torch.Tensor.is_floating_point)
                if value is not None:
                    values[name] = value.clone()

            stack.callback(module.register_forward_hook(keep).remove)
        yield values


@contextmanager
def _patched(module: nn.Module, patch: Tensor, positions: Tensor) -> Generator[None]:
    """Replace a module's output, in copy number p of each example at position p."""
    rows = torch.arange(len(patch) * len(positions), device=patch.device)
    places = positions.repeat(len(patch))
    taken = patch[:, positions].flatten(0, 1)

    def replace(*given: Any) -> Any:
        value = first_tensor(given[-1], torch.Tensor.is_floating_point)
        assert value is not None
        fresh = value.clone()
        fresh[rows, places] = taken
        return replace_first(given[-1], value, fresh)

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _check_positions(name: str, value: Tensor | None) -> None:
    if value is None or value.ndim != 3:
        came = "no float tensor" if value is None else str(tuple(value.shape))
        raise ArgumentError(
            f"layers={name!r} returned {came} in this call; name a module that "
            "returns [B, T, D]."
        )


def _check_shapes(name: str, value: Tensor, patch: Tensor) -> None:
    if value.shape != patch.shape:
        raise ArgumentError(
            f"{name} returned {tuple(value.shape)} for original and "
            f"{tuple(patch.shape)} for patch; both must have as many examples and "
            "tokens: choose texts that differ in tokens one for one."
        )


def _names(layers: str | Sequence[str]) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers)


def _complain(message: str) -> None:
    warnings.warn(message, UnruledWarning, stacklevel=2)
