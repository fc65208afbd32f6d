"""How kinds of samples are weighed, fitted anew and judged: by what that means."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks.explainers.slalom import LinearSurrogate
from lrp_hooks.explainers.slalom.document import Text
from lrp_hooks.explainers.slalom.gauss_newton import LOOSE, Problem, Solution, fit
from lrp_hooks.explainers.slalom.learning import _few, _refit, _weights
from lrp_hooks.explainers.slalom.linear import RIDGES, LinearFit, fit_linear
from lrp_hooks.explainers.slalom.sampling import sample
from lrp_hooks.explainers.slalom.validation import Heldout
from lrp_hooks.explainers.slalom.verdict import verdict

SEEDS = st.integers(0, 2**31)


def drawn(seed, sampling="mixed", n=80, published=False, size=9):
    generator = torch.Generator().manual_seed(seed)
    text = Text(list(range(size)), [False] * size, [list(range(size))])
    samples = sample(text, sampling, n, generator, published)
    outputs = torch.randn(len(samples.sequences), generator=generator).double()
    return samples, outputs


@settings(max_examples=20)
@given(SEEDS, st.floats(0.1, 10), st.floats(0.1, 10))
def test_each_kind_has_its_share_of_a_constants_loss(seed, spread, shift):
    samples, outputs = drawn(seed)
    short, single = samples.of("short"), samples.of("single")
    assume(bool(single.any()))
    outputs[short] = outputs[short] * spread + shift
    weights = _weights(samples, outputs)
    lost = {}
    for name, rows in (
        ("short", short),
        ("deleted", samples.of("whole", "deletion")),
        ("single", single),
    ):
        own = outputs[rows]
        lost[name] = float(weights[rows] @ (own - own.mean()) ** 2)
    # Deletions are what most questions are about: twice as much as short sequences
    # are, and tokens alone less than a third.
    assert lost["deleted"] == pytest.approx(2 * lost["short"])
    assert lost["single"] == pytest.approx(0.3 * lost["short"])


def problem(seed, samples, width=6):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 3, (samples, width), generator=generator).double()
    counts[:, 0] += 1
    outputs = torch.randn(samples, generator=generator).double()
    return Problem.of(counts, outputs, torch.ones(samples).double())


@settings(max_examples=20)
@given(SEEDS)
def test_of_few_samples_no_start_tells_what_was_left_out(seed):
    for samples, few in ((11, True), (12, False), (40, False)):
        whole = problem(seed, samples)
        assert _few(whole) == few
    few = problem(seed, 11)
    fewer = few.rows(torch.arange(11) != 3)
    zeros = torch.zeros(6).double()
    one, other = (Solution(zeros, zeros + torch.arange(6) * far) for far in (0.0, 2.0))
    found = [_refit(few, 1e-3)(fewer, start) for start in (one, other)]
    assert torch.equal(found[0].importances, found[1].importances)
    assert torch.equal(found[0].values, found[1].values)


def test_of_many_samples_a_fit_goes_on_from_the_fit_to_all():
    many = problem(0, 60)
    fewer = many.rows(torch.arange(60) != 3)
    # At its own minimum a fit that starts there stays; from equal importances it ends
    # as soon as a step brings little.
    minimum = fit(fewer, 1e-3, None, 1e-12)
    warm = _refit(many, 1e-3)(fewer, minimum)
    assert_close(warm.importances, minimum.importances, rtol=0, atol=1e-4)
    cold = fit(fewer, 1e-3, None, LOOSE)
    assert (cold.importances - minimum.importances).abs().max() > 1e-3


def left_out(counts, outputs, ridge):
    """Errors of ridge regressions without each sample, refitted."""
    found = []
    for row in range(len(outputs)):
        kept = torch.arange(len(outputs)) != row
        mean = outputs[kept].mean()
        design = torch.cat([counts[kept], torch.ones(len(outputs) - 1, 1)], 1)
        gram = design.T @ design
        gram.diagonal()[:-1] += ridge * len(outputs)
        line = torch.linalg.solve(gram, design.T @ (outputs[kept] - mean))
        told = counts[row] @ line[:-1] + line[-1] + mean
        found.append(float(outputs[row] - told))
    return torch.tensor(found).double()


@settings(max_examples=5)
@given(SEEDS, st.sampled_from(["mixed", "deletion", "short"]))
def test_a_lines_error_is_of_fits_without_what_it_is_judged_on(seed, sampling):
    samples, outputs = drawn(seed, sampling, n=40)
    counts = samples.text.counts(samples.sequences)
    fitted = torch.tensor(samples.fitted)
    short, held = samples.of("short"), torch.tensor(samples.heldout)
    judged = Heldout(outputs[held], outputs[held], short[held], 0.0)
    found = fit_linear(samples, counts, outputs, judged)
    assert found
    for name, line in found.items():
        rows = fitted & (short if name == "short" else samples.of("whole", "deletion"))
        every = [left_out(counts[rows][:, :-1], outputs[rows], r) for r in RIDGES]
        best = min(every, key=lambda errors: float(errors @ errors))
        asked = held[rows] & (samples.of(name)[rows])
        assert line.error == pytest.approx(float((best[asked] ** 2).mean()), rel=1e-4)


@settings(max_examples=10)
@given(SEEDS)
def test_a_lines_error_is_plain_where_it_was_not_fitted_to_what_is_judged(seed):
    samples, outputs = drawn(seed, "short", n=100, published=True)
    counts = samples.text.counts(samples.sequences)
    held = torch.tensor(samples.heldout)
    judged = Heldout(outputs[held], outputs[held], samples.of("short")[held], 0.0)
    line = fit_linear(samples, counts, outputs, judged)["short"]
    asked = held & samples.of("short")
    assert not bool((asked & torch.tensor(samples.fitted)).any())
    told = counts[asked][:, :-1] @ line.surrogate.weights + line.surrogate.intercept
    assert line.error == pytest.approx(float(((outputs[asked] - told) ** 2).mean()))


@pytest.mark.parametrize("error", [0.5, 1.5, 5.0, 30.0])
@pytest.mark.parametrize("slalom", [1.0, 10.0])
def test_a_line_is_named_where_it_is_better_than_slalom_and_a_constant(error, slalom):
    outputs = torch.tensor([1.0, -1.0, 1.0, -1.0]).double()
    # Each is told by the mean of the other three, which is a third off the middle.
    constant = (4 / 3) ** 2
    predictions = outputs + slalom**0.5
    heldout = Heldout(outputs, predictions, torch.zeros(4, dtype=torch.bool), 0.0)
    assert heldout.fidelity.constant_error == pytest.approx(constant)
    nothing = LinearSurrogate(torch.tensor([0]), torch.zeros(1), torch.zeros(()))
    lines = {"deletion": LinearFit(nothing, error)}
    found = verdict(heldout, lines, several=True, informative=True)
    better = error < constant and error < slalom
    assert ("Linear regression predicts deletions" in found) == better
