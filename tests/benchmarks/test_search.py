"""The search for rule sets: its rules, what it scores, verdicts, and its tables."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from benchmarks.faithfulness.plausibility import texts as hat
from benchmarks.faithfulness.search import (
    columns,
    decoders,
    encoders,
    judge,
    price,
    report,
    run,
)
from benchmarks.faithfulness.search.candidates import (
    by_depth,
    candidates,
    rules,
    spelled,
)
from benchmarks.faithfulness.search.chosen import Lines, mean_ranks, read
from benchmarks.faithfulness.search.decoders import agreement
from benchmarks.faithfulness.search.scoring import Item, Places, rivals, scores
from benchmarks.faithfulness.search.variants import FrozenMean, UnevenGate
from benchmarks.faithfulness.search.verdicts import (
    against,
    counted,
    holm,
    sign_flips,
)
from benchmarks.papers.decompx import data as qnli
from lrp_hooks import RuleSet, instrument
from lrp_hooks.explainers.recommended import RECOMMENDED
from shared_models import sentiment

CONFIG = json.loads(run.CONFIG.read_text(encoding="utf-8"))
SPACE = candidates(CONFIG)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Normed(nn.Module):
    """A LayerNorm with weights of its own, and a sum."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(5).double()
        self.norm.weight.data = drawn(5, seed=1)
        self.norm.bias.data = drawn(5, seed=2)

    def forward(self, x):
        return (self.norm(x) * drawn(5, seed=3)).sum(1, keepdim=True)


def test_a_frozen_mean_is_a_source():
    model, x = Normed(), drawn(3, 5)
    own = RuleSet.named("conservative").override(normalization=FrozenMean())
    with instrument(model, own) as lrp:
        found = lrp.attribute(x, target=0)
    gain = drawn(5, seed=3) * model.norm.weight.data
    scale = (x.var(1, correction=0, keepdim=True) + model.norm.eps).rsqrt()
    assert_close(found.values, x * scale * gain)
    constant = (drawn(5, seed=3) * model.norm.bias.data).sum()
    mean = (x.mean(1, keepdim=True) * scale * gain).sum(1)
    assert_close(sum(found.ledger.sources.values()), constant - mean)
    assert_close(found.ledger.total, model(x)[:, 0].detach())


class Gated(nn.Module):
    """silu(x G) * (x U), summed."""

    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(4, 6, False), nn.Linear(4, 6, False)
        self.double()

    def forward(self, x):
        return (nn.functional.silu(self.gate(x)) * self.up(x)).sum(1, keepdim=True)


@given(share=st.sampled_from([0, 0.25, 0.5, 0.9, 1]), seed=st.integers(0, 20))
def test_a_gated_unit_is_split_as_asked(share, seed):
    model, x = Gated(), drawn(2, 4, seed=seed)
    own = RuleSet.named("conservative").override(product=UnevenGate(share))
    with instrument(model, own) as lrp:
        found = lrp.attribute(x, target=0)
    gate, up = model.gate.weight.detach(), model.up.weight.detach()
    z, u = x @ gate.T, x @ up.T
    by_gate = (u * z.sigmoid()) @ gate  # silu(z) / z is the sigmoid
    by_up = (z * z.sigmoid()) @ up
    assert_close(found.values, x * (share * by_gate + (1 - share) * by_up))
    assert_close(found.scores.sum(1), model(x)[:, 0].detach())


def test_the_ends_of_the_split_are_cp_lrp_and_half():
    model, x = Gated(), drawn(2, 4)
    for share, name in ((0, "cp-lrp"), (0.5, "conservative")):
        own = RuleSet.named(name).override(product=UnevenGate(share))
        with instrument(model, own) as lrp:
            found = lrp.attribute(x, target=0).values
        with instrument(model, name) as lrp:
            assert_close(found, lrp.attribute(x, target=0).values)


def test_a_share_changes_evenly_from_block_to_block():
    model, _ = sentiment()
    found = by_depth(model, 0.5, 0.2)
    assert list(found) == [f"bert.encoder.layer.{i}.attention.self" for i in range(4)]
    shares = [rule.query_key_share for rule in found.values()]
    assert shares == pytest.approx([0.5, 0.4, 0.3, 0.2])


