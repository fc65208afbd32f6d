"""Digits as graphs: parts that cover a picture, joined where they touch."""

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmarks.faithfulness.training.loop import Settings
from benchmarks.papers.ali.superpixels import data, train
from benchmarks.papers.ali.superpixels.model import GraphTransformer

segmentation = pytest.importorskip("skimage.segmentation")


def picture(seed=0):
    drawn = np.zeros((28, 28))
    drawn[6:20, 8 + seed : 14 + seed] = np.random.default_rng(seed).random((14, 6))
    return drawn


def test_a_graph_is_the_pictures():
    found = data.graph(picture())
    cut = segmentation.slic(
        picture(), data.SEGMENTS, data.COMPACTNESS, channel_axis=None, start_label=0
    )
    sizes = torch.tensor([(cut == name).sum() for name in np.unique(cut)])
    assert len(found.features) == len(sizes)
    assert float((found.features * sizes).sum()) == pytest.approx(picture().sum(), 1e-5)
    assert_close(
        (found.places * sizes[:, None]).sum(0), torch.zeros(2), atol=1e-3, rtol=0
    )
    right = torch.eye(len(sizes), dtype=torch.bool)
    names = np.unique(cut).tolist()
    for row in range(28):
        for column in range(28):
            for down, aside in ((1, 0), (0, 1)):
                if row + down < 28 and column + aside < 28:
                    a = names.index(cut[row, column])
                    b = names.index(cut[row + down, column + aside])
                    right[a, b] = right[b, a] = True
    assert torch.equal(found.adjacent, right)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    model = GraphTransformer().eval()
    graphs = [data.graph(picture(seed)) for seed in range(4)]
    graphs[1] = data.Graph(
        *[part[:20] for part in graphs[1][:2]], graphs[1][2][:20, :20]
    )
    together = model(**data.collate(graphs))
    for row, each in enumerate(graphs):
        alone = data.collate([each])
        assert "attention_mask" not in alone
        assert_close(together[row], model(**alone)[0], rtol=1e-4, atol=1e-5)


def test_the_order_of_superpixels_does_not_matter():
    torch.manual_seed(0)
    model, one = GraphTransformer().eval(), data.graph(picture())
    turned = torch.randperm(len(one.features))
    other = data.Graph(
        one.features[turned], one.places[turned], one.adjacent[turned][:, turned]
    )
    assert_close(
        model(**data.collate([one])),
        model(**data.collate([other])),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_model_is_trained_and_saved(tmp_path):
    graphs = [data.graph(picture(seed % 5)) for seed in range(40)]
    digits = data.Digits(graphs, torch.arange(40) % 10)
    train.train(digits, tmp_path, Settings(epochs=1, size=8, lr=1e-3))
    about = json.loads((tmp_path / "mnist.json").read_text(encoding="utf-8"))
    assert (about["trained_on"], about["held_out"]["number"]) == (30, 8)
    model, _ = train.load(tmp_path)
    unseen = data.held_out(40)
    assert len(unseen) == 8
    right = [
        int(model(**data.collate([graphs[row]])).argmax()) == row % 10 for row in unseen
    ]
    assert about["held_out"]["accuracy"] == round(sum(right) / 8, 4)
