"""The benchmark of relevance patching: its arithmetic, its pairs, its table."""

import json

import pytest
import torch

from benchmarks.relp import report, run
from generation_models import language_model, word_tokenizer
from lrp_hooks import Contrast

CONFIG = json.loads((run.HERE / "config.json").read_text(encoding="utf-8"))
RESULTS = json.loads(run.RESULTS.read_text(encoding="utf-8"))
PAIR = ["the capital of France is", "the capital of London is", "Paris", "London"]


def test_correlation_by_hand():
    a, b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 1.0, 3.0])
    assert run.pearson(a, b) == pytest.approx(0.5)
    assert run.pearson(a, -2 * a + 7) == pytest.approx(-1)


def test_points_of_all_pairs_are_pooled():
    pairs = [
        {"measured": torch.tensor([[0.0, 1.0]]), **dict.fromkeys(run.ESTIMATES, good)}
        for good in (torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    ]
    found = run.correlations(pairs)
    assert (found["pairs"], found["points"]) == (2, 4)
    assert found["pearson"]["RelP"] == pytest.approx(0)
    assert run.correlations(pairs[1:])["pearson"]["RelP"] == pytest.approx(-1)


def test_a_pair_starts_where_its_prompts_differ():
    tokenizer = word_tokenizer()
    original, patch, target, positions = run.read_pair(tokenizer, PAIR)
    assert (original["input_ids"] != patch["input_ids"]).sum() == 1
    assert positions == [3, 4]
    paris, london = tokenizer.convert_tokens_to_ids(["Paris", "London"])
    assert target == Contrast(paris, london)


@pytest.mark.parametrize(
    "pair", [["the capital", "Paris", "a", "b"], ["the", "of", "Paris London", "b"]]
)
def test_pairs_that_do_not_match(pair):
    with pytest.raises(ValueError, match="one length and words of one token"):
        run.read_pair(word_tokenizer(), pair)


def test_effects_of_a_pair_have_one_row_a_layer():
    model = language_model("Llama", torch.float32)
    pair = run.read_pair(word_tokenizer(), PAIR)
    seconds = dict.fromkeys(["activation patching", *run.ESTIMATES], 0.0)
    layers = ["model.layers.0", "model.layers.1"]
    effects = run.measure_pair(model, pair, layers, seconds)
    assert set(effects) == {"measured", *run.ESTIMATES}
    assert {tuple(values.shape) for values in effects.values()} == {(2, 2)}
    # From the last stream on there is nothing but a norm and a linear layer.
    assert torch.equal(effects["RelP"][1], effects["conservative"][1])
    assert not torch.equal(effects["RelP"][1], effects["attribution patching"][1])
    assert all(spent > 0 for spent in seconds.values())


def test_the_results_are_those_of_the_configuration():
    assert RESULTS["config"] == CONFIG
    assert RESULTS["models"].keys() == CONFIG["models"].keys()
    for name, entry in RESULTS["models"].items():
        for tasks in entry["components"].values():
            for task, pairs in CONFIG["models"][name]["tasks"].items():
                assert tasks[task]["pairs"] == len(pairs)
                assert list(tasks[task]["pearson"]) == list(run.ESTIMATES)


def test_the_table_has_every_number_and_marks_the_best():
    text = report.table(RESULTS)
    for entry in RESULTS["models"].values():
        for component, tasks in entry["components"].items():
            for task, found in tasks.items():
                (line,) = [
                    line
                    for line in text.splitlines()
                    if line.startswith(f"| {component} | {task} |")
                ]
                cells = [cell.strip() for cell in line.split("|")[5:-1]]
                values = list(found["pearson"].values())
                assert [float(c.strip("*")) for c in cells] == [
                    pytest.approx(v, abs=5e-4) for v in values
                ]
                assert [c.startswith("**") for c in cells] == [
                    v == max(values) for v in values
                ]
