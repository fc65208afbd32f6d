"""Completeness on trained models, where a folder of them is at hand."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from folders import SHARED, needs_shared
from lrp_hooks import instrument

RULES = ("conservative", "cp-lrp", "attnlrp")
FOLDERS = {
    "sst2-bert-4l128": "AutoModelForSequenceClassification",
    "sst2-minilm-l6": "AutoModelForSequenceClassification",
    "rxnfp-bert-50cls": "AutoModelForSequenceClassification",
    "stories260k-llama": "AutoModelForCausalLM",
    "vit-tiny-mnist": "AutoModelForImageClassification",
}


@needs_shared
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("rules", RULES)
def test_real_models_are_complete(folder, rules):
    path = SHARED / "models" / folder
    loader = getattr(hf, FOLDERS[folder])
    real = loader.from_pretrained(path, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    if folder.startswith("vit"):
        batch = torch.rand(2, 1, 28, 28, generator=generator) * 2 - 1
    else:
        vocabulary = real.config.vocab_size
        ids = torch.randint(5, vocabulary, (2, 12), generator=generator)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        batch["attention_mask"][1, 8:] = 0
    with instrument(real, rules, strict=True) as lrp:
        found = lrp.attribute(batch)
    assert found.ledger.error.max() <= 1e-5
    if found.attended is not None:
        assert (found.scores[~found.attended] == 0).all()
