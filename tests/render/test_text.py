"""Text made safe, and numbers made readable."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_built import any_text, calm, hostile_text
from lrp_hooks.render.layout import flow
from lrp_hooks.support.text import cell_width, decimals, one_line, signed, visible


@calm
@given(hostile_text)
def test_visible_text_acts_on_nothing(text):
    seen = visible(text)
    assert len(seen) == len(text)
    assert not [c for c in seen if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not set(seen) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2069")


@calm
@given(hostile_text, st.integers(5, 30))
def test_one_line_is_one_short_line(text, limit):
    line = one_line(text, limit)
    assert len(line.splitlines()) <= 1
    assert len(line) <= limit


def test_one_line_keeps_what_fits():
    assert one_line("a  b\n  c", 9) == "a  b c"


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.125, 4, "+0.1250"),
        (-0.125, 2, "-0.12"),
        (-0.0, 4, "+0.0000"),
        (-1e-9, 4, "+0.0000"),
        (float("nan"), 4, "+nan"),
        (float("-inf"), 4, "-inf"),
    ],
)
def test_signed(value, places, text):
    assert signed(value, places) == text


@given(st.floats(1e-12, 1e6))
def test_decimals_show_four_digits(scale):
    text = signed(scale, decimals(scale))
    assert len(text.replace(".", "").lstrip("+0")) >= 4
    assert abs(float(text) - scale) <= 1e-3 * scale


def test_small_scales_have_more_decimals():
    assert decimals(12.0) == decimals(0.0) == decimals(float("nan")) == 4
    assert decimals(0.00123) == 6


def test_wide_and_combining_characters():
    assert cell_width("ab映画e\u0301") == 7
    assert cell_width("👩\u200d👩\u200d👧") == 2


@calm
@given(st.lists(any_text.map(visible), max_size=20), st.integers(1, 30))
def test_lines_keep_order_and_width(tokens, width):
    lines = flow(tokens, width)
    assert [t for line in lines for t in line] == list(range(len(tokens)))
    for line in lines:
        used = sum(cell_width(tokens[t]) for t in line) + len(line) - 1
        assert used <= width or len(line) == 1
