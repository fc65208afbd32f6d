"""Bags of embeddings: relevance by token, as if each row had been looked up alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lrp_hooks import explain, instrument

MODES = ("sum", "mean", "max")


class Bag(nn.Module):
    """A classifier of bags, as torch has them."""

    def __init__(self, mode, padding_idx=None, dtype=torch.float64):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.table = nn.EmbeddingBag(12, 6, mode=mode, padding_idx=padding_idx)
            self.head = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        self.to(dtype).eval()

    def forward(self, ids, weights=None):
        return self.head(self.table(ids, per_sample_weights=weights))


class ByHand(nn.Module):
    """The same by a table that looks up each token, and sums of what stands there."""

    def __init__(self, bag):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(bag.table.weight.detach())
        self.mode, self.padding = bag.table.mode, bag.table.padding_idx
        self.head = bag.head

    def forward(self, ids, weights=None):
        rows = self.table(ids)
        kept = torch.ones_like(ids) if self.padding is None else ids != self.padding
        kept = kept.unsqueeze(-1).to(rows.dtype)
        if self.mode == "max":
            shown = rows.detach().masked_fill(kept == 0, -torch.inf)
            top = shown.argmax(1, keepdim=True)
            return self.head((rows * torch.zeros_like(rows).scatter(1, top, 1)).sum(1))
        if weights is not None:
            return self.head((rows * kept * weights.unsqueeze(-1)).sum(1))
        total = (rows * kept).sum(1)
        return self.head(total / kept.sum(1) if self.mode == "mean" else total)


def drawn(seed, batch=3, length=5):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(12, (batch, length), generator=generator)
    ids[:, 0] = 1 + ids[:, 0] % 11  # not all of a row is padding
    return ids


@given(st.sampled_from(MODES), st.sampled_from([None, 0]), st.integers(0, 99))
def test_as_if_each_token_had_been_looked_up(mode, padding_idx, seed):
    bag, ids = Bag(mode, padding_idx), drawn(seed)
    with instrument(bag, strict=True) as lrp:
        found = lrp.attribute(ids, target=1)
    with instrument(ByHand(bag)) as lrp:
        wanted = lrp.attribute(ids, target=1)
    assert found.scores.shape == ids.shape
    assert_close(found.scores, wanted.scores)
    assert_close(found.output, bag(ids)[:, 1], rtol=0, atol=0)
    assert_close(found.ledger.total, found.output)
    if padding_idx is not None:
        assert (found.scores[ids == padding_idx] == 0).all()


@given(st.integers(0, 99))
def test_weights_of_samples(seed):
    bag, ids = Bag("sum"), drawn(seed)
    weights = torch.linspace(-1, 2, ids.numel(), dtype=torch.float64).reshape(ids.shape)
    batch = {"ids": ids, "weights": weights}
    for read in ("ids", None):
        with instrument(bag, strict=True) as lrp:
            found = lrp.attribute(batch, 0, wrt=read)
        with instrument(ByHand(bag), strict=True) as lrp:
            wanted = lrp.attribute(batch, 0, wrt=read)
        assert_close(found.scores, wanted.scores)
        assert_close(found.ledger.total, found.output)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_forwards_are_the_same_to_the_bit(mode, dtype):
    bag, ids = Bag(mode, 0, dtype), drawn(7, batch=8, length=33)
    with instrument(bag) as lrp:
        found = lrp.attribute(ids, lambda output: output.sum(1))
    assert torch.equal(found.output.to(dtype), bag(ids).sum(1))


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input"])
def test_methods_of_gradients_read_tokens_too(method):
    bag, ids = Bag("mean"), drawn(3)
    options = {"n_steps": 64} if method == "integrated_gradients" else {}
    found = explain(bag, ids, method, target=2, **options)
    wanted = explain(ByHand(bag), ids, method, target=2, **options)
    assert found.scores.shape == ids.shape
    assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-6)


def test_layers_are_watched_as_they_are():
    bag, ids = Bag("mean"), drawn(4)
    with instrument(bag) as lrp:
        found = lrp.attribute(ids, target=0, layers=["table"])
    assert found.layers["table"].shape == (3, 6)
    assert_close(found.layers["table"].sum(1), found.scores.sum(1))
    assert_close(found.ledger.total, found.output)


def test_another_module_reads_the_whole_bag():
    bag, ids = Bag("mean"), drawn(5)
    with instrument(bag) as lrp:
        found = lrp.attribute(ids, target=0, wrt="head.0")
    assert found.values.shape == (3, 5)


def test_what_another_hook_makes_of_a_bag_stays():
    bag, ids = Bag("mean"), drawn(6)
    plain = bag(ids)[:, 0]
    handle = bag.table.register_forward_hook(lambda module, args, output: 2 * output)
    changed = bag(ids)[:, 0]
    with instrument(bag, strict=True) as lrp:
        found = lrp.attribute(ids, target=0)
    handle.remove()
    assert not torch.equal(changed, plain)
    assert torch.equal(found.output, changed)
    assert found.values.shape == (3, 6)
    assert_close(found.ledger.total, found.output)


def test_a_bag_of_another_kind_is_read_as_it_is():
    class Doubled(nn.EmbeddingBag):
        def forward(self, ids, scale, per_sample_weights=None):
            return 2 * super().forward(ids)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = Doubled(12, 6), nn.Linear(6, 3)

        def forward(self, ids):
            return self.head(self.table(ids, "twice"))

    net, ids = Net().double().eval(), drawn(8)
    with instrument(net, strict=True) as lrp:
        found = lrp.attribute(ids, target=0)
    assert torch.equal(found.output, net(ids)[:, 0])
    assert found.values.shape == (3, 6)
    assert_close(found.ledger.total, found.output)
