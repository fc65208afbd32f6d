"""Texts in the hands of other libraries are lists of texts."""

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import any_text, calm
from lrp_hooks import TextError, compare, explain
from lrp_hooks.faithfulness import plan_of
from lrp_hooks.texts.given import as_texts
from lrp_hooks.texts.listing import as_list
from shared_models import sentiment


class Column:
    """A column as `datasets` has them: a sequence that is no list."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        return self.values[key]


HOLDERS = {
    "list": list,
    "series": pandas.Series,
    "series with another index": lambda v: pandas.Series(v, index=range(5, 5 + len(v))),
    "string series": lambda v: pandas.Series(v, dtype="string"),
    "categories": lambda v: pandas.Series(v).astype("category"),
    "index": pandas.Index,
    "array of strings": np.array,
    "array of objects": lambda v: np.array(v, dtype=object),
    "arrow": pyarrow.array,
    "chunks": lambda v: pyarrow.chunked_array([v]),
    "column": Column,
}


@pytest.mark.parametrize("kind", HOLDERS)
def test_every_holder_of_texts(kind):
    texts = ["a good film", "bad", "a good film"]
    found = as_texts(HOLDERS[kind](texts))
    assert found == texts
    assert {type(text) for text in found} == {str}


@calm
@given(st.lists(any_text, min_size=1, max_size=4))
def test_any_text_in_an_array(texts):
    assert as_texts(np.array(texts, dtype=object)) == texts
    assert as_texts(pandas.Series(texts, dtype=object)) == texts


@pytest.mark.parametrize(
    "other",
    [
        torch.ones(2),
        np.ones(2),
        np.array([["a"], ["b"]]),
        pandas.DataFrame({"text": ["a"]}),
        pyarrow.table({"text": ["a"]}),
        {"input_ids": torch.ones(1, 2)},
        {"a", "b"},
        b"ab",
        3,
        None,
        [torch.ones(2)],
        pandas.Series([1, 2]),
    ],
)
def test_what_is_no_list_of_texts(other):
    assert as_texts(other) is None


@pytest.mark.parametrize("missing", [None, float("nan"), pandas.NA, 3])
@pytest.mark.parametrize("kind", ["list", "series", "array of objects", "column"])
def test_what_is_missing_is_named_by_its_row(kind, missing):
    with pytest.raises(TextError, match="text 2 of 3 is .*no string"):
        as_texts(HOLDERS[kind](["a", missing, "b"]))


def test_nothing_but_missing_texts():
    with pytest.raises(TextError, match="text 1 of 2 is None"):
        as_texts(pandas.Series([None, None], dtype=object))
    with pytest.raises(TextError, match="empty"):
        as_texts(pandas.Series([], dtype=object))


@pytest.mark.parametrize("kind", ["series", "array of strings", "arrow", "column"])
def test_every_door_takes_them(kind):
    model, tokenizer = sentiment()
    texts = ["a good film", "bad"]
    held = HOLDERS[kind](texts)
    found = explain(model, held, tokenizer=tokenizer)
    assert torch.equal(found.scores, explain(model, texts, tokenizer=tokenizer).scores)
    assert compare(model, held, ["lrp"], tokenizer).tokens == found.tokens
    plan = plan_of(model, tokenizer, held, HOLDERS[kind](["positive", "NEGATIVE"]))
    assert plan.texts == tuple(texts)
    assert plan.labels == (1, 0)
    with pytest.raises(TextError, match="text 2 is blank"):
        explain(model, HOLDERS[kind](["a", " "]), tokenizer=tokenizer)


def test_as_list_leaves_the_order():
    assert as_list(pandas.Series([3, 1], index=[1, 0])) == [3, 1]
