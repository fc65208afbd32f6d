"""Batches: every text once, within the bounds, as little padding as sorting leaves."""

from hypothesis import given
from hypothesis import strategies as st

from lrp_hooks.many.batches import batches, lengths
from shared_models import sentiment

COUNTS = st.lists(st.none() | st.integers(1, 60))


@given(COUNTS, st.none() | st.integers(1, 200), st.integers(1, 9))
def test_every_text_is_in_one_batch_within_the_bounds(counts, tokens, most):
    found = batches(counts, tokens, most)
    assert sorted(n for batch in found for n in batch) == list(range(len(counts)))
    for batch in found:
        own = [counts[n] for n in batch]
        assert len(batch) == 1 or None not in own
        assert len(batch) <= most
        if tokens is not None and len(batch) > 1:
            assert len(batch) * max(own) <= tokens


@given(COUNTS, st.integers(1, 200), st.integers(1, 9))
def test_batches_are_as_full_as_their_order_lets_them(counts, tokens, most):
    found = [b for b in batches(counts, tokens, most) if counts[b[0]] is not None]
    ordered = [counts[n] for batch in found for n in batch]
    assert ordered == sorted(ordered)
    for batch, following in zip(found, found[1:], strict=False):
        size = len(batch) + 1
        assert size > most or size * counts[following[0]] > tokens


def test_lengths_are_those_of_the_tokenizer():
    tokenizer = sentiment()[1]
    texts = ["a film", ("a film", "dull"), "no", 3, " ", None, ("a", 3), "\ud800"]
    expected = [
        None if n > 2 else len(tokenizer(*([t] if isinstance(t, str) else t)).input_ids)
        for n, t in enumerate(texts)
    ]
    assert lengths(tokenizer, texts) == expected
