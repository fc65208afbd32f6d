"""The verification of closed forms, and the command that prints it."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn.functional import pad

from closed_forms import ALL, IDS, document, drawn
from command_line import assert_refused
from lrp_hooks import ArgumentError
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import (
    AttentionClassifier,
    lime,
    quantitative,
    subsets,
    verify,
)

# --- The verification ---


def test_the_table():
    state = torch.get_rng_state()
    table = closed_form.verify_closed_forms()
    assert torch.equal(torch.get_rng_state(), state)
    assert table.holds
    assert len(table) == len(list(table)) == len(table.rows)
    exact = [row for row in table if row.allowed == 1e-6]
    assert max(row.error for row in exact) < 1e-12
    calls = {row.closed_form.split("(")[0] for row in table}
    assert calls == set(ALL)
    lines = str(table).splitlines()
    assert lines[0].split() == [
        "closed",
        "form",
        "compared",
        "with",
        "error",
        "allowed",
    ]
    assert len(lines) == len(table) + 1
    again, other = (closed_form.verify_closed_forms(seed=seed) for seed in (0, 1))
    sampled = [next(r for r in t if "samples" in r.reference) for t in (table, again)]
    assert sampled[0].error == pytest.approx(sampled[1].error)
    assert other.rows[-1].error != pytest.approx(table.rows[-1].error)


@pytest.mark.parametrize("words", [1, 2, 9])
def test_a_model_of_ones_own(words):
    model = drawn(dtype=torch.float32).requires_grad_(False)
    with torch.inference_mode():
        table = closed_form.verify_closed_forms(model, document(0, words, 12))
    assert table.holds, table
    assert not model.embedding.weight.requires_grad
    assert not model.embedding._forward_hooks
    subsets = {row.reference for row in table if "subsets" in row.reference}
    assert subsets == {f"LIME, all {2**words} subsets"}


def test_a_wrong_closed_form_shows(monkeypatch):
    gradient = verify.gradient

    def incomplete(model, ids, kind):
        return gradient(model, ids, kind).index_fill(0, torch.tensor([0]), 0.0)

    monkeypatch.setattr(verify, "gradient", incomplete)
    table = closed_form.verify_closed_forms()
    assert not table.holds
    wrong = [row.closed_form for row in table if not row.holds]
    assert wrong == [f"gradient(kind={k!r})" for k in ("mean", "l1", "l2", "input")]
    assert sum(line.endswith("FAILS") for line in str(table).splitlines()) == 4


WORDS = list("abcdefghijkl")


def spread_out(seed):
    """A classifier whose words differ much, as those of the command's example."""
    with torch.random.fork_rng():
        model = AttentionClassifier(14, 2, 16, 8, 16).double()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        scale = 1.0 if "embedding" in name else 0.35
        weight.data.normal_(std=scale, generator=generator)
    return model


def read(words):
    return closed_form.document(" ".join(WORDS[:words]), WORDS, 16)


def sampled_row(model, ids, **options):
    table = closed_form.verify_closed_forms(model, ids, **options)
    return next(row for row in table if "samples" in row.reference)


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 6, 12])
def test_right_forms_hold_for_documents_of_any_number_of_words(words):
    for seed in range(8):
        table = closed_form.verify_closed_forms(spread_out(seed), read(words))
        assert table.holds, (seed, table)


@pytest.mark.parametrize("samples", [13, 14, 20, 40, 300])
@pytest.mark.parametrize("words", [2, 4, 12])
def test_right_forms_hold_for_any_number_of_samples(words, samples):
    for seed in range(8):
        options = {"samples": samples, "seed": seed}
        row = sampled_row(spread_out(seed), read(words), **options)
        assert row.holds, (seed, row)


@pytest.mark.parametrize("words", [2, 3, 6, 10])
def test_the_allowance_is_little_more_than_what_repeated_runs_spread(words):
    for seed in range(3):
        model, ids = spread_out(seed), read(words)
        limit = closed_form.lime_limit(model, ids)[1 : words + 1]
        generator = torch.Generator().manual_seed(seed)
        runs = quantitative.lime_runs(model, ids, 1000, 40, generator)
        worst = float((runs - limit).abs().max())
        allowance = subsets.subsets(model, ids).allowance(1000, 25.0)
        assert worst < allowance < 4 * worst


def draws(kind, masks, generator):
    """Masks and kernel width of a LIME that is wrong in one way."""
    if kind == "each word at random":
        masks = torch.rand(masks.shape, generator=generator).round().double()
        masks[0] = 1.0
    return masks, {"no kernel": math.inf, "a narrow kernel": 15.0}.get(kind, 25.0)


@pytest.mark.parametrize("words", [3, 4, 10])
@pytest.mark.parametrize(
    "kind",
    ["each word at random", "no kernel", "a narrow kernel", "another token"],
)
def test_a_wrong_sampling_fails(monkeypatch, words, kind):
    def wrong(model, ids, samples, generator):
        columns, d = lime.word_columns(ids)
        removed = torch.randint(1, d + 1, (samples, 1), generator=generator)
        removed[0] = 0
        ranks = torch.rand(samples, d, generator=generator).argsort(1)
        masks, width = draws(kind, (ranks >= removed).double(), generator)
        kept = pad(masks, (0, 1), value=1.0)[:, columns].bool()
        token = 0 if kind == "another token" else 1
        with torch.no_grad():
            logits = model(ids.where(kept, token))[:, 1]
        weights = lime.kernel(masks.mean(1), width)
        return lime.at_positions(subsets.fitted(masks, weights, logits)[:-1], columns)

    monkeypatch.setattr(verify, "sampled", wrong)
    found = [sampled_row(spread_out(seed), read(words)) for seed in range(6)]
    assert sum(not row.holds for row in found) >= 5, found


def test_a_limit_of_another_kernel_fails_beside_samples(monkeypatch):
    def wrong(model, ids, *, kernel_width=25.0):
        return lime.lime_limit(model, ids, kernel_width=2 * kernel_width)

    monkeypatch.setattr(verify, "lime_limit", wrong)
    assert not sampled_row(None, None).holds


def test_what_cannot_be_verified():
    with pytest.raises(ArgumentError, match="ids is missing"):
        closed_form.verify_closed_forms(drawn())
    with pytest.raises(ArgumentError, match="model is missing"):
        closed_form.verify_closed_forms(ids=IDS)
    with pytest.raises(ArgumentError, match="samples=6 .*words, 6"):
        closed_form.verify_closed_forms(drawn(), IDS, samples=6)
    with torch.random.fork_rng():
        model = AttentionClassifier(20, 1, 4, 2, 16)
    ids = torch.tensor([0, *range(2, 17)])
    with pytest.raises(ArgumentError, match="15 distinct words; at most 12"):
        closed_form.verify_closed_forms(model, ids)


# --- The command ---


def test_the_command(run, tmp_path):
    code, out, err = run("closed-forms", "--json", tmp_path / "e.json")
    assert (code, err) == (0, "")
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["holds"] is True
    rows = []
    for line, row in zip(out.splitlines()[1:], record["rows"], strict=True):
        rows.append((row["closed_form"], row["reference"], row["holds"]))
        assert line.startswith(row["closed_form"])
        assert f"{row['error']:.1e}" in line
    table = closed_form.verify_closed_forms()
    assert rows == [(row.closed_form, row.reference, True) for row in table]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["word"], "word"),
        (["--nosuch"], "--nosuch"),
        (["--json"], "--json"),
        (["--json", "nosuch/e.json"], "nosuch/e.json"),
    ],
)
def test_bad_arguments_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert_refused(run("closed-forms", *arguments), message)
