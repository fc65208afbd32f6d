"""A trained model that writes stories: rows of real text."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from folders import SHARED, needs_shared
from lrp_hooks import Contrast, explain_generation, instrument

pytestmark = needs_shared
PROMPT = "Once upon a time, there was a little girl named"


def load(dtype):
    folder = SHARED / "models" / "stories260k-llama"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)]
)
def test_rows_are_prefixes(dtype, tolerance):
    model, tokenizer = load(dtype)
    found = explain_generation(model, tokenizer, PROMPT, max_new_tokens=8)
    assert found.generated[:2] == ["▁Lily", "."]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(found.tokens[0])])
    close = {"rtol": tolerance, "atol": tolerance}
    with instrument(model) as lrp:
        for t in range(8):
            n = found.prompt + t
            alone = lrp.attribute({"input_ids": ids[:, :n]}, int(ids[0, n]))
            scale = float(alone.ledger.scale)
            assert_close(found.scores[t, :n] / scale, alone.scores[0] / scale, **close)
            assert_close(found.output[t] / scale, alone.output[0] / scale, **close)
    assert (found.ledger.error < tolerance).all()
    words = found.words()
    assert words.generated[0] == "Lily."
    assert (words.ledger.error < tolerance).all()


def test_why_lily_rather_than_tom():
    model, tokenizer = load(torch.float64)
    with pytest.warns(UserWarning, match="'▁T' 'om'; the first one, '▁T'"):
        found = explain_generation(
            model, tokenizer, PROMPT, continuation=" Lily.", contrast=" Tom"
        )
    pair = tokenizer.convert_tokens_to_ids(["▁Lily", "▁T"])
    batch = tokenizer(PROMPT, return_tensors="pt")
    with instrument(model) as lrp:
        alone = lrp.attribute({"input_ids": batch["input_ids"]}, Contrast(*pair))
    assert_close(found.scores[0, : found.prompt], alone.scores[0])
    assert found.targets[0] == "▁Lily rather than ▁T"
