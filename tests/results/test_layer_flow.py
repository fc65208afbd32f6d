"""Relevance at every cut: a replica with gates held by hand, and the ledger's names."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_hooks import (
    ArgumentError,
    Explanation,
    LayerFlow,
    explain,
    instrument,
    layer_flow,
)
from oracles import close, randomised, without_biases
from shared_models import sentiment
from small_models import make
from strategies import VOCABULARY, build, noise, specs, tokens

FAMILIES = {
    "bert": "bert.encoder.layer.{}",
    "gpt2": "transformer.h.{}",
    "llama": "model.layers.{}",
}
BELOW = ("embeddings.", "wpe", "wte", "embed_tokens")


class Step(nn.Module):
    """x + attention(x), then y + perceptron(y)."""

    def __init__(self, width=6):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x, gate=lambda value: value):
        """Run; ``gate`` is what is done to weights and slopes."""
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)
        y = x + gate(weights) @ self.value(x)
        made = self.up(y)
        if gate is not torch.Tensor.detach:
            return y + self.down(made.relu())
        return y + self.down(made * (made > 0))


class Stack(nn.Module):
    def __init__(self, n=3):
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 6)
        self.steps = nn.ModuleList(Step() for _ in range(n))
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        x = self.table(ids)
        for step in self.steps:
            x = step(x)
        return self.head(x.mean(1))


def replica(model, ids, cut, target):
    """Return gradient times value at a cut, all above it held as it is, and f."""
    with torch.no_grad():
        x = model.table(ids)
        for step in model.steps[:cut]:
            x = step(x)
    x = below = x.requires_grad_()
    for step in model.steps[cut:]:
        x = step(x, gate=torch.Tensor.detach)
    output = model.head(x.mean(1))[:, target]
    (gradient,) = torch.autograd.grad(output.sum(), below)
    return (gradient * below).sum(-1).detach(), output.detach()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_replica_with_gates_held_has_the_same_relevance(batch):
    model = randomised(Stack(), scale=0.4).double()
    ids = tokens(batch, 5)
    with instrument(model) as lrp:
        flow = layer_flow(lrp.attribute(ids, 1, layers="blocks"))
    assert flow.layers == ["input", "steps.0", "steps.1", "steps.2"]
    assert flow.scores.shape == (batch, 4, 5) and flow.entered.shape == (batch, 4)
    for cut in range(4):
        scores, output = replica(model, ids, cut, 1)
        assert scores.abs().max() > 1e-2
        close(flow.scores[:, cut], scores)
        close(flow.entered[:, cut], output - scores.sum(1))


def is_below(source, block, layer):
    """Tell whether a source enters below the cut of a number, the input's being 0."""
    if any(word in source for word in BELOW):
        return layer > 0
    stem = block.partition("{}")[0]
    if not source.startswith(stem):
        return False
    return int(source.removeprefix(stem).partition(".")[0]) < layer


@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_entered_is_what_the_ledger_names_above_the_cut(family, kernel, rules):
    model, inputs = make(f"{family} {kernel}", torch.float64)
    with instrument(model, rules) as lrp:
        flow = layer_flow(lrp.attribute(inputs, 1, layers="blocks"))
    ledger = flow.relevance.ledger
    for layer in range(3):
        above = [
            value
            for name, value in ledger.sources.items()
            if not is_below(name, FAMILIES[family], layer)
        ]
        close(flow.entered[:, layer], sum(above, torch.zeros(2).double()), 1e-7)
        close(flow.scores[:, layer].sum(1) + flow.entered[:, layer], ledger.output)
    assert not flow.scores[1, :, 3:].any()  # padding
    close(flow.scores[:, 0], flow.relevance.scores)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_biases_every_layer_holds_the_output(family):
    model, inputs = make(f"{family} eager", torch.float64)
    with instrument(without_biases(model)) as lrp:
        flow = layer_flow(lrp.attribute(inputs, 1, layers="blocks"))
    held = flow.scores.sum(2)[:, 1:]
    close(held, flow.relevance.output[:, None].expand_as(held), 1e-7)
    assert flow.entered[:, 1:].abs().max() < 1e-7


