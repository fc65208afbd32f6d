"""The explorer's numbers are those of the library, whoever asks at the same time."""

import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_built import hostile_text
from lrp_hooks import RuleSet, compare, explain, explainers, layer_flow, render
from lrp_hooks.explainers import COMPARED

TEXTS = (
    "a gripping , funny film with a weak ending",
    "an overlong , unfunny mess",
    "the plot is thin but the acting saves it",
)
# Neither the prediction nor the rules that are taken unasked, and of several parts.
WHOLE = {
    "text": "unfilmable dreadfullish",
    "target": "positive",
    "rules": "attnlrp",
    "words": True,
}


class Reader(HTMLParser):
    """Collects tags, and the title and text of each token of the heat map."""

    def __init__(self):
        super().__init__()
        self.tags, self.tokens, self._title = set(), [], None

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        named = dict(attributes)
        if "t" in named.get("class", "").split() and "title" in named:
            self.tokens.append([float(named["title"]), ""])
            self._title = tag

    def handle_data(self, data):
        if self._title:
            self.tokens[-1][1] += data

    def handle_endtag(self, tag):
        self._title = None

    @classmethod
    def of(cls, fragment):
        reader = cls()
        reader.feed(fragment)
        return reader


def shown(answer):
    """Return the numbers on the tokens of an answer."""
    return [number for number, _ in Reader.of(answer["html"]).tokens]


def direct(sentiment, text, method="lrp", target=None, **options):
    model, tokenizer = sentiment
    return explain(model, text, method, tokenizer, target, **options)


@pytest.mark.parametrize("method", explainers.names())
def test_every_method_is_answered_with_its_own_numbers(client, sentiment, method):
    status, answer = client.ask("/explain", text=TEXTS[0], method=method)
    assert status == 200, answer
    expected = direct(sentiment, TEXTS[0], method)
    assert answer["html"] == render.fragment(expected.view())
    assert shown(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)


@pytest.mark.parametrize("rules", RuleSet.names())
@pytest.mark.parametrize("target", ["negative", "positive", "0"])
def test_rules_and_targets_are_those_asked_for(client, sentiment, rules, target):
    _, answer = client.ask("/explain", text=TEXTS[1], rules=rules, target=target)
    label = {"negative": 0, "positive": 1, "0": 0}[target]
    expected = direct(sentiment, TEXTS[1], rules=rules, target=label)
    assert shown(answer) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    assert f"lrp ({rules})" in answer["html"]


def test_the_prediction_is_the_softmax_of_the_logits(client, sentiment):
    model, tokenizer = sentiment
    with torch.no_grad():
        logits = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0]
    chances = logits.double().softmax(0)
    _, answer = client.ask("/explain", text=TEXTS[1])
    assert model.config.id2label[int(chances.argmax())] in answer["prediction"]
    assert f"{float(chances.max()):.4f}" in answer["prediction"]


def test_words_have_the_sums_of_their_parts(client, sentiment):
    text = "unfilmable dreadfullish"
    _, apart = client.ask("/explain", text=text)
    _, merged = client.ask("/explain", text=text, words=True)
    tokens = [token for _, token in Reader.of(apart["html"]).tokens]
    assert any(token.startswith("##") for token in tokens), tokens
    sums = []
    for token, number in zip(tokens, shown(apart), strict=True):
        if token.startswith("##"):
            sums[-1] += number
        else:
            sums.append(number)
    assert shown(merged) == pytest.approx(sums, abs=5e-4)
    assert merged["tokens"] == len(sums) < apart["tokens"] == len(tokens)


def test_layers_are_the_relevance_of_each_block_summed_over_its_width(
    client, sentiment
):
    _, answer = client.ask("/layers", text=TEXTS[0], rules="attnlrp", target="negative")
    names = [f"bert.encoder.layer.{i}" for i in range(4)]
    found = direct(sentiment, TEXTS[0], target=0, rules="attnlrp", layers=names)
    expected = [found.scores, *(found.layers[name].sum(-1) for name in names)]
    assert answer["layers"] == ["input", *names]
    torch.testing.assert_close(
        torch.tensor(answer["scores"]), torch.cat(expected), atol=1e-6, rtol=1e-5
    )
    _, other = client.ask("/layers", text=TEXTS[0], method="lime", target="negative")
    plain = direct(sentiment, TEXTS[0], target=0)
    assert other["scores"][0] == pytest.approx(plain.scores[0].tolist(), abs=1e-6)


