"""Lopardo et al.'s experiments: words, relations by hand, and the page."""

import json

import pytest
import torch

from benchmarks.faithfulness.orderings import ELSEWHERE
from benchmarks.papers.attention import data, deep, measure, report, train
from benchmarks.papers.record import Record
from closed_forms import IDS, drawn
from lrp_hooks.explainers import closed_form


def test_reviews_become_documents():
    known = data.vocabulary(["Good film!<br />Good end", "bad film"], 3)
    assert known == ["film", "good", "bad"]
    ids = data.encode(["Good, bad and odd", "film"], known, 5)
    assert ids.tolist() == [[0, 3, 4, 1, 1], [0, 2, 1, 1, 1]]


def test_relations_are_over_distinct_words():
    model = drawn()
    found = measure.relations(model, IDS)
    assert found["LIME"]["rank"] == pytest.approx(1)
    assert found["LIME"]["sign"] == pytest.approx(1)
    assert found["attention, mean"]["negative"] == 0
    limit = closed_form.lime_limit(model, IDS)
    words = {int(i): float(s) for i, s in zip(IDS, limit, strict=True) if i > 1}
    total = sum(abs(s) for s in words.values())
    above = sum(s for s in words.values() if s > 0)
    assert found["attention, mean"]["sign"] == pytest.approx(above / total)
    share = sum(s < 0 for s in words.values()) / len(words)
    assert found["LIME"]["negative"] == pytest.approx(share)


def test_a_training_learns_and_keeps_its_best_epoch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 12, (64, 12), generator=generator)
    ids[:, 0] = 0
    labels = (ids == 5).any(1).long()
    plan = {"epochs": 12, "batch": 8, "learning_rate": 0.02, "seed": 0}
    model = drawn(dtype=torch.float32)
    history = train.fit(model, (ids, labels), (ids, labels), plan)
    best = max(row["validation"] for row in history)
    assert best > 0.9
    assert train.accuracy(model, ids, labels) == best


def test_the_stored_classifier_is_the_papers():
    config = json.loads((train.HERE / "config.json").read_text(encoding="utf-8"))
    model, words = train.load()
    assert len(words) == config["vocabulary"]
    assert len(model.heads) == config["model"]["n_heads"] == 6
    assert model.max_length == 256
    ids = closed_form.document("not a good film", words)
    assert closed_form.verify_closed_forms(model, ids).holds


def test_results_are_taken_up_again(tmp_path):
    asked = []

    def make():
        asked.append(1)
        return {"number": 3}

    for _ in range(2):
        record = Record(tmp_path / "new" / "part.json", {"n": 1})
        assert record.once("one", make) == {"number": 3}
    assert len(asked) == 1
    Record(tmp_path / "new" / "part.json", {"n": 2}).once("one", make)
    assert len(asked) == 2


def test_a_claim_is_the_side_of_0_that_its_interval_is_on():
    entries = {
        str(i): {
            name: {"sign": s + i / 1000, "rank": 0.5, "negative": 0.1}
            for name, s in (
                ("Gradient x Input", 0.8),
                ("attention, mean", 0.6),
                ("attention, max", 0.9),
            )
        }
        for i in range(8)
    }
    scores = {"entries": entries}
    claims = [c for c in report.CLAIMS if c[0] == "sign"][:2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "CLAIMS", claims)
        entry = report.row(scores, 0.8, report.CONTEXT)
    lines = report.claims(entry).splitlines()
    assert lines[2].endswith("| +0.200 [0.200, 0.200] | same |")
    assert lines[3].endswith("| reversed |")


def test_the_page_shows_the_committed_results():
    assert report.table() in report.README.read_text(encoding="utf-8")


PLAN = {"width": 12, "max_length": 8, "layers": 2, "heads": 3, "seed": 1}


def test_a_deeper_model_is_explained_beside_lime():
    model = deep.build(9, PLAN).double().eval()
    ids = torch.tensor([0, 3, 5, 3, 7, 1, 1, 1])
    found = deep.relations(model, ids, {"samples": 400, "seed": 0})
    assert found.keys() == {"LIME", *deep.METHODS, *deep.gradients(model, ids)}
    assert found["LIME"]["sign"] == pytest.approx(1)
    assert found["attention, mean"]["negative"] == 0
    # The logit's slope along a word's embedding, by a difference.
    slopes = deep.gradients(model, ids)
    step = torch.zeros_like(model.embeddings.word_embeddings.weight)
    step[5] = 1e-6  # stands once
    before = float(model(ids[None])[0, 1])
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += step
    after = float(model(ids[None])[0, 1])
    assert (after - before) / 1e-6 / 12 == pytest.approx(
        float(slopes["gradient, mean"][2]), rel=1e-3, abs=1e-6
    )
    assert float(slopes["gradient, L1"][2]) >= float(slopes["gradient, L2"][2])


def test_claims_are_of_what_was_measured():
    entry = {"LIME": {"sign": 1.0, "rank": 1.0, "negative": 0.5}}
    entry |= {n: {"sign": 0.5, "rank": 0.1, "negative": 0.0} for n in deep.METHODS}
    made = report.row({"entries": {"1": entry}}, 0.7, report.DEEPER)
    lines = report.claims(made, ELSEWHERE).splitlines()
    said = [line.split(" | ")[2:4] for line in lines[2:]]
    assert ["Gradient x Input", "attention, max"] in said
    assert not any("Equation 19" in pair for pair in said)
    assert all("6 layers, 6 heads" in line for line in lines[2:])
