"""Sub-word tokens merged to words: sums stay, and so do special tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from torch.testing import assert_close

from hand_built import calm, explanation, relevance, seeds
from lrp_hooks import ArgumentError
from lrp_hooks.results.words import line_breaks


def spelled(text):
    """Return the letters that stand for a text's bytes in byte-level vocabularies."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(letters for letters, _ in split.pre_tokenize_str(text))


CASES = {
    "WordPiece": (
        ["[CLS]", "a", "grip", "##ping", "##ly", ",", "film", "[SEP]"],
        ["[CLS]", "a", "grippingly", ",", "film", "[SEP]"],
    ),
    "SentencePiece": (
        ["<s>", "▁a", "▁grip", "ping", ",", "▁fil", "m", "</s>"],
        ["<s>", "a", "gripping,", "film", "</s>"],
    ),
    "SentencePiece, white space alone": (
        ["▁", "un", "▁", "▁deux"],
        ["un", "deux"],
    ),
    "SentencePiece, bytes": (
        ["▁caf", "<0xC3>", "<0xA9>", "▁noir"],
        ["café", "noir"],
    ),
    "byte-level": (
        ["grip", "ping", ",", "Ġcaf", "Ã©", "ĊThe", "Ġend", "<|endoftext|>"],
        ["gripping,", "café", "The", "end", "<|endoftext|>"],
    ),
    "byte-level, white space alone": (
        ["a", "Ġ", "Ġ", "Ġb", "Ċ"],
        ["a", "b"],
    ),
    "SentencePiece, no spaces": (
        ["▁映画", "は", "面", "白", "い", "▁a", "b", "<0xE7>", "<0x94>", "<0xBB>"],
        ["映画", "は", "面", "白", "い", "ab", "画"],
    ),
    "byte-level, no spaces": (
        [spelled("映"), *spelled("画"), spelled("は"), spelled(" ab"), "c"],
        ["映", "画", "は", "abc"],
    ),
    "byte-level, emoji and right to left": (
        [spelled(" 👩"), *spelled("\u200d👧"), spelled(" مر"), spelled("حبا")],
        ["👩\u200d👧", "مرحبا"],
    ),
    "byte-level, line breaks behind a sign": (
        ["Once", "Ġtime", ".ĊĊ", "Lily", "Ġsad", ".Ċ", "Tom", ":ĉ", "go", "ĊĊ"],
        ["Once", "time.", "Lily", "sad.", "Tom:", "go"],
    ),
    "byte-level, line breaks before a word": (
        ["Once", "Ġtime", ".", "ĊĊLily", "čĊ", "Tom"],
        ["Once", "time.", "Lily", "Tom"],
    ),
    "byte-level, line breaks alone": (["Lily", ".Ċ", "Tom", "s"], ["Lily.", "Toms"]),
    "SentencePiece, line breaks": (
        ["▁time", ".", "<0x0A>", "<0x0A>", "L", "ily", "<0x0D>", "<0x0A>", "T", "om"],
        ["time.", "Lily", "Tom"],
    ),
    "SentencePiece, a line break alone": (["T", "om", "<0x0A>", "go"], ["Tom", "go"]),
    "ends of words": (
        ["un", "believ", "able</w>", ",</w>", "film</w>", "<|endoftext|>", "a</w>"],
        ["unbelievable", ",", "film", "<|endoftext|>", "a"],
    ),
    "ends of words, bytes of CLIP": (
        ["caf", f"{spelled('é')}</w>", *spelled("映"), "</w>", "b</w>"],
        ["café", "映", "b"],
    ),
    "ends of words, letters of other alphabets": (
        ["caf", "é</w>", "iċ</w>", "映</w>"],
        ["café", "iċ", "映"],
    ),
    "what goes on": (
        ["un@@", "believ@@", "able", "fil@@", "m"],
        ["unbelievable", "film"],
    ),
    "characters": (
        ["\ue000", *"Ġa ▁b\n##", "\ue001"],
        ["\ue000", "Ġa", "▁b", "##", "\ue001"],
    ),
    "texts of tokens": (
        ["Once", " upon", ".\n\n", "L", "ily", "\n", "\t", "Tom", " "],
        ["Once", "upon.", "Lily", "Tom"],
    ),
    "bytes": (
        [*" 👧 a\u00e0\u00a0b".encode().decode("latin-1"), "</s>"],
        ["👧", "aà", "b", "</s>"],
    ),
    "words with a line break between": (
        ["Hello", "world", "\n", "Bye"],
        ["Hello", "world", "Bye"],
    ),
    "no marks": (["C", "C", "(", "=", "O", ")"], ["C", "C", "(", "=", "O", ")"]),
}


