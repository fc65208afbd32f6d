"""Pages, terminal, figure, table and files of what an answer drew on."""

import re
from html.parser import HTMLParser

import pytest
import torch

from generation_models import language_model, word_tokenizer
from lrp_hooks import (
    AnswerExplanation,
    ArgumentError,
    Explanation,
    Ledger,
    explain_answer,
)
from lrp_hooks.support.passages import Passage

PROMPT = "One fact.\nAnother <b>fact</b> $x$ \u202e.\nAsk:"
ANSWER = "Yes, <i>so</i>. No & no."


def passages(text, *parts):
    return [Passage(p, text.index(p), text.index(p) + len(p)) for p in parts]


def made(scores=((3.0, -1.0), (0.5, 1.0)), ledger=True):
    """An explanation by hand: one source takes what is left of the output."""
    table = torch.tensor(scores, dtype=torch.float64)
    output = torch.tensor([4.0, 1.0], dtype=torch.float64)
    rest = {"prompt": torch.tensor([1.0, 0.25]), "answer": torch.tensor([0.5, 0.0])}
    bias = output - table.sum(1) - sum(rest.values())
    return AnswerExplanation(
        scores=table,
        output=output,
        sources=passages(PROMPT, "One fact.", "Another <b>fact</b> $x$ \u202e."),
        spans=passages(ANSWER, "Yes, <i>so</i>.", "No & no."),
        prompt=PROMPT,
        answer=ANSWER,
        target="log_probability",
        ledger=Ledger(table.sum(1), {**rest, "bias": bias}, {}, output)
        if ledger
        else None,
        meta={"rules": "attnlrp", "model": "Llama"},
    )


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "input"}:
            self.stack.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1][0] != "style":
            self.texts.append((self.stack[-1], data))


def test_sources_with_the_largest_scores_are_cited():
    found = made()
    first, second = found.sources
    assert found.cite() == [[(first, 3.0)], [(second, 1.0)]]
    assert found.cite(5)[0] == [(first, 3.0), (second, -1.0)]
    for k in (0, -1, True, 1.5):
        with pytest.raises(ArgumentError, match="k="):
            found.cite(k)


def test_every_span_is_a_choice_that_the_keyboard_reaches():
    page = Page(made().to_html())
    radios = [a for tag, a in page.elements if tag == "input"]
    labels = [a for tag, a in page.elements if tag == "label"]
    assert [a["type"] for a in radios] == ["radio", "radio"]
    assert [a["id"] for a in radios] == [a["for"] for a in labels]
    assert ["checked" in a for a in radios] == [True, False]
    assert len({a["name"] for a in radios}) == 1


def test_the_chosen_span_colours_its_sources():
    text = made().to_html()
    rules = dict(
        re.findall(r":has\(#u\w+-(\d):checked\) :is\((.k\d)\)\{background", text)
    )
    assert set(rules) == {"0", "1"}
    first = re.findall(r"-0:checked\) :is\((\S+?)\)\{background:var\(--(\w+)\)", text)
    assert first == [(".k0", "p12"), (".k1", "n4")]


def test_prompt_and_answer_stand_as_they_are():
    page = Page(made().to_html())
    shown = "".join(data for _, data in page.texts)
    assert "Another <b>fact</b>" in shown
    assert "One fact.\nAnother" in shown
    marked = [element for element, data in page.texts if "\u202e" in data]
    assert {attributes.get("class", "").split()[0] for _, attributes in marked} <= {
        "of",
        "name",
    }
    assert ANSWER in shown
    assert not {tag for tag, _ in page.elements} & {"b", "i", "script", "a"} - {"b"}


def test_a_page_fetches_nothing_and_has_no_control_characters():
    text = made().to_html()
    assert "url(" not in text and "http:" not in text and "<script" not in text
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", text)


def test_strongest_sources_and_their_shares_stand_beside_a_span():
    text = made().to_html()
    assert "<b>75 %</b>" in text  # 3 of 4
    assert "rest of the prompt" in text and "constants" in text
    without = made(ledger=False).to_html()
    assert "rest of the prompt" not in without


def test_shares_of_an_output_near_nought_are_left_out():
    found = made()
    found.output[0] = 1e-9
    assert "<b>" not in found.to_html().partition("drawn d1")[0]


def test_shares_are_told_only_where_a_row_sums_to_its_output():
    """Ablations explain a log-probability, of which a score is no part."""
    assert " %</b>" not in made(ledger=False).to_html()


def test_a_share_of_nothing_has_no_sign():
    text = made(scores=((3.0, -0.001), (0.5, 1.0))).to_html()
    assert "<b>0 %</b>" in text and "-0 %" not in text


def test_terminal():
    lines = made().to_terminal(colour=False, width=60).splitlines()
    assert lines[0] == "method  lrp (attnlrp)"
    assert lines[2] == "Yes, <i>so</i>.  +4.0000"
    assert lines[3] == "  +3.0000  One fact."
    assert lines[5] == (
        "  sources +2.0000; rest of the prompt +1.0000; answer itself +0.5000; "
        "constants +0.5000"
    )
    assert "\x1b[" in made().to_terminal(colour=True, width=60)


def test_figure_has_a_row_a_span():
    figure = made().plot()
    (image,) = figure.axes[0].images
    assert image.get_array().tolist() == [[3.0, -1.0], [0.5, 1.0]]


def test_table_has_a_row_a_score():
    table = made().to_dataframe()
    assert list(table["score"]) == [3.0, -1.0, 0.5, 1.0]
    assert list(table["source_text"][:2]) == [p.text for p in made().sources]
    assert list(table["start"][:2]) == [0, 10]


@pytest.mark.parametrize("ending", ["", ".safetensors", ".json"])
def test_files_give_everything_back(tmp_path, ending):
    found = explain_answer(
        *(language_model(), word_tokenizer(), "a b . \n Paris c .", " one two"),
    )
    found.save(tmp_path / f"answer{ending}")
    again = AnswerExplanation.load(tmp_path / f"answer{ending}")
    assert torch.equal(again.scores, found.scores)
    assert torch.equal(again.token_scores, found.token_scores)
    assert torch.equal(again.ledger.total, found.ledger.total)
    assert again.sources == found.sources
    assert again.sources[0].text == found.sources[0].text
    assert again.meta == found.meta
    assert again.to_html() == found.to_html()


def test_another_result_in_a_file_is_told(tmp_path):
    path = tmp_path / "other.safetensors"
    Explanation(scores=torch.ones(1, 2), output=torch.ones(1)).save(path)
    with pytest.raises(ArgumentError, match="AnswerExplanation"):
        AnswerExplanation.load(path)
    made().save(path)
    with pytest.raises(ArgumentError, match="AnswerExplanation|Explanation"):
        Explanation.load(path)
