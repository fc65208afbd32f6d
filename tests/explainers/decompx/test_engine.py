"""What DecompX needs of the engine: all outputs of one pass, and modules' inputs."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from decompx_models import Encoder, batch, made, tiny
from lrp_hooks import ArgumentError, UnruledWarning, instrument
from lrp_hooks.attribution.reader import InputOf
from small_models import MODELS, make
from strategies import LAYOUTS, Spec, build, tokens

BY_TOKEN = ("encoder", "encoder, time first", "encoder inside", "not contiguous")
CLASSIFIERS = [n for n in MODELS if n not in {*BY_TOKEN, "strided rows"}]
LAYERS = {
    "Bert": "bert.encoder.layer.1",
    "ViT": "vit.layers.1",
    "GPT2": "transformer.h.1",
    "Bart": "model.encoder.layers.1",
}


def same(found, right, limit=0.0) -> None:
    """Compare relevance in every part."""
    close = {"rtol": 0, "atol": limit}
    assert_close(found.scores, right.scores, **close)
    assert_close(found.values, right.values, **close)
    assert torch.equal(found.output, right.output)
    assert torch.equal(found.target, right.target)
    assert found.layers.keys() == right.layers.keys()
    for name, layer in right.layers.items():
        assert_close(found.layers[name], layer, **close)
    assert found.ledger.sources.keys() == right.ledger.sources.keys()
    for name, source in right.ledger.sources.items():
        assert_close(found.ledger.sources[name], source, **close)
    assert found.ledger.positions.keys() == right.ledger.positions.keys()
    for name, table in right.ledger.positions.items():
        assert_close(found.ledger.positions[name], table, **close)
    assert found.meta == right.meta


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "ah+ln"])
def test_each_output_is_as_explained_alone(name, rules):
    layers = LAYERS[name]
    with instrument(tiny(name), rules) as lrp:
        every = lrp.attribute_each(batch(name), layers=layers)
        assert len(every) == 3
        for target, found in enumerate(every):
            same(found, lrp.attribute(batch(name), target, layers=layers))
            assert list(found.layers) == [layers]
            if rules != "ah+ln":
                assert found.ledger.error.max() <= 1e-12


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", ["explicit", "torch_attention"])
@pytest.mark.parametrize(("size", "length"), [(2, 5), (3, 3), (4, 2)])
def test_each_output_of_every_layout(layout, part, size, length):
    spec = Spec((part, "mlp"), ("layer",) * 2, layout, pool="mean", pre=False)
    text = tokens(size, length)
    with instrument(build(spec)) as lrp:
        every = lrp.attribute_each(text, layers="blocks.0")
        for target, found in enumerate(every):
            same(found, lrp.attribute(text, target, layers="blocks.0"), 1e-14)
            assert found.ledger.error.max() <= 1e-12
        for row in range(size):
            for target, alone in enumerate(lrp.attribute_each(text[row : row + 1])):
                scores = every[target].scores[row]
                assert_close(scores, alone.scores[0], rtol=0, atol=1e-12)
                for name, source in alone.ledger.sources.items():
                    of_row = every[target].ledger.sources[name][row]
                    assert_close(of_row, source[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_output_of_every_small_model(name):
    model, inputs = make(name, torch.float64)
    with instrument(model) as lrp:
        every = lrp.attribute_each(inputs)
        for target in (0, len(every) - 1):
            same(every[target], lrp.attribute(inputs, target), 1e-13)


def test_each_output_restores_modes_and_keeps_no_graph():
    model = tiny("Bert")
    with torch.no_grad(), instrument(model) as lrp:
        every = lrp.attribute_each(batch())
        assert not torch.is_grad_enabled()
    assert all(p.grad is None for p in model.parameters())
    for found in every:
        assert not found.scores.requires_grad
        assert not any(s.requires_grad for s in found.ledger.sources.values())


def test_each_output_after_removal_is_refused():
    lrp = instrument(tiny("Bert"))
    lrp.remove()
    with pytest.raises(ArgumentError, match="attribute_each"):
        lrp.attribute_each(batch())


@pytest.mark.parametrize(
    ("name", "block", "before"),
    [
        ("ViT", "vit.layers.0", "vit.embeddings"),
        ("ViT", "vit.layers.1", "vit.layers.0"),
        ("Bert", "bert.encoder.layer.0", "bert.embeddings"),
        ("Bert", "bert.pooler", "bert.encoder"),
        ("Electra", "electra.encoder.layer.0", "electra.embeddings_project"),
    ],
)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
def test_an_input_is_the_output_of_the_module_before(name, block, before, rules):
    with instrument(tiny(name), rules) as lrp:
        found = lrp.attribute(batch(name), 0, wrt=InputOf(block))
        right = lrp.attribute(batch(name), 0, wrt=before)
    assert torch.equal(found.values, right.values)
    assert found.scores.abs().max() > 1e-3
    assert found.ledger.sources.keys() == right.ledger.sources.keys()
    assert_close(found.ledger.total, found.output)


class Gated(nn.Module):
    """A part that takes its tensors by name, and another float before them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4).double(), Named()

    def forward(self, x):
        return self.second(x=self.first(x), scale=None).sum(1)


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3).double()

    def forward(self, *, scale, x):
        return self.linear(x)


