"""Several methods over videos and sounds: their maps below each other as strips."""

import re

import pytest
import torch
from torch import nn

from lrp_hooks import ArgumentError, compare
from modalities import noise
from picture_models import drawn_in

METHODS = ("lrp", "saliency", "integrated_gradients")
FRAMES, SIDE, SAMPLES = 3, 4, 600


class Film(nn.Module):
    """Classifies videos, [B, F, C, H, W]."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(FRAMES * 3 * SIDE**2, 8), nn.ReLU(), nn.Linear(8, 3)
        )

    def forward(self, pixel_values):
        return self.layers(pixel_values)


class Ear(nn.Module):
    """Classifies waveforms, [B, T]; its attention is over stretches of them."""

    def __init__(self):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.first = nn.Conv1d(1, 8, 60, 60)
        sizes = {"dim_feedforward": 16, "batch_first": True}
        self.block = nn.TransformerEncoderLayer(8, 2, **sizes)
        self.last = nn.Linear(8, 3)

    def forward(self, input_values):
        return self.last(self.block(self.first(input_values[:, None]).mT).mean(1))


@pytest.fixture(scope="module")
def films():
    return compare(
        Film().eval(),
        {"pixel_values": noise(2, FRAMES, 3, SIDE, SIDE).float()},
        METHODS,
    )


@pytest.fixture(scope="module")
def sounds():
    sound = {"input_values": noise(1, SAMPLES).float()}
    return compare(Ear().eval(), sound, (*METHODS, "attention_rollout"))


def target_of(found):
    return found.explanations["lrp"].targets[0]


def test_videos_are_compared_over_all_of_their_pixels(films):
    assert films.failures == {}
    shapes = {tuple(each.scores.shape) for each in films.explanations.values()}
    assert shapes == {(2, FRAMES, SIDE, SIDE)}
    assert films.agreement().diagonal().tolist() == pytest.approx([1.0] * 3)
    assert [len(row) for row in films.rows("lrp")] == [FRAMES * SIDE**2] * 2


def test_each_method_has_a_strip_of_frames(films):
    drawn = drawn_in(films.to_html())
    assert len(drawn) == 2 * (1 + len(METHODS))
    assert {image.shape[:2] for image in drawn} == {(SIDE, FRAMES * SIDE)}
    axes = films.plot().axes
    assert len(axes) == 2 * (1 + len(METHODS))
    lefts = {round(each.get_position().x0, 3) for each in axes}
    assert len(lefts) == 1  # below each other
    assert films.to_terminal(colour=False).count("image 4 x 12") == 2 * len(METHODS)


def test_each_method_has_a_strip_of_moments_with_a_time_axis(sounds):
    assert list(sounds.explanations) == list(METHODS)
    html = sounds.to_html()
    assert len(drawn_in(html)) == len(METHODS)
    ends = re.findall(r"<span>(\d+ samples)</span>", html)
    assert ends == [f"{SAMPLES} samples"] * len(METHODS)
    drawn = sounds.plot().axes
    assert drawn[0].get_title("left").split("\n")[:2] == [target_of(sounds), "lrp"]
    for axes in drawn:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels[-1] == f"{SAMPLES} samples"
    assert sounds.to_terminal(colour=False).count("moments from 0") == len(METHODS)


def test_stretches_do_not_stand_beside_samples(sounds):
    says = (
        rf"its scores are \[1, 10\] and those of 'lrp' are \[1, {SAMPLES}\]: compare "
        "methods that score samples"
    )
    assert re.match(says, sounds.failures["attention_rollout"])


def test_a_figure_of_strips_keeps_to_its_width(films):
    assert films.plot(width=4.0).get_figwidth() == 4.0


def test_more_axes_than_a_video_has_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 2 * 3 * 4, 3))
    with pytest.raises(ArgumentError, match="pixels of one image or video"):
        compare(model, noise(1, 2, 2, 1, 3, 4).float(), ["lrp"])
