"""One backward pass equals the forward decomposition, and both are relevance."""

from __future__ import annotations

import itertools
import warnings

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from decompx_models import Encoder, batch, fresh, made, tiny
from lrp_hooks import instrument
from lrp_hooks.explainers import DecompX
from lrp_hooks.explainers.decompx.reading import Place, find_place

LINEAR = ("equal", "none", "first", "token")
VARIANTS = tuple(
    {"activation": activation, "include_ffn": ffn, "value_bias": value_bias}
    for activation, ffn in (("secant", True), ("tangent", True), ("secant", False))
    for value_bias in ("follow", "distribute")
)
FUSED = ("Bert", "Roberta", "DistilBert", "Electra", "ViT")
COPIES = ("XLMRoberta", "Camembert", "Ernie", "DeiT")  # of the layers above
EAGER = ("MPNet", "RoFormer", "MegatronBert")  # have no fused attention
# Their eager softmax is in float32: its rows sum to 1 to 1e-7 only, and the forward
# path takes b_V for rows that sum to 1.
ROUNDED = {("ViT", "eager"), ("DeiT", "eager")}


def both(model: nn.Module, inputs, **options) -> tuple[Tensor, Tensor]:
    """Return all attributions by the backward and by the forward path."""
    backward = DecompX(model, **options)(inputs, "all")
    forward = DecompX(model, **options, stages="pooler")(inputs, "all")
    assert (backward.meta["path"], forward.meta["path"]) == ("backward", "forward")
    assert_close(backward.output, forward.output, rtol=0, atol=1e-12)
    if backward.attended is not None:
        hidden = ~backward.attended
        for found in (backward, forward):
            assert (found.scores[:, : hidden.shape[1]][hidden] == 0).all()
    return backward.scores, forward.scores


def agree(name: str, kernel: str, rules, variants=VARIANTS) -> None:
    limit = 1e-7 if (name, kernel) in ROUNDED else 1e-12
    for rule, options in itertools.product(rules, variants):
        backward, forward = both(tiny(name, kernel), batch(name), bias=rule, **options)
        assert backward.abs().max() > 1e-2
        gap = (backward - forward).abs().max()
        assert gap <= limit, (name, kernel, rule, options)


@pytest.mark.parametrize("name", FUSED)
def test_paths_agree(name):
    agree(name, "sdpa", LINEAR)


@pytest.mark.parametrize("name", EAGER)
def test_paths_agree_where_attention_is_written_out(name):
    agree(name, "eager", LINEAR)


@pytest.mark.parametrize("name", COPIES)
def test_paths_agree_in_copies(name):
    agree(name, "sdpa", ("equal", "token"), VARIANTS[::3])


@pytest.mark.parametrize("name", (*FUSED, *COPIES))
def test_paths_agree_without_a_fused_kernel(name):
    agree(name, "eager", ("token",), VARIANTS[1::3])


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_shared_layers_agree_where_value_biases_are_distributed(kernel):
    agree("Albert", kernel, LINEAR, VARIANTS[1::2])


def test_the_value_bias_of_shared_layers_cannot_follow_backwards():
    model = tiny("Albert", "sdpa")
    distributed = DecompX(model, value_bias="distribute")(batch(), 0)
    with pytest.warns(UserWarning, match="belongs to 2 layers"):
        backward = DecompX(model)(batch(), 0)
    assert torch.equal(backward.scores, distributed.scores)
    forward = DecompX(model, stages="pooler")(batch(), 0)
    assert (forward.scores - backward.scores).abs().max() > 1e-3


class Last(Encoder):
    """Classifies the last token."""

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.encode(input_ids, attention_mask)[:, -1])