@pytest.mark.parametrize("name", CASES)
def test_conventions(name):
    tokens, words = CASES[name]
    merged = explanation([tokens]).words()
    assert merged.tokens == [words]
    assert merged.scores.shape == (1, len(words))


def test_the_text_of_tokens_wins_over_their_marks():
    meta = {"pieces": [["", "Films", "!\n", "B", "", "映", "画", " \n", ""]]}
    tokens = [["[CLS]", "films", "!", "b", "##b", "映", "##画", "x", "[SEP]"]]
    merged = explanation(tokens, meta=meta).words()
    assert merged.tokens == [["[CLS]", "Films!", "B", "映", "画", "[SEP]"]]
    assert merged.meta["pieces"] == [["", "Films!\n", "B", "映", "画 \n", ""]]
    again = merged.words()
    assert again.tokens == merged.tokens
    assert_close(again.scores, merged.scores)


def test_pieces_of_other_tokens_are_not_taken():
    found = explanation([["a", "##b"]], meta={"pieces": [["x"]]}).words()
    assert found.tokens == [["ab"]]


@pytest.mark.parametrize(
    ("pieces", "breaks"),
    [
        (["a", " b"], [0, 0]),
        (["a", "\n", "\n", "b"], [0, 0, 1, 1]),
        (["a.\n\n", "b"], [0, 2]),
        (["a", "\n\nb", ""], [0, 2, 0]),
        (["\n", "a", " \n ", "", "b\n"], [0, 1, 0, 1, 0]),
        (["a\r\n", "b", "\r", "\n", "c"], [0, 1, 0, 0, 1]),
        (["a\u2028b", "\u2028", "c"], [0, 0, 1]),
    ],
)
def test_line_breaks_before_each_token(pieces, breaks):
    assert line_breaks(pieces) == breaks


def test_scores_are_sums_of_their_tokens():
    scores = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    merged = explanation([["[CLS]", "un", "##do", "##ne", "[SEP]"]], scores=scores)
    assert merged.words().scores.tolist() == [[1.0, 14.0, 16.0]]


@calm
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "##b", "▁c", "Ġd", "[SEP]", "Ċ"]), max_size=8),
        min_size=1,
        max_size=3,
    ).filter(any),
    seeds,
    st.sampled_from([torch.float64, torch.float32]),
)
def test_sums_stay(tokens, seed, dtype):
    before = explanation(tokens, seed)
    before.scores = before.scores.to(dtype)
    for b, row in enumerate(tokens):
        before.scores[b, len(row) :] = 0
    after = before.words()
    assert after.scores.dtype == dtype
    assert_close(after.scores.sum(1), before.scores.sum(1))
    assert [len(row) for row in after.tokens] == after.attended.sum(1).tolist()
    assert (after.scores[~after.attended] == 0).all()


def test_unequal_numbers_of_words_end_in_zeros():
    merged = explanation([["a", "##b"], ["a", "b"]]).words()
    assert merged.tokens == [["ab"], ["a", "b"]]
    assert merged.scores[0, 1] == 0
    assert merged.attended.tolist() == [[True, False], [True, True]]


