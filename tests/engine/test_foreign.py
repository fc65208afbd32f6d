import pytest
import torch
from torch import nn

from lrp_hooks import UnruledError, UnruledWarning, instrument


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(Tripled.apply(x))


def test_a_custom_function_is_named_though_no_scope_sees_it():
    x = torch.randn(3, 4)
    with instrument(Model()) as lrp, pytest.warns(UnruledWarning, match="Tripled"):
        lrp.attribute(x)
    assert [name.rpartition(".")[2] for name, _ in lrp.coverage.unruled] == ["Tripled"]
    with instrument(Model(), strict=True) as lrp:
        lrp.attribute(x, wrt="head")  # not in that graph
        for _ in range(2):
            with pytest.raises(UnruledError, match="Tripled"):
                lrp.attribute(x)


def test_our_own_functions_are_not_foreign():
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2))
    with instrument(model, strict=True) as lrp:
        lrp.attribute(torch.randn(3, 4))
    assert not lrp.coverage.unruled
