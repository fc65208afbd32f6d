"""A model that returns a probability: its logit is explained, and that is said."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from hand_built import calm
from lrp_hooks import Contrast, UnruledError, UnruledWarning, instrument
from strategies import noise, seeds

GATES = {
    "Softmax": nn.Softmax(-1),
    "Sigmoid": nn.Sigmoid(),
    "Softplus": nn.Softplus(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "LogSigmoid": nn.LogSigmoid(),
    "LogSoftmax": nn.LogSoftmax(-1),
    "torch.sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "softmax in another dtype": lambda z: z.softmax(-1, dtype=torch.float32),
}
VIEWS = {
    "itself": lambda p: p,
    "an object": lambda p: {"loss": None, "logits": p},
    "one more axis": lambda p: p[:, None].squeeze(1),
    "a part": lambda p: p[:, :2],
    "turned twice": lambda p: p.T.T,
}
NO_LOGIT = {
    "the largest": lambda z: z.softmax(-1).max(-1).values,
    "a cast": lambda z: z.softmax(-1).half(),
    "the logarithm": lambda z: z.softmax(-1).log(),
    "by hand": lambda z: 1 / (1 + torch.exp(-z)),
    "in place": lambda z: z.sigmoid_(),
    "overwritten": lambda z: z.softmax(-1).mul_(2),
    "both classes": lambda z: torch.stack(
        [1 - z[:, 0].sigmoid(), z[:, 0].sigmoid()], 1
    ),
    "an expected class": lambda z: (z.softmax(-1) * torch.arange(3)).sum(-1),
}


class Model(nn.Module):
    def __init__(self, end, view=VIEWS["itself"]):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        self.end, self.view = end, view

    def forward(self, x):
        return self.view(self.end(self.body(x)))


def right(model, x, target):
    with instrument(model.body, strict=True) as lrp:
        return lrp.attribute(x, target)


@calm
@given(
    st.sampled_from(list(GATES)),
    st.sampled_from(list(VIEWS)),
    st.sampled_from([0, 1, Contrast(0, 1)]),
    st.integers(1, 3),
    seeds,
)
def test_the_logit_is_explained_and_told(gate, view, target, batch, seed):
    model, x = Model(GATES[gate], VIEWS[view]).eval(), noise(batch, 4, seed=seed)
    expected = right(model, x, target)
    with instrument(model) as lrp:
        with pytest.warns(UnruledWarning, match="at the model's end.*logit") as caught:
            found = lrp.attribute(x, target)
    assert len(caught) == 1
    assert_close(found.values, expected.values)
    assert_close(found.output, expected.output)
    assert (found.ledger.error < 1e-10).all()
    assert found.meta["explained"].startswith("the input of ")


@pytest.mark.parametrize("gate", GATES)
def test_strictly_it_is_refused(gate):
    with instrument(Model(GATES[gate]), strict=True) as lrp:
        with pytest.raises(UnruledError, match="at the model's end"):
            lrp.attribute(noise(2, 4), 1)


def test_every_class():
    model, x = Model(nn.Softmax(-1)), noise(2, 4)
    with instrument(model) as lrp:
        with pytest.warns(UnruledWarning, match="softmax at the model's end") as caught:
            found = lrp.attribute_each(x)
    assert len(caught) == 1
    for target, one in enumerate(found):
        assert_close(one.values, right(model, x, target).values)


@pytest.mark.parametrize("name", NO_LOGIT)
def test_where_there_is_no_logit_of_that_shape_it_is_told(name):
    x = noise(2, 4)
    target = 0 if name in {"the largest", "an expected class"} else 1
    with instrument(Model(NO_LOGIT[name])) as lrp:
        with pytest.warns(UnruledWarning, match="at the model's end.*All scores are 0"):
            found = lrp.attribute(x, target)
    assert (found.scores == 0).all()
    with instrument(Model(NO_LOGIT[name]), strict=True) as lrp:
        with pytest.raises(UnruledError, match="All scores are 0"):
            lrp.attribute(x, target)


def test_a_function_as_the_target_gets_what_the_model_returned():
    with instrument(Model(nn.Sigmoid())) as lrp:
        with pytest.warns(UnruledWarning, match="Sigmoid at .*All scores are 0"):
            found = lrp.attribute(noise(2, 4), lambda p: p[:, 1])
    assert ((found.output > 0) & (found.output < 1)).all()


GATED = {
    "a gate of half": lambda z: z * z.sigmoid(),
    "a function through zero": torch.tanh,
    "attention": lambda z: (
        (z[:, :, None] @ z[:, None]).softmax(-1) @ z[:, :, None]
    ).squeeze(-1),
    "a residual": lambda z: z + z.softmax(-1),
    "another output": lambda z: (z, z.sigmoid()),
    "a normalised score": lambda z: F.layer_norm(z, (3,)),
}


@pytest.mark.parametrize("name", GATED)
def test_gates_elsewhere_are_not_told_of(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with instrument(Model(GATED[name]), strict=True) as lrp:
            found = lrp.attribute(noise(2, 4), 1)
    assert "explained" not in found.meta
    assert (found.ledger.error < 1e-10).all()


@pytest.mark.parametrize("trainable", [True, False])
def test_what_reaches_the_output_through_attention_alone_is_not_told_of(trainable):
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            scores = self.query(x) @ self.key(x).transpose(1, 2)
            return (scores.softmax(-1) @ x).mean(1)

    model = Asking().double().requires_grad_(trainable)
    with warnings.catch_warnings(), instrument(model, strict=True) as lrp:
        warnings.simplefilter("error")
        found = lrp.attribute(noise(2, 3, 4), 1, wrt="query")
    assert (found.scores == 0).all()
