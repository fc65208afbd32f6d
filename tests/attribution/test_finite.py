"""No NaN and no infinity reaches a result: 0 times infinity is 0, the rest is told."""

import pytest
import torch
from torch import nn

from lrp_hooks import LeafRule, NonFiniteError, instrument
from strategies import noise


class Masked(nn.Module):
    """Suppresses what it is told to, as a forbidden class is."""

    def forward(self, x):
        return x.masked_fill(torch.tensor([True, False, False]), -torch.inf)


def test_a_layer_with_an_infinity_that_is_not_explained():
    model = nn.Sequential(nn.Linear(4, 3), Masked(), nn.Identity())
    with instrument(model, strict=True) as lrp:
        found = lrp.attribute(noise(2, 4).float(), 1, layers=["1"])
    assert (found.layers["1"][:, 0] == 0).all()
    assert found.layers["1"].isfinite().all()
    assert found.scores.isfinite().all() and (found.ledger.error < 1e-5).all()


def test_an_input_with_an_infinity_that_is_not_used():
    class Rest(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(3, 2)

        def forward(self, x):
            return self.map(x[:, 1:])

    x = noise(2, 4).float()
    x[:, 0] = torch.inf
    with instrument(Rest(), strict=True) as lrp:
        found = lrp.attribute(x, 1)
    assert (found.scores[:, 0] == 0).all()
    assert found.ledger.total.isfinite().all() and (found.ledger.error < 1e-5).all()


class Keeping(LeafRule):
    def __init__(self, kept):
        self.kept = kept

    def relevance(self, module, x, y, grad):
        self.source("kept", torch.full_like(grad, self.kept))
        return grad


@pytest.mark.parametrize("kept", [torch.nan, torch.inf])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_source_that_is_not_finite_is_named(kept, batch):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with instrument(model, overrides={nn.Tanh: Keeping(kept)}) as lrp:
        with pytest.raises(NonFiniteError, match=r"'1\.kept' is not finite"):
            lrp.attribute(noise(batch, 4).float(), 1)
        with pytest.raises(NonFiniteError, match=r"'1\.kept' is not finite"):
            lrp.attribute_each(noise(batch, 4).float())
