"""The collector of sources, by itself."""

import torch

from lrp_hooks.engine.sources import SourceCollector


def test_a_pass_is_read_whatever_came_before_it():
    """One example's pass takes the layout that suits it; all examples' the first."""
    terms = torch.tensor([[0.0, 5.0], [1.0, 0.0]])  # [B, T], or [T, B]
    collector = SourceCollector(2, 2)
    for row in (None, 1, None):
        collector.clear()
        if row is not None:
            collector.row = row
        collector.add("bias", terms)
        collector.settle()
        found = collector.sources["bias"].tolist()
        assert found == ([5.0, 1.0] if row is None else [1.0, 5.0])
