"""One diverging scale, readable everywhere."""

import math

import pytest

from lrp_hooks.render.colour import DARK, LEVELS, LIGHT, ansi, css, ink, level, rgb

STEPS = range(-LEVELS, LEVELS + 1)


def luminance(colour):
    linear = [
        c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4
        for c in colour
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("neutral", [LIGHT, DARK])
def test_text_is_readable_on_every_level(neutral):
    for step in STEPS:
        background = rgb(step, neutral)
        low, high = sorted(map(luminance, (background, ink(background))))
        assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("neutral", [LIGHT, DARK])
def test_each_level_is_further_from_the_neutral_colour(neutral):
    assert rgb(0, neutral) == neutral
    for sign in (1, -1):
        distances = [
            math.dist(rgb(sign * step, neutral), neutral) for step in range(LEVELS + 1)
        ]
        assert distances == sorted(set(distances))


def test_signs_differ_in_red_against_blue():
    # Common colour blindness confuses red with green, hardly ever either with blue.
    for step in range(1, LEVELS + 1):
        above, below = rgb(step), rgb(-step)
        assert above[0] - above[2] > 0 > below[0] - below[2]


def test_levels_are_symmetric_and_centred():
    assert [level(x, 2.0) for x in (-2, -1, 0, 1, 2, 5)] == [-12, -6, 0, 6, 12, 12]
    assert level(1.0, 0.0) == level(math.nan, 1.0) == 0


def test_style_sheet_has_both_themes():
    light, dark = css(".box").split("@media (prefers-color-scheme:dark)")
    for step in range(1, LEVELS + 1):
        for part in (light, dark):
            assert f".box .p{step}{{" in part
            assert f".box .n{step}{{" in part


def test_ansi_resets_what_it_sets():
    assert ansi("a", 0) == "a"
    for text in (ansi("a", 3), ansi("a", -12), ansi("a", 0, dim=True)):
        assert text.startswith("\x1b[")
        assert text.endswith("a\x1b[0m")
