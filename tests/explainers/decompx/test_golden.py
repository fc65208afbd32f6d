"""The published method: golden values of the authors' own code.

Modarressi et al., "DecompX: Explaining Transformers Decisions by Propagating Token
Decomposition", ACL 2023; the arrays are described in ``data/decompx/README.md``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from decompx_models import published, published_batch
from folders import arrays
from lrp_hooks.explainers import DecompX

TANGENT = {"activation": "tangent"}
NO_FFN = {"include_ffn": False}
CONFIGS = {
    "recommended_absdot": {"bias": "absdot"},
    "abssim": {"bias": "abssim"},
    "norm": {"bias": "norm"},
    "equal": {"bias": "equal"},
    "cls": {"bias": "first"},
    "nobias": {"bias": "none"},
    "biastoken_raw": {"bias": "token"},
    "linear_approx": {"bias": "absdot", **TANGENT},
    "linear_approx_equal": {"bias": "equal", **TANGENT},
    "no_ffn": {"bias": "absdot", **NO_FFN},
    "nobias_no_ffn": {"bias": "none", **NO_FFN},
}
configs = pytest.mark.parametrize("name", CONFIGS)
INNER = ("attention", "res1", "ln1", "ffn", "res2")


def pairs(n_sources: int) -> Tensor:
    """Return which tokens and sources are attended, [B, T, K]."""
    attended = published_batch()["attention_mask"].bool()
    sources = nn.functional.pad(attended, (0, n_sources - 10), value=True)
    return attended[:, :, None] & sources[:, None]


def golden_encoder(name: str) -> Tensor:
    """Return the vectors after each layer, [L, pairs, D]."""
    if name != "nobias":
        return arrays("decompx/golden")[f"{name}/encoder"]
    whole = torch.zeros(3, 2, 10, 11, 32, dtype=torch.float64)
    whole[:, pairs(11)] = arrays("decompx/golden")["biastoken_raw/encoder"]
    return whole[..., :10, :][:, pairs(10)]


def far(found: Tensor, right: Tensor) -> float:
    assert found.shape == right.shape
    return float((found - right).abs().max())


@configs
def test_attributions(name):
    found = DecompX(published(), **CONFIGS[name])(published_batch(), "all")
    assert far(found.scores, arrays("decompx/golden")[f"{name}/classifier"]) <= 1e-9
    assert far(found.output, arrays("decompx/golden")["logits"]) <= 1e-12


@configs
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_attributions_by_decomposition(name, kernel):
    explainer = DecompX(
        published(kernel), **CONFIGS[name], stages="pooler", vectors=True
    )
    found = explainer(published_batch(), "all")
    assert found.meta["path"] == "forward"
    assert far(found.scores, arrays("decompx/golden")[f"{name}/classifier"]) <= 1e-9
    assert far(found.pooler, arrays("decompx/golden")[f"{name}/pooler"]) <= 1e-9


@configs
@pytest.mark.parametrize("stages", [(), ("pooler",)])
def test_attributions_in_single_precision(name, stages):
    model = published(dtype=torch.float32)
    found = DecompX(model, **CONFIGS[name], stages=stages)(published_batch(), "all")
    assert found.scores.dtype == torch.float32
    assert far(found.scores, arrays("decompx/golden")[f"{name}/classifier_f32"]) <= 5e-6


@configs
def test_padding_has_nothing(name):
    stages = (*INNER, "encoder", "aggregated", "pooler")
    found = DecompX(published(), **CONFIGS[name], stages=stages)(
        published_batch(), "all"
    )
    without = [stage for stage in INNER if stage in found.layers]
    assert len(without) == len(INNER)
    if not CONFIGS[name].get("include_ffn", True):
        assert (found.layers["ffn"] == 0).all()
        without.remove("ffn")
    tables = [found.layers[stage][:, 1] for stage in (*without, "encoder")]
    for table in (*tables, found.aggregated[1]):
        assert (table[..., 7:10] == 0).all()
        assert (table[..., :7, :7] != 0).all()
    assert (found.scores[1, 7:10] == 0).all()
    assert (found.pooler[1, 7:10] == 0).all()


@configs
def test_vectors_of_every_layer(name):
    stages = ("encoder", "aggregated")
    explainer = DecompX(published(), **CONFIGS[name], stages=stages, vectors=True)
    found = explainer(published_batch(), 0)
    right, open_pairs = golden_encoder(name), pairs(found.scores.shape[1])
    assert far(found.layers["encoder"][:, open_pairs], right) <= 1e-9
    assert far(found.aggregated[open_pairs], right[-1]) <= 1e-9


@pytest.mark.parametrize("stage", INNER)
def test_vectors_inside_of_layers(stage):
    explainer = DecompX(published(), bias="absdot", stages=stage, vectors=True)
    found = explainer(published_batch(), 0).layers[stage]
    right = arrays("decompx/golden")[f"recommended_absdot/{stage}"]
    assert far(found[[0, 2], 1, :7, :7], right) <= 2e-9


@configs
def test_norms_are_those_of_the_vectors(name):
    stages = ("res1", "encoder", "aggregated", "pooler")
    options = {**CONFIGS[name], "stages": stages}
    norms = DecompX(published(), **options)(published_batch(), 0)
    whole = DecompX(published(), **options, vectors=True)(published_batch(), 0)
    for stage in ("res1", "encoder"):
        assert_close(norms.layers[stage], whole.layers[stage].norm(dim=-1))
    assert_close(norms.aggregated, whole.aggregated.norm(dim=-1))
    assert_close(norms.pooler, whole.pooler.norm(dim=-1))


def test_without_a_classifier_scores_are_norms_of_the_class_token():
    found = DecompX(published(), bias="absdot", include_classifier=False)(
        published_batch()
    )
    whole = torch.zeros(2, 10, 10, 32, dtype=torch.float64)
    whole[pairs(10)] = golden_encoder("recommended_absdot")[-1]
    assert far(found.scores, whole[:, 0].norm(dim=-1)) <= 1e-9
    assert (found.scores[1, 7:] == 0).all()


def test_vectors_sum_to_the_hidden_states():
    explainer = DecompX(published(), bias="absdot", stages="encoder", vectors=True)
    found = explainer(published_batch(), 0).layers["encoder"].sum(3)
    attended = published_batch()["attention_mask"].bool()
    right = arrays("decompx/golden")["hidden_states"]
    assert far(found[:, attended], right[1:]) <= 1e-12


def test_without_biases_the_offsets_of_tangents_are_left_out_too():
    found = DecompX(published(), bias="none", activation="tangent")(
        published_batch(), "all"
    )
    with_token = DecompX(published(), bias="token", activation="tangent")(
        published_batch(), "all"
    )
    assert far(found.scores, with_token.scores[:, :10]) <= 1e-12
    golden = arrays("decompx/golden")["linear_approx_equal/classifier"]
    n = published_batch()["attention_mask"].sum(1)[:, None, None]
    equal = with_token.scores[:, :10] + with_token.scores[:, 10:] / n
    assert far(equal[0], golden[0]) <= 1e-9
