"""Texts cut at their tokens: pairs, what is dropped, and tokens without offsets."""

from types import SimpleNamespace

import pytest

from lrp_hooks.texts.spans import pieces, vocabulary_mark
from tokenizer_families import Slow, family


def cut(tokenizer, *texts):
    """The pieces of one text or a pair, and the names of the tokens."""
    made = tokenizer(*texts, return_special_tokens_mask=True)
    names = tokenizer.convert_ids_to_tokens(made["input_ids"])
    special = list(map(bool, made["special_tokens_mask"]))
    return pieces(made, texts, names, special, vocabulary_mark(tokenizer)), names


def by_offsets(text, *spans, spelled=None):
    """The pieces at spans that a tokenizer might have returned."""
    encoding = SimpleNamespace(
        offsets=[span or (0, 0) for span in spans],
        sequence_ids=[None if span is None else 0 for span in spans],
    )
    names = spelled or ["x"] * len(spans)
    special = [span is None for span in spans]
    return pieces(SimpleNamespace(encodings=[encoding]), [text], names, special, "##")


def test_a_pair_is_cut_in_both_texts():
    found, names = cut(family("WordPiece"), "a sad film", "Sad, a FILM")
    border = names.index("[SEP]")
    assert "".join(found[:border]) == "a sad film"
    assert "".join(found[border:]) == "\nSad, a FILM"
    assert [p for p, n in zip(found, names, strict=True) if n[0] == "["] == [""] * 3


@pytest.mark.parametrize("name", ["GPT-2's split", "characters", "slow @@"])
def test_no_word_goes_on_in_the_second_text(name):
    found, _ = cut(family(name), "a sad", "film a")
    assert "".join(found).split() == ["a", "sad", "film", "a"]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("a b", [(0, 1), (2, 3)], ["a", " b"]),
        ("a\u200b \u200bb", [(0, 1), (4, 5)], ["a\u200b", " \u200bb"]),
        ("a\u200bb", [(0, 1), (2, 3)], ["a\u200b", "b"]),
        ("a \0\0\nb", [(0, 1), (5, 6)], ["a", " \nb"]),
        ("\0 a", [(2, 3)], [" a"]),
        ("\0a", [(1, 2)], ["\0a"]),
        ("a\0 \0\n", [(0, 1)], ["a\0 \n"]),
        ("ab", [(0, 2), (1, 2)], ["ab", ""]),
        ("ab", [None, (0, 1), None, (1, 2)], ["", "a", "", "b"]),
        ("ab", [None], [""]),
    ],
)
def test_what_a_tokenizer_drops(text, spans, expected):
    assert by_offsets(text, *spans) == expected


def test_a_run_of_bytes_is_shared_out():
    text, tokenizer = "sad\u5f71\nQ", family("SentencePiece of Llama")
    found, names = cut(tokenizer, text)
    assert "<0x0A>" in names
    assert found[names.index("<0x0A>")] == "\n"
    assert "".join(found) == text


def test_slow_tokens_are_found_in_the_text():
    found, names = cut(Slow(lower=True), "Sadly,\nSadly")
    assert found == ["Sa", "dl", "y", ",", "\nSa", "dl", "y"]
    assert names[0] == "sa"


def test_slow_tokens_of_other_letters_have_their_marks():
    class Other(Slow):
        def _tokenize(self, text, **_):
            return super()._tokenize(text.replace("ß", "ss"))

    found, _ = cut(Other(), "Straße a")
    assert found == [" St", "ra", "ss", "e", " a"]


def test_a_vocabulary_is_read_once():
    class Counted(Slow):
        reads = 0

        def get_vocab(self):
            self.reads += 1
            return super().get_vocab()

    one, other = Counted(), Counted("@@")
    before = one.reads
    assert [vocabulary_mark(t) for t in (one, other, one)] == ["##", "@@", "##"]
    assert one.reads == before + 1


def test_a_letter_and_its_mark_are_one_where_the_tokenizer_makes_them_one():
    found, names = cut(family("SentencePiece of T5"), "x\ne\u0301a ")
    shares = dict(zip(names, found, strict=True))
    assert shares["<0x0A>"] == "\n"
    assert "".join(found).split() == ["x", "e\u0301a"]
