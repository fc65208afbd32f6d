"""Queries, keys and values out of one projection, in every order that is in use."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import UnsupportedModelError
from lrp_hooks.explainers import DecompX, ValueZeroing

HEADS, SIZE = 4, 4
WIDTH = HEADS * SIZE


def by_thirds(x):
    batch, length, _ = x.shape
    parts = x.chunk(3, -1)
    return [part.view(batch, length, HEADS, SIZE).transpose(1, 2) for part in parts]


def by_thirds_unbound(x):
    batch, length, _ = x.shape
    return x.reshape(batch, length, 3, HEADS, SIZE).permute(2, 0, 3, 1, 4).unbind(0)


def by_head(x):
    batch, length, _ = x.shape
    return x.view(batch, length, HEADS, 3, SIZE).permute(3, 0, 2, 1, 4)


def by_size(x):
    batch, length, _ = x.shape
    return x.view(batch, length, SIZE, HEADS, 3).permute(4, 0, 3, 1, 2)


class Layer(nn.Module):
    def __init__(self, unpack):
        super().__init__()
        self.unpack = unpack
        self.packed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, x):
        mixed = F.scaled_dot_product_attention(*self.unpack(self.packed(self.first(x))))
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))  # noqa: PLR6104
        return x + self.down(F.gelu(self.up(self.second(x))))


class Classifier(nn.Module):
    def __init__(self, *layers, pool):
        super().__init__()
        self.words = nn.Embedding(30, WIDTH)
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(WIDTH, 3)
        self.pool = pool

    def forward(self, ids):
        x = self.words(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.pool(x))


def packed(unpack):
    torch.default_generator.manual_seed(0)
    return noisy(Classifier(Layer(unpack), Layer(unpack), pool=lambda x: x.mean(1)))


def torch_layers(norm_first):
    torch.default_generator.manual_seed(0)
    options = {"batch_first": True, "norm_first": norm_first, "activation": F.gelu}
    layers = [nn.TransformerEncoderLayer(WIDTH, HEADS, 24, **options) for _ in "ab"]
    return noisy(Classifier(*layers, pool=lambda x: x[:, 0]))


def noisy(model):
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


MODELS = {
    "thirds": lambda: packed(by_thirds),
    "thirds, unbound": lambda: packed(by_thirds_unbound),
    "thirds of heads": lambda: packed(by_head),
    "torch, post-LN": lambda: torch_layers(False),
    "torch, pre-LN": lambda: torch_layers(True),
}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("value_bias", ["follow", "distribute"])
def test_paths_agree(name, value_bias):
    model = MODELS[name]()
    for rule in ("none", "equal", "first", "token"):
        options = {"bias": rule, "value_bias": value_bias}
        backward = DecompX(model, **options)(IDS, "all")
        forward = DecompX(model, **options, stages="encoder")(IDS, "all")
        assert_close(forward.scores, backward.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_vectors_sum_to_the_logits(name):
    model = MODELS[name]()
    found = DecompX(model, "absdot")(IDS, "all")
    assert_close(found.scores.sum(1), model(IDS).detach(), rtol=0, atol=1e-12)
    assert_close(ValueZeroing(model)(IDS).layers.sum(-1), torch.ones(2, 2, 6).double())


def in_thirds(layer):
    """Put the rows of a projection that is read by size into the order of thirds."""
    weight = layer.packed.weight
    weight.data = (
        weight.data.view(SIZE, HEADS, 3, WIDTH).permute(2, 1, 0, 3).flatten(0, 2)
    )
    layer.unpack = by_thirds


def test_an_order_that_is_not_known_is_decomposed_through_the_twin():
    models = [packed(by_size), packed(by_size)]
    for model in models:
        for layer in model.layers:  # biases of attention count elsewhere on this way
            layer.packed.bias.data.zero_()
            layer.out.bias.data.zero_()
    for layer in models[1].layers:
        in_thirds(layer)
    assert_close(models[0](IDS), models[1](IDS))
    found, known = (DecompX(model, "absdot")(IDS, "all").scores for model in models)
    assert_close(found, known, rtol=0, atol=1e-10)


def test_an_order_that_is_not_known_is_refused_where_blocks_are_read():
    with pytest.raises(UnsupportedModelError, match="consecutive parts"):
        ValueZeroing(packed(by_size))(IDS)