def test_every_model_of_the_search_has_attention_by_depth():
    class Block(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.add_module(name, nn.Identity())

    for name in ("self_attn", "attention"):
        net = nn.ModuleList([Block(name) for _ in range(3)])
        shares = [r.query_key_share for r in by_depth(net, 0, 0.5).values()]
        assert shares == [0, 0.25, 0.5]
    with pytest.raises(ValueError, match="no attention"):
        by_depth(nn.Linear(2, 2), 0, 0.5)


def text_item(judge=lambda scores: {"sum": scores.sum(1).tolist()}):
    model, tokenizer = sentiment()
    batch = dict(tokenizer("not a bad film at all", return_tensors="pt"))
    logits = model(**batch).logits.detach()
    return Item(
        model=model,
        tokenizer=tokenizer,
        batch=batch,
        target=[1],
        fold=torch.clone,
        judge=judge,
        targets=rivals(logits, [1]),
        reads={"norm": "bert.embeddings", "block": "bert.encoder.layer.0"},
    )


def test_completed_candidates_sum_to_what_they_explain():
    item = text_item()
    with torch.no_grad():
        logits = item.model(**item.batch).logits[0].double()
    for name, numbers in SPACE.items():
        # At the output of a block, what gamma does before it is not asked.
        if not numbers.get("complete"):
            continue
        contrast = numbers.get("target") in {"contrast", "expectation"}
        wanted = logits[1] - logits[0] if contrast else logits[1]
        found = scores(item, numbers).sum()
        assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: n + m)


def test_of_two_classes_the_expectation_is_a_multiple_of_the_contrast():
    item = text_item()
    probability = item.model(**item.batch).logits.softmax(1)[0, 1].item()
    with instrument(item.model) as lrp:
        contrast = lrp.attribute(item.batch, target=item.targets["contrast"]).scores

        def less(output):
            z = output.logits
            return z[:, 1] - (z.detach().softmax(1) * z).sum(1)

        expectation = lrp.attribute(item.batch, target=less).scores
    assert_close(expectation, (1 - probability) * contrast, rtol=1e-4, atol=1e-5)
    assert "expectation" not in item.targets


def test_what_changes_nothing_here_is_left_out():
    item = text_item()
    numbers = {"share": 0.4, "activated": 0.25, "target": "expectation", "read": "norm"}
    assert item.reduced(numbers) == {
        "share": 0.4,
        "target": "contrast",
        "read": "norm",
    }
    assert item.reduced({"share": 0, "mean": "frozen", "read": "x"}) == {
        "share": 0,
        "mean": "frozen",
    }


def test_one_ledger_serves_all_conventions(monkeypatch):
    item, calls = text_item(), []
    for complete in (None, "site", "abs"):
        scores(item, {"share": 0.4, "complete": complete})
        calls.append(len(item.known))
    assert calls == [1, 1, 1]


def test_labels_are_unique_and_candidates_build():
    count = len(list(itertools.product(*CONFIG["space"].values()))) + len(
        CONFIG["variants"]
    )
    assert len(SPACE) == count
    for numbers in SPACE.values():
        assert rules(numbers).complete


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_rule(p):
    corrected = holm(p)
    for level in (0.01, 0.05, 0.2):
        order = sorted(range(len(p)), key=p.__getitem__)
        rejected = set()
        for step, place in enumerate(order):
            if p[place] * (len(p) - step) > level:
                break
            rejected.add(place)
        assert {i for i, value in enumerate(corrected) if value <= level} == rejected


def test_sign_flips_agree_with_all_of_them():
    gap = np.array([0.3, -0.1, 0.5, 0.2, 0.4, -0.05, 0.1, 0.6])
    signs = np.array(list(itertools.product((1, -1), repeat=8)))
    exact = (np.abs(signs @ gap) >= abs(gap.sum()) - 1e-12).mean()
    assert sign_flips(gap) == pytest.approx(exact, abs=0.01)
    assert sign_flips(np.zeros(5)) == 1


def cells():
    """Three methods on two cells; ``pruning`` is better when lower."""
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    even = np.where(np.arange(60) % 2, 0.5, -0.5)
    return {
        ("x", "aopc"): {"a": 1 + noise, "b": 0.5 + noise[::-1], "c": noise},
        ("x", "pruning"): {"a": 2 + even, "b": 2 - even + 1e-6, "c": 1 + noise * 0},
    }


def test_methods_are_best_tied_behind_or_last():
    found = counted(cells(), ["a", "b", "c"])
    aopc, pruning = cells()
    assert found["a"]["best"] == [aopc] and found["b"]["behind"] == [aopc, pruning]
    assert found["c"]["best"] == [pruning] and found["c"]["worst"] == [aopc]
    assert counted(cells(), ["a", "b"])["b"]["tied"] == [pruning]


def test_differences_point_to_the_better_one():
    found = {e["metric"]: e for e in against(cells(), "a", "c")}
    assert found["aopc"]["low"] > 0 > found["pruning"]["high"]
    assert all(e["holm"] >= e["p"] for e in found.values())


def line(number, **by_label):
    found = {k: {"aopc": v, "pruning": 1 - v} for k, v in by_label.items()}
    return {"column": "BACE", "number": number, "scores": found, "torch": "2"}


