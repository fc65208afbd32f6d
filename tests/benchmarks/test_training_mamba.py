"""The script that trains a small Mamba, and what relevance makes of it."""

import json

import pandas as pd
import torch
from lrp_hooks.rules import Frozen
from torch.testing import assert_close

from benchmarks.faithfulness.training import mamba
from lrp_hooks import instrument
from lrp_hooks.sentiment import sentiment_model

SMALL = {"hidden_size": 8, "state_size": 4}
IDS = torch.tensor([[5, 9, 2, 17, 8], [3, 4, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])


def test_padding_changes_nothing():
    model = mamba.build(40, 0, **SMALL).eval()
    with torch.no_grad():
        both = model(IDS, MASK).logits
        alone = model(IDS[1:, :2], MASK[1:, :2]).logits
    assert_close(both[1:], alone)


def test_seeds_make_the_model():
    first, again, other = (mamba.build(40, seed, **SMALL) for seed in (0, 0, 1))
    name = "backbone.embeddings.weight"
    same = [m.state_dict()[name] for m in (first, again, other)]
    assert torch.equal(same[0], same[1]) and not torch.equal(same[0], same[2])


def test_both_sets_close_the_ledger_and_differ():
    model = mamba.build(40, 0, **SMALL).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    found = []
    for overrides in ({}, {"*.x_proj": Frozen()}):
        with instrument(model, overrides=overrides) as lrp:
            batch = {"input_ids": IDS, "attention_mask": MASK}
            relevance = lrp.attribute(batch, target=1)
        assert (relevance.ledger.error < 1e-5).all()
        assert (relevance.scores[1, 2:] == 0).all()
        found.append(relevance.scores)
    assert not torch.allclose(*found, rtol=1e-3)


def test_training_saves_what_is_loaded(tmp_path, monkeypatch):
    _, tokenizer = sentiment_model()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = {"sentence": ["good film", "bad film"] * 20, "label": [1, 0] * 20}
    for name in ("train", "dev"):
        pd.DataFrame(rows).to_parquet(tmp_path / f"{name}.parquet")
    monkeypatch.setattr(mamba, "CHOOSE", 8)
    monkeypatch.setattr(mamba, "ARCHITECTURE", mamba.ARCHITECTURE | SMALL)
    mamba.train(tmp_path / "tokenizer", tmp_path, tmp_path / "out", 32)
    model, loaded = mamba.load(tmp_path / "out")
    about = json.loads((tmp_path / "out" / "train_info.json").read_text())
    assert about["trained_on"] == 32 and about["held_out"]["number"] == 40
    batch = loaded(rows["sentence"], return_tensors="pt")
    with torch.no_grad():
        said = model(batch["input_ids"], batch["attention_mask"]).logits.argmax(1)
    right = (said == torch.tensor(rows["label"])).double().mean()
    assert float(right) == about["held_out"]["accuracy"]
