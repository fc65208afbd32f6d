"""The benchmark of answers: its prompts, its arithmetic, its tables."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.answers import report, run
from benchmarks.answers.case import Case
from benchmarks.answers.data import TASKS, written
from benchmarks.answers.methods import METHODS
from generation_models import language_model, word_tokenizer


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", range(5))
def test_right_sources_say_the_word(task, number):
    item = written(task, number, seed=0)
    assert item == written(task, number, seed=0) != written(task, number, seed=1)
    assert any(f" {item.word}." in item.sources[n] for n in item.gold)
    assert item.prompt.startswith("\n".join(item.sources))
    assert item.answer.endswith(f" {item.word}")
    assert len(set(item.sources)) == len(item.sources)


def test_two_hops_lead_from_the_person_to_the_word():
    item = written("two-hops", 3, seed=0)
    first, second = (item.sources[n] for n in item.gold)
    assert first.split()[-1].strip(".") == second.split()[0]
    assert f"{first.split()[0]} lives in" in item.question


def case(drop=0.0):
    item = SimpleNamespace(gold=[2, 0])
    return SimpleNamespace(item=item, without=lambda sources: drop + len(sources))


def test_quality_by_hand():
    scores = torch.tensor([1.0, -1.0, 3.0, 2.0])
    kept = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]], dtype=bool)
    truth = torch.tensor([-5.0, -1.0, -2.0])  # sums of kept scores are 0, 5, 4
    found = run.quality(case(0.5), scores, kept, truth, torch.tensor([3.0, 2, 4, 1]))
    assert found["first"] == 1.0
    assert found["all"] == 0.5
    assert found["datamodel"] == pytest.approx(1)
    assert found["leaving_out"] == pytest.approx(0.4)
    assert found["drop"] == 1.5


def test_methods_score_every_source_of_a_prompt():
    model, tokenizer = language_model(max_position_embeddings=128), word_tokenizer()
    item = SimpleNamespace(
        sources=["a b .", "Paris one"], word="c", prompt="a b . Paris one", answer=" c"
    )
    made = Case(model, tokenizer, item)
    for name in ("attnlrp, log-probability", "attention", "leave one out"):
        scores, passes = METHODS[name](made)
        assert scores.shape == (2,)
        assert passes >= 1
    kept, truth = made.halves(3, seed=0)
    assert kept.sum(1).tolist() == [1, 1, 1]
    assert truth.shape == (3,)


def test_the_page_shows_the_committed_results():
    lines = report.RESULTS.read_text(encoding="utf-8").splitlines()
    tables = report.tables([json.loads(line) for line in lines])
    assert tables in report.README.read_text(encoding="utf-8")


def test_the_page_shows_what_answers_cost():
    costs = json.loads(report.COSTS.read_text(encoding="utf-8"))
    assert report.cost_table(costs) in report.README.read_text(encoding="utf-8")
