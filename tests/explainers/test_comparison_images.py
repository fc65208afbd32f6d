"""Several methods over pictures: maps side by side, agreement, what is refused."""

import re
from itertools import combinations

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from lrp_hooks import ArgumentError, compare, explain
from lrp_hooks.render.pictures import pixels
from lrp_hooks.results.agreement import MEASURES
from picture_models import drawn_in

METHODS = ("lrp", "integrated_gradients", "leave_one_out")


@pytest.fixture(scope="module")
def vit():
    torch.default_generator.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(
        image_size=8, patch_size=4, intermediate_size=16, num_labels=3, **sizes
    )
    return ViTForImageClassification(config).double().eval()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def found(vit, images):
    return compare(vit, images, METHODS)


def test_maps_are_those_of_each_method(found, vit, images):
    assert found.failures == {}
    for method in METHODS:
        right = explain(vit, images, method)
        assert torch.equal(found.explanations[method].scores, right.scores)


def test_a_page_has_the_picture_and_a_map_of_each_method(found):
    for rows in ("tokens", "methods"):
        html = found.to_html(rows)
        drawn = drawn_in(html)
        assert len(drawn) == 2 * (1 + len(METHODS))
        assert "ordinary tokens" not in html
    for b, (number, method) in ((b, m) for b in range(2) for m in enumerate(METHODS)):
        scores = found.explanations[method].scores[b]
        image = torch.from_numpy(drawn[b * (1 + len(METHODS))].astype("uint8"))
        expected = pixels(scores, float(scores.abs().max()), image)
        assert (drawn[b * 4 + 1 + number] == expected.numpy()).all()


def test_a_figure_has_a_row_for_each_picture(found):
    axes = found.plot().axes
    assert len(axes) == 2 * (1 + len(METHODS))
    titles = [each.get_title() for each in axes[1:4]]
    assert [title.split("\n")[0] for title in titles] == list(METHODS)
    assert all(len(each.images) == 1 for each in axes)


def test_a_terminal_has_a_map_of_each_method(found):
    plain = found.to_terminal(colour=False)
    assert plain.count("image 8 x 8: scores from") == 2 * len(METHODS)
    coloured = found.to_terminal(colour=True, width=16)
    assert all(method in coloured for method in METHODS)
    assert "\x1b[" in coloured


def test_agreement_is_over_all_pixels(found):
    for measure in ("sign", "spearman", "kendall"):
        table = found.agreement(measure)
        for (i, one), (j, two) in combinations(enumerate(METHODS), 2):
            pairs = [
                MEASURES[measure](a.flatten(), b.flatten())
                for a, b in zip(
                    found.explanations[one].scores,
                    found.explanations[two].scores,
                    strict=True,
                )
            ]
            assert float(table[i, j]) == pytest.approx(sum(pairs) / 2)


def test_a_row_for_each_pixel(found):
    frame = found.to_dataframe()
    assert len(frame) == len(METHODS) * 2 * 64
    last = frame[(frame.label == "lrp") & (frame.example == 1)].iloc[-1]
    assert (last.row, last.column) == (7, 7)
    assert last.score == float(found.explanations["lrp"].scores[1, 7, 7])


def test_classes_of_one_method_have_one_scale(vit, images):
    classes = {f"class {c}": {"method": "lrp", "target": c} for c in range(3)}
    html = compare(vit, images[:1], classes).to_html()
    assert "all have one scale" in html
    assert len(set(re.findall(r"up to (±[\d.]+)", html))) == 1


def test_patches_do_not_stand_beside_pixels(vit, images):
    found = compare(vit, images, ["lrp", "attention_rollout"])
    assert list(found.explanations) == ["lrp"]
    says = (
        r"its scores are \[2, 5\] and those of 'lrp' are \[2, 8, 8\]: compare methods"
    )
    assert re.match(says, found.failures["attention_rollout"])
    alone = compare(vit, images, ["attention_rollout", "attention_last"])
    assert len(alone.explanations) == 2


def test_pictures_of_other_channels_have_maps_alone():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 16, 3)).double()
    found = compare(net, torch.randn(1, 2, 4, 4).double(), ["lrp", "saliency"])
    assert len(drawn_in(found.to_html())) == 2
    assert len(found.plot().axes) == 2


def test_a_large_picture_is_compared():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 150**2, 3))
    found = compare(net, torch.randn(1, 3, 150, 150), ["lrp", "saliency"])
    assert found.agreement().isfinite().all()


def test_scores_of_choices_are_refused(images):
    class Chooser(torch.nn.Module):
        config = type("Config", (), {"num_labels": 1})()

        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(9, 4)

        def get_input_embeddings(self):
            return self.table

        def forward(self, input_ids):
            vectors = self.table(input_ids.flatten(0, 1)).sum((1, 2))
            return {"logits": vectors.reshape(input_ids.shape[:2])}

    with pytest.raises(ArgumentError, match="tokens of one text, the pixels"):
        compare(Chooser(), {"input_ids": torch.ones(1, 2, 3).long()}, ["lrp"])
