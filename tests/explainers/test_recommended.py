"""What is recommended for a model, and that each line is code that runs."""

import pytest
import torch
from lrp_hooks.rules import Attention
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig
from transformers import ViTForImageClassification as Classifier

import lrp_hooks
from lrp_hooks.explainers.recommended import RECOMMENDED, recommendation
from lrp_hooks.results.relevance import Relevance
from shared_models import sentiment

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, intermediate_size=8, **SIZES))


def vit():
    return Classifier(ViTConfig(image_size=8, patch_size=4, **SIZES))


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: sentiment()[0], "texts"),
        (llama, "a next token"),
        (vit, "pictures"),
        (lambda: nn.Linear(2, 2), "anything"),
    ],
)
def test_a_model_is_told_by_what_it_reads(build, kind):
    first, second = recommendation(build()).splitlines()
    assert first == f"recommended for {kind}  {RECOMMENDED[kind]}"
    assert "docs/systems/lrp.md" in second


@pytest.mark.parametrize("kind", RECOMMENDED)
def test_what_is_recommended_runs(kind):
    model, tokenizer = sentiment()
    found = {}

    def explain(_, **options):
        text = "a gripping, funny film"
        found["is"] = lrp_hooks.explain(model, text, tokenizer=tokenizer, **options)
        return found["is"]

    names = {"explain": explain, "RuleSet": lrp_hooks.RuleSet, "Attention": Attention}
    got = eval(RECOMMENDED[kind], names)  # noqa: S307
    if isinstance(got, torch.Tensor):
        assert isinstance(found["is"], Relevance)
        torch.testing.assert_close(got.sum(1), found["is"].output, rtol=1e-5, atol=1e-5)
