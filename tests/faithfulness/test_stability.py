"""Sensitivity and conservation of explanations whose answers are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lrp_hooks import ArgumentError, TargetError
from lrp_hooks.explainers import GradientXInput, Saliency
from lrp_hooks.faithfulness import conservation_error, sensitivity
from lrp_hooks.results.explanation import Explanation
from strategies import build, noise, seeds, tokens


def explained(scores, output):
    return Explanation(
        scores=torch.as_tensor(scores).double(), output=torch.as_tensor(output).double()
    )


@pytest.mark.parametrize(
    ("scores", "output", "error"),
    [
        ([1.0, 2.0], 3.0, 0.0),
        ([1.0, -2.0], -1.0, 0.0),
        ([1.0, 2.0], 4.0, 1 / 4),  # the output is larger than what is given out
        ([1.0, 2.0], 1.0, 2 / 3),  # more is given out than there is
        ([5.0, -4.0], 2.0, 1 / 9),  # scores that cancel count in full
        ([0.0, 0.0], -2.0, 1.0),
        ([0.0, 0.0], 0.0, 0.0),
        ([1.0, 1.0], -2.0, 2.0),
    ],
)
def test_conservation_by_hand(scores, output, error):
    found = conservation_error(explained([scores, scores], [output, output]))
    assert found.tolist() == pytest.approx([error] * 2)
    image = explained([[scores, [0.0, 0.0]]], [output])
    assert conservation_error(image).tolist() == pytest.approx([error])


@given(seeds, st.floats(0.1, 10))
def test_conservation_has_no_unit_and_is_at_most_two(seed, unit):
    scores, output = noise(4, 6, seed=seed), noise(4, seed=seed + 1)
    found = conservation_error(explained(scores, output))
    assert_close(conservation_error(explained(unit * scores, unit * output)), found)
    assert ((found >= 0) & (found <= 2)).all()


def test_conservation_of_several_tensors_is_refused():
    both = Explanation(
        scores={"a": torch.zeros(1, 2), "b": torch.zeros(1, 2)}, output=torch.zeros(1)
    )
    with pytest.raises(ArgumentError, match="'a', 'b'.*wrt="):
        conservation_error(both)


class Table(nn.Module):
    """Embeddings of given numbers."""

    def __init__(self, rows=None):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(
            noise(11, 4) if rows is None else rows
        )

    def get_input_embeddings(self):
        return self.table


def first_dimension(inputs, target):
    """Scores that are the embeddings' first numbers."""
    assert len(target) == len(inputs["inputs_embeds"])
    scores = inputs["inputs_embeds"][..., 0]
    return Explanation(scores=scores, output=scores.sum(1))


def constant(inputs, target):
    scores = torch.ones(inputs["inputs_embeds"].shape[:2])
    return Explanation(scores=scores, output=scores.sum(1))


def test_scores_that_never_move_have_no_sensitivity():
    batch = {"input_ids": tokens(3, 5)}
    assert sensitivity(constant, batch, 0, model=Table()).tolist() == [0, 0, 0]


def test_sensitivity_to_uniform_noise_in_its_closed_form():
    """Of one token with score s it is the largest |d| <= radius, over s."""
    batch = {"input_ids": torch.tensor([[2], [5]])}
    rows = noise(11, 4)
    scores = rows[[2, 5], 0].abs()
    for radius in (0.02, 0.5):
        options = {"model": Table(rows), "radius": radius}
        found = sensitivity(first_dimension, batch, 0, n_samples=400, **options)
        top = found * scores / radius
        assert (top <= 1 + 1e-12).all()
        assert (top > 0.98).all()
        # The largest of n uniform numbers is n / (n + 1) in the mean.
        few = [
            sensitivity(first_dimension, batch, 0, n_samples=3, seed=i, **options)[0]
            for i in range(300)
        ]
        mean = float(torch.stack(few).mean() * scores[0] / radius)
        assert mean == pytest.approx(3 / 4, abs=0.04)


