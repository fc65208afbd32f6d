"""Molecules drawn with a score on each atom."""

import sys
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import HOSTILE, calm, hostile_text
from lrp_hooks import ArgumentError
from lrp_hooks.render.colour import LEVELS, rgb  # noqa: E402
from lrp_hooks.render.molecule import molecule, read_smiles  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
CAFFEINE = "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
five_scores = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5)


def parsed(drawn):
    return ElementTree.fromstring(drawn)


def coloured(drawn):
    """Return the colour of each coloured atom, in the order of atoms."""
    circles = parsed(drawn).iter(f"{SVG}ellipse")
    found = {}
    for circle in circles:
        number = int(circle.get("class").removeprefix("atom-"))
        style = dict(part.split(":") for part in circle.get("style").split(";") if part)
        found[number] = style["fill"].lower()
    return found


def tooltips(drawn):
    return [title.text for title in parsed(drawn).iter(f"{SVG}title")]


def named(step):
    return "#{:02x}{:02x}{:02x}".format(*rgb(step))


def test_colours_follow_the_sign_and_the_size():
    found = coloured(molecule("CCO", [-2.0, 0.0, 1.0]))
    assert found == {0: named(-LEVELS), 2: named(LEVELS // 2)}


def test_a_given_scale_is_kept():
    found = coloured(molecule("CCO", [-2.0, 0.5, 8.0], scale=4.0))
    assert found == {
        0: named(-LEVELS // 2),
        1: named(round(LEVELS / 8)),
        2: named(LEVELS),
    }
    ends = [text.text for text in parsed(molecule("CCO", [1, 0, 0], scale=4.0))[-3:]]
    assert ends == ["-4.0000", "0", "+4.0000"]


@calm
@given(five_scores)
def test_every_atom_says_its_score(scores):
    found = tooltips(molecule("CC(=O)NCl", torch.tensor(scores).double()))
    symbols = ["C0", "C1", "O2", "N3", "Cl4"]
    assert [text.split(": ")[0] for text in found] == symbols
    said = [float(text.split(": ")[1]) for text in found]
    digits = max(1e-3 * max(map(abs, scores)), 1e-20)
    assert said == pytest.approx(scores, rel=0, abs=digits)


@calm
@given(hostile_text)
def test_the_title_of_the_legend_is_text(legend):
    drawn = molecule("CCO", [1.0, -1.0, 0.0], legend=legend)
    plain = molecule("CCO", [1.0, -1.0, 0.0], legend="x")
    shape = [(element.tag, sorted(element.keys())) for element in parsed(drawn).iter()]
    assert shape == [(e.tag, sorted(e.keys())) for e in parsed(plain).iter()]
    assert "\x1b" not in drawn


@pytest.mark.parametrize("legend", ["a < b & c", HOSTILE[0], HOSTILE[2]])
def test_the_title_of_the_legend_is_shown_as_it_is(legend):
    texts = [text.text for text in parsed(molecule("C", [1.0], legend=legend))]
    assert legend in texts


def test_a_long_title_is_squeezed_into_the_picture():
    def length(legend):
        drawn = parsed(molecule("C", [1.0], legend=legend, width=300))
        (title,) = (text for text in drawn if text.text == legend)
        return title.get("textLength")

    assert length("short") is None
    assert float(length("long " * 20)) <= 300


def test_the_picture_needs_nothing_from_elsewhere():
    drawn = molecule(CAFFEINE, torch.randn(14))
    assert drawn.startswith("<svg ")
    for element in parsed(drawn).iter():
        assert element.tag.split("}")[1] not in {"script", "image", "use", "style"}
        assert not any(
            name.startswith("on") or "href" in name for name in element.keys()
        )


def test_no_relevance_at_all_is_drawn_without_colour():
    assert coloured(molecule(CAFFEINE, torch.zeros(14))) == {}


@pytest.mark.parametrize("scores", [[1.0] * 13, torch.zeros(15), torch.zeros(1, 14)])
def test_scores_of_other_atoms_are_refused(scores):
    with pytest.raises(ArgumentError, match=r"scores has shape .* of 14 atoms"):
        molecule(CAFFEINE, scores)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_must_be_finite(bad):
    with pytest.raises(ArgumentError, match=rf"scores holds {bad} at atom 1"):
        molecule("CC", [0.0, bad])


@pytest.mark.parametrize(
    "smiles", ["", "C1CC", "c1ccc", "no molecule", "C(C)(C)(C)(C)C"]
)
def test_unreadable_smiles_are_refused_without_noise(smiles, capfd):
    with pytest.raises(ArgumentError, match=r"smiles=.* is no molecule"):
        molecule(smiles, [1.0])
    assert capfd.readouterr() == ("", "")


def test_other_bad_arguments_are_refused():
    with pytest.raises(ArgumentError, match="smiles is a int"):
        read_smiles(3)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ArgumentError, match="scale="):
            molecule("C", [1.0], scale=scale)
    with pytest.raises(ArgumentError, match="height=20"):
        molecule("C", [1.0], height=20)


def test_without_rdkit_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ArgumentError, match=r'pip install "lrp_hooks\[molecules\]"'):
        molecule("C", [1.0])
