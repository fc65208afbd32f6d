"""The benchmark of answers: its prompts, its arithmetic, its tables."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.answers import report, run
from benchmarks.answers.case import Case
from benchmarks.answers.data import TASKS, written
from benchmarks.answers.methods import (
    COMPARED,
    METHODS,
    SLOW,
    available,
    integrated_gradients,
)
from benchmarks.by_prompt import interval
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


@pytest.mark.parametrize("task", ["facts-14", "facts-60", "contradiction"])
@pytest.mark.parametrize("number", range(20))
def test_no_other_fact_says_the_word(task, number):
    item = written(task, number, seed=0)
    saying = [n for n, s in enumerate(item.sources) if s.endswith(f" {item.word}.")]
    assert saying == item.gold


def test_two_hops_lead_from_the_person_to_the_word():
    item = written("two-hops", 3, seed=0)
    first, second = (item.sources[n] for n in item.gold)
    assert first.split()[-1].strip(".") == second.split()[0]
    assert f"{first.split()[0]} lives in" in item.question


def case(drop=0.0):
    item = SimpleNamespace(gold=[2, 0])
    return SimpleNamespace(item=item, without=lambda source: drop + source)


def test_quality_by_hand():
    scores = torch.tensor([1.0, -1.0, 3.0, 2.0])
    kept = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]], dtype=bool)
    truth = torch.tensor([-5.0, -1.0, -2.0])  # sums of kept scores are 0, 5, 4
    found = run.quality(case(0.5), scores, kept, truth, torch.tensor([3.0, 2, 4, 1]))
    assert found["first"] == 1.0
    assert found["all"] == 0.5
    assert found["datamodel"] == pytest.approx(1)
    assert found["leaving_out"] == pytest.approx(0.4)
    assert found["drop"] == 2.5
    unknown = run.quality(case(), scores, kept, truth, None)
    assert math.isnan(unknown["leaving_out"])
    assert unknown["datamodel"] == found["datamodel"]


def test_methods_score_every_source_of_a_prompt():
    model, tokenizer = language_model(max_position_embeddings=128), word_tokenizer()
    item = SimpleNamespace(
        sources=["a b .", "Paris one"], word="c", prompt="a b . Paris one", answer=" c"
    )
    made = Case(model, tokenizer, item)
    for name in (
        "attnlrp, log-probability",
        report.CACHE,
        "attention",
        "leave one out",
    ):
        scores, passes = METHODS[name](made)
        assert scores.shape == (2,)
        assert passes >= 1
    kept, truth = made.halves(3, seed=0)
    assert kept.sum(1).tolist() == [1, 1, 1]
    assert truth.shape == (3,)


def test_integrated_gradients_sum_to_the_difference():
    model, tokenizer = language_model(max_position_embeddings=128), word_tokenizer()
    tokenizer.eos_token = "a"
    item = SimpleNamespace(sources=["Paris"], word="c", prompt="Paris b", answer=" c")
    made = Case(model, tokenizer, item)
    made.by_source = lambda tokens: tokens
    scores, passes = integrated_gradients(made, steps=50)
    assert passes == 150

    def log_probability(ids):
        return model(ids).logits[0, -1].log_softmax(0)[made.ids[0, -1]].item()

    read = made.ids[:, :-1]
    base = torch.full_like(read, tokenizer.eos_token_id)
    gap = log_probability(read) - log_probability(base)
    assert abs(gap) > 1e-3
    assert scores.sum().item() == pytest.approx(gap, rel=1e-3)


def test_slow_methods_are_for_the_first_prompts():
    often = {"model": "small", "all": dict.fromkeys(TASKS, 9), "never": {}}
    config = often | {"slow": {"facts-14": 2}}
    first, later = (run.chosen("small", "facts-14", n, config) for n in (1, 2))
    assert set(first) - set(later) == set(SLOW)
    assert not any("hop" in name for name in first)
    assert "share .25, 2 hops" in run.chosen("small", "chain", 0, config)
    assert "ablation, 32 calls" in later


def test_many_prompts_are_for_what_they_tell_apart():
    never = {"chain": ["leave one out"]}
    config = {"model": "small", "slow": {}, "all": {"chain": 3}, "never": never}
    first, later = (run.chosen("small", "chain", n, config) for n in (2, 3))
    assert "attention" in first
    assert set(later) == {n for n in COMPARED if n in available()} - {"leave one out"}
    assert run.chosen("other", "chain", 0, config) == later


def test_what_is_lost_without_a_source_is_measured_once():
    model, tokenizer = language_model(max_position_embeddings=128), word_tokenizer()
    item = SimpleNamespace(
        sources=["a b .", "Paris one"], word="c", prompt="a b . Paris one", answer=" c"
    )
    made = Case(model, tokenizer, item)
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    lost = made.without(1)
    asked = len(calls)
    assert (
        made.without(1) == lost == pytest.approx(METHODS["leave one out"](made)[0][1])
    )
    assert asked == len(calls) - 3  # leaving out asks for the whole and for each source


def test_differences_are_taken_prompt_by_prompt():
    names = [report.DEFAULT, *report.AGAINST[report.DEFAULT]]
    records = [
        {
            "methods": {
                n: {"datamodel": x + k}
                for n, k in zip(names, (0.5, 0, 0, 0), strict=True)
            }
        }
        for x in (0.1, 0.3)
    ]
    assert "0.50 [0.50, 0.50] over leave one out (n 2)" in report._paired(records)


def test_the_page_shows_the_committed_results():
    lines = report.RESULTS.read_text(encoding="utf-8").splitlines()
    tables = report.tables([json.loads(line) for line in lines])
    assert tables in report.README.read_text(encoding="utf-8")


def test_the_page_shows_what_answers_cost():
    costs = json.loads(report.COSTS.read_text(encoding="utf-8"))
    assert report.cost_table(costs) in report.README.read_text(encoding="utf-8")


def test_one_prompt_has_no_interval():
    assert interval([0.5]) == "0.50"
    assert interval([0.25, 0.75]).startswith("0.50 [0.25, 0.")
