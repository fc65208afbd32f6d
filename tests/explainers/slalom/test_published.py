"""The published fits: what the authors' own code finds on the same samples."""

import json
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import BertConfig, BertForSequenceClassification

from folders import DATA
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import Surrogate
from lrp_hooks.explainers.slalom.gauss_newton import Problem, fit
from lrp_hooks.explainers.slalom.published import (
    DELETION_SCHEDULE,
    SHORT_SCHEDULE,
    fit_als,
    fit_sgd,
)
from lrp_hooks.explainers.slalom.surrogate import predict
from slalom_models import special

FOLDER = DATA / "slalom"
GOLDEN = json.loads((FOLDER / "golden_slalom.json").read_text(encoding="utf-8"))
TOKENIZER = special(101, 102, pad=0)


@cache
def bert():
    config = json.loads(
        (FOLDER / "tiny_random.config.json").read_text(encoding="utf-8")
    )
    config.pop("model_type", None)
    model = BertForSequenceClassification(BertConfig(**config)).eval()
    model.load_state_dict(load_file(FOLDER / "tiny_random.safetensors"))
    return model


def problem(name):
    stored = GOLDEN[name]
    counts = torch.tensor(stored["counts"], dtype=torch.float64)
    outputs = torch.tensor(stored["y"], dtype=torch.float64)
    return Problem.of(counts, outputs, torch.ones_like(outputs))


def error(data, solution):
    return float(((predict(data.counts, *solution) - data.outputs) ** 2).mean())


def by_type(run, name):
    ids = GOLDEN["ids"]
    numbers = [GOLDEN[run][name][ids.index(i)] for i in sorted(set(ids))]
    return torch.tensor(numbers, dtype=torch.float64)


def test_the_surrogate_forward():
    stored = GOLDEN["surrogate_forward"]
    surrogate = Surrogate(
        torch.tensor(stored["vocab"]),
        torch.tensor(stored["v"], dtype=torch.float64),
        torch.tensor(stored["s"], dtype=torch.float64),
    )
    found = surrogate(torch.tensor(stored["seqs"]))
    assert_close(found, torch.tensor(stored["y"]).double(), rtol=0, atol=1e-6)


def test_the_model_says_what_it_said():
    ids = torch.tensor([[101, *GOLDEN["ids"], 102]])
    found = Slalom(bert(), TOKENIZER)(ids, target=1)
    assert_close(found.output.item(), GOLDEN["full_logit_diff"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["eff_default_dataset", "deletion_dataset"])
def test_samples_are_counted_and_answered_alike(name):
    stored = GOLDEN[name]
    ids = torch.tensor(sorted(set(GOLDEN["ids"])))
    counter = Surrogate(ids, torch.zeros(len(ids)), torch.zeros(len(ids)))
    shown = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in stored["input_ids"]], batch_first=True
    )
    assert counter.counts(shown).int().tolist() == stored["counts"]


def test_adam_goes_the_same_way():
    data, run = problem("eff_default_dataset"), "eff_default_n500_lr5e-3_ep60"
    found = fit_sgd(data, *SHORT_SCHEDULE)
    assert_close(found.values, by_type(run, "value"), rtol=0, atol=1e-5)
    assert_close(found.importances, by_type(run, "imp"), rtol=0, atol=1e-5)
    assert_close(error(data, found), GOLDEN[run]["train_mse"], rtol=1e-4, atol=0)
    product = found.values * found.importances.exp()
    assert_close(product, by_type(run, "lin"), rtol=0, atol=1e-4)


def test_adam_reaches_the_published_error_on_deletions():
    data = problem("deletion_dataset")
    found = error(data, fit_sgd(data, *DELETION_SCHEDULE))
    wanted = GOLDEN["deletion_sgd_n500_lr3e-2_ep100"]["train_mse"]
    assert_close(found, wanted, rtol=1e-2, atol=0)


def test_alternating_least_squares_finds_the_same_error():
    data = problem("deletion_dataset")
    found = fit_als(data, GOLDEN["full_logit_diff"])
    wanted = GOLDEN["fidel_patched_n500"]["train_mse"]
    assert_close(error(data, found), wanted, rtol=1e-4, atol=0)
    assert_close(found.importances, by_type("fidel_patched_n500", "imp"))


@pytest.mark.parametrize(
    ("name", "reachable", "published"),
    [("eff_default_dataset", 0.1714, 0.2156), ("deletion_dataset", 0.1012, 0.1038)],
)
def test_gauss_newton_fits_the_same_samples_better(name, reachable, published):
    data = problem(name)
    assert error(data, fit(data, 1e-4, tolerance=1e-9)) < reachable < published


@given(st.integers(2, 8), st.integers(0, 2**31))
def test_alternating_never_ends_worse_than_it_starts(width, seed):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 3, (6 * width, width), generator=generator).double()
    counts[:, 0] += 1
    outputs = torch.randn(len(counts), generator=generator, dtype=torch.float64)
    data = Problem.of(counts, outputs, torch.ones_like(outputs))
    share = counts / counts.sum(1, keepdim=True)
    first = torch.linalg.lstsq(share, outputs[:, None]).solution[:, 0]
    wanted = ((share @ first - outputs) ** 2).mean()
    assert error(data, fit_als(data, 0.3)) <= wanted + 1e-9


def test_alternating_finds_importances_where_they_help():
    counts = torch.tensor([[1, 0], [0, 1], [1, 1], [2, 1], [1, 2]]).double()
    weights = counts * torch.tensor([3.0, 1.0]).double()
    outputs = weights @ torch.tensor([1.0, -1.0]).double() / weights.sum(1)
    found = fit_als(Problem.of(counts, outputs, torch.ones(5).double()), 0.0)
    assert found.importances[0] > found.importances[1] + 0.3
