"""Scores as images, alone and over the pictures that they explain."""

import base64
import io
import math
import re

import matplotlib.image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hand_built import calm, relevance, seeds
from lrp_hooks import ArgumentError, Explanation, explain, instrument
from lrp_hooks.explainers.backdrop import lay_over
from lrp_hooks.render.colour import LEVELS, rgb
from lrp_hooks.render.pictures import backgrounds, data_url, pixels


def images_in(html):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [
        (matplotlib.image.imread(io.BytesIO(base64.b64decode(data))) * 255).round()
        for data in found
    ]


def test_pixels_agree_with_levels():
    image = pixels(torch.tensor([[1.0, -1.0, 0.0, math.nan]]), 1.0)
    wanted = [list(rgb(step)) for step in (LEVELS, -LEVELS, 0, 0)]
    assert image.tolist() == [wanted]


@calm
@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_each_score_covers_its_share_of_the_picture(seed, rows, columns, times):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, columns, generator=generator)
    image = torch.full((rows * times, columns * times, 3), 255, dtype=torch.uint8)
    large = pixels(scores, 2.0, image)
    alone = pixels(scores, 2.0)
    for row in range(rows * times):
        for column in range(columns * times):
            wanted = alone[row // times, column // times]
            assert large[row, column].tolist() == wanted.tolist()


@calm
@given(seeds, st.sampled_from([(2, 3), (1, 1), (4, 2)]))
def test_patches_sum_their_pixels(seed, size):
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 4 * height, 3 * width, generator=generator)
    found = Explanation(scores=scores, output=torch.ones(2)).patches(size).scores
    assert found.shape == (2, 4, 3)
    for row in range(4):
        for column in range(3):
            down = slice(row * height, (row + 1) * height)
            across = slice(column * width, (column + 1) * width)
            wanted = scores[:, down, across].double().sum((1, 2))
            torch.testing.assert_close(found[:, row, column].double(), wanted)


@pytest.mark.parametrize(
    "size", [3, (2, 3), 0, -2, (4, 8), 2.0, "2", (2,), (2, 2, 2), None]
)
def test_patches_must_divide_the_image(size):
    found = Explanation(scores=torch.ones(1, 4, 4), output=torch.ones(1))
    with pytest.raises(ArgumentError, match=r"does not divide images of 4 x 4"):
        found.patches(size)


def test_tokens_have_no_patches():
    with pytest.raises(ArgumentError, match=r"\[B, H, W\], got \[2, 5\]"):
        relevance().patches(2)


def test_the_page_shows_the_picture_and_the_scores_over_it():
    scores = torch.tensor([[[1.0, -1.0]], [[0.0, 0.5]]])
    pictures = torch.rand(2, 3, 2, 4)
    found = Explanation(scores=scores, output=torch.ones(2), images=pictures)
    html = found.to_html()
    shown = images_in(html)
    assert [image.shape[:2] for image in shown] == [(2, 4)] * 4
    for b in (0, 1):
        low, high = pictures[b].min(), pictures[b].max()
        wanted = ((pictures[b] - low) / (high - low) * 255).permute(1, 2, 0)
        got = torch.tensor(shown[2 * b][..., :3])
        torch.testing.assert_close(got.float(), wanted, atol=0.51, rtol=0)
    assert shown[1][0, 0, :3].tolist() == list(rgb(LEVELS))
    assert shown[1][0, 3, :3].tolist() == list(rgb(-LEVELS))
    assert re.findall(r'<span title="([^"]+)"></span>', html) == [
        *("+1.0000", "-1.0000", "+0.0000", "+0.5000"),
    ]


def test_many_scores_have_no_number_each():
    large = Explanation(scores=torch.ones(1, 64, 64), output=torch.ones(1))
    assert "<span title=" not in large.to_html()


def test_bytes_stay_as_they_are():
    image = torch.randint(0, 256, (1, 3, 2, 2), dtype=torch.uint8)
    (kept,) = backgrounds(image, 1)
    assert kept.permute(2, 0, 1).tolist() == image[0].tolist()