def test_ranks_are_relative_and_shared_by_equals():
    lines = Lines([line(0, a=0.9, b=0.5, c=0.5), line(1, a=0.7, b=0.5, c=0.5)])
    assert mean_ranks(lines) == {"a": 0, "b": 0.75, "c": 0.75}


def test_what_an_item_lacks_is_no_cell():
    lines = Lines([line(0, a=0.9, b=0.5), line(1, a=0.7)])
    assert list(lines.cells()[("BACE", "aopc")]) == ["a"]
    lines = Lines([line(0, a=0.9, b=0.5), line(1, a=0.7), line(1, b=0.4)])
    assert list(lines.cells()[("BACE", "aopc")]) == ["a", "b"]


def test_pairs_are_read_as_pairs_and_never_chosen_on_and_told_of(monkeypatch):
    asked = [(f"what is film {i} like ?", "it is good ." * (i + 1)) for i in range(5)]
    labels = torch.zeros(5, dtype=torch.long)

    def read(task, data, tokenizer, seed):
        made = qnli.Examples(tokenizer, asked, labels, 96)
        return qnli.Parts(made, made, made)

    monkeypatch.setattr(encoders.qnli, "read", read)
    monkeypatch.setattr(encoders, "_loaded", lambda *_: sentiment())
    settings = {"model": "-", "metrics": ["aopc"]}
    settings |= {"search": {"limit": 9}, "told": {"limit": 1}}
    tokenizer, found = sentiment()[1], {}
    for stage in ("search", "told"):
        count, item = encoders.pairs(settings, stage, Places(Path(), Path()))
        found[stage] = [item(number) for number in range(count)]
    assert [len(items) for items in found.values()] == [3, 1]
    for place, item in zip((0, 2, 4, 1), sum(found.values(), []), strict=True):
        wanted = tokenizer(*asked[place], return_tensors="pt")
        assert {*item.batch} == {*wanted}
        assert (item.batch["input_ids"] == tokenizer.sep_token_id).sum() == 2
        assert all(torch.equal(item.batch[name], wanted[name]) for name in wanted)
        assert item.judge(scores(item, {"share": 0.4})).keys() == {"aopc"}


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    seen = []

    def made(settings, stage, places):
        def item(number):
            seen.append(number)
            return text_item()

        return 3, item

    monkeypatch.setitem(columns.KINDS, "fake", made)
    config = {
        "columns": {"x": {"kind": "fake"}},
        "space": {"share": [0, 0.5]},
        "variants": [],
    }
    places = Places(tmp_path, tmp_path)
    for most in (1, 2, None):
        run.fill("x", "search", config, places, most, tmp_path)
    assert seen == [0, 1, 2]
    config["variants"] = [{"share": 0.25}]
    run.fill("x", "search", config, places, None, tmp_path)
    assert seen == [0, 1, 2, 0, 1, 2]
    found = read(tmp_path / "search.jsonl")
    assert found.labels("x", 2) == {"share 0", "share 0.25", "share 0.5"}
    sums = found.cells()[("x", "sum")]
    assert sums["share 0"].shape == (3,)


def test_a_method_that_refuses_is_said():
    found = run.measured(
        text_item(),
        {"no": {"rules": "none such"}, "yes": {"share": 0}},
    )
    assert isinstance(found["no"], str) and set(found["yes"]) == {"sum"}


