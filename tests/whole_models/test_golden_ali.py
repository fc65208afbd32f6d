"""The published method: golden values of the authors' own code.

Ali et al., "XAI for Transformers: Better Explanations through Conservative
Propagation", ICML 2022; the arrays are described in ``data/ali/README.md``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import BertConfig, BertForSequenceClassification

from ali_models import Norm, authors, no_biases
from folders import arrays
from lrp_hooks import instrument
from shared_models import shared

BERT = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
}
PLAIN = {"gradient": "GI", "ah": "LRP_AH", "ln": "LRP_LN", "ah+ln": "LRP_AH_LN"}
IDENTITY = {
    "conservative": "LRP_AH_LN_act_tanh",
    "cp-lrp": "LXT_CP",
    "attnlrp": "LXT_AttnLRP",
}
READS = {
    "R_word": "bert.embeddings.word_embeddings",
    "R_postLN": "bert.embeddings.LayerNorm",
}


@shared
def bert(weights: str, kernel: str) -> nn.Module:
    config = BertConfig(vocab_size=60, num_labels=3, pad_token_id=0, **BERT)
    config._attn_implementation = kernel
    model = BertForSequenceClassification(config).double().eval()
    state = arrays("ali/hf_bert_weights")
    model.load_state_dict(no_biases(state) if weights == "nobias" else state)
    return model


def batch() -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: arrays("ali/golden_hf_bert")[name] for name in names}


weights = pytest.mark.parametrize("weights", ["bias", "nobias"])
kernels = pytest.mark.parametrize("kernel", ["eager", "sdpa"])
read_outs = pytest.mark.parametrize("read", READS)


@weights
@kernels
@read_outs
@pytest.mark.parametrize("rules", [*PLAIN, *IDENTITY])
def test_bert(weights, kernel, read, rules):
    golden = arrays("ali/golden_hf_bert")
    case = f"{weights}/{(PLAIN | IDENTITY)[rules]}"
    for target in range(3):
        with instrument(bert(weights, kernel), rules) as lrp:
            found = lrp.attribute(batch(), target, wrt=READS[read])
        right = golden[f"{case}/{read}_class{target}"]
        # With identity activations the stored slope is f(x) / (x + 1e-10).
        limit = 5e-8 * right.abs().max() if rules in IDENTITY else 1e-9
        assert (found.scores - right).abs().max() <= limit
        assert_close(found.output, golden[f"{case}/logits"][:, target])
        assert (found.scores[batch()["attention_mask"] == 0] == 0).all()


def frozen_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    return (x - x.mean(-1, keepdim=True)) / scale * norm.weight + norm.bias


def identity(f, x: Tensor) -> Tensor:
    """Pass relevance unchanged, with the epsilon of the code that made the arrays."""
    return x * (f(x) / (x + 1e-10)).detach() + (f(x) - x * f(x) / (x + 1e-10)).detach()


def weighed(x: Tensor, share: float) -> Tensor:
    return share * x + (1 - share) * x.detach()


def replica(model: nn.Module, rules: str, words: Tensor, batch: dict[str, Tensor]):
    """BERT written out by hand, with the rules in it."""
    own = model.bert.embeddings
    sizes = (*words.shape[:2], 4, 8)
    qk, v_share = (0.25, 0.5) if rules == "attnlrp" else (0.0, 1.0)
    mask = batch["attention_mask"].bool()[:, None, None]
    types = own.token_type_embeddings(batch["token_type_ids"])
    x = words + own.position_embeddings.weight[: words.shape[1]] + types
    x = frozen_norm(own.LayerNorm, x)
    for layer in model.bert.encoder.layer:
        inner = layer.attention.self

        def heads(dense, share, x=x):
            return weighed(dense(x), share).view(sizes).transpose(1, 2)

        q, k, v = heads(inner.query, qk), heads(inner.key, qk), heads(inner.value, 1)
        scores = (q @ k.mT / 8**0.5).masked_fill(~mask, -torch.inf)
        mixed = (scores.softmax(-1) @ weighed(v, v_share)).transpose(1, 2).flatten(2)
        x = frozen_norm(
            layer.attention.output.LayerNorm, x + layer.attention.output.dense(mixed)
        )
        inside = identity(F.gelu, layer.intermediate.dense(x))
        x = frozen_norm(layer.output.LayerNorm, x + layer.output.dense(inside))
    return model.classifier(identity(torch.tanh, model.bert.pooler.dense(x[:, 0])))


@weights
@pytest.mark.parametrize("rules", IDENTITY)
def test_an_oracle_with_their_epsilon_explains_the_difference(weights, rules):
    model, golden = bert(weights, "eager"), arrays("ali/golden_hf_bert")
    words = model.bert.embeddings.word_embeddings(batch()["input_ids"]).detach()
    words.requires_grad_()
    logits = replica(model, rules, words, batch())
    case = f"{weights}/{IDENTITY[rules]}"
    assert_close(logits.detach(), golden[f"{case}/logits"])
    for target in range(3):
        (grad,) = torch.autograd.grad(logits[:, target].sum(), words, retain_graph=True)
        right = golden[f"{case}/R_word_class{target}"]
        scores = (grad * words).sum(-1).detach()
        assert (scores - right).abs().max() <= 1e-13 * max(1, right.abs().max())


@kernels
def test_conservative_conserves_exactly_from_the_embedding_norm_on(kernel):
    with instrument(bert("nobias", kernel)) as lrp:
        found = lrp.attribute(batch(), 0, wrt="bert.embeddings.LayerNorm")
    assert_close(found.scores.sum(1), found.output, rtol=1e-12, atol=1e-12)
    with instrument(bert("nobias", kernel), "ah") as lrp:
        lost = lrp.attribute(batch(), 0, wrt="bert.embeddings.LayerNorm")
    assert lost.scores.sum(1).abs().max() < 1e-9


CUTS = ("embeds", *(f"attention_layers.{i}" for i in range(3)), "pooler", "classifier")


@pytest.mark.parametrize("tag", ["f64", "f32", "f64_nobias"])
@pytest.mark.parametrize("rules", PLAIN)
def test_the_authors_model(tag, rules):
    golden, case = arrays("ali/golden"), f"{tag}/{PLAIN[rules]}"
    limit = 1e-5 if tag == "f32" else 1e-9
    for target in range(3):
        with instrument(authors(tag), rules) as lrp:
            found = lrp.attribute(
                golden["input_ids"], target, wrt="embeds", layers=CUTS
            )
        right = golden[f"{case}/R_class{target}"]
        assert (found.scores[0] - right).abs().max() <= limit
        logit = golden[f"{case}/logits"].flatten()[target]
        assert (found.output[0] - logit).abs() <= limit
        if target == 0 and tag != "f32":
            dims = golden[f"{case}/R_dims_class0"]
            assert (found.values[0] - dims).abs().max() <= limit
            sums = torch.stack([found.layers[cut].sum() for cut in CUTS])
            per_layer = golden[f"{case}/R_sum_per_layer_class0"]
            assert (sums - per_layer).abs().max() <= limit


def test_the_authors_model_is_conservative_up_to_its_tanh():
    with instrument(authors("f64_nobias"), "ah+ln") as lrp:
        found = lrp.attribute(
            arrays("ali/golden")["input_ids"], 0, wrt="embeds", layers=CUTS
        )
    sums = [float(found.layers[cut].sum()) for cut in CUTS[:4]]
    assert_close(sums, [float(found.scores.sum())] * 4, rtol=1e-12, atol=1e-12)
    assert abs(sums[0] - float(found.output)) > 1e-3


@pytest.mark.parametrize(("rules", "case"), [("gradient", "none"), ("ln", "std")])
def test_the_authors_normalisation(rules, case):
    golden, norm = arrays("ali/golden"), Norm()
    x = golden["ln/x"].double().requires_grad_()
    with instrument(norm, rules):
        y = norm(x)
    (grad,) = torch.autograd.grad(y, x, golden["ln/cot"].double())
    assert_close(y.detach(), golden[f"ln/{case}/y"].double(), rtol=0, atol=1e-9)
    assert_close(grad, golden[f"ln/{case}/grad"].double(), rtol=0, atol=1e-9)
