"""The plausibility benchmark: words and tokens, order, what is kept, its table."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.faithfulness.plausibility import (
    agreement,
    methods,
    record,
    report,
    texts,
)
from lrp_hooks import UnruledWarning
from lrp_hooks.explainers import LRP, IntegratedGradients


class Encoded(dict):
    def word_ids(self):
        return self["words"]


class Tokenizer:
    """Two letters are a token, and a word of blanks is none."""

    pad_token_id, all_special_ids = 0, [0, 1]

    def __call__(self, words, is_split_into_words, verbose):
        assert is_split_into_words
        pieces = [i for i, w in enumerate(words) for _ in range(0, len(w.strip()), 2)]
        ids = [1, *range(5, 5 + len(pieces)), 1]
        return Encoded(input_ids=ids, words=[None, *pieces, None])


WORDS = ["a", "good", " ", "film"]


def make(*marks, words=WORDS, longest=10):
    return texts.make([(words, m) for m in marks], 1, Tokenizer(), longest)


def test_tokens_belong_to_words():
    text = make([0, 1, 0, 0], [0, 1, 0, 1])
    assert text.ids == [1, 5, 6, 7, 8, 9, 1]
    assert text.words.tolist() == [-1, 0, 1, 1, 3, 3, -1]
    scores = torch.tensor([9.0, 1, 2, -5, 4, 0.5, 9])
    (found,) = texts.by_word([scores], [text])
    assert found.tolist() == [1, -3, 0, 4.5]


def test_annotators_are_joined():
    found = texts.agreed([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]])
    assert found["all"].tolist() == [True, False, False, False]
    assert found["majority"].tolist() == [True, True, False, True]
    half = texts.agreed([[1, 0], [0, 0]])["majority"]
    assert half.tolist() == [False, False]


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        (([0, 1, 0, 0],), {"longest": 6}, "too long"),
        (([0, 1, 0, 0], [0, 0, 0, 1]), {}, "no word, or every word, is marked"),
        (([1, 1, 1, 1],), {}, "no word, or every word, is marked"),
        (([0, 1, 0],), {}, "annotators' words differ"),
    ],
)
def test_unusable_texts_have_a_reason(arguments, options, reason):
    assert make(*arguments, **options) == reason


def test_annotators_must_have_read_the_same_words():
    maps = [(WORDS, [0, 1, 0, 0]), (WORDS[::-1], [0, 1, 0, 0])]
    assert texts.make(maps, 1, Tokenizer(), 10) == "annotators' words differ"


def test_texts_left_out_are_counted(monkeypatch):
    import pandas

    rows = [
        ("one", WORDS, [0, 1, 0, 0]),
        ("one", WORDS, [0, 1, 0, 1]),
        ("two", ["a"] * 20, [1] * 10 + [0] * 10),
        ("three", WORDS, [1, 0, 0, 0]),
        ("four", WORDS, [1, 0, 0, 0]),
    ]
    table = pandas.DataFrame(rows, columns=["text", "words", "attention"])
    table["label"] = [1, 1, 0, 0, 0]
    monkeypatch.setattr(pandas, "read_parquet", lambda path: table)
    found, counts = texts.read(Path(), "part", Tokenizer(), 10, 2)
    assert [text.label for text in found] == [1, 0]
    assert counts == {"read": 3, "too long": 1, "used": 2}


def test_scores_come_back_in_the_order_of_the_rows():
    rows = [[1, 2, 3, 4], [5], [6, 7], [8, 9, 3]]
    seen = []

    def explainer(batch, target):
        seen.append((batch["attention_mask"].sum(1).tolist(), target))
        scores = batch["input_ids"] * 10.0
        return SimpleNamespace(scores=scores, meta={"model_calls": 3})

    found = methods.score(explainer, Tokenizer(), rows, [0, 1, 2, 3], 2)
    assert [row.tolist() for row in found.scores] == [[10 * i for i in r] for r in rows]
    assert seen == [([1, 2], [1, 2]), ([3, 4], [3, 0])]
    assert found.calls == 6


def test_methods_are_built_as_configured():
    model = torch.nn.Linear(1, 1)
    spec = {
        "method": "lrp",
        "options": {"rules": "conservative"},
        "query_key_share": 0.25,
    }
    found = methods.build(model, None, spec)
    assert isinstance(found, LRP)
    assert "query_key_share=0.25" in str(found.rules)
    assert spec["options"] == {"rules": "conservative"}
    tokenizer = Tokenizer()
    found = methods.build(model, tokenizer, {"method": "integrated_gradients"})
    assert isinstance(found, IntegratedGradients)
    assert found.tokenizer is tokenizer


def test_other_warnings_are_shown():
    def explainer(batch, target):
        import warnings

        warnings.warn("no rule", UnruledWarning, stacklevel=1)
        warnings.warn("look", UserWarning, stacklevel=1)
        return SimpleNamespace(scores=batch["input_ids"], meta={})

    with pytest.warns(UserWarning) as caught:
        found = methods.score(explainer, Tokenizer(), [[1]], [0], 1)
    assert [str(w.message) for w in caught] == ["look"]
    assert found.calls is None


def test_every_rationale_sign_and_metric():
    scores = [torch.tensor([-3.0, 1, 2]), torch.tensor([1.0, 2])]
    rationales = [
        {"a": torch.tensor([True, False, False])},
        {"a": torch.tensor([False, True])},
    ]
    found = agreement.each(scores, rationales)
    assert found["a, signed, auroc"].tolist() == [0, 1]
    assert found["a, absolute, auroc"].tolist() == [1, 1]
    masks = [{"a": torch.tensor([True, False, True])}, {"a": torch.tensor([True] * 2)}]
    masked = agreement.each([torch.tensor([1.0, 5, -2]), scores[1]], rationales, masks)
    assert masked["a, signed, auroc"].tolist() == [1, 1]  # the 5 does not count
    summed = agreement.summaries(scores, rationales, 0.95)
    assert summed["a, signed, auroc"]["mean"] == 0.5
    assert set(summed) == set(found)


def test_a_summary_leaves_out_what_has_no_value():
    found = record.summary(torch.tensor([1.0, torch.nan, 2.0]), 0.95)
    assert (found["mean"], found["n"]) == (1.5, 2)
    assert 1 <= found["low"] <= 1.5 <= found["high"] <= 2


CONFIG = {
    "seed": 0,
    "models": {"m": {"texts": 5}, "n": {"texts": 5}},
    "methods": {"p": {"method": "lrp"}, "q": {"method": "alti"}},
}


def saved(path):
    results = record.start(path, CONFIG, fresh=False)
    for model in CONFIG["models"]:
        results["models"][model] = {"methods": {"p": 1, "q": 2}}
    record.save(path, results)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "results.json"
    saved(path)
    both = {"methods": {"p": 1, "q": 2}}
    assert record.start(path, CONFIG, fresh=False)["models"] == {"m": both, "n": both}
    changed = CONFIG | {
        "models": {"m": {"texts": 5}, "n": {"texts": 6}, "o": {}},
        "methods": {"p": {"method": "lrp", "options": {}}, "q": {"method": "alti"}},
    }
    again = record.start(path, changed, fresh=False)
    assert again["models"] == {"m": {"methods": {"q": 2}}}
    assert again["config"] == changed
    assert record.start(path, CONFIG | {"seed": 1}, fresh=False)["models"] == {}
    assert record.start(path, CONFIG, fresh=True)["models"] == {}


def test_what_is_missing_is_named():
    results = {
        "config": CONFIG,
        "environment": {"torch": "x", "threads": 1},
        "date": "today",
        "models": {"m": {"methods": {"p": 1}}},
    }
    shown = record.environment(results)
    assert shown.endswith("Not measured yet: q (m), p (n), q (n).")
    done = {name: {"methods": {"p": 1, "q": 2}} for name in ("m", "n")}
    shown = record.environment(results | {"models": done})
    assert shown == "torch x; 1 thread; today."


def test_the_table_shows_the_committed_results():
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    config = report.RESULTS.with_name("config.json").read_text(encoding="utf-8")
    assert results["config"] == json.loads(config)
    shown = report.table(results)
    assert set(results["models"]) <= set(results["config"]["models"])
    for part in results["models"].values():
        assert set(part["methods"]) <= set(results["config"]["methods"])
        for name, entry in part["methods"].items():
            mean = entry["metrics"][report.COLUMNS[0]]
            number = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**mean)
            assert f"| {name} | {number} |" in shown
