"""One surrogate for all texts of a vocabulary."""

import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import ArgumentError, TextError
from lrp_hooks.explainers.slalom import SlalomWarning, Surrogate, fit_vocabulary
from shared_models import sentiment
from slalom_models import CLS, SEP, Constant, Exact, centred, special

DOCUMENTS = [[1, 2, 3, 4], [3, 4, 5, 6, 7], [8, 1, 9]]


def test_a_slalom_is_recovered():
    model = Exact(seed=3)
    found = fit_vocabulary(model, DOCUMENTS, target=1)
    ids = torch.arange(1, 10)
    assert found.ids.tolist() == ids.tolist()
    assert_close(found.values, model.v[ids].detach(), rtol=0, atol=1e-3)
    assert_close(found.importances, centred(model.s[ids].detach()), rtol=0, atol=1e-3)
    assert found.fit["model_calls"] == len(model.seen) == len(set(model.seen))
    mixed = torch.tensor([[2, 9, 6]])
    assert_close(found(mixed), model.log_odds(mixed).detach(), rtol=0, atol=1e-3)


def test_documents_keep_their_own_special_tokens():
    model = Exact(silent=(CLS, SEP), seed=3)
    wrapped = [[CLS, *row, SEP] for row in DOCUMENTS]
    found = fit_vocabulary(model, wrapped, special(CLS, SEP), target=1)
    assert found.ids.tolist() == list(range(1, 10))
    assert all(row[0] == CLS and row[-1] == SEP for row in model.seen)
    assert all(row.count(CLS) == 1 for row in model.seen)


def test_texts_and_a_file(tmp_path):
    model, tokenizer = sentiment()
    texts = ["a gripping, funny film", "a dull film with a weak ending", "not funny"]
    found = fit_vocabulary(model, texts, tokenizer, target="positive")
    path = tmp_path / "v.safetensors"
    found.save(path)
    again = Surrogate.load(path)
    assert type(again) is type(found)
    assert again.fit == found.fit
    ids = tokenizer("a funny ending", return_tensors="pt")["input_ids"]
    assert torch.equal(again(ids), found(ids))
    good, bad = tokenizer.convert_tokens_to_ids(["gripping", "dull"])
    value = dict(zip(found.ids.tolist(), found.values.tolist(), strict=True))
    assert value[bad] < 0 < value[good]


def test_a_model_that_says_nothing_is_said_to():
    with pytest.warns(SlalomWarning, match="No SLALOM"):
        found = fit_vocabulary(Constant(), DOCUMENTS, target=1)
    assert found.fit["informative"] is False


@pytest.mark.parametrize(
    ("documents", "options", "error", "says"),
    [
        ([], {}, TextError, "at least one text"),
        ("a text", {}, TextError, "must be a list"),
        (["a text"], {}, ArgumentError, "tokenizer is None"),
        ([[1, 2], []], {}, TextError, "document 2 has no ordinary token"),
        ([[1, 2]], {"n_samples": 2}, ArgumentError, "the minimum is 3"),
        ([[1, 2]], {"n_samples": "4"}, ArgumentError, "n_samples='4' must be a whole"),
        ([[1, 2]], {"seed": 2**70}, ArgumentError, f"seed={2**70} must be a whole"),
        ([[1, 2]], {"seed": None}, ArgumentError, "seed=None must be a whole number"),
        ([[1, 2], [3, -1]], {}, ArgumentError, "document 2 has the id -1"),
        ([[1, 2]], {"target": None}, ArgumentError, "target=None"),
    ],
)
def test_bad_input(documents, options, error, says):
    with pytest.raises(error, match=says):
        fit_vocabulary(Exact(), documents, **{"target": 1, **options})


def test_ids_must_be_of_the_models_table():
    model, _ = sentiment()
    rows = model.get_input_embeddings().num_embeddings
    said = f"document 2 has the id {rows}, .* {rows} ids, 0 to {rows - 1}"
    with pytest.raises(ArgumentError, match=said):
        fit_vocabulary(model, [[5, 6, 7], [8, rows]], target=1)
    fit_vocabulary(model, [[5, 6, 7], [8, rows - 1]], target=1)
