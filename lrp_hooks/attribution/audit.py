"""The audit: relevance entering and leaving every module, and where it leaks.

A module's leak is the relevance of its output less that of its inputs less that of the
constants inside. What leaks in a module that it calls is that module's, so the first
row is the one that needs a rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.autograd import carries, on_gradient
from ..engine.coverage import Coverage
from ..engine.nested import replace_first
from ..engine.ruleset import RuleSet
from ..engine.runtime import Runtime
from ..engine.shares import Share, sums
from ..engine.sources import Constant, SourceCollector
from ..engine.splicing import splice
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..results.ledger import Ledger
from ..support.table import aligned
from .attribute import Request, attribute
from .checks import TARGET

__all__ = ["Audit", "AuditRow", "audit"]


@dataclass(frozen=True)
class AuditRow:
    """One module, summed over its calls and over the batch.

    Attributes:
        module: Qualified name; ``"(target)"`` for a function as the target.
        kind: Name of its type.
        rule: Its rule, printed; empty where it has none of its own.
        leaving: Relevance of its output.
        entering: Relevance that it passes on to its inputs.
        bias: Relevance of the constants inside.
        leak: ``leaving - entering - bias``, without the leaks of the modules it calls.
    """

    module: str
    kind: str
    rule: str
    leaving: float
    entering: float
    bias: float
    leak: float


@dataclass(frozen=True, repr=False)
class Audit:
    """The modules of a model by what leaks in them; print it.

    Attributes:
        rows: The worst first.
        ledger: The ledger of the same pass.
        unruled: ``{(function, module name)}`` that bend relevance without a rule.
    """

    rows: tuple[AuditRow, ...]
    ledger: Ledger
    unruled: frozenset[tuple[str, str]]

    def __repr__(self) -> str:
        """Return a table: one line a module, then the ledger."""
        head = ("module", "type", "leaving", "entering", "bias", "leak", "rule")
        lines = [
            (
                row.module or "(root)",
                row.kind,
                *(f"{v:+.4g}" for v in (row.leaving, row.entering, row.bias, row.leak)),
                row.rule or "-",
            )
            for row in self.rows
        ]
        without = [f"no rule: {f} called by {m or '(root)'}" for f, m in self.unruled]
        return "\n".join([
            *aligned([head, *lines]),
            *sorted(without),
            repr(self.ledger),
        ])


@dataclass
class _Call:
    """One call of a module, and what the backward pass brought of it."""

    name: str
    parent: _Call | None
    leaving: float = 0.0
    entering: float = 0.0
    bias: float = 0.0


@dataclass
class _Book:
    """The calls of one pass, those that are running, and the ledger's entries."""

    calls: list[_Call] = field(default_factory=list)
    running: list[_Call] = field(default_factory=list)
    noted: list[tuple[tuple[_Call, ...], str, Tensor, Share | None]] = field(
        default_factory=list
    )
    collector: SourceCollector | None = None

    def note(
        self,
        calls: tuple[_Call, ...],
        column: str,
        value: Any,
        share: Share | None,
        grad: Tensor,
    ) -> None:
        """Note the relevance of a value in a column of calls."""
        terms = torch.where(grad == 0, 0.0, grad.conj() * value).real
        self.noted.append((calls, column, terms.double().sum(), share))

    def settle(self) -> None:
        """Enter what was noted, by all ranks."""
        totals = sums([(total, share) for *_, total, share in self.noted])
        for (calls, column, *_), total in zip(self.noted, totals, strict=True):
            for call in calls:
                setattr(call, column, getattr(call, column) + total)
        self.noted.clear()

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Give the module aliases of its inputs: what comes back is its own part."""
        call = _Call(name, self.running[-1] if self.running else None)
        self.calls.append(call)
        self.running.append(call)
        return self._aliased((args, kwargs), call, "entering")

    def leave(self, name: str, module: nn.Module, args: Any, output: Any) -> Any:
        """Return aliases of the module's outputs: what comes in is from outside."""
        call = self.running.pop()
        return self._aliased(output, call, "leaving")

    def _aliased(self, value: Any, call: _Call, column: str) -> Any:
        """Replace what carries relevance by aliases whose gradients are watched."""
        assert self.collector is not None
        for tensor in _carrying(value):
            alias = splice(tensor.data, tensor, lambda grad: grad)
            kept = alias.detach().clone()  # it may be overwritten
            share = self.collector.share_of(tensor)
            share = share and share.summed()
            on_gradient(alias, partial(self.note, (call,), column, kept, share))
            value = replace_first(value, tensor, alias)
        return value

    def read(self, name: str, total: float) -> None:
        """Enter relevance that was read at a module's output: there it all begins."""
        seen = set()
        for call in self.calls:
            around = call.name in {"", name} or name.startswith(f"{call.name}.")
            if around and call.name not in seen:
                call.entering += total
                call.leaving = total if call.name == name else call.leaving
                seen.add(call.name)


