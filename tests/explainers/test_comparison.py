"""Several methods side by side: scores, agreement, costs, pages, the command."""

from __future__ import annotations

import json
import os
import re

import pytest
import torch
from hypothesis import given
from torch import nn

from decompx_models import batch, fresh
from hand_built import HOSTILE, calm, explanation, hostile_text
from lrp_hooks import ArgumentError, Comparison, LrpHooksError, compare, explain
from lrp_hooks.explainers import COMPARED
from lrp_hooks.results.agreement import MEASURES, spearman, top_k
from lrp_hooks.results.comparison import Cost
from small_models import convolution
from strategies import noise

SENTENCE = "a gripping, funny film with a weak ending"
SOME = ["attention_rollout", "lrp", "gradient_x_input", "attention_last"]


def test_explanations_are_those_of_each_method(sentiment):
    model, tokenizer = sentiment
    found = compare(model, SENTENCE, SOME, tokenizer, target="negative")
    assert isinstance(found, Comparison)
    assert list(found.explanations) == SOME
    assert list(found.costs) == SOME
    assert found.failures == {}
    for method, one in found.explanations.items():
        right = explain(model, SENTENCE, method, tokenizer, "negative")
        assert torch.equal(one.scores, right.scores)
        assert torch.equal(one.output, right.output)
        assert one.tokens == right.tokens == found.tokens
        assert one.method == method
    assert repr(found) == f"Comparison({SOME})"


def test_by_default(sentiment):
    model, tokenizer = sentiment
    found = compare(model, SENTENCE, tokenizer=tokenizer)
    assert list(found.explanations) == list(COMPARED)
    outputs = [float(one.output) for one in found.explanations.values()]
    assert outputs == pytest.approx([outputs[0]] * len(outputs), rel=1e-5)
    assert found.agreement().shape == (len(COMPARED), len(COMPARED))


class Counted:
    """Calls of a model, seen by a hook on all modules."""

    def __init__(self, model):
        self.model, self.calls, self.sequences = model, 0, 0

    def __enter__(self):
        register = nn.modules.module.register_module_forward_pre_hook
        self.handle = register(self.see)
        return self

    def __exit__(self, *_):
        self.handle.remove()

    def see(self, module, args):
        self.calls += module is self.model


@pytest.mark.parametrize("method", [*SOME, "integrated_gradients", "leave_one_out"])
def test_costs_are_counted(method):
    model = fresh("Bert")
    with Counted(model) as seen:
        explain(model, batch(), method, target=1)
    cost = compare(model, batch(), [method], target=1).costs[method]
    assert cost.calls == seen.calls > 0
    assert cost.seconds > 0
    if method in SOME:
        assert cost.sequences == 2 * cost.calls


def test_sequences_of_perturbed_inputs():
    model, inputs = fresh("Bert"), batch()
    sequences = []
    handle = model.bert.embeddings.word_embeddings.register_forward_hook(
        lambda _, args, output: sequences.append(len(output))
    )
    cost = compare(model, inputs, ["leave_one_out"], target=1).costs["leave_one_out"]
    handle.remove()
    assert cost.sequences == sum(sequences) >= 2 + 6 + 4
    assert cost.calls == len(sequences)


def test_positional_inputs_are_counted():
    model, ids = fresh("Bert"), batch()["input_ids"]
    assert compare(model, ids, ["lrp"]).costs["lrp"].sequences == 2
    given_ = (ids, batch()["attention_mask"])
    assert compare(model, given_, ["lrp"]).costs["lrp"].sequences == 2


def test_failures_are_listed_and_the_others_go_on():
    model = fresh("GPT2")
    methods = ["lrp", "globenc", "attention_rollout", "alti"]
    found = compare(model, batch("GPT2"), methods, target=1)
    assert list(found.explanations) == ["lrp", "attention_rollout"]
    assert list(found.costs) == ["lrp", "attention_rollout"]
    assert list(found.failures) == ["globenc", "alti"]
    for method, why in found.failures.items():
        with pytest.raises(LrpHooksError) as caught:
            explain(model, batch("GPT2"), method, target=1)
        assert why == str(caught.value)
    assert repr(found).endswith("failures=['globenc', 'alti'])")
    for shown in (found.to_terminal(colour=False), found.to_html()):
        assert "globenc" in shown
        assert "left out" in shown
    assert "__getitem__" in found.to_terminal(colour=False)


