"""Pooling: an average is linear, a maximum gives everything to the winner.

Both are what autograd does already, and both conserve relevance: R_i = x_i 1[i wins] g.
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from ..engine import FunctionTable, ScopeRule, register, spellings, table

__all__ = ["Pooling"]

FUNCTIONS = spellings(
    """
    max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d _adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d
    """,
    F.max_pool1d,
    F.max_pool2d,
    F.max_pool3d,
    F.adaptive_max_pool1d,
    F.adaptive_max_pool2d,
    F.adaptive_max_pool3d,
)
MODULES = (
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)


class Pooling(ScopeRule):
    """The winner takes all of a maximum; an average shares by contribution."""

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of pooling functions.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        return table(FUNCTIONS, None)


register(*MODULES, family="pooling")
