"""Figures of tokens and images."""

import dataclasses
import io
import sys

import pytest
import torch

from hand_built import HOSTILE, explanation, relevance
from lrp_hooks import ArgumentError, Comparison, Explanation, Ledger, Relevance
from lrp_hooks.render.glyphs import written
from lrp_hooks.render.heat_map import heat_map

pytestmark = pytest.mark.filterwarnings("error:Glyph:UserWarning")


def panels(figure):
    """Return the panels of scores: ledgers have bars, and no panel else."""
    found = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return [axes for axes in found if not axes.patches]


def drawn_size(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=30)
    return len(buffer.getvalue())


def test_a_panel_for_each_example():
    figure = relevance(tokens=[list("abcde"), list("fgh")]).plot()
    texts = [[text.get_text() for text in axes.texts] for axes in panels(figure)]
    assert texts == [list("abcde"), list("fgh")]
    assert drawn_size(figure) > 1000


def test_the_ledger_is_drawn_as_bars():
    found = relevance(tokens=[list("abcde"), list("fgh")])
    ledgers = [axes for axes in found.plot().axes if axes.patches]
    assert len(ledgers) == 2
    for b, axes in enumerate(ledgers):
        terms = {
            "tokens" if k == "inputs" else k: v for k, v in found.ledger.groups.items()
        }
        terms["output"] = found.output
        bars = [bar.get_width() for bar in axes.patches]
        assert bars == pytest.approx([v[b].item() for v in terms.values()])
        names = [label.get_text().split()[0] for label in axes.get_yticklabels()]
        assert names == list(terms)


def test_hostile_tokens_are_drawn_as_they_are():
    figure = explanation([list(HOSTILE)], meta={"labels": {1: "$x^$"}}).plot()
    (axes,) = panels(figure)
    assert [text.get_text() for text in axes.texts] == list(map(written, HOSTILE))
    assert drawn_size(figure) > 1000


def test_images_share_a_symmetric_scale():
    scores = torch.zeros(2, 4, 5)
    scores[0, 0, 0], scores[1, 0, 0] = -3.0, 1.0
    found = Explanation(scores=scores, output=torch.ones(2))
    figure = found.plot()
    for axes in panels(figure):
        assert axes.images[0].get_clim() == (-3.0, 3.0)
    assert drawn_size(figure) > 1000


def test_scores_are_laid_over_the_picture():
    scores = torch.tensor([[[2.0, 0.0], [0.0, -1.0]]])
    picture = torch.zeros(1, 1, 4, 4)
    picture[..., 2:] = 1.0
    found = Explanation(scores=scores, output=torch.ones(1), images=picture)
    (axes,) = panels(found.plot())
    drawn = axes.images[0].get_array()
    assert drawn.shape == (4, 4 + 1 + 4, 3)  # the picture, a gap, the scores over it
    assert drawn[0, 0].tolist() == [0, 0, 0]
    assert drawn[0, 3].tolist() == drawn[0, 4].tolist() == [255, 255, 255]
    assert drawn[0, 5].tolist() == drawn[1, 6].tolist() == [213, 94, 0]
    assert drawn[0, 8].tolist() == [255, 255, 255]  # white of the picture, no score
    assert drawn[3, 5].tolist() == [160, 160, 160]  # black of the picture


def test_right_to_left_texts_start_on_the_right():
    special = {"special": [[True, False, False]]}
    (axes,) = panels(explanation([["[CLS]", "مرحبا", "بالعالم"]], meta=special).plot())
    left, right = axes.get_xlim()
    assert left > right
    assert {text.get_ha() for text in axes.texts} == {"right"}
    places = [text.get_position()[0] for text in axes.texts]
    assert places == sorted(places)


def test_a_notebook_shows_a_figure():
    figure = explanation([["a"]]).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_no_scores_at_all_still_draw():
    assert drawn_size(explanation([["a"]], scores=torch.zeros(1, 1)).plot()) > 500


def test_too_much_for_one_figure():
    long = explanation([["word" * 10] * 5000])
    with pytest.raises(ArgumentError, match=r"5002 lines.*to_html"):
        long.plot()


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ArgumentError, match=r'pip install "lrp_hooks\[plot\]"'):
        explanation([["a"]]).plot()


def in_bytes(colour):
    return tuple(round(255 * share) for share in colour[:3])


def test_tokens_have_the_colours_of_their_signs():
    scores = torch.tensor([[1.0, -1.0, 0.0]])
    special = {"special": [[True, False, False]]}
    found = explanation([["[CLS]", "b", "c"]], scores=scores, meta=special)
    (axes,) = panels(found.plot())
    boxes = [in_bytes(text.get_bbox_patch().get_facecolor()) for text in axes.texts]
    assert boxes == [(213, 94, 0), (0, 114, 178), (255, 255, 255)]
    dimmed, *plain = [text.get_alpha() for text in axes.texts]
    assert dimmed < 1 and plain == [1, 1]


def test_the_title_has_the_output():
    found = relevance(tokens=[list("abcde"), list("fgh")])
    for b, axes in enumerate(panels(found.plot())):
        assert f"{found.output[b].item():+.4f}" in axes.get_title(loc="left")