def test_where_no_method_works():
    model = convolution(torch.float64).eval()
    with pytest.raises(ArgumentError) as caught:
        compare(model, noise(2, 2, 4, 4), ["attention_last", "globenc"])
    message = str(caught.value)
    assert message.startswith("none of the methods works")
    assert "attention_last: " in message
    assert "globenc: " in message
    assert "no attention was found" in message


def test_an_unknown_method_raises_at_once():
    model = fresh("Bert")
    with Counted(model) as seen:
        with pytest.raises(ArgumentError, match="method='atention_last'.*'lrp'"):
            compare(model, batch(), ["lrp", "atention_last"])
        with pytest.raises(ArgumentError, match="method='nosuch'"):
            compare(model, batch(), {"lrp": {}, "mine": {"method": "nosuch"}})
    assert seen.calls == 0


@pytest.mark.parametrize("methods", [[], {}, (), "lrp", ""])
def test_methods_are_a_list(methods):
    with pytest.raises(ArgumentError, match=r"methods=.*must be a list"):
        compare(fresh("Bert"), batch(), methods)


def test_other_errors_are_not_swallowed():
    model = fresh("Bert")

    def fail(*_):
        raise ZeroDivisionError

    handle = model.classifier.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        compare(model, batch(), ["lrp"])
    handle.remove()
    assert not model._forward_pre_hooks


def test_a_bad_target_is_every_methods_reason():
    with pytest.raises(ArgumentError) as caught:
        compare(fresh("Bert"), batch(), ["lrp", "attention_last"], target=7)
    assert str(caught.value).count("7") >= 2


def test_options():
    model = fresh("Bert")
    methods = {
        "attnlrp": {"method": "lrp", "rules": "attnlrp"},
        "sums": {"method": "attention_rollout", "query": "sum"},
        "lrp": {},
    }
    found = compare(model, batch(), methods, target=1)
    assert list(found.explanations) == ["attnlrp", "sums", "lrp"]
    with pytest.raises(ArgumentError, match="nosuch=1 is no option of LRP"):
        compare(model, batch(), {"lrp": {}, "bad": {"method": "lrp", "nosuch": 1}})
    right = explain(model, batch(), "lrp", target=1, rules="attnlrp")
    assert torch.equal(found.explanations["attnlrp"].scores, right.scores)
    right = explain(model, batch(), "attention_rollout", target=1, query="sum")
    assert torch.equal(found.explanations["sums"].scores, right.scores)
    assert methods["lrp"] == {}


def test_the_model_is_left_as_it_was():
    model = fresh("Bert").train()
    compare(model, batch(), SOME)
    for module in model.modules():
        assert module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(p.grad is None for p in model.parameters())


def test_under_no_grad():
    with torch.no_grad():
        found = compare(fresh("Bert"), batch(), SOME)
    assert list(found.explanations) == SOME


def test_agreement_is_the_mean_over_examples_of_attended_tokens():
    found = compare(fresh("Bert"), batch(), SOME, target=1)
    assert found.kept() == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]]
    scores = [found.explanations[method].scores for method in SOME]
    for name, measure in MEASURES.items():
        table = found.agreement(name)
        assert table.dtype == torch.float64
        for i, a in enumerate(scores):
            for j, b in enumerate(scores):
                right = measure(a[0], b[0]) + measure(a[1, :4], b[1, :4])
                assert float(table[i, j]) == pytest.approx(right / 2)
        assert table.diagonal().tolist() == pytest.approx([1] * len(SOME))
    right = top_k(scores[0][0], scores[1][0], 2) + top_k(
        scores[0][1, :4], scores[1][1, :4], 2
    )
    assert float(found.agreement("top_k", k=2)[0, 1]) == pytest.approx(right / 2)


def test_special_tokens_and_padding_are_not_compared(sentiment):
    model, tokenizer = sentiment
    texts = [SENTENCE, "not bad"]
    found = compare(model, texts, ["lrp", "attention_last"], tokenizer)
    for kept, tokens in zip(found.kept(), found.tokens, strict=True):
        assert kept == list(range(1, len(tokens) - 1))
        assert tokens[0] == "[CLS]"
        assert tokens[-1] == "[SEP]"
    a, b = (one.scores for one in found.explanations.values())
    right = [
        spearman(a[row, kept], b[row, kept]) for row, kept in enumerate(found.kept())
    ]
    assert float(found.agreement()[0, 1]) == pytest.approx(sum(right) / 2)
    assert [len(row) for row in found.rows("lrp")] == [len(k) for k in found.kept()]


