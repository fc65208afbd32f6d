"""Fidelity on trained models, where a folder of them is at hand."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from folders import SHARED, needs_shared
from lrp_hooks import explain
from lrp_hooks.explainers import Slalom
from lrp_hooks.texts.loading import load_folder
from slalom_models import special

TEXT = (
    "the film is a gripping and often very funny portrait of a family, but its ending "
    "is weak and it never knows what it wants from its heroes"
)


@needs_shared
@pytest.mark.parametrize("folder", ["sst2-bert-4l128", "sst2-minilm-l6"])
def test_sentiment(folder):
    model, tokenizer = load_folder(SHARED / "models" / folder)
    found = explain(model, TEXT, "slalom", tokenizer, "positive", n_samples=128)
    assert found.fit["informative"]
    assert found.fit["heldout_error"] < 0.6 * found.fit["constant_error"]
    value = dict(zip(found.tokens[0], found.values[0].tolist(), strict=True))
    assert value["weak"] < value["funny"]


@needs_shared
def test_next_words():
    model, tokenizer = load_folder(SHARED / "models" / "stories260k-llama")
    ids = tokenizer("Once upon a time, there was a little", return_tensors="pt")
    found = Slalom(model, tokenizer)(ids["input_ids"])
    assert found.scores.isfinite().all()
    logits = model(ids["input_ids"]).logits[0, -1].detach().double()
    best = int(logits.argmax())
    rest = torch.cat([logits[:best], logits[best + 1 :]]).logsumexp(0)
    assert abs(found.output[0] - (logits[best] - rest)) < 1e-3


@needs_shared
def test_the_synthetic_task_by_its_own_measure():
    """Twelve documents of a negation task: as good with 126 calls as reported."""
    folder = SHARED / "golden" / "slalom"
    config = json.loads((folder / "tiny_trained.config.json").read_text("utf-8"))
    config.pop("model_type", None)
    model = BertForSequenceClassification(BertConfig(**config)).eval()
    model.load_state_dict(load_file(folder / "tiny_trained.safetensors"))
    stored = json.loads((folder / "tiny_trained_docs.json").read_text("utf-8"))
    changes, shorts = [], []
    for document in stored["docs"]:
        ids = torch.tensor([[101, *document, 102]])
        found = Slalom(model, special(101, 102, pad=0), n_samples=126)(ids, target=1)
        change, short = measure(model, found, ids)
        changes.append(change)
        shorts.append(short)
    # Published: .231 (deletions, Adam) and .344 (short, Adam), with 512 calls each.
    assert sum(changes) / 12 < 0.26
    assert sum(shorts) / 12 < 0.15


def measure(model, found, ids):
    """Errors of predicted changes after 1 to 10 deletions, and of 200 triples."""
    generator = torch.Generator().manual_seed(1)
    inner, kinds = ids[0, 1:-1], ids[0, 1:-1].unique()

    def gap(row):
        row = torch.cat([ids[0, :1], row, ids[0, -1:]])[None]
        with torch.no_grad():
            logits = model(row).logits[0].double()
        return logits[1] - logits[0], found.surrogate(row)[0].double()

    true_whole, said_whole = gap(inner)
    squares = []
    for number in range(1, 11):
        for _ in range(10):
            order = torch.randperm(len(inner), generator=generator)
            true, said = gap(inner[order[number:].sort().values])
            squares.append(((true - true_whole) - (said - said_whole)) ** 2)
    triples = []
    for _ in range(200):
        true, said = gap(kinds[torch.randint(len(kinds), (3,), generator=generator)])
        triples.append((true - said) ** 2)
    return float(torch.stack(squares).mean()), float(torch.stack(triples).mean())
