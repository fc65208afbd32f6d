"""`explain_many`: the rows of `explain` one by one, in order, whatever the portions."""

import tracemalloc

import numpy as np
import pandas
import pytest
import torch
from transformers import BertForSequenceClassification

from generation_models import language_model, word_tokenizer
from lrp_hooks import (
    ArgumentError,
    LrpHooksWarning,
    TargetError,
    UnknownTokensWarning,
    UnsupportedModelError,
    explain,
    explain_answer,
    explain_generation,
    explain_many,
    explainers,
)
from lrp_hooks.many import explaining
from many_texts import rows_of, some_texts
from shared_models import sentiment
from tiny_bert import tiny_bert

TEXTS = some_texts(40)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture
def many(tmp_path):
    """Explain texts of the embedded model; return the rows."""
    embedded, tokenizer = sentiment()

    def many(data=TEXTS, name="out", model=embedded, **options):
        options = {"tokenizer": tokenizer, "part_size": 16, **options}
        return rows_of(explain_many(model, data, tmp_path / name, **options))

    return many


def assert_same(row, found, tolerance):
    """A row is an explanation of one text."""
    assert pandas.isna(row.error)
    assert list(row.tokens) == found.tokens[0]
    scores = found.scores[0, : len(row.tokens)]
    size = max(1, scores.abs().max().item())
    np.testing.assert_allclose(np.array(row.scores), scores, atol=size * tolerance)
    assert row.output == pytest.approx(found.output.item(), abs=tolerance)
    assert row.target == found.targets[0]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rules", ["conservative", "attnlrp"])
def test_rows_are_those_of_texts_one_by_one(tmp_path, dtype, rules):
    model = tiny_bert(BertForSequenceClassification).to(dtype)
    tokenizer = sentiment()[1]
    out = explain_many(
        model, TEXTS, tmp_path, tokenizer=tokenizer, part_size=16, rules=rules
    )
    rows = rows_of(out)
    assert rows.row.tolist() == list(range(len(TEXTS)))
    assert [
        len(table) for table in map(pandas.read_parquet, sorted(out.glob("*.parquet")))
    ] == [16, 16, 8]
    for text, row in zip(TEXTS, rows.itertuples(), strict=True):
        found = explain(model, text, tokenizer=tokenizer, rules=rules)
        assert_same(row, found, TOLERANCE[dtype])
        groups = found.ledger.groups
        kept = {k: v for k, v in row.ledger.items() if v is not None}
        assert kept.keys() == groups.keys()
        for name, value in kept.items():
            assert value == pytest.approx(groups[name].item(), abs=TOLERANCE[dtype])
        assert sum(kept.values()) == pytest.approx(row.output, abs=1e-4)


@pytest.mark.parametrize(
    "method",
    ["gradient_x_input", "saliency", "attention_rollout", "decompx", "globenc"],
)
def test_methods_that_draw_nothing(many, method):
    model, tokenizer = sentiment()
    texts = TEXTS[:6]
    for text, row in zip(texts, many(texts, method=method).itertuples(), strict=True):
        assert_same(row, explain(model, text, method, tokenizer), 1e-5)
        assert (row.ledger is None) == (method != "gradient_x_input")


@pytest.mark.parametrize("method", explainers.names())
def test_every_explainer(many, method):
    rows = many(TEXTS[:3], method=method)
    assert rows.error.isna().all() and len(rows) == 3


def test_batches_and_portions_change_no_more_than_the_last_bits(many):
    first = many()
    for n, options in enumerate((
        {"batch_size": 3},
        {"tokens_per_batch": 40},
        {"part_size": 7},
    )):
        other = many(name=str(n), **options)
        for here, there in zip(first.scores, other.scores, strict=True):
            np.testing.assert_allclose(here, there, atol=1e-5)