def by_hand(first, second, **fields):
    """A comparison of two explanations of the same tokens."""
    costs = {label: Cost(1, 1, 0.5) for label in ("first", "second")}
    both = [
        explanation(fields["tokens"], scores=torch.tensor(scores), **fields["rest"])
        for scores in (first, second)
    ]
    return Comparison(dict(zip(costs, both, strict=True)), costs)


def test_nan_where_all_scores_are_equal():
    words = {"tokens": [["a", "b", "c"]], "rest": {}}
    found = by_hand([[1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0]], **words)
    table = found.agreement()
    assert float(table[0, 0]) == pytest.approx(1)
    assert table[0, 1].isnan()
    assert table[1, 1].isnan()
    for shown in (found.to_terminal(colour=False), found.to_html()):
        assert "+nan" not in shown


def test_the_mean_is_over_examples_that_have_a_value():
    words = {"tokens": [["a", "b", "c"], ["d", "e", "f"], ["g"]], "rest": {}}
    first = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 0.0, 0.0]]
    second = [[1.0, 1.0, 1.0], [3.0, 2.0, 1.0], [1.0, 0.0, 0.0]]
    found = by_hand(first, second, **words)
    for measure in ("spearman", "kendall"):
        table = found.agreement(measure)
        assert float(table[0, 0]) == pytest.approx(1)
        assert float(table[0, 1]) == pytest.approx(-1)


def test_special_tokens_alone_are_compared_after_all():
    words = {
        "tokens": [["[CLS]", "[SEP]"]],
        "rest": {"meta": {"special": [[True] * 2]}},
    }
    found = by_hand([[1.0, 2.0]], [[2.0, 1.0]], **words)
    assert found.kept() == [[0, 1]]
    assert float(found.agreement()[0, 1]) == pytest.approx(-1)


def test_an_unknown_measure():
    found = compare(fresh("Bert"), batch(), ["lrp"])
    with pytest.raises(ArgumentError, match="measure='tau'.*'spearman', 'kendall'"):
        found.agreement("tau")


def test_a_column_for_biases_is_not_compared():
    methods = {"token": {"method": "decompx", "bias": "token"}, "lrp": {}}
    ids = batch()["input_ids"]
    found = compare(fresh("Bert"), ids, methods, target=1)
    assert found.kept() == [list(range(6))] * 2
    assert found.agreement().shape == (2, 2)
    padded = compare(fresh("Bert"), batch(), methods, target=1)
    assert padded.kept() == [list(range(6)), list(range(4))]


def markup(html):
    """Return all tags but for places to break at, without their attributes."""
    return [tag for tag in re.findall(r"</?[a-z0-9]+", html) if tag != "<wbr"]


def hostile(tokens, label, target):
    found = by_hand(
        [[float(i) - 1 for i in range(len(tokens))]],
        [[1.0] * len(tokens)],
        tokens=[list(tokens)],
        rest={"meta": {"labels": {1: target}}},
    )
    names = [label, "second"]
    explanations = dict(zip(names, found.explanations.values(), strict=True))
    costs = dict(zip(names, found.costs.values(), strict=True))
    return Comparison(explanations, costs, {label + "!": f"no {label}"})


def assert_harmless(html):
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", html
    )
    html.encode()


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_escape_what_is_hostile(text):
    found, plain = (hostile([t, "b"], t, t) for t in (text, "plain"))
    for shown, harmless in (
        (found.to_html(), plain.to_html()),
        (found._repr_html_(), plain._repr_html_()),
    ):
        assert markup(shown) == markup(harmless)
        assert "<script" not in shown
        assert not re.search(r"<[^>]*\son\w+=", shown)
        assert_harmless(shown)
    for one in (found, plain):
        one.failures.clear()
    assert_same_lines(found, plain)


def test_failures_are_harmless_on_a_terminal():
    found, plain = (hostile(["a"], t, "b") for t in ("\x1b[31m\n\u2028", "plain"))
    assert_same_lines(found, plain)


def assert_same_lines(found, plain):
    one, other = (each.to_terminal(colour=False) for each in (found, plain))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", one)
    assert len(one.splitlines()) == len(other.splitlines())


@calm
@given(hostile_text, hostile_text, hostile_text)
def test_markup_does_not_depend_on_the_text(token, label, target):
    label = f"{label}x"
    shown, plain = hostile([token], label, target), hostile(["a"], "x", "b")
    assert markup(shown.to_html()) == markup(plain.to_html())
    assert_harmless(shown.to_html())


