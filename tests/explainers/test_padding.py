"""Texts of different lengths: what a model makes of their padding is refused."""

import pandas
import pytest
import torch
from torch import nn
from transformers import XLNetConfig, XLNetForSequenceClassification

from lrp_hooks import TextError, explain, explain_many
from lrp_hooks.sentiment import sentiment_model
from strategies import reseed

TOKENIZER = sentiment_model()[1]
TEXTS = ["the film is a delight", "a bore , slow and dull", "it is bad"]


class Convolved(nn.Module):
    """Takes a mask, and mixes neighbours without a look at it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6000, 4)
        self.mix = nn.Conv1d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids, attention_mask):
        mixed = self.mix(self.table(input_ids).transpose(1, 2)).transpose(1, 2)
        return self.head((mixed * attention_mask[..., None]).sum(1))


def last_place():
    config = XLNetConfig(
        vocab_size=6000, d_model=8, n_layer=1, n_head=2, d_inner=8, num_labels=2
    )
    return XLNetForSequenceClassification(config)


def made(kind):
    reseed(0)
    return kind().eval()


@pytest.mark.parametrize("kind", [Convolved, last_place])
@pytest.mark.parametrize("method", ["lrp", "gradient_x_input"])
def test_padding_that_counts_is_refused(kind, method):
    model = made(kind)
    with pytest.raises(TextError, match=r"text 1 is shorter .* one by one"):
        explain(model, TEXTS, method, TOKENIZER, 1)
    alone = explain(model, TEXTS[0], method, TOKENIZER, 1)
    batch = TOKENIZER(TEXTS[0], return_tensors="pt")
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found = model(**batch)
    wanted = getattr(found, "logits", found)[:, 1]
    torch.testing.assert_close(alone.output, wanted)


def test_texts_of_one_length_are_explained_together():
    found = explain(made(last_place), TEXTS[:1] * 2, tokenizer=TOKENIZER)
    assert torch.allclose(found.scores[0], found.scores[1])


def test_a_data_set_has_the_outputs_of_each_text_alone(tmp_path):
    model = made(last_place)
    out = explain_many(model, TEXTS, tmp_path / "out", tokenizer=TOKENIZER, target=1)
    rows = pandas.read_parquet(out).sort_values("row")
    wanted = [explain(model, text, "lrp", TOKENIZER, 1) for text in TEXTS]
    assert not rows["error"].notna().any()
    for row, one in zip(rows.itertuples(), wanted, strict=True):
        assert row.output == pytest.approx(one.output.item(), rel=1e-5)
        assert row.scores == pytest.approx(one.scores[0].tolist(), rel=1e-4, abs=1e-6)