def test_a_model_stays_as_it_was_and_is_instrumented_once(many, monkeypatch):
    from lrp_hooks.explainers import lrp

    calls = []
    real = lrp.instrument
    monkeypatch.setattr(
        lrp, "instrument", lambda *a, **k: calls.append(a) or real(*a, **k)
    )
    many(batch_size=4)
    assert len(calls) == 1
    with real(sentiment()[0]):
        pass  # it is not instrumented any more


def test_labels_are_what_is_explained(many):
    model, tokenizer = sentiment()
    labels = [0, 1, "negative", "POSITIVE", "1"]
    data = [{"text": t, "label": y} for t, y in zip(TEXTS, labels, strict=False)]
    rows = many(data, label="label")
    for text, target, row in zip(
        TEXTS, [0, 1, 0, 1, 1], rows.itertuples(), strict=False
    ):
        assert_same(row, explain(model, text, tokenizer=tokenizer, target=target), 1e-5)


def test_pairs_of_texts(many):
    model, tokenizer = sentiment()
    data = [{"a": x, "b": y} for x, y in zip(TEXTS[:5], TEXTS[5:10], strict=True)]
    rows = many(data, text=("a", "b"))
    for pair, row in zip(data, rows.itertuples(), strict=True):
        found = explain(model, (pair["a"], pair["b"]), tokenizer=tokenizer)
        assert_same(row, found, 1e-5)


BAD = {
    "too long": "film " * 200,
    "empty": "  ",
    "no string": 7,
    "nothing": None,
    "a gap": float("nan"),
    "no Unicode": "a \ud800 film",
}


def test_a_text_that_cannot_be_explained_costs_no_other(many):
    texts = list(TEXTS[:20])
    for place, text in enumerate(BAD.values()):
        texts.insert(3 * place, text)
    rows = many(texts)
    good = many([text for text in texts if text not in BAD.values()], name="good")
    bad = rows.error.notna()
    assert [texts[n] for n in rows.row[bad]] == list(BAD.values())
    for word, error in zip(
        ("200|202", "blank", "no string", "no string", "no string", "Unicode"),
        rows.error[bad],
        strict=True,
    ):
        assert pandas.Series([error]).str.contains(word).all(), error
    for here, there in zip(rows.scores[~bad], good.scores, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)
    assert rows.scores[bad].isna().all() and rows.ledger[bad].isna().all()


def test_a_label_that_is_none_costs_no_other_text(many):
    data = [
        {"text": t, "y": y} for t, y in zip(TEXTS, [0, None, 9, "x", 1], strict=False)
    ]
    rows = many(data, label="y")
    assert rows.error.isna().tolist() == [True, False, False, False, True]


def test_nan_in_one_text_costs_no_other(tmp_path):
    model = tiny_bert(BertForSequenceClassification)
    tokenizer = sentiment()[1]
    word = tokenizer.convert_tokens_to_ids("gripping")
    model.bert.embeddings.word_embeddings.weight.data[word] = float("nan")
    rows = rows_of(explain_many(model, TEXTS, tmp_path, tokenizer=tokenizer))
    assert rows.error.notna().tolist() == ["gripping" in text for text in TEXTS]
    assert rows.error.dropna().str.contains("NaN").all()


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_a_batch_that_fills_the_memory_is_halved(many, monkeypatch, kind):
    real, sizes = explaining.asked, []
    heavy = TEXTS[5]

    def hungry(model, texts, *rest, **more):
        sizes.append(len(texts))
        if len(texts) > 4 or heavy in texts:
            raise kind("no more")
        return real(model, texts, *rest, **more)

    whole = many(name="whole")
    monkeypatch.setattr(explaining, "asked", hungry)
    with pytest.warns(LrpHooksWarning, match="a batch of 8 texts.*is halved"):
        rows = many(batch_size=8, part_size=40)
    assert max(sizes) == 8
    bad = rows.error.notna()
    assert [TEXTS[n] for n in rows.row[bad]] == [t for t in TEXTS if t == heavy]
    assert rows.error[bad].str.contains("out of memory.*no more").all()
    for here, there in zip(rows.scores[~bad], whole.scores[~bad], strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)