def test_agreement_of_additive_scores_is_perfect():
    weights = drawn(6)
    kept = torch.rand(20, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    truth = kept.double() @ weights
    for own, wanted in ((weights, 1), (-weights, -1)):
        found = agreement(own, kept, truth, weights)
        assert set(found) == {"datamodel", "leaving_out"}
        assert [row for (row,) in found.values()] == pytest.approx([wanted] * 2)


def test_tables_say_what_was_found():
    searched = Lines([line(n, **dict.fromkeys(SPACE, 0.5)) for n in range(2)])
    names = [
        *list(SPACE)[:4],
        CONFIG["named"],
        *CONFIG["rivals"],
        *CONFIG["references"],
    ]
    draw = np.random.default_rng(0)
    told = Lines([
        line(n, **{m: float(draw.random()) for m in names if m != "GAE"})
        for n in range(8)
    ])
    told.found["BACE"][0]["GAE"] = "No attention. Use another."
    found = judge.summed_up(searched, told, CONFIG)
    shown = report.table(json.loads(json.dumps(found)))
    assert "GAE on BACE: No attention" in shown
    assert "Not measured at the stage *told* yet: SST-2, 4 layers; " in shown
    assert "| BACE | AOPC ↑ | 8 |" in shown and "| BACE | AU-MSE ↓ | 8 |" in shown
    assert "GAE" not in found["told"][0]["methods"]
    advice = {entry["explains"]: entry["ranks"] for entry in found["advice"]}
    assert set(advice) == {"molecules and reactions", "anything"}
    assert "GAE" not in advice["anything"] and "random" not in advice["anything"]
    assert all(name in shown for name in list(advice["anything"])[:2])


def test_advice_ranks_each_cell_alike():
    config = {"columns": {c: {"explains": c} for c in ("u", "v")}}
    ones = np.ones(3)
    own = {
        ("u", "aopc"): {"a": 3 * ones, "b": 2 * ones, "c": ones},
        ("u", "pruning"): {"a": 3 * ones, "b": 2 * ones, "c": 2 * ones},
        ("v", "aopc"): {"a": ones, "b": 2 * ones, "c": 3 * ones},
    }
    found = judge.advice(own, ["a", "b", "c"], config)
    assert [entry["explains"] for entry in found] == ["u", "v", "anything"]
    assert found[0]["ranks"] == {"b": 0.375, "a": 0.5, "c": 0.625}
    assert found[2]["cells"] == 3
    assert found[2]["ranks"] == pytest.approx({
        "c": 1.25 / 3,
        "b": 1.25 / 3,
        "a": 2 / 3,
    })


def test_results_belong_to_the_configuration():
    results = json.loads(Path(report.RESULTS).read_text(encoding="utf-8"))
    assert set(results["searched"]["n"]) <= set(CONFIG["columns"])
    assert set(results["searched"]["ranks"]) == set(SPACE)
    asked = {**SPACE, **CONFIG["rivals"]}
    first = {e["explains"]: next(iter(e["ranks"])) for e in results["advice"]}
    assert RECOMMENDED == {kind: spelled(asked[name]) for kind, name in first.items()}


def standing(best, tied, behind, worst=0):
    counts = {"best": best, "tied": tied, "behind": behind, "worst": worst}
    return {kind: [["x", "aopc"]] * number for kind, number in counts.items()}


@pytest.mark.parametrize(
    ("own", "leads"),
    [
        (standing(3, 1, 1), True),
        (standing(0, 8, 2), True),
        (standing(3, 0, 1), False),
        (standing(4, 1, 0, worst=1), False),
    ],
)
def test_who_leads_is_good_in_four_fifths_and_never_last(own, leads):
    said = report.verdict({"counted": {"a": own, "b": standing(0, 0, 1)}})
    assert said.startswith("**a**:" if leads else "None is")
    assert "**b**" not in said


def test_the_price_is_relative_and_counts_warnings():
    model, tokenizer = sentiment()
    texts = ["a marvel like none you 've seen .", "a gorgeous , witty movie ."]
    found = price.measured(model, tokenizer, texts)
    assert found["texts"] == 2 and set(found["sets"]) == set(price.SETS)
    assert found["sets"]["conservative"] == {"time": 1.0, "warned": 0.5}
    assert all(own["time"] > 0 for own in found["sets"].values())
    shown = report.priced({"models": {"m": found}})
    assert "| m | 2 | conservative | 1.00 | 50% |" in shown


def test_stories_of_both_stages_are_each_of_its_own():
    def write(draw):
        return torch.randint(0, 6, (1, 2), generator=draw)

    chosen, told = decoders.distinct(write, [12, 20])
    keys = [tuple(ids[0].tolist()) for ids in (*chosen, *told)]
    assert (len(chosen), len(told)) == (12, 20) and len(set(keys)) == 32
    again = decoders.distinct(write, [12, 20])
    assert [k.tolist() for k in again[1]] == [k.tolist() for k in told]


def test_what_people_marked_is_another_review_at_each_stage(monkeypatch):
    reviews = [
        SimpleNamespace(ids=[n], rationales={hat.MAJORITY: torch.zeros(1)})
        for n in range(7)
    ]
    tokenizer = SimpleNamespace(pad_token_id=0)
    monkeypatch.setattr(encoders, "_loaded", lambda *_: (None, tokenizer))
    monkeypatch.setattr(encoders.hat, "read", lambda *_: (reviews, {}))
    asked = []

    def seen(_model, _tokenizer, batch, *_):
        asked.append(batch["input_ids"].item())

    monkeypatch.setattr(encoders, "_text", seen)
    settings = {"model": "", "part": "", "longest": 9, "texts": 7, "metrics": []}
    own = {}
    for stage in run.STAGES:
        count, item = encoders.people(settings, stage, Places(Path(), Path(), None))
        asked.clear()
        for number in range(count):
            item(number)
        own[stage] = set(asked)
    assert own["search"] | own["told"] == set(range(7))
    assert not own["search"] & own["told"]
