"""Weights of eight and four bits: the rules of the layer with its weights unpacked."""

import warnings

import pytest
import torch
from lrp_hooks.rules import Epsilon, Gamma
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import RuleSet, UnruledWarning, instrument
from oracles import random

CONSERVATIVE = RuleSet.named("conservative")
RULES = {
    "conservative": CONSERVATIVE,
    "attnlrp": RuleSet.named("attnlrp"),
    "ah+ln": RuleSet.named("ah+ln"),
    "epsilon": CONSERVATIVE.override(linear=Epsilon(0.1)),
    "gamma": CONSERVATIVE.override(linear=Gamma(0.3)),
}


class Packed(Tensor):
    """A weight that rounds what it multiplies, without a derivative, as torchao's."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_subclass(cls, values)

    def dequantize(self):
        return self.as_subclass(Tensor).clone()

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # noqa: PLW3201
        if func is F.linear:
            x, weight, bias = args
            with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
                return F.linear(x.round(decimals=1), weight.dequantize(), bias)
        return super().__torch_function__(func, types, args, kwargs or {})


class Rounding(nn.Linear):
    """The same layer with an ordinary weight; what rounding adds is a constant."""

    def forward(self, x):
        shift = (x.round(decimals=1) - x).detach()
        return F.linear(x + shift, self.weight, self.bias)


def net(kind):
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(kind(8, 8), nn.ReLU(), nn.Linear(8, 8)).double().eval()
    return model.requires_grad_(False)


def packed():
    model = net(nn.Linear)
    model[0].weight = nn.Parameter(Packed(model[0].weight.data), requires_grad=False)
    return model


def scores(model, x, rules):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnruledWarning)
        with instrument(model, rules) as lrp:
            return lrp.attribute(x, 1)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_packed_weight_has_the_rule_of_its_layer(rules):
    model, x = packed(), random(3, 8)
    found = scores(model, x, rules)
    assert torch.equal(found.output, model(x)[:, 1])
    assert (found.ledger.error < 1e-12).all()
    assert found.ledger.sources["0.weight"].abs().sum() > 0
    grid = (x * 10).round() / 10  # rounding changes nothing here
    right = scores(net(nn.Linear), grid, rules)
    assert_close(scores(model, grid, rules).scores, right.scores)


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "ah+ln"])
def test_what_rounding_adds_is_a_constant(rules):
    x = random(3, 8)
    found, right = (scores(m, x, rules) for m in (packed(), net(Rounding)))
    assert_close(found.scores, right.scores)


def packed_by_bitsandbytes(linear, bits):
    bnb = pytest.importorskip("bitsandbytes")
    shape = linear.in_features, linear.out_features
    if bits == 4:
        layer = bnb.nn.Linear4bit(*shape, compute_dtype=torch.float32, quant_type="nf4")
        weight = bnb.nn.Params4bit(
            linear.weight.data.clone(), requires_grad=False, quant_type="nf4"
        )
    else:
        layer = bnb.nn.Linear8bitLt(*shape, has_fp16_weights=False)
        weight = bnb.nn.Int8Params(
            linear.weight.data.clone(), requires_grad=False, has_fp16_weights=False
        )
    layer.weight, layer.bias = weight, nn.Parameter(linear.bias.data.clone())
    return layer.to("cpu")


@pytest.mark.parametrize("bits", [4, 8])
def test_layers_of_bitsandbytes(bits):
    torch.default_generator.manual_seed(0)
    parts = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)]
    parts[::2] = [packed_by_bitsandbytes(linear, bits) for linear in parts[::2]]
    model = nn.Sequential(*parts).eval()
    x = torch.randn(2, 64)
    dense = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    for layer, other in zip(model, dense, strict=True):
        if isinstance(other, nn.Linear):
            other.bias.data = layer.bias.data
            zero = layer(torch.zeros(1, 64))
            other.weight.data = (layer(torch.eye(64)) - zero).T.detach()
    found = scores(model, x, "conservative")
    right = scores(dense, x, "conservative")
    assert torch.equal(found.output, model(x)[:, 1])
    assert (found.ledger.error < 1e-6).all()
    assert {"0.bias", "0.rounding"} <= found.ledger.sources.keys()
    assert_close(found.scores, right.scores, rtol=0.05, atol=0.02)
    with instrument(model, RULES["gamma"]) as lrp:
        assert "QuantizedLinear" in lrp.coverage.rows[1].rule  # not the rule of others


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_weights_of_torchao(dynamic, rules):
    quantization = pytest.importorskip("torchao.quantization")
    kind = (
        quantization.Int8DynamicActivationInt8WeightConfig
        if dynamic
        else quantization.Int8WeightOnlyConfig
    )
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).eval()
    quantization.quantize_(model, kind())
    x = torch.randn(2, 64)
    found = scores(model, x, rules)
    assert torch.equal(found.output, model(x)[:, 1])
    assert found.scores.abs().sum() > 0
    assert (found.ledger.error < 1e-6).all()
