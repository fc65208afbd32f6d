"""Linear regressions beside SLALOM: exact errors, and who is said to be better."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import LinearSurrogate, SlalomExplanation
from lrp_hooks.explainers.slalom.document import Text
from lrp_hooks.explainers.slalom.linear import regress
from lrp_hooks.explainers.slalom.sampling import sample
from slalom_models import CLS, SEP, VOCABULARY, Exact, special

IDS = torch.tensor([[CLS, *range(1, 25), SEP]])
TOKENIZER = special(CLS, SEP)


class Additive(nn.Module):
    """Log-odds that are a sum over tokens, which no SLALOM is."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(VOCABULARY, generator=generator).double()

    def forward(self, input_ids):
        return self.weights[input_ids].sum(1)


def fitted(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Slalom(model, TOKENIZER, **options)(IDS)


@given(st.integers(0, 2**31), st.integers(6, 30), st.integers(1, 8))
def test_errors_are_those_of_fits_without_each_sample(seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 3, (rows, columns), generator=generator).double()
    outputs = torch.randn(rows, generator=generator).double()
    weights, intercept, errors = regress(counts, outputs)
    # The normal equations give the ridge that was chosen, if any tells it.
    residual = outputs - counts @ weights - intercept
    slope = (counts - counts.mean(0)).T @ residual
    chosen = float(slope @ weights / (weights @ weights).clamp(min=1e-300))
    for left in range(rows):
        kept = torch.arange(rows) != left
        design = torch.cat([counts[kept], torch.ones(rows - 1, 1).double()], 1)
        gram = design.T @ design
        gram.diagonal()[:-1] += chosen
        solution = torch.linalg.lstsq(gram, design.T @ outputs[kept]).solution
        predicted = counts[left] @ solution[:-1] + solution[-1]
        assert_close(errors[left], outputs[left] - predicted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", ["mixed", "deletion"])
def test_an_additive_model_is_better_told_by_a_line_and_it_is_said(sampling):
    model = Additive()
    found = fitted(model, sampling=sampling, n_samples=120)
    line = found.linear[0]["deletion"]
    assert_close(line.weights, model.weights[1:25], rtol=0, atol=1e-3)
    assert found.fit["linear_deletion_error"] < 1e-4
    assert found.fit["linear_deletion_error"] < found.fit["deletion_error"]
    assert "Linear regression predicts deletions" in found.verdicts[0]
    assert_close(line(IDS), model(IDS), rtol=0, atol=1e-2)


def test_of_a_slalom_no_line_is_better():
    found = fitted(Exact(), n_samples=400)
    assert found.fit["linear_deletion_error"] > 10 * found.fit["deletion_error"]
    assert found.fit["linear_short_error"] > 10 * found.fit["short_error"]
    assert "Linear" not in found.verdicts[0]


@pytest.mark.parametrize(("sampling", "kind"), [("short", "short"), ("deletion",) * 2])
def test_there_is_a_line_for_each_kind_that_is_fitted(sampling, kind):
    found = fitted(Exact(), sampling=sampling, n_samples=120)
    assert list(found.linear[0]) == [kind]
    both = fitted(Exact(), n_samples=120)
    assert set(both.linear[0]) == {"short", "deletion"}


def test_lines_are_kept_with_the_explanation(tmp_path):
    found = fitted(Exact(), n_samples=120)
    found.save(tmp_path / "all.safetensors")
    again = SlalomExplanation.load(tmp_path / "all.safetensors")
    for name, line in found.linear[0].items():
        assert torch.equal(again.linear[0][name].weights, line.weights)
        line.save(tmp_path / f"{name}.safetensors")
        alone = LinearSurrogate.load(tmp_path / f"{name}.safetensors")
        assert torch.equal(alone(IDS), line(IDS))


@given(st.integers(0, 2**31))
def test_what_is_not_as_published_is_deleted_as_it_is_judged(seed):
    generator = torch.Generator().manual_seed(seed)
    text = Text(list(range(20)), [False] * 20, [list(range(20))])
    samples = sample(text, "deletion", 160, generator, published=False)
    fitted_rows = torch.tensor(samples.fitted) & samples.of("deletion")
    kept = zip(samples.sequences, fitted_rows, strict=True)
    gone = [20 - len(sequence) for sequence, is_fitted in kept if is_fitted]
    assert max(gone) > 5
    assert 1 <= min(gone)
    assert max(gone) <= 10
    assert len(gone) == 150
    # One kind is held out by cross-validation, the other apart.
    held = torch.tensor(samples.heldout)
    assert bool(held[fitted_rows].all())
    assert int((held & ~torch.tensor(samples.fitted)).sum()) == 10


def test_short_sequences_are_not_drowned_by_the_whole_text():
    # The whole text is no SLALOM of its tokens: what is asked of triples is not harmed.
    class Longer(Exact):
        def log_odds(self, ids, mask=None):
            far = 50.0 if ids.shape[1] > 6 else 0.0
            return super().log_odds(ids, mask) + far

    found = fitted(Longer(), sampling="short", n_samples=300)
    generator = torch.Generator().manual_seed(7)
    rows = torch.randint(1, 25, (200, 3), generator=generator)
    ends = torch.tensor([[CLS], [SEP]]).expand(2, 200)
    rows = torch.cat([ends[0][:, None], rows, ends[1][:, None]], 1)
    truth = Longer().log_odds(rows).detach()
    error = (found.surrogate(rows) - truth).square().mean() / truth.var()
    assert error < 0.2


class Noise(nn.Module):
    """Log-odds that nothing predicts: each sequence has a number of its own."""

    def forward(self, input_ids):
        drawn = [
            torch.randn(1, generator=torch.Generator().manual_seed(hash(tuple(row))))
            for row in input_ids.tolist()
        ]
        return torch.cat(drawn).double()


@pytest.mark.parametrize("sampling", ["mixed", "deletion"])
def test_an_error_is_of_what_was_not_fitted(sampling):
    found = fitted(Noise(), sampling=sampling, n_samples=64)
    assert found.fit["linear_deletion_error"] > 0.6
    if sampling == "mixed":
        assert found.fit["linear_short_error"] > 0.6