def test_a_mask_of_special_tokens_wins_over_their_looks():
    tokens = [["▁a", "</s>", "b"]]
    marked = explanation(tokens, meta={"special": [[False, False, False]]}).words()
    assert marked.tokens == [["a</s>b"]]
    looked = explanation(tokens).words()
    assert looked.tokens == [["a", "</s>", "b"]]
    assert looked.meta["special"] == [[False, True, False]]


def test_the_vocabulary_s_mark_wins_over_the_text_s():
    tokens = [["##", "##", "a"]]
    assert explanation(tokens, meta={"subwords": "Ġ"}).words().tokens == [["####a"]]
    assert explanation(tokens, meta={"subwords": None}).words().tokens == [
        ["##", "##", "a"]
    ]


def test_padding_is_dropped():
    attended = torch.tensor([[False, True, True]])
    merged = explanation([["[PAD]", "un", "##do"]], attended=attended).words()
    assert merged.tokens == [["undo"]]
    assert merged.attended.tolist() == [[True]]


def test_columns_without_a_token_stay():
    scores = torch.tensor([[1.0, 2.0, 4.0], [1.0, 0.0, 8.0]])
    merged = explanation([["a", "##b"], ["c"]], scores=scores).words()
    assert merged.scores.tolist() == [[3.0, 4.0], [1.0, 8.0]]


def test_relevance_by_words_still_completes():
    tokens = [["un", "##do", "it", "##s", "end"], ["a", "##b", "c"]]
    before = relevance(tokens=tokens)
    after = before.words()
    assert after.tokens == [["undo", "its", "end"], ["ab", "c"]]
    assert after.values.shape == (2, 3, 3)
    assert_close(after.values.sum(-1), after.scores)
    for bias in ("site", "equal", "abs", "first"):
        assert_close(after.complete(bias).sum(1), before.ledger.total)
    for name, part in after.ledger.positions.items():
        assert_close(part[:, 0], before.ledger.positions[name][:, :2].sum(1))


def test_words_without_tokens_say_what_to_do():
    with pytest.raises(ArgumentError, match="tokenizer"):
        relevance().words()


def test_words_of_images_are_refused():
    found = relevance(image=True)
    found.tokens = [["a"], ["b"]]
    with pytest.raises(ArgumentError, match=r"\[2, 5, 2\]"):
        found.words()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["a", "b"], r"tokens=\[\[...\]\]"),
        ([["a"]], "expected 2 lists, got 1"),
        ([["a"] * 6, ["b"]], r"6 tokens .* \[2, 5\]"),
    ],
)
def test_tokens_must_fit_the_scores(tokens, message):
    with pytest.raises(ArgumentError, match=message):
        relevance(tokens=tokens)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0x3041, 0x30FF),  # Hiragana and Katakana
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAD9),  # compatibility ideographs
        (0x20000, 0x323AF),  # the planes beyond
    ],
)
def test_every_script_without_spaces(first, last):
    first, last = chr(first), chr(last)
    merged = explanation([["▁a", f"▁{first}", last, "▁b", "c"]]).words()
    assert merged.tokens == [["a", first, last, "bc"]]


def test_scripts_with_spaces_stay_together():
    words = ["\uac00\ub098", "\u0e01\u0e02", "\ufb00\ufb01", "\U0001f469\U0001f467"]
    tokens = [part for first, last in words for part in (f"▁{first}", last)]
    assert explanation([tokens]).words().tokens == [words]


@pytest.mark.parametrize("space", ["\t", "\r", "\n", " "])
def test_white_space_begins_a_word_in_byte_level_vocabularies(space):
    tokens = [spelled(" a"), "b", spelled(f"{space}c"), "d"]
    assert explanation([tokens]).words().tokens == [["ab", "cd"]]


def test_sums_are_taken_in_double_precision():
    scores = torch.tensor([[1e8, 1.0, -1e8]])
    merged = explanation([["a", "##b", "##c"]], scores=scores).words()
    assert merged.scores.tolist() == [[1.0]]
