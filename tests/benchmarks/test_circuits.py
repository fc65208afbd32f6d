"""The benchmark of circuits: its prompts, its arithmetic, its tables."""

import json

import numpy as np
import pytest
import torch

from benchmarks.circuits import report, run
from benchmarks.circuits.case import Case, strongest
from benchmarks.circuits.data import TASKS, Item, written
from benchmarks.circuits.methods import METHODS
from generation_models import language_model, word_tokenizer


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", range(5))
def test_prompts_of_a_pair_differ_in_one_word(task, number):
    item = written(task, number, seed=0)
    assert item == written(task, number, seed=0) != written(task, number, seed=1)
    words, others = item.prompt.split(), item.other.split()
    assert len(words) == len(others)
    assert sum(a != b for a, b in zip(words, others, strict=True)) == 1
    assert not set(item.right) & set(item.wrong)


def test_the_verb_agrees_with_the_subject():
    for number in range(20):
        item = written("agreement, across a phrase", number, seed=0)
        plural = item.prompt.split()[1].endswith("s")
        assert list(item.right) == ([" are"] if plural else [" is"])


def test_the_right_digits_are_greater():
    item = written("greater than", 0, seed=0)
    year = item.prompt.split("year ")[1].split()[0]
    assert [int(digit) > int(year[2]) for digit in item.right] == [True] * len(
        item.right
    )
    assert len(item.right) + len(item.wrong) == 9


def test_the_strongest_are_the_largest_of_all_layers():
    scores = [torch.tensor([[1.0, -9.0], [4.0, 0.0]]), torch.tensor([[3.0, 2.0]])]
    found = strongest(scores, 2)
    assert [part.tolist() for part in found] == [
        [[False, False], [True, False]],
        [[True, False]],
    ]


@pytest.fixture
def case():
    model, tokenizer = language_model(max_position_embeddings=64), word_tokenizer()
    item = Item("a b Paris", "a c Paris", [" one"], [" c"])
    return Case(model.requires_grad_(False), tokenizer, item)


def test_all_kept_is_the_model_and_all_removed_is_the_other_ones_neurons(case):
    sites = case.sites()
    others = case.others(sites)
    every = [torch.ones_like(other, dtype=torch.bool) for other in others]
    none = case.left(sites, others, every, remove=True)
    assert case.left(sites, others, every, remove=False) == pytest.approx(case.whole)
    assert none != pytest.approx(case.whole)
    nothing = [~part for part in every]
    assert case.left(sites, others, nothing, remove=False) == pytest.approx(none)


def test_every_method_scores_every_neuron(case):
    sites = case.sites()
    others = case.others(sites)
    for method in METHODS.values():
        scores = method(case, sites, others)
        assert [s.shape for s in scores] == [other.shape for other in others]
    # Integrated gradients add up to what ablating everything does.
    every = [torch.ones_like(other, dtype=torch.bool) for other in others]
    effect = case.whole - case.left(sites, others, every, remove=True)
    total = sum(float(s.sum()) for s in case.integrated(sites, others, 64))
    assert total == pytest.approx(effect, rel=1e-2)


def test_what_is_saved_is_a_share_of_the_effect(case):
    sites = case.sites()
    others = case.others(sites)
    every = [torch.ones_like(other, dtype=torch.bool) for other in others]
    none = case.left(sites, others, every, remove=True)
    count = sum(other.numel() for other in others)
    found = run.compared(case, none, sites, others, [count])
    for record in found.values():
        assert record["faithfulness"] == [pytest.approx(1, abs=1e-4)]
        assert record["completeness"] == [pytest.approx(0, abs=1e-4)]


def test_enough_is_the_least_count_at_which_half_have_it():
    kept = np.array([[0.1, 0.95, 1.2], [0.2, 0.91, 1.0], [0.0, 0.0, 0.2]])
    assert report._enough(kept, [1, 2, 3]) == "2"
    assert report._enough(kept * 0.5, [1, 2, 3]) == "> 3"


def test_the_page_shows_the_committed_results():
    records = [json.loads(line) for line in report.RESULTS.read_text().splitlines()]
    counts = json.loads(report.CONFIG.read_text())["counts"]
    page = report.README.read_text(encoding="utf-8")
    assert report.tables(records, counts) in page
    assert report.cost_table(json.loads(report.COSTS.read_text())) in page
