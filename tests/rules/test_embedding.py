"""Embeddings: where relevance starts, and which of them are sources."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    ViTConfig,
    ViTForImageClassification,
)

from lrp_hooks import instrument
from oracles import randomised, seed_like

IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 3]])
TYPES = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])


class Embeds(nn.Module):
    """Words, positions, types, a class token and a learned scale; then a map."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 6)
        self.places = nn.Embedding(5, 6)
        self.types = nn.Embedding(2, 6)
        self.first = nn.Parameter(torch.zeros(1, 1, 6))
        self.register_buffer("waves", torch.zeros(5, 6))
        self.out = nn.Linear(6, 3, bias=False)

    def forward(self, ids, types=None):
        x = self.words(ids)
        if types is not None:
            x = torch.add(x, self.types(types))
        x = torch.cat([self.first.expand(len(ids), -1, -1), x], 1)
        x = x + self.places(torch.arange(x.shape[1])) + self.waves[: x.shape[1]]
        return self.out(x).mean(1)


def model() -> Embeds:
    return randomised(Embeds().double(), seed=3)


def test_every_embedding_is_a_source_of_its_own_name():
    embeds = model()
    with instrument(embeds, strict=True) as lrp:
        found = lrp.attribute({"ids": IDS, "types": TYPES}, target=1)
    g = embeds.out.weight.detach()[1] / 5
    right = {
        "places.weight": (embeds.places.weight @ g).sum().expand(2),
        "types.weight": (embeds.types.weight @ g)[TYPES].sum(1),
        "first": (embeds.first @ g).flatten().expand(2),
        "waves": (embeds.waves @ g).sum().expand(2),
    }
    assert set(found.ledger.sources) == set(right)
    for name, values in right.items():
        assert_close(found.ledger.sources[name], values.detach())
    assert_close(found.scores, (embeds.words.weight @ g)[IDS].detach())
    assert_close(found.ledger.total, found.output)


@pytest.mark.parametrize("read", ["places", "types"])
def test_another_embedding_can_be_read(read):
    embeds = model()
    with instrument(embeds) as lrp:
        found = lrp.attribute({"ids": IDS, "types": TYPES}, target=1, wrt=read)
    assert f"{read}.weight" not in found.ledger.sources
    assert found.meta["read"] == [read]
    assert found.ledger.error.max() < 1e-12


def test_several_embeddings_can_be_read_at_once():
    with instrument(model()) as lrp:
        found = lrp.attribute((IDS, TYPES), target=1, wrt=["words", "types"])
        alone = lrp.attribute((IDS, TYPES), target=1)
    assert set(found.scores) == {"words", "types"}
    assert_close(found.scores["words"], alone.scores)
    assert_close(found.scores["types"].sum(1), alone.ledger.sources["types.weight"])


def test_another_tool_can_read_every_embedding():
    embeds = model()
    kept = {}

    def keep(name):
        def hook(module, args, output):
            output.retain_grad()
            kept[name] = output

        return hook

    handles = [
        getattr(embeds, n).register_forward_hook(keep(n)) for n in ("words", "types")
    ]
    with instrument(embeds) as lrp:
        embeds(IDS, TYPES)[:, 1].sum().backward()
        for handle in handles:
            handle.remove()
        found = lrp.attribute((IDS, TYPES), target=1, wrt=["words", "types"])
    kept = {name: (x * x.grad).sum(-1).detach() for name, x in kept.items()}
    assert_close(kept["words"], found.scores["words"])
    assert embeds.words.weight.grad is None


def test_padding_index_and_scale_stay_linear():
    table = nn.Embedding(10, 6, padding_idx=0, max_norm=1.0).double()
    net = nn.Sequential(table, nn.Flatten(), nn.Linear(24, 2, bias=False).double())
    with instrument(net, strict=True) as lrp:
        found = lrp.attribute(IDS.remainder(9), target=0)
    assert_close(found.scores.sum(1), found.output)


SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
NAMES = {
    "bert": (
        lambda: BertModel(BertConfig(vocab_size=10, intermediate_size=8, **SMALL)),
        {
            "embeddings.position_embeddings.weight",
            "embeddings.token_type_embeddings.weight",
            "embeddings.LayerNorm.bias",
        },
    ),
    "gpt2": (
        lambda: GPT2Model(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2)),
        {"wpe.weight", "h.0.ln_1.bias", "h.0.attn.c_attn.bias"},
    ),
    "vit": (
        lambda: ViTForImageClassification(
            ViTConfig(image_size=4, patch_size=2, intermediate_size=8, **SMALL)
        ),
        {
            "vit.embeddings.cls_token",
            "vit.embeddings.position_embeddings",
            "vit.embeddings.patch_embeddings.projection.bias",
            "classifier.bias",
        },
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_sources_have_the_names_of_the_parameters(name):
    make, names = NAMES[name]
    built = randomised(make().double(), scale=0.3)
    inputs = torch.randn(2, 3, 4, 4).double() if name == "vit" else IDS
    known = {n for n, _ in (*built.named_parameters(), *built.named_buffers())}

    def target(output):
        y = output[0] if name == "vit" else output.last_hidden_state[:, -1]
        return (y * seed_like(y)).sum(1)

    with instrument(built, strict=True) as lrp:
        found = lrp.attribute(inputs, target=target)
    assert names <= set(found.ledger.sources) <= known
    assert found.ledger.error.max() < 1e-10