def test_what_no_text_can_have_stops_the_run(many):
    with pytest.raises(TargetError, match="'nosuch'"):
        many(target="nosuch")
    with pytest.raises(ArgumentError, match="rulez='ah' is no option"):
        many(rulez="ah")
    with pytest.raises(ArgumentError, match="method='lpr'.*'lrp'"):
        many(method="lpr")
    with pytest.raises(ArgumentError, match="label='y' and target=1"):
        many(label="y", target=1)
    mamba, words = language_model("Mamba"), word_tokenizer()
    with pytest.raises(UnsupportedModelError, match="encoders of self-attention"):
        many(["a b"], "mamba", model=mamba, tokenizer=words, method="value_zeroing")


def test_what_is_warned_of_is_told_once(many):
    with pytest.warns(UnknownTokensWarning) as caught:
        many([f"\u4e00\u4e8c\u4e09{n}" for n in range(30)], part_size=4)
    assert len([w for w in caught if w.category is UnknownTokensWarning]) == 1


def test_numbers_that_are_none(many):
    for name in ("batch_size", "part_size", "tokens_per_batch", "workers"):
        with pytest.raises(ArgumentError, match=name):
            many(**{name: 0})


def test_generation_has_a_row_of_scores_for_each_token(tmp_path):
    model, tokenizer = language_model(), word_tokenizer()
    prompts = ["the capital of France", "a b", "one two three"]
    rows = rows_of(
        explain_many(
            *(model, prompts, tmp_path / "out"),
            method="generation",
            tokenizer=tokenizer,
            max_new_tokens=3,
        )
    )
    for prompt, row in zip(prompts, rows.itertuples(), strict=True):
        found = explain_generation(model, tokenizer, prompt, max_new_tokens=3)
        assert list(row.tokens) == found.tokens[0]
        assert list(row.target) == found.generated
        np.testing.assert_allclose(np.stack(row.scores), found.scores, atol=1e-10)
        np.testing.assert_allclose(row.output, found.output, atol=1e-10)
        np.testing.assert_allclose(
            row.ledger["inputs"], found.ledger.inputs, atol=1e-10
        )


def test_answers_have_a_row_of_scores_for_each_span(tmp_path):
    model, tokenizer = language_model(), word_tokenizer()
    data = [
        {
            "text": "the capital of France . a b ",
            "answer": "Paris . c",
            "sources": ["the capital", "a b"],
        },
        {"text": "one two . three ", "answer": None, "sources": None},
        {"text": " ", "answer": "a", "sources": None},
    ]
    rows = rows_of(
        explain_many(
            *(model, data, tmp_path / "out"),
            method="answer",
            tokenizer=tokenizer,
            max_new_tokens=2,
        )
    )
    expected = [
        explain_answer(
            *(model, tokenizer, data[0]["text"], data[0]["answer"]),
            sources=data[0]["sources"],
        ),
        explain_answer(model, tokenizer, data[1]["text"], max_new_tokens=2),
    ]
    for found, row in zip(expected, rows.itertuples(), strict=False):
        assert list(row.tokens) == [source.text for source in found.sources]
        assert list(row.target) == [span.text for span in found.spans]
        np.testing.assert_allclose(np.stack(row.scores), found.scores, atol=1e-10)
    assert rows.error.notna().tolist() == [False, False, True]


def test_memory_does_not_grow_with_the_data(tmp_path):
    model = tiny_bert(BertForSequenceClassification)
    tokenizer = sentiment()[1]

    def peak(count):
        texts = (text for _ in range(count // 50) for text in TEXTS + TEXTS[:10])
        tracemalloc.start()
        explain_many(
            *(model, texts, tmp_path / str(count)),
            tokenizer=tokenizer,
            method="random_baseline",
            part_size=100,
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200)
    assert peak(4000) < peak(400) + 200_000
