"""A forward function as Captum is to call it: under the rules, with leaves to read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.instrument import Instrumentation
from ..attribution.lookups import same_storage
from ..attribution.readout import find_logits
from ..engine.foreign import depends
from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..engine.surroundings import Frame
from ..engine.unseen import Differentiates
from ..errors import (
    NonFiniteError,
    UnruledError,
    UnruledWarning,
    UnsupportedModelError,
)
from .targets import select
from .twin import Twin

__all__ = ["Run", "alive", "check_finite", "hooked", "is_float"]


class Run:
    """The forward function of one attribution.

    Attributes:
        output: The explained numbers of the last call, [B].
    """

    def __init__(self, twin: Twin, lrp: Instrumentation, function: Any) -> None:
        """Prepare to call a function.

        Args:
            twin: The model.
            lrp: Its instrumentation.
            function: The forward function.
        """
        self._twin = twin
        self._runtime = lrp.runtime
        self._function = function
        self._subject = Subject(twin.model)
        self.output = torch.zeros(0)

    def raw(self, *args: Any) -> Any:
        """Call the function under the rules.

        Args:
            *args: Its arguments.

        Returns:
            What it returns.
        """
        # A clone is handed on, since a model may overwrite it and a leaf must stay.
        args = tuple(_handed(value) for value in args)
        with self._reading(args):
            if getattr(self._function, "__self__", None) is self._twin.model:
                output = self._method(args)
            else:
                output = self._function(*args)
        found = first_tensor(output)
        if found is not None:
            self._runtime.report_graph(found, self._runtime.collector)
        return output

    def explained(self, target: Any, reads: Sequence[Tensor]) -> Callable[..., Tensor]:
        """Return the function from arguments to the explained numbers.

        Args:
            target: See `select`.
            reads: What relevance is read at; filled by the time the model has run.

        Returns:
            A function that returns [B].
        """

        def run(*args: Any) -> Tensor:
            scalar = select(find_logits(self.raw(*args)), target)
            check_finite([scalar], "the explained output")
            self.output = scalar.detach()
            return self.reach(scalar, reads)

        return run

    def reach(self, scalar: Tensor, reads: Sequence[Tensor]) -> Tensor:
        """Let a gradient be zero, rather than missing, where only gates depend on it.

        Args:
            scalar: What is explained.
            reads: What relevance is read at.

        Returns:
            The same values, which depend on every read.
        """
        leaves = [read for read in reads if read.is_leaf]
        if not scalar.requires_grad or (leaves and not depends(scalar, leaves)):
            self._complain()
        never = torch.zeros((), dtype=torch.bool, device=scalar.device)
        with torch._C.DisableTorchFunction():
            for read in reads:
                scalar = torch.where(never, read.sum().to(scalar), scalar)
        return scalar

    def _method(self, args: tuple[Any, ...]) -> Any:
        """Hold the rules over a method, which does not go through the model's call."""
        model = self._twin.model
        self._runtime.enter(Frame(model, "", {}, False), args)
        try:
            return self._function(*args)
        except Differentiates:
            raise UnsupportedModelError(
                f"{self._function.__qualname__} asks for a gradient inside, which no "
                "rule goes through; explain a function that does not."
            ) from None
        finally:
            self._runtime.leave(model)

    @contextmanager
    def _reading(self, args: tuple[Any, ...]) -> Generator[None]:
        """Have integer inputs carry relevance from where they are looked up."""
        own = self._subject.input_embedding
        ids = [a for a in args if isinstance(a, Tensor) and not is_float(a)]

        def act(module: nn.Module, given: Any, value: Any) -> Any:
            looked_up = first_tensor(given)
            ours = module is own or (
                looked_up is not None and any(same_storage(looked_up, i) for i in ids)
            )
            return alive(value) if ours else value

        with hooked(self._subject.embeddings.values(), act) if ids else ExitStack():
            yield

    def _complain(self) -> None:
        message = (
            "no gradient reaches what relevance is read at, so all of it is 0. Either "
            "the rules freeze every way to the output (a softmax at its end: explain "
            "the logits), or the graph is cut (detach(), no_grad(), an argmax)."
        )
        if self._twin.strict:
            raise UnruledError(message)
        warnings.warn(message, UnruledWarning, stacklevel=2)


def _handed(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    copied = value.requires_grad or value.is_inference()
    return value.clone() if copied else value.detach()


def is_float(value: object) -> bool:
    """Tell whether a value is a tensor of floats.

    Args:
        value: Anything.

    Returns:
        True for such a tensor.
    """
    return isinstance(value, Tensor) and value.is_floating_point()


def alive(value: Any) -> Any:
    """Make a tensor carry relevance.

    Args:
        value: A tensor of floats; anything else stays as it is.

    Returns:
        The tensor, or the copy of a leaf in place of a constant.
    """
    if not is_float(value) or value.requires_grad:
        return value
    leaf = value.detach()
    leaf.requires_grad = True  # not requires_grad_, which scopes leave without effect
    return leaf.clone()


Act = Callable[[nn.Module, Any, Any], Any]


@contextmanager
def hooked(
    modules: Iterable[nn.Module], act: Act, inputs: bool = False
) -> Generator[None]:
    """Replace what modules return, or are given, while a block runs.

    Args:
        modules: The modules.
        act: Called with the module, its arguments and each value that it returns.
        inputs: Replace positional inputs instead.

    Yields:
        Nothing.
    """

    def before(module: nn.Module, args: Any) -> Any:
        # Without a positional argument there is nothing to read.
        return _each(args or None, lambda value: act(module, args, value))

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        return _each(output, lambda value: act(module, (args, kwargs), value))

    with ExitStack() as stack:
        for module in modules:
            handle = (
                module.register_forward_pre_hook(before)
                if inputs
                else module.register_forward_hook(after, with_kwargs=True)
            )
            stack.callback(handle.remove)
        yield


def _each(value: Any, act: Callable[[Any], Any]) -> Any:
    """Apply a function to a value, or to the values in a tuple or list."""
    if isinstance(value, list | tuple):
        made = [_each(item, act) for item in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return act(value)


def check_finite(tensors: Iterable[Tensor], what: str) -> None:
    """Refuse NaN and infinity.

    Args:
        tensors: Outputs or relevance.
        what: Their name in the message.

    Raises:
        NonFiniteError: If an entry is not finite.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise NonFiniteError(
            f"NaN or infinity stands in {what}; `with instrument(model) as lrp: "
            "lrp.attribute(...)` says in which module it appears first."
        )
