"""Sounds, videos, boxes and large pictures as people see them, on pages and figures."""

import re

import pytest
import torch

from lrp_hooks import Explanation
from lrp_hooks.render.colour import POSITIVE
from lrp_hooks.render.pictures import boxed, pixels
from lrp_hooks.render.sounds import HEIGHT, WIDTH, sound_picture, ticks_of
from lrp_hooks.results.explanation_view import view
from lrp_hooks.results.pictured import montage
from modalities import noise


def heard(count=1000, **meta):
    """An explanation of a waveform, of which one stretch speaks."""
    scores = torch.zeros(1, count, dtype=torch.float64)
    scores[:, 400:500] = 1.0
    meta = {"sounds": {"input_values": "samples"}, **meta}
    return Explanation(
        scores=scores, output=torch.ones(1), images=noise(1, count), meta=meta
    )


def test_a_sound_has_a_time_axis_and_sums_of_its_moments():
    (part,) = view(heard(seconds={"input_values": 0.001})).examples[0].parts
    assert part.ticks == ["0.00", "0.25", "0.50", "0.75", "1.00 s"]
    assert part.scores.sum() == 100 and part.scores.shape[0] == 1
    first, last = part.scores[0].nonzero()[[0, -1], 0].tolist()
    width = part.scores.shape[1]
    assert first / width == pytest.approx(0.4, abs=0.01)
    assert last / width == pytest.approx(0.5, abs=0.01)
    assert ticks_of(1000, None, "samples")[-1] == "1000 samples"


def test_a_sound_is_shown_on_pages_figures_and_terminals():
    found = heard(seconds={"input_values": 0.001})
    html = found.to_html()
    assert re.findall(r"<span>([\d.]+(?: s)?)</span>", html)[-1] == "1.00 s"
    figure = found.plot()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["0.00", "0.25", "0.50", "0.75", "1.00 s"]
    assert "1.00 s" in found.to_terminal(colour=True)
    assert len(found.to_dataframe()) == 1000  # tables have every sample


def test_a_wave_and_bands_are_drawn_where_they_are():
    wave = torch.zeros(4 * WIDTH)
    wave[2 * WIDTH :] = torch.tensor([1.0, -1.0]).repeat(WIDTH)
    drawn = sound_picture(wave)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    dark = (drawn[..., 0] < 128).sum(0)
    assert (dark[: WIDTH // 2 - 1] <= 2).all() and (dark[WIDTH // 2 + 1 :] > 2).any()
    bands = torch.zeros(4, 8)
    bands[0, 2] = 1.0  # the lowest band stands at the bottom
    row, column = (sound_picture(bands)[..., 0] == 255).nonzero().double().mean(0)
    assert row > HEIGHT * 0.7 and column / WIDTH == pytest.approx(2.5 / 8, abs=0.01)


def test_frames_stand_beside_each_other():
    frames = torch.arange(10)[:, None, None].expand(10, 2, 3)
    whole = montage(frames)
    assert whole.shape == (4, 24)
    for number in range(10):
        row, column = divmod(number, 8)
        part = whole[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        assert (part == number).all()
    scores = noise(1, 10, 4, 4)
    pictures = torch.rand(1, 10, 3, 4, 4)
    found = Explanation(scores=scores, output=torch.ones(1), images=pictures)
    (part,) = view(found).examples[0].parts
    assert part.scores.shape == (8, 32) and part.image.shape == (8, 32, 3)
    assert "<img" in found.to_html() and found.plot() is not None
    assert len(found.to_dataframe()) == 8 * 32


def test_a_box_is_drawn_around_what_is_meant():
    image = torch.full((100, 200, 3), 120, dtype=torch.uint8)
    box = (0.25, 0.2, 0.75, 0.6)
    drawn = boxed(image, box)
    changed = (drawn != image).any(-1).nonzero()
    assert changed.amin(0).tolist() == [20, 50]
    assert changed.amax(0).tolist() == [60, 150]
    assert (drawn[30:50, 70:130] == 120).all() and (image == 120).all()
    scores = torch.ones(1, 10, 20)
    found = Explanation(
        scores=scores,
        output=torch.ones(1),
        images=torch.rand(1, 3, 100, 200),
        meta={"boxes": [list(box)]},
    )
    (part,) = view(found).examples[0].parts
    assert (part.image[20, 60:140] == 0).all()


@pytest.mark.parametrize("size", [(300, 200), (7, 9)])
def test_scores_lie_over_the_picture_at_its_own_size(size):
    image = torch.full((*size, 3), 255, dtype=torch.uint8)
    scores = torch.zeros(14, 14)
    scores[:7, :7] = 1.0
    drawn = pixels(scores, 1.0, image)
    assert drawn.shape == image.shape
    assert (
        drawn[0, 0].tolist() == list(POSITIVE) and drawn[-1, -1].tolist() == [255] * 3
    )


def test_large_pictures_are_shown_by_the_models_patches():
    scores = noise(1, 64, 64)
    meta = {"patches": {"pixel_values": [16, 16]}}
    found = Explanation(scores=scores, output=torch.ones(1), meta=meta)
    (part,) = view(found).examples[0].parts
    torch.testing.assert_close(part.scores, found.patches().scores[0])
    assert len(found.to_dataframe()) == 64 * 64
    small = Explanation(scores=noise(1, 32, 32), output=torch.ones(1), meta=meta)
    assert view(small).examples[0].parts[0].scores.shape == (32, 32)


def test_an_outlier_does_not_hide_the_rest_on_page_or_figure():
    scores = torch.full((1, 20, 20), 0.1)
    scores[0, 0, 0] = 100.0
    found = Explanation(scores=scores, output=torch.ones(1))
    shown = view(found)
    assert shown.scale == pytest.approx(0.1) and shown.beyond
    assert "some beyond" in found.to_html()
    bar = found.plot().axes[-1]
    assert bar.get_ylim()[1] == pytest.approx(0.1)
    few = Explanation(scores=scores[:, :4, :4], output=torch.ones(1))
    assert view(few).scale == 100.0 and not view(few).beyond


def test_several_inputs_stand_on_one_page_on_one_scale():
    scores = {"input_ids": torch.tensor([[0.5, -2.0]]), "pixel_values": noise(1, 4, 4)}
    found = Explanation(scores=scores, output=torch.ones(1))
    largest = max(2.0, float(scores["pixel_values"].abs().max()))
    assert view(found).scale == pytest.approx(largest)
    html = found.to_html()
    assert "input_ids" in html and "pixel_values" in html
    bars = [axes for axes in found.plot().axes if axes.get_label() == "<colorbar>"]
    assert len({bar.get_ylim() for bar in bars}) == 1 and len(bars) == 2
