"""Conservation and completeness on whole models, tiny and random."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import transformers as hf
from lrp_hooks.rules import AlphaBeta, Epsilon, Gamma
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_hooks import RuleSet, instrument
from oracles import randomised, without_biases

RULES = ("conservative", "cp-lrp", "attnlrp")
DTYPES = (torch.float32, torch.float64)
SIZE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
}
GROUPED = SIZE | {"num_key_value_heads": 2, "head_dim": 4}
CLASSES = {"num_labels": 3}
T5 = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 4, "num_layers": 2}
BART = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 24}.items()
}
VIT = {"image_size": 12, "patch_size": 4, "num_channels": 2}
SEQUENCE = "ForSequenceClassification"


def encoder(**options):
    """A stack of torch's own layers with a class read from the mean."""
    layer = nn.TransformerEncoderLayer(
        16, 4, 24, batch_first=True, dropout=0.0, **options
    )
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(stack, nn.AdaptiveAvgPool2d((1, 16)), nn.Flatten()).eval()


def model_of(name: str, **settings):
    """Build a class of transformers from its configuration's settings."""
    kind = getattr(hf, name)
    return kind(kind.config_class(**settings, use_cache=False))


MODELS = {
    "bert": lambda: model_of("Bert" + SEQUENCE, **SIZE, **CLASSES),
    "roberta": lambda: model_of("Roberta" + SEQUENCE, **SIZE, **CLASSES),
    "electra": lambda: model_of(
        "Electra" + SEQUENCE, **SIZE, **CLASSES, embedding_size=12
    ),
    "albert": lambda: model_of(
        "Albert" + SEQUENCE, **SIZE, **CLASSES, embedding_size=12
    ),
    "distilbert": lambda: model_of(
        "DistilBert" + SEQUENCE,
        **CLASSES,
        vocab_size=50,
        dim=16,
        n_layers=2,
        n_heads=4,
        hidden_dim=24,
        max_position_embeddings=24,
    ),
    "gpt2": lambda: model_of(
        "GPT2LMHeadModel", vocab_size=50, n_embd=16, n_layer=2, n_head=4, n_positions=24
    ),
    "llama": lambda: model_of("LlamaForCausalLM", **GROUPED),
    "qwen2": lambda: model_of("Qwen2ForCausalLM", **GROUPED),
    "qwen3": lambda: model_of("Qwen3ForCausalLM", **GROUPED),
    "gemma2": lambda: model_of("Gemma2ForCausalLM", **GROUPED, sliding_window=4),
    "t5": lambda: model_of("T5ForConditionalGeneration", vocab_size=50, **T5),
    "t5-gated": lambda: model_of(
        "T5ForConditionalGeneration",
        vocab_size=50,
        **T5,
        feed_forward_proj="gated-gelu",
    ),
    "bart": lambda: model_of(
        "Bart" + SEQUENCE,
        **BART,
        **CLASSES,
        vocab_size=50,
        d_model=16,
        max_position_embeddings=24,
        pad_token_id=0,
        eos_token_id=2,
    ),
    "vit": lambda: model_of(
        "ViTForImageClassification", **SIZE | VIT | CLASSES | {"vocab_size": 0}
    ),
    "torch-post-relu": lambda: encoder(activation="relu", norm_first=False),
    "torch-pre-gelu": lambda: encoder(activation="gelu", norm_first=True),
    "torch-post-gelu": lambda: encoder(activation="gelu", norm_first=False),
    "torch-pre-relu": lambda: encoder(activation="relu", norm_first=True),
}
FLOATS = (
    "vit",
    "torch-post-relu",
    "torch-pre-gelu",
    "torch-post-gelu",
    "torch-pre-relu",
)
CUTS = {
    "bert": ("bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler"),
    "roberta": ("roberta.encoder.layer.0", "roberta.encoder.layer.1"),
    "electra": ("electra.encoder.layer.0", "electra.encoder.layer.1"),
    "albert": ("albert.encoder.embedding_hidden_mapping_in", "albert.pooler"),
    "distilbert": ("distilbert.transformer.layer.0", "pre_classifier"),
    "gpt2": ("transformer.h.0", "transformer.h.1", "transformer.ln_f"),
    "vit": ("vit.layers.0", "vit.layers.1", "vit.layernorm"),
    **dict.fromkeys(
        ("llama", "qwen2", "qwen3", "gemma2"),
        ("model.layers.0", "model.layers.1", "model.norm"),
    ),
    **dict.fromkeys(FLOATS[1:], ("0.layers.0", "0.layers.1", "1")),
}


@cache
def model(name: str, dtype: torch.dtype, biased: bool) -> nn.Module:
    built = randomised(MODELS[name](), scale=0.3)
    return (built if biased else without_biases(built)).to(dtype)


