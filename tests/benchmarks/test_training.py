"""What trains the benchmark's models: splits, batches, the loop, what is saved."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import lrp_hooks.sentiment
from benchmarks.faithfulness.training import loop, tweets, vit
from benchmarks.faithfulness.training.batches import (
    Batch,
    buckets,
    macro_f1,
    split,
)

EMBEDDED = Path(lrp_hooks.sentiment.__file__).parent


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(number=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_splits_are_disjoint_and_seeded(number, share, seed):
    held_out = min(number - 1, max(1, int(number * share)))
    seen, unseen = split(number, held_out, seed)
    assert len(unseen) == held_out
    assert sorted([*seen.tolist(), *unseen.tolist()]) == list(range(number))
    again = split(number, held_out, seed)
    assert torch.equal(again[0], seen)
    assert torch.equal(again[1], unseen)


def test_the_split_is_that_of_the_published_digits():
    assert torch.equal(
        split(10000, vit.HELD_OUT, vit.SPLIT_SEED)[1],
        torch.randperm(10000, generator=seeded(0))[8000:],
    )


@pytest.mark.parametrize("held_out", [0, 5, 6, -1])
def test_no_side_of_a_split_is_empty(held_out):
    with pytest.raises(ValueError, match=f"held_out={held_out} of 5 examples"):
        split(5, held_out, 0)


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=80),
    size=st.integers(1, 9),
    pool=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_buckets_hold_every_example_once(lengths, size, pool, seed):
    found = buckets(torch.tensor(lengths), size, seeded(seed), pool)
    assert sorted(torch.cat(found).tolist()) == list(range(len(lengths)))
    assert all(1 <= len(places) <= size for places in found)
    assert len(found) == -(-len(lengths) // size)
    again = buckets(torch.tensor(lengths), size, seeded(seed), pool)
    assert all(map(torch.equal, found, again))


def test_buckets_are_of_like_lengths_and_shuffled():
    lengths = torch.arange(64) % 16
    found = buckets(lengths, 4, seeded(1), pool=16)
    # 64 examples in one pool: four of each length make each batch.
    assert all(len(lengths[places].unique()) == 1 for places in found)
    order = [int(lengths[places[0]]) for places in found]
    assert order != sorted(order)
    other = buckets(lengths, 4, seeded(2), pool=16)
    assert [p.tolist() for p in found] != [p.tolist() for p in other]


def test_macro_f1_weighs_classes_alike():
    predicted = torch.tensor([0, 0, 0, 0, 1, 1])
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    # F1 of class 0: 6/7; of class 1: 2/4; of class 2: 0.
    assert macro_f1(predicted, labels) == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)


def test_the_learning_rate_rises_and_falls():
    rate = loop.schedule(100, 0.1)
    values = [rate(i) for i in range(101)]
    assert values[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert all(a >= b for a, b in zip(values[10:], values[11:], strict=False))
    assert values[55] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0)


class Line(nn.Module):
    """Two logits, linear in the input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return type("Output", (), {"logits": self.linear(x)})()


def points(generator):
    x = torch.randn(32, 2, generator=seeded(3))
    for places in torch.randperm(32, generator=generator).split(8):
        yield Batch({"x": x[places]}, (x[places, 0] > 0).long())


def test_training_learns_and_can_be_repeated():
    found = []
    for _ in range(2):
        torch.default_generator.manual_seed(0)
        model = Line()
        about = loop.fit(
            model,
            points,
            4,
            lambda model=model: loop.assess(model, points(seeded())),
            loop.Settings(epochs=20, size=8, lr=0.1),
        )
        assert loop.assess(model, points(seeded())).accuracy > 0.95
        assert (about["steps"], len(about["checks"])) == (80, 20)
        found.append(model.linear.weight)
    assert torch.equal(*found)


