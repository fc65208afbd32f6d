"""``--target`` at places of a text: labels at tokens, spans, masks among several."""

import json

import pytest
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
)

from lrp_hooks import cli, explain
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

_, TOKENIZER = sentiment_model()
CASES = [
    (BertForMaskedLM, "a [MASK] [MASK] film", "2:good", (2, "good")),
    (BertForMaskedLM, "a [MASK] film", "good", "good"),
    (BertForQuestionAnswering, ("who", "a dull film"), "4:5", (4, 5)),
    (BertForQuestionAnswering, ("who", "a dull film"), "start", "start"),
    (BertForTokenClassification, "a dull film", "dull:LABEL_1", ("dull", "LABEL_1")),
    (BertForTokenClassification, "a dull film", "2:LABEL_1", (2, "LABEL_1")),
]


@pytest.mark.parametrize(("kind", "text", "given", "target"), CASES)
def test_a_target_at_a_place(kind, text, given, target, tmp_path, capsys):
    model = tiny_bert(kind).float()
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    pair = () if isinstance(text, str) else ("--text-pair", text[1])
    first = text if isinstance(text, str) else text[0]
    arguments = ["explain", first, *pair, "--model", str(tmp_path)]
    assert cli.main([*arguments, "--target", given, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    direct = explain(model, text, tokenizer=TOKENIZER, target=target)
    assert record["target"] == direct.targets[0]
    assert record["output"] == pytest.approx(direct.output.item(), abs=1e-5)
