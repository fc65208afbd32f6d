"""The engine's own walks list what torch's do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_hooks.engine.walk import (
    has_parts,
    modules_of,
    named_modules_of,
    parameters_of,
)


@st.composite
def trees(draw):
    """Draw a model whose modules may be shared, left out, and hold each other."""
    made = [nn.Linear(1, 1), nn.Identity()]
    for _ in range(draw(st.integers(1, 6))):
        module = nn.Module()
        for key in draw(st.lists(st.sampled_from("abcd"), unique=True)):
            part = draw(st.sampled_from([None, *made]))
            module.register_module(key, part)
        if draw(st.booleans()):
            module.register_parameter("weight", nn.Linear(1, 1).weight)
        made.append(module)
    return made[-1]


@given(trees())
def test_modules_come_by_the_names_and_in_the_order_that_torch_gives(model):
    assert list(named_modules_of(model)) == list(model.named_modules())


@given(trees())
def test_nothing_is_left_out_of_a_model(model):
    assert {*modules_of(model)} == {*model.modules()}
    assert len(modules_of(model)) == len(list(model.modules()))
    assert {*parameters_of(model)} == {*model.parameters()}


@given(trees())
def test_parts_are_what_torch_calls_children(model):
    for module in model.modules():
        assert has_parts(module) == any(True for _ in module.children())


def test_a_module_that_holds_itself_comes_once():
    model = nn.Sequential(nn.Linear(1, 1))
    model.add_module("again", model)
    assert list(named_modules_of(model)) == list(model.named_modules())
