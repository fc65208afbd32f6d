"""What is covered: which module got which rule and why, and what has none."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from ..support.table import aligned
from .registry import Match
from .walk import has_parts

__all__ = ["Coverage", "Row", "row"]

LINEAR = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.Flatten,
    nn.Unflatten,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.Fold,
    nn.Unfold,
    nn.ZeroPad1d,
    nn.ZeroPad2d,
    nn.ZeroPad3d,
    nn.ReflectionPad1d,
    nn.ReflectionPad2d,
)
"""Modules that are linear and need no rule."""


@dataclass(frozen=True)
class Row:
    """One module of the report.

    Attributes:
        module: Qualified name.
        kind: Name of its type.
        rule: The rule, printed; empty where there is none.
        why: Why the rule matched, or why none is needed.
    """

    module: str
    kind: str
    rule: str
    why: str


@dataclass
class Coverage:
    """The report of an instrumented model; print it.

    Attributes:
        rows: One for each module.
        unruled: ``{(function, module name)}`` that bent relevance without a rule in the
            calls made so far.
    """

    rows: tuple[Row, ...]
    unruled: set[tuple[str, str]] = field(default_factory=set)

    @property
    def ruled(self) -> tuple[Row, ...]:
        """Modules with a rule."""
        return tuple(row for row in self.rows if row.rule)

    @property
    def linear(self) -> tuple[Row, ...]:
        """Modules that are linear and need no rule."""
        return tuple(row for row in self.rows if row.why == "linear")

    def __repr__(self) -> str:
        """Return a table: one line a module, then what has no rule."""
        table = [
            (r.module or "(root)", r.kind, r.rule or "-", r.why) for r in self.rows
        ]
        lines = aligned([("module", "type", "rule", "why"), *table])
        for function, module in sorted(self.unruled):
            lines.append(f"no rule: {function} called by {module or '(root)'}")
        return "\n".join(lines)


def row(name: str, module: nn.Module, match: Match | None) -> Row:
    """Describe a module.

    Args:
        name: Its qualified name.
        module: The module.
        match: Its rule, if it has one.

    Returns:
        The row.
    """
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        return Row(name, kind, "", "TorchScript, where no rule holds")
    if match is not None:
        return Row(name, kind, repr(match.rule), match.why)
    if isinstance(module, LINEAR):
        return Row(name, kind, "", "linear")
    if has_parts(module):
        return Row(name, kind, "", "its parts, and the functions it calls")
    return Row(name, kind, "", "the functions it calls")