def test_the_weights_of_the_best_check_are_kept():
    model, seen = Line(), []
    said = iter([0.5, 0.9, 0.9, 0.2])

    def choose():
        seen.append(model.linear.weight.detach().clone())
        return loop.Quality(0.0, next(said))

    about = loop.fit(model, points, 4, choose, loop.Settings(2, 8, 0.1, checks=2))
    assert torch.equal(model.linear.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert not model.training
    assert [check["step"] for check in about["checks"]] == [2, 4, 6, 8]
    assert [check["macro_f1"] for check in about["checks"]] == [0.5, 0.9, 0.9, 0.2]


@settings(deadline=None)
@given(most=st.integers(0, 3), seed=st.integers(0, 99))
def test_moved_images_keep_what_they_show(most, seed):
    images = torch.full((5, 1, 9, 9), vit.BACKGROUND)
    shape = torch.rand(5, 1, 3, 3, generator=seeded(seed))
    images[..., 3:6, 3:6] = shape
    found = vit.moved(images, most, seeded(seed))
    for one, block in zip(found, shape, strict=True):
        rows, columns = ((one[0] != vit.BACKGROUND).any(axis) for axis in (1, 0))
        down, right = int(rows.nonzero()[0]), int(columns.nonzero()[0])
        assert abs(down - 3) <= most
        assert abs(right - 3) <= most
        assert torch.equal(one[:, down : down + 3, right : right + 3], block)
        assert int((one != vit.BACKGROUND).sum()) == 9


def test_images_move_apart_from_each_other():
    images = torch.full((90, 1, 9, 9), vit.BACKGROUND)
    images[..., 4, 4] = 1
    places = {
        tuple(i.nonzero()[0].tolist()) for i in vit.moved(images, 1, seeded()) > 0
    }
    assert places == {(0, row, column) for row in (3, 4, 5) for column in (3, 4, 5)}


@pytest.mark.parametrize("generator", [None, seeded()])
def test_batches_of_images_hold_each_once(generator):
    digits = vit.Digits(torch.ones(10, 1, 8, 8), torch.arange(10))
    found = list(digits.batches(4, generator))
    labels = torch.cat([batch.labels for batch in found]).tolist()
    assert sorted(labels) == list(range(10))
    assert (labels == list(range(10))) == (generator is None)
    assert [len(batch.inputs["pixel_values"]) for batch in found] == [4, 4, 2]


def test_a_vit_is_trained_and_saved(tmp_path, monkeypatch):
    from transformers import AutoModelForImageClassification

    monkeypatch.setattr(vit, "HELD_OUT", 20)
    monkeypatch.setattr(vit, "CHOOSE", 10)
    labels = torch.arange(60) % 10
    images = torch.rand(60, 1, 28, 28, generator=seeded())
    vit.train(vit.Digits(images, labels), tmp_path, loop.Settings(1, 16, 1e-3))
    about = json.loads((tmp_path / "train_info.json").read_text(encoding="utf-8"))
    assert (about["trained_on"], about["held_out"]["number"]) == (30, 20)
    assert about["steps"] == 2
    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert model.dtype == torch.float16
    unseen = torch.randperm(60, generator=seeded())[40:]
    right = model.float()(images[unseen]).logits.argmax(1) == labels[unseen]
    assert about["held_out"]["accuracy"] == round(float(right.double().mean()), 4)


def words(task, split_name, number, folder):
    import pandas

    texts = [f"{task} {split_name} {i} " + "good " * (i % 7) for i in range(number)]
    frame = pandas.DataFrame({"text": texts, "label": [i % 3 for i in range(number)]})
    frame["label"] = frame["label"].astype("int8")
    frame.to_parquet(folder / f"{task}_{split_name}.parquet")


def test_a_classifier_of_tweets_is_trained_and_saved(tmp_path, monkeypatch):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setattr(tweets, "HELD_OUT", 6)
    words("sentiment", "test", 22, tmp_path)
    words("sentiment", "val", 5, tmp_path)
    names = {"0": "negative", "1": "neutral", "2": "positive"}
    mapping = tmp_path / "sentiment_mapping.json"
    mapping.write_text(json.dumps(names), encoding="utf-8")
    out = tmp_path / "out"
    tweets.train("sentiment", EMBEDDED, tmp_path, out, loop.Settings(1, 8, 1e-3))

    splits = tweets.read("sentiment", tmp_path, 0)
    kinds = [set(part.texts) for part in splits]
    assert [len(kind) for kind in kinds] == [16, 5, 6]
    assert not kinds[0] & kinds[1] | kinds[0] & kinds[2] | kinds[1] & kinds[2]
    assert tweets.read("sentiment", tmp_path, 1).train.texts != splits.train.texts

    about = json.loads((out / "train_info.json").read_text(encoding="utf-8"))
    assert (about["steps"], about["trained_on"], about["held_out"]["number"]) == (
        2,
        16,
        6,
    )
    model = AutoModelForSequenceClassification.from_pretrained(out)
    base = AutoModelForSequenceClassification.from_pretrained(EMBEDDED)
    assert model.dtype == torch.float16
    assert model.config.id2label == {int(i): name for i, name in names.items()}
    assert model.config.label2id["positive"] == 2
    table = model.bert.embeddings.word_embeddings.weight
    assert_close(table, base.bert.embeddings.word_embeddings.weight.half())
    batch = AutoTokenizer.from_pretrained(out)(
        splits.held_out.texts, padding=True, return_tensors="pt"
    )
    right = model.float().eval()(**batch).logits.argmax(1) == splits.held_out.labels
    assert about["held_out"]["accuracy"] == round(float(right.double().mean()), 4)


def test_hate_is_reported_on_tweets_of_its_own(tmp_path):
    for name, number in (("train", 9), ("val", 4), ("test", 5)):
        words("hate", name, number, tmp_path)
    splits = tweets.read("hate", tmp_path, 0)
    starts = [{" ".join(t.split()[:2]) for t in part.texts} for part in splits]
    assert starts == [{"hate train"}, {"hate val"}, {"hate test"}]


def test_a_fresh_head_is_seeded_and_embeddings_stay():
    names = {0: "no", 1: "yes"}  # as many classes as the old head has
    model, _ = tweets.fresh(EMBEDDED, names, 0)
    again, _ = tweets.fresh(EMBEDDED, names, 0)
    other, _ = tweets.fresh(EMBEDDED, names, 1)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert not torch.equal(model.classifier.weight, other.classifier.weight)
    frozen = {
        n.split(".")[1] for n, p in model.named_parameters() if not p.requires_grad
    }
    assert frozen == {"embeddings"}
    assert model.config.id2label == names


def test_tweets_are_cut_and_padded():
    _, tokenizer = tweets.fresh(EMBEDDED, {0: "no", 1: "yes"}, 0)
    texts = ["good " * n for n in (1, 100, 3, 2)]
    found = tweets.Tweets(tokenizer, tweets.Texts(texts, torch.arange(4)))
    whole = list(found.batches(3))
    assert sorted(torch.cat([b.labels for b in whole]).tolist()) == [0, 1, 2, 3]
    assert [tuple(b.inputs["input_ids"].shape) for b in whole] == [(3, 5), (1, 64)]
    assert whole[0].inputs["attention_mask"].sum(1).tolist() == [3, 4, 5]
