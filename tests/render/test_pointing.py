"""Texts whose tokens can be pointed at: colours, order of rules, direction."""

import math
import re

import pytest
import torch

from lrp_hooks.render import pointing
from lrp_hooks.render.colour import DARK, LEVELS, LIGHT, class_name, rgb


def test_dark_pages_have_colours_of_their_own():
    light, dark = pointing.style().split("@media (prefers-color-scheme:dark)")
    for part, neutral in ((light, LIGHT), (dark, DARK)):
        for step in {*range(-LEVELS, LEVELS + 1)} - {0}:
            wanted = "#{:02x}{:02x}{:02x}".format(*rgb(step, neutral))
            assert re.findall(f"--{class_name(step)}:(#.{{6}});", part) == [wanted]


@pytest.mark.parametrize(
    ("tokens", "direction"),
    [
        (["[CLS]", "مرحبا", "a"], "rtl"),
        (["[CLS]", "a", "مرحبا"], "ltr"),
        (["שלום", "b", "c"], "ltr"),  # the first one is special
    ],
)
def test_texts_read_in_their_direction(tokens, direction):
    html = pointing.text(tokens, [True, False, False], ["t"], [{}])
    assert re.findall(r'<p class="text [^"]*" dir="(...)"', html) == [direction]


def test_the_pointer_goes_before_the_focus():
    rules = pointing.rules([{12: [0]}, {-3: [1]}])
    for t in (0, 1):
        assert f":has(.g{t}:hover)" in rules
        assert f":has(.g{t}:focus):not(:has(.made:hover))" in rules
    # Without either, the first row shows.
    assert rules.count(":not(:has(.made:is(:hover,:focus)))") == 1


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_what_is_no_number_takes_no_place(value):
    scores = torch.tensor([[value, 1.0, -0.5, 0.25]])
    assert pointing.levels(scores, [1.0], 2) == [{12: [1], -6: [2]}]
    assert pointing.levels(scores, [1.0], 4) == [{12: [1], -6: [2], 3: [3]}]
