"""What a surrogate is said to be worth is what it is worth."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import SlalomWarning
from lrp_hooks.explainers.slalom.validation import Heldout
from slalom_models import Constant, Exact, Hash

TEXT = (
    "an unforgettable, gripping and often very funny film, let down by a weak ending "
    "and by actors who never seem to know what the story wants of them"
)


def fresh(model, ids, number, seed=99):
    """Deletions of 1 to 10 tokens and random triples that no fit has drawn."""
    generator = torch.Generator().manual_seed(seed)
    inner = ids[0, 1:-1]
    rows = []
    for _ in range(number):
        size = int(torch.randint(1, 11, (), generator=generator))
        order = torch.randperm(len(inner), generator=generator)
        rows.append(inner[order[size:].sort().values])
    kinds = inner.unique()
    for _ in range(number):
        rows.append(kinds[torch.randint(len(kinds), (3,), generator=generator)])
    rows = [torch.cat([ids[0, :1], row, ids[0, -1:]])[None] for row in rows]
    with torch.no_grad():
        logits = torch.cat([model(row).logits for row in rows])
    return rows, (logits[:, 1] - logits[:, 0]).double()


def errors_on(found, rows, outputs):
    predicted = torch.cat([found.surrogate(row) for row in rows]).double()
    half = len(rows) // 2
    squares = (predicted - outputs) ** 2
    return float(squares[:half].mean()), float(squares[half:].mean())


@pytest.fixture(scope="module")
def explained(sentiment):
    model, tokenizer = sentiment
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    return model, tokenizer, ids, fresh(model, ids, 150)


@pytest.mark.parametrize("n_samples", [100, None])
def test_the_heldout_error_is_that_on_fresh_perturbations(explained, n_samples):
    model, tokenizer, ids, (rows, outputs) = explained
    said, true, constant = [], [], []
    for seed in range(3):
        found = Slalom(model, tokenizer, n_samples=n_samples, seed=seed)(ids, target=1)
        said.append(found.fit["heldout_error"])
        true.append(sum(errors_on(found, rows, outputs)) / 2)
        constant.append(found.fit["constant_error"])
        assert_close(found.fit["r2"], 1 - said[-1] / constant[-1])
        halves = found.fit["deletion_error"], found.fit["short_error"]
        assert_close(sum(halves) / 2, said[-1])
    assert 0.6 < sum(said) / sum(true) < 1.7
    centre = (outputs[:150].mean() + outputs[150:].mean()) / 2
    wanted = float(((outputs - centre) ** 2).mean())
    assert 0.7 < sum(constant) / 3 / wanted < 1.4


def test_it_beats_every_published_mode_at_a_quarter_of_the_calls(explained):
    model, tokenizer, ids, (rows, outputs) = explained
    published = {"short": ("sgd",), "deletion": ("sgd", "als")}
    ours = Slalom(model, tokenizer, n_samples=128)(ids, target=1)
    deletion, short = errors_on(ours, rows, outputs)
    for sampling, fits in published.items():
        for method in fits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SlalomWarning)
                theirs = Slalom(
                    model, tokenizer, sampling=sampling, fit=method, n_samples=512
                )(ids, target=1)
            assert theirs.fit["model_calls"] > 3.9 * ours.fit["model_calls"]
            other = errors_on(theirs, rows, outputs)
            assert deletion + short < sum(other)


@pytest.mark.parametrize("model", [Hash(), Constant()])
@pytest.mark.parametrize("sampling", ["mixed", "short", "deletion"])
def test_where_no_surrogate_helps_it_says_so(model, sampling):
    ids = torch.arange(1, 21)[None]
    with pytest.warns(SlalomWarning, match="No SLALOM that was fitted") as record:
        found = Slalom(model, sampling=sampling, n_samples=120, seed=1)(ids, target=1)
    assert len(record) == 1
    assert found.fit["informative"] is False
    assert found.fit["r2"] == 0
    assert found.fit["heldout_error"] == found.fit["constant_error"]
    assert (found.scores == 0).all()
    assert (found.importances == 0).all()
    assert found.values.unique().numel() == 1
    assert "no scores to show" in found.verdicts[0]
    assert found.verdicts[0] in found.to_terminal(colour=False)


def test_noise_is_rarely_taken_for_a_signal():
    ids = torch.arange(1, 16)[None]
    fooled = 0
    for seed in range(30):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SlalomWarning)
            found = Slalom(Hash(), n_samples=60, seed=seed)(ids, target=1)
        fooled += found.fit["informative"]
    assert fooled <= 5


def test_deletions_alone_are_said_to_identify_nothing():
    # With few tokens gone only products of value and importance show.
    class Long(Exact):
        def log_odds(self, ids, mask=None):
            odds = super().log_odds(ids, mask)
            return torch.where(torch.tensor(ids.shape[1] > 9), odds, 30 - odds)

    with pytest.warns(SlalomWarning, match="not identified"):
        found = Slalom(Long(seed=3), sampling="deletion", n_samples=200)(
            torch.arange(20)[None], target=1
        )
    assert found.fit["informative"]
    assert found.fit["r2"] < 0
    assert found.fit["deletion_error"] < found.fit["short_error"]


@settings(max_examples=20)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 2**31))
def test_each_kind_is_one_half(n_short, n_deleted, seed):
    total = n_short + n_deleted
    generator = torch.Generator().manual_seed(seed)
    outputs, predictions = torch.randn(2, total, generator=generator).double()
    short = torch.arange(total) < n_short
    held = Heldout(outputs, predictions, short, default=0.5)
    squares = (outputs - predictions) ** 2
    halves = [squares[kind].mean() for kind in (short, ~short) if kind.any()]
    wanted = sum(halves) / max(len(halves), 1)
    assert_close(held.fidelity.error, float(wanted))


def test_the_constant_does_not_see_what_it_predicts():
    outputs = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64)
    held = Heldout(outputs, outputs, torch.tensor([True] * 3), default=0.0)
    assert_close(held.constants, torch.tensor([7.0, 5.0, 3.0]).double())
    assert_close(held.fidelity.constant_error, (36.0 + 0 + 36) / 3)
    alone = Heldout(outputs[:1], outputs[:1], torch.tensor([True]), default=0.25)
    assert alone.constants.tolist() == [0.25]
