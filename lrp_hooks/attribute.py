"""One explanation: read-out, forward, one backward, the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ArgumentError, InferenceModeError
from .finite import check_output, check_relevance
from .hooks import Runtime, first_tensor, replace_first
from .inputs import Call, bind, named_module, same_storage
from .readout import Selected, select
from .registry import RuleSet
from .relevance import Ledger, Relevance
from .sources import SourceCollector

__all__ = ["Request", "attribute"]


@dataclass(frozen=True)
class Request:
    """The arguments of `Instrumentation.attribute`."""

    inputs: Any
    target: Any
    wrt: str | Sequence[str] | None
    layers: tuple[str, ...]


@dataclass
class Pass:
    """What one forward and backward pass brought.

    Attributes:
        selected: The explained scalars.
        reads: ``{name: leaf}``, the tensors that relevance is read at.
        seen: ``{name: output}`` of the layers asked for.
        grads: Gradients of the reads, then of the layers.
        collector: The sources.
    """

    selected: Selected
    reads: dict[str, Tensor]
    seen: dict[str, Tensor]
    grads: dict[str, Tensor]
    collector: SourceCollector


def attribute(
    model: nn.Module, runtime: Runtime, rules: RuleSet, request: Request
) -> Relevance:
    """Explain a model's outputs; see `Instrumentation.attribute`.

    Args:
        model: The instrumented model.
        runtime: What its hooks share.
        rules: The rule set in force.
        request: The arguments.

    Returns:
        The relevance and its ledger.

    Raises:
        InferenceModeError: Under ``torch.inference_mode()``.
    """
    if torch.is_inference_mode_enabled():
        raise InferenceModeError(
            "attribute() was called under torch.inference_mode(), which records no "
            "graph; call it outside, torch.no_grad() is fine."
        )
    call = bind(model, request.inputs)
    with torch.enable_grad(), _eval_mode(model):
        done = _run(model, runtime, call, request, seeds=None)
        ledger = _ledger(done)
        if call.batch > 1 and _is_misplaced(done.collector, ledger, rules):
            done = _run(model, runtime, call, request, seeds=call.batch)
            ledger = _ledger(done)
        check_relevance(model, done.grads)
    return _result(model, rules, call, done, ledger)


@contextmanager
def _eval_mode(model: nn.Module) -> Generator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _run(
    model: nn.Module, runtime: Runtime, call: Call, request: Request, seeds: int | None
) -> Pass:
    """Run forward, then backward: at once, or example by example with ``seeds``."""
    length = call.main.shape[1] if _has_positions(call) else None
    collector = SourceCollector(call.batch, length)
    reader = _Reader(model, call, request)
    runtime.collector = collector
    try:
        output = reader.forward()
    finally:
        runtime.collector = None
    mask = call.output_mask
    selected = select(output, request.target, model, call.batch, mask)
    del output
    check_output(model, call, selected.scalar)
    wanted = {**reader.reads, **reader.seen}
    if seeds is None:
        grads = _gradients(selected.scalar, wanted, None)
        collector.settle()
    else:
        grads = _one_by_one(selected.scalar, wanted, collector)
    return Pass(selected, reader.reads, reader.seen, grads, collector)


def _has_positions(call: Call) -> bool:
    is_text = not call.main.is_floating_point() and call.main.ndim == 2
    return is_text or call.main.ndim == 3


def _gradients(
    scalar: Tensor, wanted: dict[str, Tensor], seed: Tensor | None
) -> dict[str, Tensor]:
    live = {name: t for name, t in wanted.items() if t.requires_grad}
    grads: dict[str, Tensor | None] = {}
    if scalar.requires_grad and live:
        found = torch.autograd.grad(
            scalar,
            list(live.values()),
            torch.ones_like(scalar) if seed is None else seed,
            retain_graph=seed is not None,
            allow_unused=True,
        )
        grads = dict(zip(live, found, strict=True))
    return {
        name: torch.zeros_like(t) if grads.get(name) is None else grads[name].detach()  # type: ignore[union-attr]
        for name, t in wanted.items()
    }


def _one_by_one(
    scalar: Tensor, wanted: dict[str, Tensor], collector: SourceCollector
) -> dict[str, Tensor]:
    """Run one backward pass an example: then every term is that example's own."""
    batch = collector.batch
    total = {name: torch.zeros_like(t) for name, t in wanted.items()}
    sources: dict[str, list[Tensor]] = {}
    positions: dict[str, Tensor] = {}
    for row in range(batch):
        collector.clear()
        seed = torch.zeros_like(scalar)
        seed[row] = 1.0
        for name, grad in _gradients(scalar, wanted, seed).items():
            total[name] += grad
        collector.settle()
        for name, values in collector.sources.items():
            rows = sources.setdefault(name, [values.new_zeros(())] * batch)
            rows[row] = values.sum()
        for name, values in collector.positions.items():
            kept = positions.setdefault(name, torch.zeros_like(values))
            kept[row] = values.sum(0)
    collector.clear()
    collector.sources = {name: torch.stack(rows) for name, rows in sources.items()}
    collector.positions = positions
    return total