def test_a_picture_of_one_shade_and_of_no_numbers():
    flat = backgrounds(torch.full((1, 2, 2), 7.0), 1)
    assert flat[0].unique().tolist() == [0]
    odd = torch.tensor([[[math.nan, 1.0], [math.inf, 0.5]]])
    assert backgrounds(odd, 1)[0][..., 0].tolist() == [[0, 255], [0, 128]]


def test_a_data_url_is_the_image():
    image = torch.randint(0, 256, (3, 5, 3), dtype=torch.uint8)
    (back,) = images_in(f'src="{data_url(image)}"')
    assert back[..., :3].tolist() == image.tolist()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([1, 2], "a list"),
        (torch.ones(1, 2, 4, 4), r"shape \[1, 2, 4, 4\]"),
        (torch.ones(4, 4), r"shape \[4, 4\]"),
        (torch.ones(2, 4, 4), "2 pictures for 1 examples"),
    ],
)
def test_what_is_no_picture_is_refused(images, message):
    found = Explanation(scores=torch.ones(1, 4, 4), output=torch.ones(1), images=images)
    for show in (found.to_html, found.plot):
        with pytest.raises(ArgumentError, match=message):
            show()


@pytest.mark.parametrize("channels", [1, 3])
def test_relevance_of_pixels_comes_with_its_pictures(channels):
    model = nn.Sequential(nn.Conv2d(channels, 2, 2), nn.ReLU(), nn.Flatten())
    pictures = torch.randn(2, channels, 4, 4)
    with instrument(model) as lrp:
        found = lrp.attribute(pictures, 0)
        inside = lrp.attribute(pictures, 0, wrt="0")
    assert torch.equal(found.images, pictures)
    assert len(images_in(found.patches(2).to_html())) == 4
    assert inside.images is None and inside.scores.shape == (2, 3, 3)


def test_other_methods_come_with_the_pictures_too():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    pictures = torch.randn(2, 1, 4, 4)
    found = explain(model, pictures, "leave_one_out", target=0, patch=2)
    assert torch.equal(found.images, pictures)


def test_pictures_are_saved(tmp_path):
    images = torch.rand(1, 1, 4, 4)
    found = Explanation(scores=torch.ones(1, 2, 2), output=torch.ones(1), images=images)
    found.save(tmp_path / "a.safetensors")
    back = Explanation.load(tmp_path / "a.safetensors")
    assert torch.equal(back.images, images)
    assert back.to_html() == found.to_html()


def test_grey_pictures_weigh_colours_as_eyes_do():
    # Rec. 709: green is the brightest, blue the darkest.
    scores = torch.zeros(1, 3)
    image = torch.eye(3).mul(255).byte()[None]
    red, green, blue = pixels(scores, 1.0, image)[0, :, 0].tolist()
    assert green > red > blue


class Taking(nn.Module):
    """Takes one picture, or two."""

    def forward(self, x, y=None):
        return x.flatten(1)[:, :2]


def laid_over(inputs, shape):
    found = Explanation(scores=torch.ones(shape), output=torch.ones(2))
    lay_over(found, Taking(), inputs)
    return found.images


@pytest.mark.parametrize(
    "inputs",
    [
        lambda pictures: pictures,
        lambda pictures: (pictures,),
        lambda pictures: {"x": pictures},
    ],
)
def test_pictures_are_found_in_whatever_holds_them(inputs):
    pictures = torch.randn(2, 1, 4, 4)
    assert torch.equal(laid_over(inputs(pictures), (2, 4, 4)), pictures)


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        ((torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)), (2, 2, 2)),  # which one?
        (torch.ones(2, 2, 4, 4), (2, 2, 2)),  # two channels are no picture
        (torch.ones(2, 4), (2, 2, 2)),
        (torch.ones(2, 1, 4, 4), (2, 5)),  # scores of tokens
    ],
)
def test_what_may_be_no_picture_is_not_shown(inputs, shape):
    assert laid_over(inputs, shape) is None


class Seeing(nn.Module):
    """Takes pictures the way vision models of transformers do."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(16, 2)

    def forward(self, pixel_values):
        return self.last(pixel_values.flatten(1))


def test_pictures_given_by_name_are_shown():
    pictures = torch.randn(2, 1, 4, 4)
    inputs = {"pixel_values": pictures}
    found = explain(Seeing(), inputs, "leave_one_out", target=0, patch=2)
    assert torch.equal(found.images, pictures)