def test_an_input_may_be_given_by_name():
    model, x = Gated(), torch.randn(2, 5, 4, dtype=torch.float64)
    with instrument(model) as lrp:
        found = lrp.attribute(x, 0, wrt=InputOf("second"))
        right = lrp.attribute(x, 0, wrt="first")
    assert torch.equal(found.values, right.values)


def test_an_input_that_is_no_float_is_refused():
    with instrument(tiny("Bert")) as lrp:
        with pytest.raises(ArgumentError, match="wrt="):
            lrp.attribute(batch(), 0, wrt=InputOf("bert.embeddings.word_embeddings"))
        with pytest.raises(ArgumentError, match="nothing"):
            lrp.attribute(batch(), 0, wrt=InputOf("nothing"))


def test_sources_of_images_have_the_positions_of_patches():
    with instrument(tiny("ViT")) as lrp:
        pixels = lrp.attribute(batch("ViT"), 0)
        patches = lrp.attribute(batch("ViT"), 0, wrt=InputOf("vit.layers.0"))
    assert pixels.ledger.positions == {}
    assert patches.scores.shape == (2, 5)
    bias = "vit.layers.0.attention.v_proj.bias"
    if bias not in patches.ledger.positions:
        bias = next(n for n in patches.ledger.positions if "layers.0" in n)
    for name, table in patches.ledger.positions.items():
        assert table.shape == (2, 5)
        assert_close(table.sum(1), patches.ledger.sources[name])
    assert patches.ledger.positions[bias].abs().max() > 1e-4
    alone = {"pixel_values": batch("ViT")["pixel_values"][1:]}
    with instrument(tiny("ViT")) as lrp:
        one = lrp.attribute(alone, 0, wrt=InputOf("vit.layers.0"))
    for name, table in one.ledger.positions.items():
        assert_close(table[0], patches.ledger.positions[name][1], rtol=0, atol=1e-12)


def test_the_input_of_a_block_in_another_thread_is_not_read():
    model, ids = made(Encoder), batch()["input_ids"]

    def meanwhile(*_):
        other = torch.zeros(1, 1, 8).double()
        thread = threading.Thread(target=model.blocks[0], args=(other,))
        thread.start()
        thread.join()

    with instrument(model) as lrp:
        right = lrp.attribute(ids, 1, wrt=InputOf("blocks.0")).scores
        handle = model.norm.register_forward_hook(meanwhile)
        found = lrp.attribute(ids, 1, wrt=InputOf("blocks.0")).scores
        handle.remove()
    assert torch.equal(found, right)


def test_tokens_of_two_lengths_have_no_positions():
    names = ["vit.embeddings.patch_embeddings", "vit.layers.1"]
    with instrument(tiny("ViT")) as lrp:
        for length, name in zip((4, 5), names, strict=True):
            one = lrp.attribute(batch("ViT"), 1, wrt=name)
            assert {part.shape for part in one.ledger.positions.values()} <= {
                (2, length)
            }
        both = lrp.attribute(batch("ViT"), 1, wrt=names)
    assert [part.shape[1] for part in both.scores.values()] == [4, 5]
    assert both.ledger.positions == {}


class Overwrites(nn.Module):
    """A model that changes in place what a layer returned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        x.mul_(2)
        return self.head(x)


def overwritten(layers):
    model, x = made(Overwrites), torch.ones(2, 4).double()
    with instrument(model) as lrp:
        found = lrp.attribute(x, 1, wrt="first", layers=layers)
    with torch.no_grad():
        assert_close(found.values, model.first(x) * 2 * model.head.weight[1])
    assert (found.ledger.error < 1e-12).all()


def test_what_is_read_may_be_overwritten():
    overwritten([])


def test_what_is_read_and_watched_may_be_overwritten():
    overwritten(["first"])


def test_an_output_that_is_constant_has_a_source():
    model, ids = made(Encoder), batch()["input_ids"]
    given = torch.tensor([2.0, -3.0]).double()
    with instrument(model) as lrp, pytest.warns(UnruledWarning, match="no gradient"):
        found = lrp.attribute(ids, lambda _: given)
    assert torch.equal(found.ledger.sources["constant output"], given)
    assert (found.ledger.error == 0).all()
    assert (found.scores == 0).all()


def test_the_ledger_is_no_coarser_than_single_precision():
    model, inputs = make("bert sdpa", torch.bfloat16)
    with instrument(model) as lrp:
        ledger = lrp.attribute(inputs, 1).ledger
    assert ledger.inputs.dtype == torch.float32