def _carrying(value: Any) -> list[Tensor]:
    """List the tensors in nested arguments that carry relevance, each once."""
    if isinstance(value, Tensor):
        return [value] if carries(value) else []
    if isinstance(value, Mapping):
        value = tuple(value.values())
    found: list[Tensor] = []
    if isinstance(value, list | tuple):
        for item in value:
            found += [t for t in _carrying(item) if all(t is not o for o in found)]
    return found


class _Collector(SourceCollector):
    """Enters a source in the calls that were running when its constant was added."""

    def __init__(self, book: _Book, batch: int, length: int | None) -> None:
        super().__init__(batch, length)
        book.collector = self
        book.calls.clear()
        book.running.clear()
        book.noted.clear()
        self.book = book

    def watch(self, out: Tensor, constant: Constant, name: str) -> None:
        super().watch(out, constant, name)
        if carries(out):
            running, share = tuple(self.book.running), self.share_of(out)
            share = share and share.summed()
            on_gradient(out, partial(self._note_bias, running, constant, share))

    def add(self, name: str, terms: Tensor, share: Share | None = None) -> None:
        super().add(name, terms, share)
        inside: dict[str, _Call] = {}
        for call in reversed(self.book.calls):
            if not call.name or name.startswith(f"{call.name}."):
                inside.setdefault(call.name, call)
        total = terms.detach().double().sum()
        share = share and share.summed()
        self.book.noted.append((tuple(inside.values()), "bias", total, share))

    def _note_bias(
        self,
        running: tuple[_Call, ...],
        constant: Constant,
        share: Share | None,
        grad: Tensor,
    ) -> None:
        value = constant() if callable(constant) else constant
        self.book.note(running, "bias", value, share, grad)


def audit(
    subject: Subject,
    runtime: Runtime,
    rules: RuleSet,
    coverage: Coverage,
    request: Request,
) -> Audit:
    """Audit a model; see `Instrumentation.audit`.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        rules: The rule set in force.
        coverage: The model's coverage.
        request: What to explain.

    Returns:
        The audit.
    """
    book = _Book()
    with undoing() as undo:
        for name, module in subject.modules.items():
            enter, leave = partial(book.enter, name), partial(book.leave, name)
            undo.hook(module, "forward_pre_hook", enter, with_kwargs=True)
            undo.hook(module, "forward_hook", leave)
        collect = partial(_Collector, book)
        relevance = attribute(subject, runtime, rules, request, collect)
    book.settle()
    values = relevance.values
    by_name = (
        values if isinstance(values, dict) else {relevance.meta["read"][0]: values}
    )
    for name, value in by_name.items():
        if name in subject.modules:
            book.read(name, float(value.double().sum()))
    own = {row.module: row.rule for row in coverage.rows}
    rows = [*_rows(book.calls, subject, own), *_target_row(book, relevance.ledger)]
    rows.sort(key=lambda row: -abs(row.leak))
    return Audit(tuple(rows), relevance.ledger, frozenset(coverage.unruled))


def _target_row(book: _Book, ledger: Ledger) -> list[AuditRow]:
    """Return the row of a target function, where there is one."""
    assert book.collector is not None
    if TARGET not in book.collector.sources:
        return []
    entering = float(book.collector.sources[TARGET].double().sum())
    leaving = float(ledger.output.double().sum())
    leak = leaving - entering
    return [AuditRow(TARGET, "function", "", leaving, entering, 0.0, leak)]


def _rows(
    calls: list[_Call], subject: Subject, rules: Mapping[str, str]
) -> list[AuditRow]:
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    for call in calls:
        leak = call.leaving - call.entering - call.bias
        columns = (call.leaving, call.entering, call.bias, leak)
        sums[call.name] = [a + b for a, b in zip(sums[call.name], columns, strict=True)]
        if call.parent is not None:
            sums[call.parent.name][3] -= leak
    return [
        AuditRow(
            name, type(subject.modules[name]).__name__, rules.get(name, ""), *values
        )
        for name, values in sums.items()
    ]
