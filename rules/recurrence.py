"""Recurrent layers."""

from __future__ import annotations

from torch import nn

from ..registry import register
from ..rule import FunctionTable, ScopeRule

__all__ = ["Recurrence"]


class Recurrence(ScopeRule):
    """Recurrent layers."""

    def __init__(self, unrolled: bool = True) -> None:
        self.unrolled = unrolled

    def functions(self, module: nn.Module | None) -> FunctionTable:
        return {}


register(nn.LSTM, nn.GRU, nn.RNN, family="recurrence")