def test_a_page_has_everything(sentiment):
    model, tokenizer = sentiment
    found = compare(model, [SENTENCE, "not bad"], SOME, tokenizer)
    page, fragment = found.to_html(), found._repr_html_()
    assert page.startswith("<!doctype html>")
    assert not fragment.startswith("<!doctype")
    assert fragment in page
    assert page.count("<section>") == 2
    for word in (*SOME, "gripping", "bad", "Spearman", "model calls", "positive"):
        assert word in page


def test_a_terminal_shows_each_token_beside_its_scores(sentiment):
    model, tokenizer = sentiment
    found = compare(model, SENTENCE, SOME, tokenizer)
    plain = found.to_terminal(colour=False)
    assert "\x1b" not in plain
    assert "\x1b[38;5;" in found.to_terminal(colour=True)
    lines = {line.split()[0]: line.split()[1:] for line in plain.splitlines() if line}
    assert lines["target"] == ["positive"]
    for t, token in enumerate(found.tokens[0]):
        numbers = lines[token] if token != "a" else None
        for method, number in zip(SOME, numbers or (), strict=bool(numbers)):
            score = float(found.explanations[method].scores[0, t])
            assert float(number) == pytest.approx(score, abs=0.01, rel=0.01)
            assert number[0] in "+-0" or score == 0
    for label, row in zip(SOME, found.agreement().tolist(), strict=True):
        assert f"  {label:<17}" + "".join(f"  {v:+.2f}" for v in row) in plain


def test_the_command(run, loaded_once, sentiment):
    code, out, err = run("compare", SENTENCE, "--methods", ",".join(SOME))
    assert (code, err) == (0, "")
    model, tokenizer = sentiment
    found = compare(model, SENTENCE, SOME, tokenizer)
    top = out.split("spearman")[0]
    assert top == found.to_terminal(colour=False).split("spearman")[0]
    for token in found.tokens[0]:
        assert re.search(
            rf"^{re.escape(token)} +([+-]\d\S* *){{4}}$", top, re.MULTILINE
        )
    for method in SOME:
        assert method in out


def test_the_command_by_default(run, loaded_once):
    code, out, err = run("compare", "not bad", "--target", "negative")
    assert (code, err) == (0, "")
    assert out.startswith("target  negative\n")
    for method in COMPARED:
        assert method in out
    assert "left out" not in out


def test_the_commands_files(run, loaded_once, tmp_path):
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    methods = ["lrp", "attention_last"]
    options = ["--methods", ",".join(methods), "--html", page, "--json", record]
    code, _, err = run("compare", SENTENCE, *options)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["page.html", "record.json"]
    assert page.read_text().startswith("<!doctype html>")
    stored = json.loads(record.read_text())
    assert sorted(stored) == ["agreement", "costs", "explanations", "failures"]
    assert list(stored["explanations"]) == methods
    assert list(stored["agreement"]) == list(MEASURES)
    assert stored["agreement"]["spearman"][0][0] == pytest.approx(1)
    assert stored["costs"]["attention_last"]["calls"] >= 1
    assert stored["failures"] == {}


def test_nan_is_null_in_files(run, loaded_once, tmp_path):
    options = ["--methods", "lrp", "--json", tmp_path / "record.json"]
    code, _, _ = run("compare", "bad", *options)
    assert code == 0
    text = (tmp_path / "record.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["agreement"]["spearman"] == [[None]]


def test_standard_input_is_one_batch(run, loaded_once, stdin):
    stdin("good film\na rather bad film\n")
    code, out, err = run("compare", "-", "--methods", "lrp,attention_last")
    assert (code, err) == (0, "")
    assert len(re.findall("^target  ", out, re.MULTILINE)) == 2


BAD = {
    "method": (["a", "--methods", "nosuch"], "'nosuch'"),
    "one of several": (["a", "--methods", "lrp,nosuch"], "'nosuch'"),
    "an empty one": (["a", "--methods", "lrp,"], "''"),
    "target": (["a", "--target", "nosuch"], "nosuch"),
    "blank text": ([" "], "' '"),
    "folder": (["a", "--html", "nosuch/page.html"], "nosuch/page.html"),
    "model": (["a", "--model", "nosuch"], "'nosuch'"),
    "long": (["word " * 300], "302"),
    "option": (["a", "--method", "lrp"], "--method"),
}


def test_one_file_for_two(run, loaded_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--methods", "lrp", "--json", "f", "--html", "./f"]
    code, _, err = run("compare", "a", *options)
    assert code == 2
    assert "one file" in err


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(run, loaded_once, tmp_path, monkeypatch, name):
    arguments, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    code, out, err = run("compare", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(err) <= 501
    assert message in err
    assert os.listdir(tmp_path) == []
