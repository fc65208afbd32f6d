"""What a comparison says of methods that have nothing to say, or say it themselves."""

import math

import pytest
import torch

from lrp_hooks import ArgumentError, compare, explain

TEXT = "a gripping, funny film with a weak ending"


def test_an_example_without_a_value_is_left_out_of_agreement(sentiment):
    model, tokenizer = sentiment
    methods = ("lrp", "leave_one_out")
    both = compare(model, [TEXT, "bad"], methods, tokenizer).agreement()
    alone = compare(model, TEXT, methods, tokenizer).agreement()
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-9)


def test_no_value_at_all_is_a_dash(sentiment):
    model, tokenizer = sentiment
    found = compare(model, "bad", ("lrp", "leave_one_out"), tokenizer)
    assert math.isnan(found.agreement()[0, 1])
    for shown in (found.to_terminal(colour=False), found.to_html()):
        assert "nan" not in shown.lower()


def test_a_method_that_judges_itself_is_quoted(sentiment):
    model, tokenizer = sentiment
    found = compare(model, "bad", ("lrp", "slalom"), tokenizer)
    (verdict,) = found.explanations["slalom"].verdicts
    assert found.notes == {"slalom": verdict}
    for shown in (found.to_terminal(colour=False), found.to_html()):
        assert verdict.rpartition(", ")[2] in shown


def test_an_option_that_does_not_exist_is_the_callers_error(sentiment):
    model, tokenizer = sentiment
    with pytest.raises(ArgumentError, match="n_sample=50"):
        compare(model, TEXT, {"lrp": {}, "slalom": {"n_sample": 50}}, tokenizer)


def test_default_methods(sentiment):
    model, tokenizer = sentiment
    found = compare(model, TEXT, None, tokenizer)
    assert list(found.explanations) == list(
        compare(model, TEXT, tokenizer=tokenizer).explanations
    )
    assert not found.failures


@pytest.mark.parametrize(
    "methods", [3, [], ["lrp", 3], [["lrp"]], {"lrp": None}, "lrp", {}]
)
def test_methods_that_are_no_list_of_names(sentiment, methods):
    model, tokenizer = sentiment
    with pytest.raises(ArgumentError, match="methods="):
        compare(model, TEXT, methods, tokenizer)


@pytest.mark.parametrize("k", [0, -1, 1.5, "2"])
def test_a_bad_number_of_top_tokens(sentiment, k):
    model, tokenizer = sentiment
    found = compare(model, TEXT, ("lrp",), tokenizer)
    with pytest.raises(ArgumentError, match="k="):
        found.agreement("top_k", k)


def test_no_model():
    with pytest.raises(ArgumentError, match="model is a NoneType"):
        compare(None, TEXT)


def test_blanks_between_names_on_the_command_line(run):
    code, out, _ = run("compare", TEXT, "--methods", "lrp, decompx")
    assert code == 0
    assert "decompx" in out
    code, _, err = run("compare", TEXT, "--methods", "")
    assert code == 2
    assert "method=''" in err


@pytest.mark.parametrize(("text", "few"), [("good film", True), (TEXT, False)])
def test_ranks_of_too_few_tokens_are_told(sentiment, text, few):
    model, tokenizer = sentiment
    found = compare(model, text, ("lrp", "random_baseline"), tokenizer)
    for shown in (found.to_terminal(colour=False), found.to_html()):
        assert ("2 compared in an example, too few to rank" in shown) == few


def test_a_tokenizer_in_the_place_of_the_method(sentiment):
    model, tokenizer = sentiment
    with pytest.raises(ArgumentError, match="Pass a tokenizer as tokenizer="):
        explain(model, "good film", tokenizer)