def inputs(name: str, dtype: torch.dtype) -> dict[str, Tensor] | Tensor:
    """Two examples, the second one padded."""
    generator = torch.Generator().manual_seed(3)
    if name == "vit":
        return torch.randn(2, 2, 12, 12, generator=generator, dtype=dtype)
    if name in FLOATS:
        return torch.randn(2, 7, 16, generator=generator, dtype=dtype)
    ids = torch.randint(3, 50, (2, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = ids[1, 5:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if name == "bart":
        ids[0, 6] = ids[1, 4] = 2
    if name.startswith("t5"):
        batch["decoder_input_ids"] = torch.tensor([[0, 4, 9], [0, 7, 5]])
    return batch


def limit(name: str, rules: str, dtype: torch.dtype) -> float:
    # Gemma2 soft-caps its scores and casts them to float32 for the softmax, whatever
    # the model's dtype: with relevance through them float32 is all there is.
    rounded = name == "gemma2" and rules == "attnlrp"
    return 1e-10 if dtype == torch.float64 and not rounded else 1e-5


def attribute(name: str, dtype: torch.dtype, rules: str, biased: bool, **options):
    with instrument(model(name, dtype, biased), rules, strict=True) as lrp:
        return lrp.attribute(inputs(name, dtype), **options)


dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["fp32", "fp64"])
models = pytest.mark.parametrize("name", MODELS)


@dtypes
@models
@pytest.mark.parametrize("rules", RULES)
def test_the_ledger_closes_for_every_example(name, dtype, rules):
    found = attribute(name, dtype, rules, biased=True)
    assert found.ledger.error.max() <= limit(name, rules, dtype)
    if name not in {"llama", "qwen3", "gemma2"}:  # these have nothing but weights
        assert found.ledger.sources
    if found.attended is not None:
        assert (found.attended.sum(1) == torch.tensor([7, 5])).all()
        assert (found.scores[~found.attended] == 0).all()
        assert (found.values[~found.attended] == 0).all()


@dtypes
@models
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp"])
def test_without_biases_every_cut_holds_the_output(name, dtype, rules):
    cuts = CUTS.get(name, ())
    found = attribute(name, dtype, rules, biased=False, layers=cuts)
    taken = torch.zeros(2, dtype=torch.float64)
    for source, values in found.ledger.sources.items():
        assert any(part in source for part in EMBEDDED) or (values == 0).all(), source
        taken += values
    tolerance = limit(name, rules, dtype)
    assert_sum(found.scores, found.output - taken, tolerance)
    assert set(found.layers) == set(cuts)
    for values in found.layers.values():
        assert_sum(values, found.output, tolerance)


EMBEDDED = ("embed", "wpe", "cls_token", "decoder", "shared")
"""What takes relevance though no bias does: embeddings, and with them the decoder's
own stream of an encoder-decoder model."""


def assert_sum(values: Tensor, right: Tensor, tolerance: float) -> None:
    terms = values.double().flatten(1)
    scale = torch.maximum(terms.abs().sum(1), right.abs())
    assert ((terms.sum(1) - right).abs() <= tolerance * scale).all()


EMBEDDINGS = {
    "bert": "bert.embeddings.LayerNorm",
    "distilbert": "distilbert.embeddings.LayerNorm",
    "gpt2": "transformer.drop",
    "vit": "vit.embeddings",
    "llama": "model.embed_tokens",
}


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp"])
def test_read_behind_the_embeddings_scores_sum_to_the_output(name, rules):
    found = attribute(name, torch.float64, rules, biased=False, wrt=EMBEDDINGS[name])
    assert_close(found.scores.sum(1), found.output, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "vit"])
@pytest.mark.parametrize("rules", RULES)
def test_eager_and_fused_attention_agree(name, rules):
    built = model(name, torch.float64, biased=True)
    found, before = [], built.config._attn_implementation
    for kernel in ("eager", "sdpa"):
        built.set_attn_implementation(kernel)
        found.append(attribute(name, torch.float64, rules, biased=True))
    built.set_attn_implementation(before)
    eager, fused = found
    assert_close(eager.scores, fused.scores, rtol=1e-9, atol=1e-11)
    for source, values in eager.ledger.sources.items():
        if not source.endswith("softmax"):
            assert_close(values, fused.ledger.sources[source], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["bert", "llama", "qwen3", "t5", "bart"])
def test_padding_changes_nothing(name):
    dtype = torch.float64
    batch = inputs(name, dtype)
    padded = attribute(name, dtype, "attnlrp", biased=True, target=1)
    with instrument(model(name, dtype, biased=True), "attnlrp") as lrp:
        short = {k: v[1:, :5] for k, v in batch.items() if not k.startswith("decoder")}
        short |= {k: v[1:] for k, v in batch.items() if k.startswith("decoder")}
        alone = lrp.attribute(short, target=1)
    assert_close(padded.scores[1:, :5], alone.scores, rtol=1e-8, atol=1e-11)
    assert_close(padded.output[1:], alone.output)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "vit", "bart"])
@pytest.mark.parametrize(
    "linear", [Gamma(0.25), Epsilon(0.1), AlphaBeta(2, 1)], ids=str
)
def test_every_linear_layer_by_another_rule_closes_too(name, linear):
    rules = RuleSet.named("conservative").override(linear=linear)
    found = attribute(name, torch.float64, rules, biased=True)
    assert found.ledger.error.max() <= 1e-7  # denominators can be small


HALVES = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", HALVES, ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma2", "t5-gated", "vit"])
@pytest.mark.parametrize("rules", RULES)
def test_half_precision_is_finite_at_exact_zeros(name, dtype, rules):
    built = randomised(MODELS[name](), scale=0.1).to(dtype)
    batch = inputs(name, dtype)
    if name == "vit":
        batch[1] = 0
    else:  # a padding token without a vector
        built.get_input_embeddings().weight.data[0] = 0
    with instrument(built, rules) as lrp:
        found = lrp.attribute(batch)
    assert found.values.isfinite().all()
    assert found.ledger.total.isfinite().all()
