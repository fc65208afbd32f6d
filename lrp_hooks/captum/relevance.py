"""Relevance of inputs, of layers, and for neurons, as Captum's attribution classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from captum.attr import (
    GradientAttribution,
    LayerGradientXActivation,
    NeuronGradient,
)
from torch import Tensor, nn

from ..engine.acceptance import Key
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet
from .base import (
    RelevanceMethod,
    Tensors,
    carrying,
    checked_layers,
    detached,
    leaves_of,
    times,
    unreadable,
    wrapped,
)
from .run import Run, alive, hooked, is_float

__all__ = ["ConservativeRelevance", "LayerRelevance", "NeuronRelevance"]


class ConservativeRelevance(RelevanceMethod, GradientAttribution):  # type: ignore[misc]
    """Relevance of float inputs: layer-wise relevance propagation as one gradient.

    R(x_i) = x_i dy/dx_i in the linearised twin of the model (Ali et al. 2022; see
    `instrument`). For integer inputs take `LayerRelevance` at the embedding.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        rules: RuleSet | str | None = None,
        overrides: Mapping[Key, Rule] | None = None,
        strict: bool = False,
    ) -> None:
        """Take a model.

        Args:
            forward_func: A module, or a bound method of one; of an output that is no
                tensor the logits count.
            rules: See `instrument`. Defaults to those in force, else
                ``"conservative"``.
            overrides: See `instrument`.
            strict: See `instrument`.
        """
        GradientAttribution.__init__(self, forward_func)
        self._adopt(rules, overrides, strict)

    @wrapped
    def attribute(
        self,
        inputs: Tensors,
        target: Any = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Compute the relevance of inputs.

        Args:
            inputs: One tensor of floats, [B, ...], or a tuple of such.
            target: None where there is one output an example; an int or a tuple of ints
                for all examples; a list or a tensor with one for each; or a `Contrast`.
            additional_forward_args: Further arguments, which get no relevance.
            return_convergence_delta: Whether to return the output minus the sum of
                relevance too.

        Returns:
            Relevance in the shape of the inputs, a tensor or a tuple as they are; and
            [B], if asked for.
        """
        leaves = leaves_of(type(self).__name__, inputs)
        with self._twin.active() as lrp:
            run = Run(self._twin, lrp, self.forward_func)
            grads = self.gradient_func(
                run.explained(target, leaves), leaves, None, additional_forward_args
            )
        found = times(leaves, grads)
        result = found if isinstance(inputs, tuple) else found[0]
        if return_convergence_delta:
            return result, self._delta(run.output, found)
        return result


class LayerRelevance(RelevanceMethod, LayerGradientXActivation):  # type: ignore[misc]
    """Relevance of what layers return or are given.

    R(h) = h dy/dh in the linearised twin of the model; see `instrument`.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module | list[nn.Module] | None,
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
        memory_efficient: bool = False,
        rules: RuleSet | str | None = None,
        overrides: Mapping[Key, Rule] | None = None,
        strict: bool = False,
    ) -> None:
        """Take a model and its layers.

        Args:
            forward_func: See `ConservativeRelevance`.
            layer: A module of the model, or a list of them; None where ``.layer`` is
                set later, as ``captum.concept.TCAV`` does.
            device_ids: See ``captum.attr.LayerGradientXActivation``.
            multiply_by_inputs: False for the twin's gradient alone.
            memory_efficient: See ``captum.attr.LayerGradientXActivation``.
            rules: See `ConservativeRelevance`.
            overrides: See `instrument`.
            strict: See `instrument`.
        """
        LayerGradientXActivation.__init__(
            self, forward_func, layer, device_ids, multiply_by_inputs, memory_efficient
        )
        self._adopt(rules, overrides, strict)
        if layer is not None:
            checked_layers(self._twin.model, layer)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether gradients are multiplied by the layer's values."""
        return bool(self._multiply_by_inputs)

    @wrapped
    def attribute(
        self,
        inputs: Tensors,
        target: Any = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """Compute the relevance of layers.

        Args:
            inputs: What the forward function takes, [B, ...]: one tensor or a tuple.
            target: See `ConservativeRelevance.attribute`.
            additional_forward_args: Further arguments.
            attribute_to_layer_input: Read what layers are given, not what they return.
            grad_kwargs: Arguments for ``torch.autograd.grad``.
            return_convergence_delta: Whether to return, for each layer, the output
                minus the sum of relevance too.

        Returns:
            Relevance in the shape of the layer's value, a tuple where that is several
            tensors, a list where layers are a list; and [B], or a list, if asked for.
        """
        layers = _Layers(checked_layers(self._twin.model, self.layer))
        with (
            self._twin.active() as lrp,
            hooked(layers.modules, layers.read, attribute_to_layer_input),
        ):
            run = Run(self._twin, lrp, self.forward_func)
            # A copy, for Captum reads the function from the instance, and other threads
            # may use this one.
            ready = copy(self)
            ready.forward_func = layers.required(run.explained(target, layers.reads))
            found = super(LayerRelevance, ready).attribute(
                carrying(inputs),
                None,
                additional_forward_args,
                attribute_to_layer_input,
                grad_kwargs,
            )
        result = detached(found)
        if return_convergence_delta:
            return result, self._delta(run.output, result)
        return result


class _Layers:
    """Reads layers while a model runs, and misses those that do not."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules
        self.reads: list[Tensor] = []
        self._ran: set[nn.Module] = set()

    def read(self, module: nn.Module, given: Any, value: Any) -> Tensor:
        if not is_float(value):
            raise unreadable(module, f"has a {type(value).__name__} there")
        self._ran.add(module)
        self.reads.append(alive(value))
        return self.reads[-1]

    def required(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Any) -> Tensor:
            output = function(*args)
            for module in self.modules:
                if module not in self._ran:
                    raise unreadable(module, "did not run, or returned nothing")
            return output

        return run


class NeuronRelevance(RelevanceMethod, NeuronGradient):  # type: ignore[misc]
    """Relevance of float inputs for one neuron of a layer.

    R(x_i) = x_i dn/dx_i in the linearised twin of the model up to the neuron n.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: nn.Module,
        device_ids: list[int] | None = None,
        rules: RuleSet | str | None = None,
        overrides: Mapping[Key, Rule] | None = None,
        strict: bool = False,
    ) -> None:
        """Take a model and one of its layers.

        Args:
            forward_func: See `ConservativeRelevance`.
            layer: A module of the model.
            device_ids: See ``captum.attr.NeuronGradient``.
            rules: See `ConservativeRelevance`.
            overrides: See `instrument`.
            strict: See `instrument`.
        """
        NeuronGradient.__init__(self, forward_func, layer, device_ids)
        self._adopt(rules, overrides, strict)
        checked_layers(self._twin.model, layer)

    def has_convergence_delta(self) -> bool:
        """False: the neuron's value is not the model's output."""
        return False

    @wrapped
    def attribute(
        self,
        inputs: Tensors,
        neuron_selector: Any,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
    ) -> Any:
        """Compute the relevance of inputs for a neuron.

        Args:
            inputs: One tensor of floats, [B, ...], or a tuple of such.
            neuron_selector: An int, a tuple of ints and slices into the layer's value
                after the first dimension, or a function from that value to [B].
            additional_forward_args: Further arguments, which get no relevance.
            attribute_to_neuron_input: Select from what the layer is given.

        Returns:
            Relevance in the shape of the inputs, a tensor or a tuple as they are.
        """
        leaves = leaves_of(type(self).__name__, inputs)
        with self._twin.active() as lrp:
            run = Run(self._twin, lrp, self.forward_func)

            def reach(module: nn.Module, given: Any, value: Any) -> Any:
                if not is_float(value):
                    raise unreadable(module, f"has a {type(value).__name__} there")
                return run.reach(value, leaves)

            with hooked([self.layer], reach, attribute_to_neuron_input):
                ready = copy(self)
                ready.forward_func = run.raw
                grads = super(NeuronRelevance, ready).attribute(
                    leaves,
                    neuron_selector,
                    additional_forward_args,
                    attribute_to_neuron_input,
                )
        found = times(leaves, grads)
        return found if isinstance(inputs, tuple) else found[0]
