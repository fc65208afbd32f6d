"""The words of a text are those that a reader sees, whatever the tokenizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from generation_models import word_tokenizer
from hand_built import calm
from lrp_hooks import Explanation
from lrp_hooks.texts.encoding import encode, read_tokens
from lrp_hooks.texts.spans import pieces_of_each, vocabulary_mark
from tokenizer_families import FAMILIES, family, words_of

SPACES = [
    " ",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "\r\n",
    " \n ",
    "\u00a0",
    "\u3000",
    "\u2003",
]
LATIN = [
    "Once",
    "time.",
    "film,",
    "très",
    "émouvant",
    "unbelievably",
    "(Über)",
    "a",
    "x",
]
OTHERS = [
    "映画",
    "は面白い",
    "映画film",
    "👩\u200d👧",
    "😀",
    "#1",
    "@@",
    "Ġa",
    "▁b",
    "مرحبا",
    "e\u0301a",
]
words = st.sampled_from([*LATIN, *OTHERS])
texts = st.lists(st.tuples(words, st.sampled_from(SPACES)), min_size=1, max_size=7).map(
    lambda rows: "".join(word + space for word, space in rows)
)
padded = st.tuples(st.sampled_from(["", *SPACES]), texts).map("".join)


class Anything(nn.Module):
    """A model that takes what a tokenizer makes."""

    def forward(self, input_ids, attention_mask=None):
        return input_ids


def merged(tokens, special, **meta):
    """The words of one example by hand."""
    found = Explanation(
        scores=torch.ones(1, len(tokens)),
        output=torch.ones(1),
        tokens=[tokens],
        meta={"special": [special], **meta},
    ).words()
    pairs = zip(found.tokens[0], found.meta["special"][0], strict=True)
    assert found.scores.sum() == len(tokens)
    return [word for word, alone in pairs if not alone]


def known(tokenizer, text):
    """The words of a text that the explanation knows."""
    encoded = encode(Anything(), tokenizer, [text])
    mark = vocabulary_mark(tokenizer)
    pieces = pieces_of_each(encoded, mark)
    return merged(encoded.tokens[0], encoded.special[0], pieces=pieces, subwords=mark)


@pytest.mark.parametrize("name", FAMILIES)
@calm
@given(padded)
def test_words_are_those_of_the_text(name, text):
    assert known(family(name), text) == words_of(text)


@pytest.mark.parametrize("name", FAMILIES)
@calm
@given(padded)
def test_pieces_are_the_text_cut(name, text):
    tokenizer = family(name)
    encoded = encode(Anything(), tokenizer, [text])
    (found,) = pieces_of_each(encoded, vocabulary_mark(tokenizer))
    if name != "ByT5":  # which knows no character to begin with
        assert "".join(found).split() == text.split()


BY_MARKS = [
    name
    for name in FAMILIES
    if name not in {"WordPiece", "WordPiece, cased", "</w>", "whole words"}
    and "slow" not in name
]
PLAIN = "Once upon a time.\n\nLily was sad.\nTom said: go\tnow"


@pytest.mark.parametrize("name", BY_MARKS)
def test_ids_alone_have_the_words_that_marks_spell(name):
    tokenizer = family(name)
    ids = torch.tensor([tokenizer(PLAIN)["input_ids"]])
    encoded = read_tokens(tokenizer, ids)
    mark = vocabulary_mark(tokenizer)
    assert merged(encoded.tokens[0], encoded.special[0], subwords=mark) == PLAIN.split()


@pytest.mark.parametrize("unknown", ["</s>", "d"])
def test_what_ends_texts_is_no_word_though_it_stands_for_unknown_ones(unknown):
    """As of GPT-2 and Whisper; where another token does, that is a word."""
    tokenizer = word_tokenizer()
    tokenizer.unk_token = unknown
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(["the", "d", "</s>"])])
    assert read_tokens(tokenizer, ids).special == [[False, False, True]]