@given(specs(bias=st.just(False), class_token=st.just(False)), st.integers(0, 99))
def test_whatever_blocks_are_made_of_they_hold_the_output(spec, seed):
    model = build(spec, seed)
    ids = tokens(2, 4, seed)
    with instrument(model) as lrp:
        found = lrp.attribute(ids, 1, layers="blocks")
    flow = layer_flow(found)
    assert flow.layers == ["input", *(f"blocks.{n}" for n in range(len(spec.parts)))]
    scale = flow.scores.abs().sum(2).amax(1, keepdim=True) + found.output.abs()[:, None]
    assert (flow.entered.abs() <= 1e-9 * scale).all()


def test_named_modules_are_cuts_in_the_order_in_which_they_ran():
    model, inputs = make("bert sdpa", torch.float64)
    asked = ["bert.encoder.layer.1", "heads", "bert.encoder.layer.0", "classifier"]
    with instrument(model) as lrp:
        named = layer_flow(lrp.attribute(inputs, 1, layers=asked))
        blocks = layer_flow(lrp.attribute(inputs, 1, layers="blocks"))
    assert named.layers == ["input", asked[2], asked[0]] == blocks.layers
    assert torch.equal(named.scores, blocks.scores)


def test_words_sum_their_tokens_and_keep_what_entered():
    model, tokenizer = sentiment()
    texts = ["an unexpectedlyish thin plot", "bad"]
    found = explain(model, texts, "lrp", tokenizer, "positive", layers="blocks")
    flow = layer_flow(found)
    words = flow.words()
    assert isinstance(words, LayerFlow) and words.layers == flow.layers
    assert words.relevance.tokens == found.words().tokens != found.tokens
    for layer in range(len(flow.layers)):
        for b, row in enumerate(words.relevance.tokens):
            start = 0
            for w, word in enumerate(row):
                end = start + 1
                while end < len(found.tokens[b]) and found.tokens[b][end][:2] == "##":
                    end += 1
                spelled = "".join(
                    t.removeprefix("##") for t in found.tokens[b][start:end]
                )
                assert spelled == word
                total = flow.scores[b, layer, start:end].sum()
                close(words.scores[b, layer, w], total, 1e-5)
                start = end
    assert words.entered is flow.entered


def test_pixels_are_no_row_of_their_own():
    import transformers

    config = transformers.ViTConfig(
        image_size=8, patch_size=4, hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=12,
    )  # fmt: skip
    model = randomised(transformers.ViTForImageClassification(config), 0, 0.1).double()
    with instrument(model) as lrp:
        flow = layer_flow(lrp.attribute(noise(2, 3, 8, 8), 1, layers="blocks"))
    assert flow.layers == ["vit.layers.0", "vit.layers.1"]
    assert flow.scores.shape == (2, 2, 5)
    close(
        flow.scores.sum(2) + flow.entered, flow.relevance.output[:, None].expand(2, 2)
    )
    assert flow.at(0).tokens is None
    with pytest.raises(ArgumentError, match="have 5 positions"):
        flow.words()


def test_several_reads_are_one_input():
    model, inputs = make("bert sdpa", torch.float64)
    reads = [f"bert.embeddings.{n}_embeddings" for n in ("word", "token_type")]
    with instrument(model) as lrp:
        found = lrp.attribute(inputs, 1, wrt=reads, layers="blocks")
    flow = layer_flow(found)
    close(flow.scores[:, 0], sum(found.scores.values()))


def test_a_relevance_without_layers_is_refused():
    model, inputs = make("bert sdpa")
    with instrument(model) as lrp:
        bare = lrp.attribute(inputs)
        heads = lrp.attribute(inputs, layers="heads")
    wanted = r"layer_flow\(lrp.attribute\(inputs, layers='blocks'\)\)"
    for refused in (bare, heads, Explanation(scores=bare.scores, output=bare.output)):
        with pytest.raises(ArgumentError, match=wanted):
            layer_flow(refused)
    with pytest.raises(ArgumentError, match="'self.heads'|Relevance with layers"):
        layer_flow(heads)


class Pooling(nn.Module):
    """Halves the positions between two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        y = self.b(self.a(x).unflatten(1, (-1, 2)).mean(2))
        return self.c(y.unflatten(1, (-1, 2)).mean(2)).mean(1)


def test_layers_of_different_lengths_are_refused_unless_some_have_the_inputs():
    model = Pooling().double()
    with instrument(model) as lrp:
        found = lrp.attribute(noise(2, 4, 4), 0, layers=["a", "b"])
        others = lrp.attribute(noise(2, 4, 4), 0, layers=["b", "c"])
    assert layer_flow(found).layers == ["input", "a"]
    with pytest.raises(ArgumentError, match="'b' 2, 'c' 1"):
        layer_flow(others)