def test_layers_of_words_have_a_column_for_each_word(client):
    _, apart = client.ask("/layers", text="unfilmable dreadfullish")
    _, merged = client.ask("/layers", text="unfilmable dreadfullish", words=True)
    assert len(merged["scores"][0]) == 4 < len(apart["scores"][0])
    sums = [pytest.approx(sum(row), abs=1e-5) for row in apart["scores"]]
    assert [sum(row) for row in merged["scores"]] == sums


def test_the_comparison_has_the_chosen_method_once(client):
    def heads(**question):
        _, answer = client.ask("/compare", text=TEXTS[2], **question)
        table = answer["html"].split("</table>")[0]
        return re.sub("<[^>]*>", "", table.split("</tr>")[0].rpartition("<tr>")[2])

    plain = heads()
    assert plain == heads(rules="conservative") == heads(method="decompx")
    assert heads(rules="cp-lrp") == f"{plain}lrp (cp-lrp)"
    assert heads(method="alti", words=True) == f"{plain}alti"


def test_the_comparison_answers_the_whole_question(client, sentiment):
    model, tokenizer = sentiment
    methods = {name: {} for name in COMPARED}
    methods["lrp (attnlrp)"] = {"method": "lrp", "rules": "attnlrp"}
    found = compare(model, WHOLE["text"], methods, tokenizer, "positive")
    for label, each in found.explanations.items():
        found.explanations[label] = each.words()
    _, answer = client.ask("/compare", **WHOLE)
    shown, wanted = (
        page.split("<caption>cost")[0]  # seconds are never the same
        for page in (answer["html"], render.fragment(found.view()))
    )
    assert shown == wanted


def test_the_picture_of_layers_answers_the_whole_question(client, sentiment):
    found = direct(
        sentiment, WHOLE["text"], target="positive", rules="attnlrp", layers="blocks"
    )
    _, answer = client.ask("/layers", **WHOLE)
    assert answer["html"] == render.fragment(layer_flow(found).words().view())


def test_two_at_once_get_their_own_numbers(client, sentiment):
    asked = [
        (text, target) for text in TEXTS for target in ("negative", "positive")
    ] * 3
    with ThreadPoolExecutor(6) as users:
        answers = list(
            users.map(
                lambda each: client.ask("/explain", text=each[0], target=each[1]), asked
            )
        )
    for (text, target), (status, answer) in zip(asked, answers, strict=True):
        assert status == 200
        expected = direct(sentiment, text, target=target)
        assert answer["html"] == render.fragment(expected.view())


@settings(max_examples=12)
@given(st.lists(hostile_text, min_size=1, max_size=4).map(" ".join))
def test_no_text_breaks_out_or_breaks_the_server(client, text):
    status, answer = client.ask("/explain", text=text)
    assert status in {200, 422}, answer
    if status == 422:
        assert list(answer) == ["error"]
        return
    page = "".join(answer[name] for name in ("text", "prediction", "html"))
    allowed = "div style p span section table caption tr th td details summary br"
    assert Reader.of(page).tags <= {*allowed.split(), "thead", "tbody"}


def test_a_text_is_shown_as_typed(client):
    text = "<b>&amp;</b> \"quoted\" 'so'\n\u202e👩‍👩‍👧 good"
    _, answer = client.ask("/explain", text=text)
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt; &quot;quoted&quot;" in answer["text"]
    assert "<br>&#x202e;👩‍👩‍👧 good" in answer["text"]


def test_the_model_is_left_as_it_was(client, sentiment):
    model, _ = sentiment
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for path in ("/explain", "/compare", "/layers"):
        client.ask(path, text=TEXTS[0])
        client.ask(path, text=TEXTS[0], target="nothing of the kind")
    assert not model._forward_pre_hooks and not model._forward_hooks
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(parameter.grad is not None for parameter in model.parameters())
