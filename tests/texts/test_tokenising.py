"""Texts in one call of the tokenizer are the texts one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrp_hooks import TextError
from lrp_hooks.tasks import token_named
from lrp_hooks.texts.encoding import encode
from lrp_hooks.texts.spans import pieces_of_each, vocabulary_mark
from lrp_hooks.texts.tokenising import tokenised
from shared_models import sentiment
from tokenizer_families import word_piece

TEXT = st.text(st.sampled_from("abc é,.-7"), min_size=1).filter(str.strip)


@given(st.lists(TEXT | st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_rows_and_offsets(texts):
    model, tokenizer = sentiment()
    rows = tokenised(tokenizer, texts, None)
    for row, text in zip(rows, texts, strict=True):
        pieces = (text,) if isinstance(text, str) else text
        alone = tokenizer(*pieces, return_special_tokens_mask=True)
        assert dict(row) == dict(alone)
        for here, there in zip(row.encodings, alone.encodings, strict=True):
            assert here.offsets == there.offsets
            assert here.sequence_ids == there.sequence_ids
    together = pieces_of_each(encode(model, tokenizer, texts), "##")
    alone = [pieces_of_each(encode(model, tokenizer, [t]), "##")[0] for t in texts]
    assert together == alone


def test_the_text_that_is_refused_is_named():
    tokenizer = sentiment()[1]
    for texts, message in (
        (["a", " "], "text 2 is blank"),
        (["a", "b c d e"], "text 2 has 6 tokens, but the model has 5 positions"),
        (["a b c d e"], "the text has 7 tokens"),
        ([("a", "\ud800")], r"the text \(its second part\) is no valid Unicode"),
    ):
        with pytest.raises(TextError, match=message):
            tokenised(tokenizer, texts, 5)


def counting(tokenizer, monkeypatch):
    """Count how often the whole vocabulary is asked for."""
    calls, real = [], type(tokenizer).get_vocab
    monkeypatch.setattr(
        type(tokenizer), "get_vocab", lambda self: calls.append(1) or real(self)
    )
    return calls


def test_the_vocabulary_is_walked_once(monkeypatch):
    tokenizer = word_piece()
    calls = counting(tokenizer, monkeypatch)
    marks = {vocabulary_mark(tokenizer) for _ in range(5)}
    assert marks == {"##"} and len(calls) == 1


def test_a_vocabulary_that_changed_is_noticed(monkeypatch):
    tokenizer = word_piece()
    vocabulary_mark(tokenizer)
    calls = counting(tokenizer, monkeypatch)
    tokenizer.add_tokens(["unheard-of"])
    assert vocabulary_mark(tokenizer) == "##" and len(calls) == 1
    tokenizer._tokenizer = word_piece(lower=False)._tokenizer
    vocabulary_mark(tokenizer)
    assert len(calls) == 2


def test_a_token_is_named_without_the_vocabulary(monkeypatch):
    tokenizer = sentiment()[1]
    vocabulary = tokenizer.get_vocab()
    vocabulary_mark(tokenizer)
    calls = counting(tokenizer, monkeypatch)
    for name in ("film", "##ing", "[UNK]"):
        assert token_named(tokenizer, name) == vocabulary[name]
    assert not calls