def test_the_ledger_reads_downwards_and_has_the_colours_of_its_signs():
    ledgers = [axes for axes in relevance().plot().axes if axes.patches]
    signs = set()
    for axes in ledgers:
        assert axes.yaxis_inverted()
        for bar, label in zip(axes.patches, axes.get_yticklabels(), strict=True):
            width = bar.get_width()
            signs.add(width > 0)
            wanted = (213, 94, 0) if width > 0 else (0, 114, 178)
            assert in_bytes(bar.get_facecolor()) == wanted
            said = float(label.get_text().split()[-1])
            assert said == pytest.approx(width, abs=1e-4)
    assert signs == {True, False}


def extents(figure):
    """Where texts of panels are drawn, in inches from the figure's left edge."""
    figure.draw_without_rendering()
    found = []
    for axes in panels(figure):
        for text in axes.texts:
            box = text.get_window_extent()
            found.append((box.x0 / figure.dpi, box.x1 / figure.dpi))
    return found


LONG = ["[CLS]", *[f"word{n}" for n in range(60)], "endless" * 30, "[SEP]"]


@pytest.mark.parametrize("width", [None, 2.5, 3.3, 5.0, 7.0, 14.0])
def test_a_figure_keeps_to_its_width(width):
    given = explanation([LONG])
    ledger = Ledger(torch.ones(1), {"a.bias": -torch.ones(1)}, {}, torch.zeros(1))
    fields = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    figure = Relevance(values=given.scores, ledger=ledger, **fields).plot(width=width)
    assert figure.get_figwidth() == (width or 9.0)
    drawn = extents(figure)
    assert min(left for left, _ in drawn) >= 0
    assert max(right for _, right in drawn) <= figure.get_figwidth()
    words = "".join(text.get_text() for text in panels(figure)[0].texts)
    assert words == "".join(LONG)


@pytest.mark.parametrize("width", [3.3, 9.0])
def test_tokens_of_a_line_are_apart(width):
    figure = explanation([LONG]).plot(width=width)
    figure.draw_without_rendering()
    rows = {}
    for text in panels(figure)[0].texts:
        rows.setdefault(text.get_position()[1], []).append(text.get_window_extent())
    assert len(rows) > 3
    for row in rows.values():
        assert all(one.x1 < other.x0 for one, other in zip(row, row[1:], strict=False))


def test_titles_are_wrapped():
    found = explanation([["a"]], meta={"labels": {1: "a label that is long " * 3}})
    lines = panels(found.plot(width=3.3))[0].get_title(loc="left").splitlines()
    assert len(lines) > 1 and max(map(len, lines[1:])) < 60
    assert len(panels(found.plot())[0].get_title(loc="left").splitlines()) == 1


@pytest.mark.parametrize("width", [0, 1.9, 41, "3", True, float("nan")])
def test_a_width_is_a_number_of_inches(width):
    with pytest.raises(ArgumentError, match="from 2 to 40; a column.*3.3"):
        explanation([["a"]]).plot(width=width)


def matrix_panels(rows, columns, width, seen=None):
    scores = torch.arange(rows * columns).reshape(rows, columns).double().numpy()
    names = [f"r{n}" for n in range(rows)], [f"c{n}" for n in range(columns)]
    figure = heat_map(scores, 1.0, *names, width, seen=seen, ends=(columns // 2,))
    found = [axes for axes in figure.axes if axes.images]
    return figure, scores, found


@pytest.mark.parametrize("width", [None, 3.3, 7.0])
@pytest.mark.parametrize("columns", [1, 20, 77, 150])
def test_a_wide_matrix_is_split_and_nothing_is_lost(width, columns):
    figure, scores, found = matrix_panels(3, columns, width)
    assert figure.get_figwidth() <= (width or 14.0)
    parts = [axes.images[0].get_array() for axes in found]
    assert (torch.tensor(scores) == torch.cat(list(map(torch.tensor, parts)), 1)).all()
    names = [t.get_text() for axes in found for t in axes.get_xticklabels()]
    assert names == [f"c{n}" for n in range(columns)]
    assert sum(len(axes.lines) for axes in found) <= 1
    assert (len(found) > 1) == (columns * 0.13 > (width or 14.0) - 1.3)


def test_rows_that_have_no_more_columns_are_left_out():
    """Of a text, each generated token sees one token more."""
    seen = [40 + row for row in range(20)]
    _, scores, found = matrix_panels(20, 60, 3.3, seen)
    columns = 0
    for axes in found:
        part = axes.images[0].get_array()
        kept = [row for row in range(20) if seen[row] > columns] or [19]
        assert part.shape[0] == len(kept)
        assert (part == scores[kept, columns : columns + part.shape[1]]).all()
        columns += part.shape[1]
    assert len(found) > 2


def test_maps_of_methods_go_on_below():
    maps = torch.rand(1, 6, 6)
    labels = [f"m{n}" for n in range(5)]
    one = Explanation(scores=maps, output=torch.ones(1))
    found = Comparison(dict.fromkeys(labels, one), {})
    figure = found.plot(width=3.3)
    assert figure.get_figwidth() <= 3.3
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if axes.images]
    assert titles == labels


@pytest.mark.parametrize("token", ["\n", "a\tb", "映画", "😀", "\u202e", "▁Once", "Ġa"])
def test_no_letter_is_missing(token):
    """A missing glyph is a warning, and warnings of glyphs are errors here."""
    assert drawn_size(explanation([[token, "b"]]).plot()) > 500
    assert drawn_size(heat_map([[1.0]], 1.0, [token], [token])) > 500


def test_a_line_break_is_an_arrow():
    assert written("a\n") == "a↵"