def test_noise_has_both_signs_and_its_own_number_for_each_dimension():
    seen = []

    def watch(inputs, target):
        seen.append(inputs["inputs_embeds"].clone())
        return constant(inputs, target)

    sensitivity(watch, {"input_ids": tokens(2, 5)}, 0, model=Table(), n_samples=50)
    plain, noisy = seen
    moved = (noisy.reshape(2, 50, 5, 4) - plain[:, None]) / 0.02
    assert moved.abs().max() <= 1 + 1e-9
    assert moved.min() < -0.98
    assert moved.max() > 0.98
    assert abs(float(moved.mean())) < 0.1
    assert len(moved[0].flatten().unique()) == 50 * 5 * 4


def test_the_rest_of_the_batch_is_handed_on_without_special_tokens():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    batch = {
        "input_ids": tokens(2, 3),
        "attention_mask": mask,
        "special_tokens_mask": mask,
    }
    seen = []

    def watch(inputs, target):
        assert set(inputs) == {"inputs_embeds", "attention_mask"}
        seen.append((inputs["attention_mask"], target))
        return constant(inputs, target)

    sensitivity(watch, batch, [2, 1], model=Table(), n_samples=2)
    assert torch.equal(seen[1][0], mask.repeat_interleave(2, 0))
    assert seen[1][1].tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_but_the_seed_and_the_example_counts(seed):
    model = build(seed=seed).train()
    batch, explainer = {"input_ids": tokens(3, 4, seed)}, Saliency(model)
    before = torch.get_rng_state()
    first = sensitivity(explainer, batch, [0, 1, 2], n_samples=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.default_generator.manual_seed(seed)
    assert torch.equal(sensitivity(explainer, batch, [0, 1, 2], n_samples=3), first)
    other = sensitivity(explainer, batch, [0, 1, 2], n_samples=3, seed=1)
    assert not torch.equal(other, first)
    for row in range(3):
        one = {"input_ids": batch["input_ids"][row : row + 1]}
        alone = sensitivity(explainer, one, row, n_samples=3)
        assert_close(alone[0], first[row], rtol=1e-7, atol=1e-9)
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_more_samples_and_a_wider_radius_find_no_less():
    batch, explainer = {"input_ids": tokens(2, 4)}, GradientXInput(build())
    still = sensitivity(explainer, batch, 0, radius=0.0, n_samples=2)
    assert still.abs().max() < 1e-12
    small = sensitivity(explainer, batch, 0, n_samples=2, radius=1e-3)
    assert (sensitivity(explainer, batch, 0, n_samples=2, radius=0.1) > small).all()


def test_a_model_that_is_passed_comes_before_the_explainers_own():
    first_dimension.model = Table(torch.zeros(11, 4).double())
    try:
        batch, seen = {"input_ids": tokens(1, 2)}, Table()
        found = sensitivity(first_dimension, batch, 0, model=seen)
        own = sensitivity(first_dimension, batch, 0)
    finally:
        del first_dimension.model
    assert_close(found, sensitivity(first_dimension, batch, 0, model=seen))
    assert not torch.equal(found, own)


def test_bad_arguments_are_refused():
    batch = {"input_ids": tokens(3, 4)}
    for bad in ({}, {"inputs_embeds": noise(3, 4, 8)}, batch["input_ids"]):
        with pytest.raises(ArgumentError, match="batch holds no input_ids"):
            sensitivity(constant, bad, 0, model=Table())
    for model in (None, nn.Linear(2, 2)):
        with pytest.raises(ArgumentError, match="without get_input_embeddings"):
            sensitivity(constant, batch, 0, model=model)
    for target in ([0, 1], "positive", None):
        with pytest.raises(TargetError, match=r"target=.*\[3\]"):
            sensitivity(constant, batch, target, model=Table())
    for number in (0, 1.5, True):
        with pytest.raises(ArgumentError, match=f"n_samples={number}"):
            sensitivity(constant, batch, 0, model=Table(), n_samples=number)
