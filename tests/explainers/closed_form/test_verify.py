"""The verification of closed forms, and the command that prints it."""

from __future__ import annotations

import json

import pytest
import torch

from closed_forms import ALL, IDS, document, drawn
from command_line import assert_refused
from lrp_hooks import ArgumentError
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier, verify

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
