"""Torch's composite layers: options of multi-head attention, decoders, Transformer."""

from __future__ import annotations

import pytest
import torch
from lrp_hooks.rules import Gamma
from torch import nn

from lrp_hooks import RuleSet
from oracles import Calls, closes, of, passed, random, randomised

X, Y = random(2, 4, 8), random(2, 5, 8, seed=1)
RULES = {
    "conservative": "conservative",
    "attnlrp": "attnlrp",
    "gamma": RuleSet.named("conservative").override(linear=Gamma(0.25)),
}
rule_sets = pytest.mark.parametrize("rules", RULES)


@rule_sets
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True},
        {"kdim": 8, "vdim": 6},
    ],
)
def test_options_of_multihead_attention(options, need_weights, rules):
    inner = nn.MultiheadAttention(8, 2, batch_first=True, **options).double()
    inner = randomised(inner)
    width = options.get("vdim", 8)

    def call(q, k):
        return inner(q, k, k[..., :width], need_weights=need_weights)[0]

    model = of(call, inner=inner)
    passed(model, X, Y, rules=RULES[rules])
    closes(model, X, Y, rules=RULES[rules])


COMPOSITES = {
    "decoder": lambda **o: nn.TransformerDecoder(
        nn.TransformerDecoderLayer(8, 2, 16, **o), 2
    ),
    "transformer": lambda **o: nn.Transformer(8, 2, 1, 1, 16, **o),
}


@rule_sets
@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_composites(name, norm_first, batch_first, rules):
    made = COMPOSITES[name](norm_first=norm_first, batch_first=batch_first)
    inner = randomised(made.double(), scale=0.3)

    def call(a, b):
        if batch_first:
            return inner(a, b)
        return inner(a.transpose(0, 1), b.transpose(0, 1)).transpose(0, 1)

    model = of(call, inner=inner).eval()
    passed(model, X, Y, rules=RULES[rules])
    closes(model, X, Y, rules=RULES[rules], tolerance=1e-9)


@rule_sets
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_padded_encoder(activation, rules):
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True)
    inner = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    inner = randomised(inner.double(), scale=0.3)
    pads = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]).bool()
    model = Calls(lambda m, x: m.inner(x, src_key_padding_mask=pads)[:, 0], inner=inner)
    found = closes(model.eval(), X, rules=RULES[rules], tolerance=1e-9)
    assert (found.scores[pads] == 0).all()