@pytest.mark.parametrize("rule", LINEAR)
@pytest.mark.parametrize(
    ("kind", "padding"), [(Encoder, "right"), (Last, "left"), (Encoder, "holes")]
)
def test_paths_agree_wherever_padding_is(kind, padding, rule):
    model = made(kind, rule in {"equal", "first"})
    inputs = batch(padding=padding)
    if padding == "holes":
        inputs["attention_mask"] = torch.tensor([
            [1, 0, 1, 1, 0, 1],
            [1, 1, 0, 0, 1, 0],
        ])
    for options in VARIANTS:
        backward, forward = both(model, inputs, bias=rule, **options)
        assert_close(backward, forward, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "rules"), [("secant", "conservative"), ("tangent", "ah+ln")]
)
@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("Bert", "bert.embeddings.LayerNorm"),
        ("Roberta", "roberta.embeddings.LayerNorm"),
        ("DistilBert", "distilbert.embeddings.LayerNorm"),
        ("Electra", "electra.embeddings.LayerNorm"),
    ],
)
def test_without_biases_it_is_relevance_at_the_embedding_norm(
    name, norm, activation, rules
):
    model = tiny(name)
    explainer = DecompX(
        model, bias="none", value_bias="distribute", activation=activation
    )
    found = explainer(batch(), "all")
    with instrument(model, rules) as lrp:
        for target in range(3):
            relevance = lrp.attribute(batch(), target, wrt=norm)
            assert_close(found.of(target).scores, relevance.scores, rtol=0, atol=1e-14)
            assert relevance.scores.abs().max() > 1e-2
            if rules == "conservative":
                biases = sum(relevance.ledger.sources.values())
                assert_close(found.of(target).biases, biases)


def value_bias_relevance(model: nn.Module, inputs, layer: nn.Linear) -> Tensor:
    """Return <dy/dv_k, b_V> for the output v of the first value projection, [B, T]."""
    seen = []
    model.requires_grad_(True)
    with instrument(model):
        handle = layer.register_forward_hook(lambda *call: seen.append(call[2]))
        logits = model(**inputs).logits[:, 0]
        handle.remove()
    (grad,) = torch.autograd.grad(logits.sum(), seen[0])
    return grad @ layer.bias.detach()


def lora(model: nn.Module) -> nn.Module:
    config = peft.LoraConfig(target_modules=["query", "value"], init_lora_weights=False)
    with warnings.catch_warnings():  # peft calls what transformers deprecates
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, config).double().eval()


FIRST_VALUES = {
    "Bert": "bert.encoder.layer.0.attention.self.value",
    "Electra": "electra.encoder.layer.0.attention.self.value",
    "GPT2": "transformer.h.0.attn.c_attn",  # query and key are frozen
    "OPT": "model.decoder.layers.0.self_attn.v_proj",
    "Bart": "model.encoder.layers.0.self_attn.v_proj",
    "LoRA": "base_model.model.bert.encoder.layer.0.attention.self.value.base_layer",
}


@pytest.mark.parametrize("name", FIRST_VALUES)
@pytest.mark.parametrize("rule", ["none", "token"])
def test_following_adds_the_relevance_of_the_first_value_bias(name, rule):
    kind = "Bert" if name == "LoRA" else name
    model = lora(fresh(kind)) if name == "LoRA" else fresh(kind)
    inputs = batch(kind)
    follow = DecompX(model, bias=rule)(inputs, 0).scores
    distributed = DecompX(model, bias=rule, value_bias="distribute")(inputs, 0).scores
    layer = model.get_submodule(FIRST_VALUES[name])
    added = value_bias_relevance(model, inputs, layer)
    assert added.abs().max() > 1e-4
    assert_close((follow - distributed)[:, :6], added, rtol=1e-10, atol=1e-12)


class Unprojected(nn.Module):
    """Attention whose values are its input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = (nn.Linear(8, 8) for _ in "qko")

    def forward(self, x):
        return x + self.out((self.query(x) @ self.key(x).mT).softmax(-1) @ x)


class WithoutValues(nn.Module):
    """A stem with a bias, which is no value's, before such attention."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.stem = nn.Embedding(30, 8), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)
        self.blocks = nn.ModuleList([Unprojected()])

    def forward(self, input_ids):
        x = self.norm(self.stem(self.words(input_ids)))
        return self.head(self.blocks[0](x)[:, 0])


def test_a_bias_before_the_first_block_is_no_values():
    ids = batch()["input_ids"]
    assert find_place(made(WithoutValues), ids) == Place("norm", None)