class _Reader:
    """Puts leaves where relevance is read, and watches the layers asked for."""

    def __init__(self, model: nn.Module, call: Call, request: Request) -> None:
        self.model = model
        self.call = call
        self.reads: dict[str, Tensor] = {}
        self.seen: dict[str, Tensor] = {}
        self.thread = threading.get_ident()
        self.layers = {n: named_module(model, "layers", n) for n in request.layers}
        names = request.wrt
        if names is not None:
            names = [names] if isinstance(names, str) else list(names)
            self.modules = {n: named_module(model, "wrt", n) for n in names}
        self.names = names

    def forward(self) -> Any:
        """Run the model with the leaves in place."""
        if self.names is not None:
            output = self._with_hooks(self.modules, self._reads_module, self.call)
            missing = [name for name in self.modules if name not in self.reads]
            if missing:
                raise ArgumentError(
                    f"wrt={missing[0]!r} names a module that did not run, or returned "
                    "no float tensor, in this call; name one that does."
                )
            return output
        if self.call.floats:
            for name, value in self.call.floats.items():
                self.reads[name] = value.detach().clone().requires_grad_()
            given = {name: leaf.clone() for name, leaf in self.reads.items()}
            return self._with_hooks({}, None, self.call.with_floats(given))
        return self._embedded()

    def _embedded(self) -> Any:
        """Read the first embedding that looks up the ids themselves."""
        tables = _embeddings(self.model)
        for accept in (self._reads_ids, self._reads_shape):
            output = self._with_hooks(tables, accept, self.call)
            if self.reads:
                return output
        raise ArgumentError(
            "inputs are integers, but no embedding module of the model looks them up; "
            "name the module whose output to read with wrt=."
        )

    def _with_hooks(
        self, modules: dict[str, nn.Module], read: Callable[..., Any] | None, call: Call
    ) -> Any:
        with ExitStack() as stack:
            for name, module in modules.items():
                hook = self._hook(name, read)
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            for name, module in self.layers.items():
                hook = self._hook(name, self._watches)
                handle = module.register_forward_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
            return self.model(*call.args, **call.kwargs)

    def _hook(self, name: str, act: Callable[..., Any] | None) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            value = first_tensor(output, torch.Tensor.is_floating_point)
            if act is None or value is None or threading.get_ident() != self.thread:
                return None
            fresh = act(name, (args, kwargs), value)
            return None if fresh is None else replace_first(output, value, fresh)

        return hook

    def _reads_module(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if name in self.reads:
            return None
        # A clone is handed on, since a model may overwrite it and a leaf must stay.
        self.reads[name] = value.detach().clone().requires_grad_()
        return self.reads[name].clone()

    def _reads_ids(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = first_tensor(given)
        ours = ids is not None and same_storage(ids, self.call.main)
        return (
            self._reads_module(name, given, value) if ours and not self.reads else None
        )

    def _reads_shape(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = first_tensor(given)
        ours = ids is not None and ids.shape == self.call.main.shape
        return (
            self._reads_module(name, given, value) if ours and not self.reads else None
        )

    def _watches(self, name: str, given: Any, value: Tensor) -> Tensor:
        self.seen[name] = value.clone()
        return self.seen[name]


def _embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """List the modules that look up ids, the one the model names itself first."""
    named = {m: name for name, m in model.named_modules()}
    kinds = (nn.Embedding, nn.EmbeddingBag)
    found: list[nn.Module] = [m for m in model.modules() if isinstance(m, kinds)]
    get = getattr(model, "get_input_embeddings", None)
    try:
        own = get() if get is not None else None
    except (NotImplementedError, AttributeError):  # a model without such a module
        own = None
    if isinstance(own, nn.Module) and own in named:
        found = [own, *(m for m in found if m is not own)]
    return {named[m]: m for m in found}


def _values(read: Tensor, grad: Tensor) -> Tensor:
    return read.detach() * grad


def _scores(values: Tensor) -> Tensor:
    if values.ndim == 3:
        return values.sum(-1)
    return values.sum(1) if values.ndim == 4 else values


def _ledger(done: Pass) -> Ledger:
    output = done.selected.scalar.detach()
    inputs = torch.zeros_like(output, dtype=torch.float64)
    for name, read in done.reads.items():
        terms = _values(read, done.grads[name]).double()
        inputs += terms.reshape(len(output), -1).sum(1)
    sources = {n: v.to(output.device) for n, v in done.collector.sources.items()}
    if not done.selected.scalar.requires_grad:
        sources["constant output"] = output.double()
    positions = dict(done.collector.positions)
    return Ledger(inputs.to(output.dtype), sources, positions, output)


def _is_misplaced(collector: SourceCollector, ledger: Ledger, rules: RuleSet) -> bool:
    """Tell whether rows of a batch were taken for another example's."""
    # Such a ledger closes in total, but not for each example.
    if collector.unplaced:
        return True
    tolerance = torch.finfo(ledger.output.dtype).eps ** 0.6
    if not rules.complete or bool((ledger.error < tolerance).all()):
        return False
    gaps = ledger.output.double() - ledger.total.double()
    return bool(gaps.sum().abs() < 0.01 * gaps.abs().sum())


def _result(
    model: nn.Module, rules: RuleSet, call: Call, done: Pass, ledger: Ledger
) -> Relevance:
    values = {name: _values(t, done.grads[name]) for name, t in done.reads.items()}
    scores = {name: _scores(v) for name, v in values.items()}
    single = len(values) == 1
    return Relevance(
        scores=next(iter(scores.values())) if single else scores,
        values=next(iter(values.values())) if single else values,
        output=ledger.output,
        target=done.selected.target,
        method="lrp",
        tokens=None,
        attended=None if call.mask is None else call.mask.detach() != 0,
        layers={n: _values(t, done.grads[n]) for n, t in done.seen.items()},
        ledger=ledger,
        meta={
            "rules": rules.name,
            "read": list(done.reads),
            "model": type(model).__name__,
        },
    )
