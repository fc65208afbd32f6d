"""Perturbations: what they are made of, how many, and that none comes twice."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_hooks.explainers.slalom.sampling import SAMPLINGS, Text, sample
from slalom_models import CLS, SEP

seeds = st.integers(0, 2**31)
samplings = st.sampled_from(sorted(SAMPLINGS))
words = st.lists(st.integers(0, 12), min_size=1, max_size=25)


def text_of(tokens, wrapped=True):
    ids = [CLS, *tokens, SEP] if wrapped else list(tokens)
    return Text(ids, [i in {CLS, SEP} for i in ids], [list(range(len(ids)))])


def draw(text, sampling, n, seed):
    return sample(text, sampling, n, torch.Generator().manual_seed(seed))


def ids_of(samples):
    return [tuple(samples.text.ids[p] for p in s) for s in samples.sequences]


@given(words, samplings, st.integers(0, 60), seeds, st.booleans())
def test_no_sequence_comes_twice_and_none_too_many(tokens, sampling, more, seed, wrap):
    n = len(set(tokens)) + 1 + more
    samples = draw(text_of(tokens, wrap), sampling, n, seed)
    shown = ids_of(samples)
    assert len(set(shown)) == len(shown) <= n + 1
    assert samples.kinds[0] == "whole"
    assert shown[0] == tuple(samples.text.ids)
    assert any(samples.fitted)
    assert any(samples.heldout)


@given(words, samplings, seeds)
def test_special_tokens_stay_and_some_other_token_does(tokens, sampling, seed):
    for shown in ids_of(draw(text_of(tokens), sampling, 60, seed)):
        assert shown[0] == CLS
        assert shown[-1] == SEP
        assert len(shown) > 2
        assert not {CLS, SEP} & set(shown[1:-1])


@given(words, samplings, seeds)
def test_kinds_are_what_they_are_called(tokens, sampling, seed):
    samples = draw(text_of(tokens), sampling, 80, seed)
    for kind, sequence in zip(samples.kinds, samples.sequences, strict=True):
        inner = sequence[1:-1]
        if kind in {"short", "single"}:
            assert len(inner) == {"short": 3, "single": 1}[kind]
        else:
            assert list(inner) == sorted(inner)
            gone = len(tokens) - len(inner)
            assert gone == 0 if kind == "whole" else 1 <= gone <= 10


@given(seeds)
def test_published_samplings_fit_one_kind_and_hold_both_out(seed):
    tokens = list(range(20))
    for sampling, kind in (("short", "short"), ("deletion", "deletion")):
        samples = draw(text_of(tokens), sampling, 160, seed)
        fitted, heldout = torch.tensor(samples.fitted), torch.tensor(samples.heldout)
        assert not (fitted & heldout).any()
        assert not (fitted & ~samples.of(kind, "whole")).any()
        assert int((heldout & samples.of("short")).sum()) == 10
        assert int((heldout & samples.of("deletion")).sum()) == 10
        lengths = [
            len(tokens) + 2 - len(s)
            for s, f, k in zip(
                samples.sequences, samples.fitted, samples.kinds, strict=True
            )
            if f and k == "deletion"
        ]
        assert max(lengths, default=0) <= 5


@given(st.integers(2, 40), seeds)
def test_a_mixture_shows_every_token_about_equally_often(n_types, seed):
    samples = draw(text_of(range(n_types)), "mixed", 3 * n_types - 1, seed)
    short = samples.of("short")
    counts = samples.text.counts(samples.sequences)[:, :-1]
    assert counts[samples.of("deletion")].any(0).all()
    if n_types > 8:  # below, sequences run out and some come twice
        shown = counts[short].sum(0)
        assert shown.max() - shown.min() <= 3


def test_each_token_is_shown_alone_where_the_number_allows_it():
    tokens = list(range(10))
    few, enough = (draw(text_of(tokens), "mixed", n, 0) for n in (29, 30))
    assert not few.of("single").any()
    alone = [
        s for s, k in zip(ids_of(enough), enough.kinds, strict=True) if k == "single"
    ]
    assert sorted(alone) == [(CLS, i, SEP) for i in tokens]


@given(words, samplings, seeds)
def test_one_seed_one_sample(tokens, sampling, seed):
    before = torch.random.get_rng_state()
    first, second = (draw(text_of(tokens), sampling, 40, seed) for _ in range(2))
    assert first.sequences == second.sequences
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_another_sample():
    one, other = (draw(text_of(range(15)), "mixed", 60, seed) for seed in (0, 1))
    assert one.sequences != other.sequences


def test_counts_keep_copies_apart_from_special_tokens():
    text = text_of([7, 4, 7])
    counts = text.counts([(0, 1, 3, 4), (0, 2, 4)])
    assert counts.tolist() == [[0, 2, 2], [1, 0, 2]]
    assert text.vocabulary == [4, 7]
    assert text.special_ids == [CLS, SEP]


def test_several_documents_lose_tokens_of_their_own():
    ids = [CLS, 1, 2, 3, SEP, CLS, 4, 5, SEP]
    text = Text(
        ids, [i in {CLS, SEP} for i in ids], [list(range(5)), list(range(5, 9))]
    )
    samples = draw(text, "mixed", 40, 0)
    assert samples.kinds[:2] == ["whole", "whole"]
    for kind, shown in zip(samples.kinds, ids_of(samples), strict=True):
        if kind == "deletion":
            assert set(shown) <= {CLS, 1, 2, 3, SEP} or set(shown) <= {CLS, 4, 5, SEP}
    assert any(set(s) & {1, 2, 3} and set(s) & {4, 5} for s in ids_of(samples))
