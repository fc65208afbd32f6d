"""Outputs that constants made: `explain` says so, and only then."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_hooks import ConstantsWarning, Contrast, explain


class Linear(nn.Module):
    """Two outputs, [B, 2]: the sum of the inputs, or less it, plus constants."""

    def __init__(self, bias):
        super().__init__()
        self.layer = nn.Linear(3, 2).double()
        self.layer.weight.data = torch.tensor([[1.0], [-1.0]]).expand(2, 3).double()
        self.layer.bias.data = torch.tensor(bias).double()

    def forward(self, x):
        return self.layer(x)


def said(model, x, target=0, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain(model, x, target=target, **options)
    return [str(w.message) for w in caught if w.category is ConstantsWarning]


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_it_is_said_where_inputs_have_less_than_a_third(read, constant):
    x = torch.full((1, 3), read / 3, dtype=torch.float64)
    output = read + constant
    if abs(abs(read) - abs(output) / 3) < 1e-9:
        return  # which of both is a matter of rounding
    warned = said(Linear([constant, 0.0]), x)
    assert bool(warned) == (abs(read) < abs(output) / 3)


def test_numbers_and_examples_are_named():
    x = torch.tensor([[1.0, 1, 1], [0.1, 0, 0], [0, 0, 0.2]]).double()
    (message,) = said(Linear([2.0, 0.0]), x)
    assert "in 2 of 3 examples" in message
    assert "example 1, +2.0000 of +2.1000" in message and "read +0.1000" in message


def test_a_contrast_in_which_constants_cancel_is_none():
    x = torch.tensor([[0.1, 0, 0]]).double()
    model = Linear([2.0, 2.0])
    assert said(model, x)
    assert not said(model, x, target=Contrast(0, 1))


def test_a_ledger_that_does_not_close_tells_no_constants():
    class Squared(Linear):
        def forward(self, x):
            return (self.layer(x) ** 2).tanh()

    x = torch.tensor([[0.4, 0, 0]]).double()
    assert not said(Squared([2.0, 0.0]), x, method="gradient_x_input")


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_methods_without_a_ledger_have_nothing_to_say(method):
    x = torch.tensor([[0.1, 0, 0]]).double()
    assert not said(Linear([2.0, 0.0]), x, method=method)


def test_advice_is_what_can_be_done():
    x = torch.tensor([[0.1, 0, 0]]).double()
    (plain,) = said(Linear([2.0, 0.0]), x)
    assert "Contrast" in plain and ".complete()" in plain
    (contrasted,) = said(Linear([2.0, 0.0]), x, target=Contrast(0, 1))
    assert "Contrast" not in contrasted and ".complete()" in contrasted
