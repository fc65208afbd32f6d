"""One method under two labels: each is told, and figures have the page's scales."""

import re

import pytest

from command_line import assert_refused
from lrp_hooks import ArgumentError, compare
from shared_models import sentiment

TEXTS = ["a gripping, funny film with a weak ending", "dull"]
METHODS = {
    "plain": {"method": "lrp"},
    "attn": {"method": "lrp", "rules": "attnlrp"},
    "generic_attention": {},
}


@pytest.fixture(scope="module")
def found():
    model, tokenizer = sentiment()
    return compare(model, TEXTS, METHODS, tokenizer)


def test_the_figure_has_the_scales_of_the_page(found):
    """A special token may have most of the scores, and decides no scale."""
    bars = [a for a in found.plot().axes if a.get_label() == "<colorbar>"]
    tops = iter([bar.get_ylim()[1] for bar in bars])
    for b in range(len(TEXTS)):
        special = found.explanations["plain"].meta["special"][b]
        for each in found.explanations.values():
            row = each.scores[b, : len(special)].abs().tolist()
            plain = [s for s, own in zip(row, special, strict=True) if not own]
            assert next(tops) == pytest.approx(max(plain), rel=1e-4)
    assert next(tops, None) is None


def test_panels_are_named_by_their_labels(found):
    titles = [axes.get_title(loc="left") for axes in found.plot().axes]
    named = [title.split()[-1] for title in titles if title]
    assert named == list(METHODS) * len(TEXTS)


def test_a_name_that_comes_twice_is_refused():
    model, tokenizer = sentiment()
    with pytest.raises(ArgumentError, match="names 'lrp' more than once.*label"):
        compare(model, TEXTS, ["lrp", "saliency", "lrp"], tokenizer)


def test_the_command_line_spells_rule_sets(run, loaded_once):
    code, out, err = run("compare", TEXTS[0], "--methods", "lrp, lrp:attnlrp")
    assert (code, err) == (0, "")
    assert re.search(r"^ +lrp +lrp:attnlrp$", out, re.MULTILINE)
    with_targets = ("--target", "positive", "--target", "negative")
    code, out, _ = run("compare", "a", "--methods", "lrp:attnlrp", *with_targets)
    assert code == 0 and "lrp:attnlrp: positive  lrp:attnlrp: negative" in out


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("lrp,lrp", "--methods names 'lrp' more than once"),
        ("lrp@site", "compare shows scores as they are"),
        ("lrp:nosuch", "'nosuch'.*'attnlrp'"),
        ("lime:attnlrp", "rules"),
    ],
)
def test_bad_methods_are_one_line(run, loaded_once, methods, message):
    assert_refused(run("compare", "a", "--methods", methods), message)
