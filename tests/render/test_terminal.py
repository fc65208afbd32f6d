"""Terminal text: a heat map on a terminal, a list of numbers off it."""

import re
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import calm, explanation, hostile_text, relevance
from lrp_hooks import Explanation, Ledger
from lrp_hooks.support.text import cell_width, visible

ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def plain(text):
    return ESCAPE.sub("", text)


def test_each_token_beside_its_signed_score():
    scores = torch.tensor([[0.25, -1.5, 0.0]])
    text = explanation([["a", "longer", "b"]], scores=scores).to_terminal(colour=False)
    assert text.splitlines()[4:] == [
        "a       +0.2500",
        "longer  -1.5000",
        "b       +0.0000",
    ]


def test_heading():
    found = relevance(
        batch=1, meta={"labels": {1: "positive"}, "rules": "conservative"}
    )
    found.output = torch.tensor([2.0])
    assert found.to_terminal(colour=False).splitlines()[:3] == [
        "method  lrp (conservative)",
        "target  positive",
        "output  +2.0000",
    ]


@calm
@given(st.lists(hostile_text, min_size=1, max_size=6), st.booleans())
def test_tokens_cannot_act_on_the_terminal(tokens, colour):
    text = explanation([tokens]).to_terminal(colour=colour, width=40)
    rest = plain(text) if colour else text
    assert rest.replace("\n", "") == visible(rest.replace("\n", ""))
    body = rest.split("\n\n")[1] if colour else "\n".join(rest.split("\n")[4:])
    position = 0
    for token in map(visible, tokens):
        position = body.index(token, position) + len(token)


@calm
@given(
    st.lists(st.text("abc映", min_size=1, max_size=9), min_size=1, max_size=30),
    st.integers(20, 60),
)
def test_heat_maps_are_wrapped(tokens, width):
    shown = plain(explanation([tokens]).to_terminal(colour=True, width=width))
    body = shown.split("\n\n")[1]
    assert body.split() == tokens
    assert all(cell_width(line) <= width for line in body.splitlines())


def test_the_ledger_is_a_table():
    found = relevance(batch=1, tokens=[["a"]])
    table = found.to_terminal(colour=False).split("ledger\n")[1].splitlines()
    names = [line.split()[0] for line in table]
    numbers = {line.split()[0]: float(line.split()[1]) for line in table}
    kinds = ["tokens", "positions", "biases", "softmax"]
    assert names == [*kinds, "total", "output", "error"]
    assert numbers["total"] == pytest.approx(sum(numbers[k] for k in kinds), abs=3e-4)
    assert numbers["output"] == pytest.approx(numbers["total"], abs=2e-4)


def test_small_numbers_have_more_decimals():
    found = relevance(batch=1)
    small = {name: values / 1e4 for name, values in found.ledger.sources.items()}
    found.output /= 1e4
    found.ledger = Ledger(found.ledger.inputs / 1e4, small, {}, found.output)
    text = found.to_terminal(colour=False)
    for name in ("output", "  total", "  output"):
        number = re.search(rf"^{name} +(.*)$", text, re.MULTILINE)[1]
        assert float(number) == pytest.approx(found.output.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colour_where_it_is_wanted(monkeypatch, terminal, environment, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert ("\x1b[" in explanation([["a", "b"]]).to_terminal()) is coloured


def test_padding_is_left_out():
    tokens = [["a", "b", "c", "d", "e"], ["f", "g", "h"]]
    text = relevance(tokens=tokens).to_terminal(colour=False)
    assert re.findall(r"^([a-z]) ", text, re.MULTILINE) == list("abcdefgh")


def test_images():
    scores = torch.zeros(1, 30, 100)
    scores[0, 0, 0], scores[0, 1, 1] = 2.0, -0.5
    found = Explanation(scores=scores, output=torch.ones(1))
    line = "image 30 x 100: scores from -0.5000 to +2.0000, sum +1.5000"
    assert line in found.to_terminal(colour=False)
    mosaic = plain(found.to_terminal(colour=True, width=40)).split("\n\n")[1]
    assert all(len(row) <= 40 for row in mosaic.splitlines())
